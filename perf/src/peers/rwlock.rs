//! One hashbrown map under one `std::sync::RwLock`: the simplest concurrent map.

use std::sync::{RwLock, RwLockReadGuard};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::store::{About, Form, Hashing, Kept, Key, Kind, Stall, Store};

type Map<V, H> = HashMap<Key, V, H>;

pub(crate) struct Locked<V, H>(RwLock<Map<V, H>>);

const POISONED: &str = "no operation panics";

impl<V: Kept, H: Hashing> Store for Locked<V, H> {
    const ABOUT: About = About {
        name: if V::BOXED { "rwlock" } else { "rwlock-in-place" },
        kind: Kind::Peer,
        lock_free_reads: false,
        form: Form::moving::<V>(),
        any_value: true,
        stall: Stall::Blocks,
        max_entries: usize::MAX,
        stands_new_keys: true,
    };

    type With<W: Kept> = Locked<W, H>;
    type Guard<'a> = RwLockReadGuard<'a, Map<V, H>>;

    fn new() -> Self {
        Self(RwLock::new(HashMap::with_hasher(H::default())))
    }

    fn with_capacity(entries: usize) -> Self {
        Self(RwLock::new(HashMap::with_capacity_and_hasher(entries, H::default())))
    }

    #[inline]
    fn guard(&self) -> Self::Guard<'_> {
        self.0.read().expect(POISONED)
    }

    #[inline]
    fn get_in<'a>(&'a self, guard: &Self::Guard<'a>, key: Key) -> u64 {
        guard.get(&key).map_or(0, V::first)
    }

    #[inline]
    fn insert(&self, key: Key) -> bool {
        match self.0.write().expect(POISONED).entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(V::of(key));
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    #[inline]
    fn get_or_insert(&self, key: Key) -> u64 {
        match self.get(key) {
            0 => {
                let mut map = self.0.write().expect(POISONED);
                map.entry(key).or_insert_with(|| V::of(key)).first()
            }
            first => first,
        }
    }

    #[inline]
    fn remove(&self, key: Key) -> bool {
        // The value is dropped after the lock has been released.
        let removed = self.0.write().expect(POISONED).remove(&key);
        removed.is_some()
    }

    fn clear_id(&self, id: u64) -> usize {
        let mut map = self.0.write().expect(POISONED);
        let before = map.len();
        map.retain(|key, _| key.1 != id);
        before - map.len()
    }

    fn shrink(&self) -> bool {
        self.0.write().expect(POISONED).shrink_to_fit();
        true
    }
}
