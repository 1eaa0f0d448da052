//! A sharded counter: many threads add to it, few read it.

use crossbeam_utils::CachePadded;

use crate::mem::try_slice;
use crate::shard::Shard;
use crate::sync::stat::{AtomicU64, Ordering};

/// A sum with one cell per shard of threads; or with a single one, where the cells would take more memory than the things they
/// count.
pub(crate) struct ShardedCount {
    shards: Box<[CachePadded<AtomicU64>]>,
    /// The cell of shards that have none of their own.
    shared: AtomicU64,
}

impl ShardedCount {
    /// Creates a counter with this many cells. Returns `None` if allocation fails.
    pub(crate) fn new(shards: usize) -> Option<Self> {
        Some(Self {
            shards: try_slice(shards, CachePadded::default)?,
            shared: AtomicU64::new(0),
        })
    }

    /// Adds one, and returns the new count of the cell.
    #[inline]
    pub(crate) fn add(&self, shard: Shard) -> u64 {
        match self.shards.get(shard.index) {
            Some(cell) => shard.add(cell, 1),
            None => self.add_shared(),
        }
    }

    #[cold]
    fn add_shared(&self) -> u64 {
        // Relaxed: as in [`Shard::add`].
        self.shared.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Returns about the number of calls of [`add`](Self::add) so far.
    pub(crate) fn sum(&self) -> usize {
        // Relaxed: the sum only decides when to grow; any value is correct, and a close one keeps tables well sized.
        let cells = self.shards.iter().map(|cell| cell.load(Ordering::Relaxed));
        let sum = cells.fold(self.shared.load(Ordering::Relaxed), u64::wrapping_add);
        usize::try_from(sum).unwrap_or(usize::MAX)
    }
}
