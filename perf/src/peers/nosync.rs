//! hashbrown without synchronisation: not a concurrent map, but a limit to compare with.
//!
//! Any number of threads may read it; only one may write, while no other reads. The harness ensures this: a limit is given no
//! workload that writes from two threads.

use std::cell::UnsafeCell;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::store::{About, Form, Hashing, Kept, Key, Kind, Stall, Store};

type Map<V, H> = HashMap<Key, V, H>;

pub(crate) struct NoSync<V, H>(UnsafeCell<Map<V, H>>);

// SAFETY: a contender of `Kind::Limit` is only given workloads in which either all threads read, or a single thread runs.
unsafe impl<V: Kept, H: Hashing> Sync for NoSync<V, H> {}

impl<V, H> NoSync<V, H> {
    #[inline]
    fn read(&self) -> &Map<V, H> {
        // SAFETY: no thread writes meanwhile, as argued at `Sync`; no reference outlives an operation.
        unsafe { &*self.0.get() }
    }

    #[inline]
    #[expect(clippy::mut_from_ref, reason = "one thread does all: see `Sync`")]
    fn write(&self) -> &mut Map<V, H> {
        // SAFETY: no other thread reads or writes meanwhile, as argued at `Sync`; no reference outlives an operation.
        unsafe { &mut *self.0.get() }
    }
}

impl<V: Kept, H: Hashing> Store for NoSync<V, H> {
    const ABOUT: About = About {
        name: "nosync",
        kind: Kind::Limit,
        lock_free_reads: true,
        form: Form::moving::<V>(),
        any_value: true,
        stall: Stall::Blocks,
        max_entries: usize::MAX,
        stands_new_keys: true,
    };

    type With<W: Kept> = NoSync<W, H>;
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
        self.read().get(&key).map_or(0, V::first)
    }

    #[inline]
    fn insert(&self, key: Key) -> bool {
        match self.write().entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(V::of(key));
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    #[inline]
    fn get_or_insert(&self, key: Key) -> u64 {
        self.write().entry(key).or_insert_with(|| V::of(key)).first()
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
