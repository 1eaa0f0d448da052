//! A counter that many threads add to and few read.

use crossbeam_utils::CachePadded;

use crate::mem::try_slice;
use crate::shard::Shard;
use crate::sync::stat::{AtomicU64, Ordering};

/// A sum kept in one cell per shard of threads.
pub(crate) struct ShardedCount(Box<[CachePadded<AtomicU64>]>);

impl ShardedCount {
    /// Nothing if there is no memory.
    pub(crate) fn new(shards: usize) -> Option<Self> {
        try_slice(shards, CachePadded::default).map(Self)
    }

    /// Adds one; the shard's own count after it.
    #[inline]
    pub(crate) fn add(&self, shard: Shard) -> u64 {
        shard.add(&self.0[shard.index], 1)
    }

    /// Takes some away.
    #[inline]
    pub(crate) fn sub(&self, shard: Shard, count: u64) {
        shard.add(&self.0[shard.index], count.wrapping_neg());
    }

    /// About the number of calls of [`add`](Self::add) so far, less those of [`sub`](Self::sub).
    pub(crate) fn sum(&self) -> usize {
        // Relaxed: the sum only decides when to grow; any value is correct, a near one is cheap.
        let cells = self.0.iter().map(|cell| cell.load(Ordering::Relaxed));
        let sum = cells.fold(0, u64::wrapping_add);
        // Below 0 if somebody's additions are not seen yet.
        usize::try_from(sum.cast_signed()).unwrap_or(0)
    }
}
