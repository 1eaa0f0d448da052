//! flurry: Java's `ConcurrentHashMap` in Rust, with chains and trees of nodes, reclaimed by seize. Its values are allocated
//! separately, so they need no box.

use flurry::{Guard, HashMap};

use crate::store::{About, Form, Hashing, Kept, Key, Kind, Stall, Store};

pub(crate) struct Flurry<V, H>(HashMap<Key, V, H>);

impl<V: Kept, H: Hashing> Store for Flurry<V, H> {
    const ABOUT: About = About {
        name: "flurry",
        kind: Kind::Peer,
        lock_free_reads: true,
        form: Form::Stable,
        any_value: true,
        stall: Stall::Garbage,
        max_entries: usize::MAX,
        stands_new_keys: true,
    };

    type Guard<'a> = Guard<'a>;
    type With<W: Kept> = Flurry<W, H>;

    fn new() -> Self {
        Self(HashMap::with_hasher(H::default()))
    }

    fn with_capacity(entries: usize) -> Self {
        Self(HashMap::with_capacity_and_hasher(entries, H::default()))
    }

    #[inline]
    fn guard(&self) -> Guard<'_> {
        self.0.guard()
    }

    #[inline]
    fn get_in<'a>(&'a self, guard: &Guard<'a>, key: Key) -> u64 {
        self.0.get(&key, guard).map_or(0, V::first)
    }

    #[inline]
    fn insert(&self, key: Key) -> bool {
        self.0.pin().try_insert(key, V::of(key)).is_ok()
    }

    /// Looks up first, because there is no such operation.
    #[inline]
    fn get_or_insert(&self, key: Key) -> u64 {
        let map = self.0.pin();
        if let Some(value) = map.get(&key) {
            return value.first();
        }
        match map.try_insert(key, V::of(key)) {
            Ok(value) => value.first(),
            Err(exists) => exists.current.first(),
        }
    }

    #[inline]
    fn remove(&self, key: Key) -> bool {
        self.0.pin().remove(&key).is_some()
    }

    fn clear_id(&self, id: u64) -> usize {
        let map = self.0.pin();
        let before = map.len();
        map.retain(|key, _| key.1 != id);
        before - map.len()
    }
}
