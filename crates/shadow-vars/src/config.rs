//! How a store is made.

use std::fmt;
use std::marker::PhantomData;

use crate::child;
use crate::error::BuildError;
use crate::reclaim::Reclaim;
use crate::shard::MAX_SHARDS;
use crate::store::ShadowStore;
use crate::sync::stat::{AtomicUsize, Ordering};
use crate::table::array::{BUCKET, MAX_LOG2};
use crate::table::hash::{AddrHasher, Places};
use crate::table::sieve::Sieved;
use crate::table::{Config, Core};

/// Settings of a [`ShadowStore`] before it is built.
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

/// Settings that make rare paths common. For tests; not part of the promised interface.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Provoke {
    /// A first table of one bucket.
    pub smallest_table: bool,
    /// Migration blocks of one bucket.
    pub smallest_block: bool,
    /// The same hash for every address.
    pub equal_hashes: bool,
    /// Reclamation asked for at every retirement.
    pub batch_of_one: bool,
    /// Each variable an allocation of its own, which memory checkers can follow.
    pub unpacked: bool,
    /// A place of its own for each id, as if there were many.
    pub ids_apart: bool,
}

/// Buckets per migration block: 64 slots, a few microseconds of work, and more nodes than a core has misses under way.
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

    /// Room for this many variables before the table grows for the first time. It never shrinks below that either.
    #[must_use]
    pub fn capacity(mut self, variables: usize) -> Self {
        self.capacity = variables;
        self
    }

    /// How many freed variables a thread collects at most before it asks for a grace period: 1024 unless set, at least 1, rounded
    /// down to a power of two. Up to four times as many wait, where many are freed at once. Smaller means less memory waiting, larger means less work. Values with destructors wait for
    /// less, see [`docs::limits`](crate::docs::limits).
    #[must_use]
    pub fn batch(mut self, variables: usize) -> Self {
        self.batch = variables;
        self
    }

    /// Makes the hash of addresses the same in every run. Unless set, each store draws its own seed.
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

    /// Makes the store.
    ///
    /// # Errors
    ///
    /// [`BuildError::CapacityTooLarge`] if no table could address that many variables, [`BuildError::OutOfMemory`] if
    /// the allocator does not give the first one.
    pub fn build(self) -> Result<ShadowStore<R>, BuildError> {
        Ok(ShadowStore::from_core(self.core()?))
    }

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
            // Four buckets at least: a line or two less would be full at once.
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
            // Four threads per core have one each, the rest share the last: correct, and slower.
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

/// How many processors the process could run on when it was first asked.
fn processors() -> usize {
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    // Relaxed, both: a number by itself; threads that count at once may differ, and either does.
    match KNOWN.load(Ordering::Relaxed) {
        0 => {
            let counted = count_processors().max(1);
            KNOWN.store(counted, Ordering::Relaxed);
            counted
        }
        known => known,
    }
}

/// `available_parallelism` reads files for it, and takes memory for granted.
fn count_processors() -> usize {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: all zero is an empty set; the call writes no more than it is told.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            // Not if there are more processors than the set has room for.
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
