//! A counter that many threads add to and few read.

use crossbeam_utils::CachePadded;

use crate::mem::try_slice;
use crate::sync::stat::{AtomicUsize, Ordering};

/// A sum kept in one cell per shard of threads.
pub(crate) struct ShardedCount(Box<[CachePadded<AtomicUsize>]>);

impl ShardedCount {
    /// Nothing if there is no memory.
    pub(crate) fn new(shards: usize) -> Option<Self> {
        try_slice(shards, CachePadded::default).map(Self)
    }

    /// Adds one; the shard's own count after it.
    pub(crate) fn add(&self, shard: usize) -> usize {
        // Relaxed: the sum only decides when to grow; any value is correct, a near one is cheap.
        self.0[shard].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes one away that the same shard added.
    pub(crate) fn sub(&self, shard: usize) {
        // Relaxed: as in `add`.
        self.0[shard].fetch_sub(1, Ordering::Relaxed);
    }

    /// About the number of calls of [`add`](Self::add) so far, less those of [`sub`](Self::sub).
    pub(crate) fn sum(&self) -> usize {
        // Relaxed: as in `add`.
        self.0.iter().map(|cell| cell.load(Ordering::Relaxed)).sum()
    }
}
