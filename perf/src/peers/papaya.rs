//! papaya: a lock-free table of pointers to entries, reclaimed by seize. Entries do not move, so values are inline.

use papaya::{HashMap, HashMapRef, LocalGuard};

use crate::store::{About, Form, Hashing, Kept, Key, Kind, Stall, Store};

pub(crate) struct Papaya<V, H>(HashMap<Key, V, H>);

impl<V: Kept, H: Hashing> Store for Papaya<V, H> {
    const ABOUT: About = About {
        name: "papaya",
        kind: Kind::Peer,
        lock_free_reads: true,
        form: Form::Stable,
        any_value: true,
        stall: Stall::Garbage,
        max_entries: usize::MAX,
        stands_new_keys: true,
    };

    type Guard<'a> = HashMapRef<'a, Key, V, H, LocalGuard<'a>>;
    type With<W: Kept> = Papaya<W, H>;

    fn new() -> Self {
        Self(HashMap::with_hasher(H::default()))
    }

    fn with_capacity(entries: usize) -> Self {
        Self(HashMap::with_capacity_and_hasher(entries, H::default()))
    }

    #[inline]
    fn guard(&self) -> Self::Guard<'_> {
        self.0.pin()
    }

    #[inline]
    fn get_in<'a>(&'a self, guard: &Self::Guard<'a>, key: Key) -> u64 {
        guard.get(&key).map_or(0, V::first)
    }

    #[inline]
    fn insert(&self, key: Key) -> bool {
        self.0.pin().try_insert(key, V::of(key)).is_ok()
    }

    #[inline]
    fn get_or_insert(&self, key: Key) -> u64 {
        self.0.pin().get_or_insert_with(key, || V::of(key)).first()
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
