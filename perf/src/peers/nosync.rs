//! hashbrown with no synchronisation at all: not a concurrent map, but the limit that one could hope to reach.
//!
//! Any number of threads may read it; only one may write, and then nobody else reads. The harness sees to that: it
//! gives a limit no workload that writes from two threads.

use std::cell::UnsafeCell;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::store::{About, Hashing, Key, Kind, Stall, Store, Value};

type Map<H> = HashMap<Key, Box<Value>, H>;

pub(crate) struct NoSync<H>(UnsafeCell<Map<H>>);

// SAFETY: a contender of `Kind::Limit` is only given workloads in which either all threads read, or one does all.
unsafe impl<H: Hashing> Sync for NoSync<H> {}

impl<H> NoSync<H> {
    #[inline]
    fn read(&self) -> &Map<H> {
        // SAFETY: nobody writes meanwhile, as argued at `Sync`; no reference outlives an operation.
        unsafe { &*self.0.get() }
    }

    #[inline]
    #[expect(clippy::mut_from_ref, reason = "one thread does all: see `Sync`")]
    fn write(&self) -> &mut Map<H> {
        // SAFETY: nobody else reads or writes meanwhile, as argued at `Sync`; no reference outlives an operation.
        unsafe { &mut *self.0.get() }
    }
}

impl<H: Hashing> Store for NoSync<H> {
    const ABOUT: About = About {
        name: "nosync",
        kind: Kind::Limit,
        lock_free_reads: true,
        stall: Stall::Blocks,
        max_entries: usize::MAX,
        stands_new_keys: true,
    };

    type Guard<'a> = ();

    fn new() -> Self {
        Self(UnsafeCell::new(HashMap::with_hasher(H::default())))
    }

    fn with_capacity(entries: usize) -> Self {
        Self(UnsafeCell::new(HashMap::with_capacity_and_hasher(
            entries,
            H::default(),
        )))
    }

    #[inline]
    fn guard(&self) -> Self::Guard<'_> {}

    #[inline]
    fn get_in(&self, _guard: &(), key: Key) -> u64 {
        self.read().get(&key).map_or(0, |value| value.first)
    }

    #[inline]
    fn insert(&self, key: Key) -> bool {
        match self.write().entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Box::new(Value::of(key)));
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    #[inline]
    fn get_or_insert(&self, key: Key) -> u64 {
        self.write()
            .entry(key)
            .or_insert_with(|| Box::new(Value::of(key)))
            .first
    }

    #[inline]
    fn remove(&self, key: Key) -> bool {
        self.write().remove(&key).is_some()
    }

    fn clear_id(&self, id: u64) -> usize {
        let map = self.write();
        let before = map.len();
        map.retain(|key, _| key.1 != id);
        before - map.len()
    }

    fn shrink(&self) -> bool {
        self.write().shrink_to_fit();
        true
    }
}
