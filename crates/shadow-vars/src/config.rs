//! The settings of a store.

use std::fmt;
use std::marker::PhantomData;

use crate::child;
use crate::error::BuildError;
use crate::reclaim::Reclaim;
use crate::shard::MAX_SHARDS;
use crate::sync::stat::{AtomicUsize, Ordering};
use crate::table::array::MAX_LOG2;
use crate::table::group::BUCKET;
use crate::table::hash::{AddrHasher, Places};
use crate::table::sieve::Sieved;
use crate::table::{Config, Core};

/// The settings of a [`ShadowStore`](crate::ShadowStore) that is to be built.
///
/// ```
/// use shadow_vars::{Epoch, ShadowStore};
/// let store = ShadowStore::<Epoch>::builder().capacity(10_000).batch(32).build()?;
/// assert!(store.capacity() >= 10_000);
/// # Ok::<(), shadow_vars::BuildError>(())
/// ```
pub struct Builder<R: Reclaim> {
    capacity: usize,
    batch: usize,
    hash_seed: Option<u64>,
    provoke: Provoke,
    _backend: PhantomData<fn() -> R>,
}

/// Settings that make rare paths common. For tests; not part of the stable interface.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Provoke {
    /// The first table has one bucket.
    pub smallest_table: bool,
    /// Migration blocks have one bucket.
    pub smallest_block: bool,
    /// Every address has the same hash.
    pub equal_hashes: bool,
    /// Every retirement begins a grace period.
    pub batch_of_one: bool,
    /// Each variable is allocated separately, so that memory checkers can track it.
    pub unpacked: bool,
    /// Each id has its own place, as if there were many ids.
    pub ids_apart: bool,
}

/// Buckets per migration block: 64 slots, a few microseconds of work, and more nodes than a core has outstanding cache misses.
const BLOCK: usize = 8;

impl<R: Reclaim> Builder<R> {
    pub(crate) fn new() -> Self {
        Self {
            capacity: 0,
            batch: 1024,
            hash_seed: None,
            provoke: Provoke::default(),
            _backend: PhantomData,
        }
    }

    /// Sets how many variables the store can hold before its table grows for the first time. The table never shrinks
    /// below that either. The default is 0, which means a small table.
    #[must_use]
    pub fn capacity(mut self, variables: usize) -> Self {
        self.capacity = variables;
        self
    }

    /// Sets the largest number of freed variables that a thread collects before it begins a grace period: 1024 by
    /// default, at least 1, rounded down to a power of two. Up to four times as many wait where many are freed at once.
    ///
    /// A smaller number means less memory waiting, a larger one less work. Values with destructors wait for less, see
    /// [`docs::limits`](crate::docs::limits).
    #[must_use]
    pub fn batch(mut self, variables: usize) -> Self {
        self.batch = variables;
        self
    }

    /// Sets the seed of the hash function, which makes the hashes of addresses the same in every run. By default, each
    /// store draws its own seed.
    #[must_use]
    pub fn hash_seed(mut self, seed: u64) -> Self {
        self.hash_seed = Some(seed);
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub fn provoke(mut self, provoke: Provoke) -> Self {
        self.provoke = provoke;
        self
    }

    /// Builds the inner part of a store.
    pub(crate) fn core(self) -> Result<Core<R>, BuildError> {
        let asked = self.capacity;
        if asked > BUCKET << (MAX_LOG2 - 1) || asked > isize::MAX as usize / 32 {
            return Err(BuildError::CapacityTooLarge { asked });
        }
        let hasher = match self.hash_seed {
            _ if self.provoke.equal_hashes => AddrHasher::constant(),
            Some(seed) => AddrHasher::new(seed),
            None => AddrHasher::random(),
        };
        let config = Config {
            // At least four buckets: with fewer, a few insertions would already fill one.
            capacity: if self.provoke.smallest_table {
                0
            } else {
                asked.max(2 * BUCKET)
            },
            hasher,
            places: if self.provoke.ids_apart {
                Places::APART
            } else {
                Places::USUAL
            },
            batch: if self.provoke.batch_of_one { 1 } else { self.batch },
            packed: !self.provoke.unpacked,
            sieved: if self.provoke.smallest_table {
                Sieved::ALL
            } else {
                Sieved::USUAL
            },
            block: if self.provoke.smallest_block { 1 } else { BLOCK },
            // Up to four threads per core have a shard each; the others share the last one, which is correct but slower.
            shards: if cfg!(shadow_loom) {
                1
            } else {
                (processors().max(4) * 4 + 1).min(MAX_SHARDS)
            },
        };
        if !child::watch() {
            return Err(BuildError::OutOfMemory { asked });
        }
        Core::new(&config).map_err(|_| BuildError::OutOfMemory { asked })
    }
}

/// Returns how many processors the process could run on at the first call.
fn processors() -> usize {
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    // Relaxed, both: the number guards nothing. Threads that count at the same time may differ; either result is fine.
    match KNOWN.load(Ordering::Relaxed) {
        0 => {
            let counted = count_processors().max(1);
            KNOWN.store(counted, Ordering::Relaxed);
            counted
        }
        known => known,
    }
}

/// Counts the processors without `available_parallelism` where possible, as that reads files and assumes that there is
/// memory.
fn count_processors() -> usize {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: all zeros is an empty set; the call writes no more than the given size.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            // Fails if there are more processors than the set has room for.
            if libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) == 0 {
                return libc::CPU_COUNT(&set) as usize;
            }
        }
    }
    std::thread::available_parallelism().map_or(4, usize::from)
}

impl<R: Reclaim> fmt::Debug for Builder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("capacity", &self.capacity)
            .field("batch", &self.batch)
            .field("hash_seed", &self.hash_seed)
            .finish_non_exhaustive()
    }
}
