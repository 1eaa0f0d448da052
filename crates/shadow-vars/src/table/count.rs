//! A counter that many threads add to and few read.

use crossbeam_utils::CachePadded;

use crate::mem::try_slice;
use crate::shard::Shard;
use crate::sync::stat::{AtomicU64, Ordering};

/// A sum, kept in one cell per shard of threads; or in one for all, where the lines would take more than what is counted.
pub(crate) struct ShardedCount {
    shards: Box<[CachePadded<AtomicU64>]>,
    /// Of shards without a cell of their own: of all, or none.
    shared: AtomicU64,
}

impl ShardedCount {
    /// With a cell for each of so many shards. Nothing if there is no memory.
    pub(crate) fn new(shards: usize) -> Option<Self> {
        Some(Self {
            shards: try_slice(shards, CachePadded::default)?,
            shared: AtomicU64::new(0),
        })
    }

    /// Adds one; the count of the cell after it.
    #[inline]
    pub(crate) fn add(&self, shard: Shard) -> u64 {
        match self.shards.get(shard.index) {
            Some(cell) => shard.add(cell, 1),
            None => self.add_shared(),
        }
    }

    #[cold]
    fn add_shared(&self) -> u64 {
        // Relaxed: as [`Shard::add`].
        self.shared.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// About the number of calls of [`add`](Self::add) so far.
    pub(crate) fn sum(&self) -> usize {
        // Relaxed: the sum only decides when to grow; any value is correct, a near one is cheap.
        let cells = self.shards.iter().map(|cell| cell.load(Ordering::Relaxed));
        let sum = cells.fold(self.shared.load(Ordering::Relaxed), u64::wrapping_add);
        usize::try_from(sum).unwrap_or(usize::MAX)
    }
}
