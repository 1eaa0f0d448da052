//! scc's `HashIndex`: like its `HashMap`, but readers take no lock. Entries move when it grows, by a clone of each.

use scc::{Guard, HashIndex};

use crate::store::{About, Form, Hashing, Kept, Key, Kind, Stall, Store};

pub(crate) struct SccIndex<V: Kept, H: Hashing>(HashIndex<Key, V, H>);

impl<V: Kept, H: Hashing> Store for SccIndex<V, H> {
    const ABOUT: About = About {
        name: if V::BOXED { "scc_index" } else { "scc_index-in-place" },
        kind: Kind::Peer,
        lock_free_reads: true,
        form: Form::moving::<V>(),
        any_value: true,
        stall: Stall::Garbage,
        max_entries: usize::MAX,
        stands_new_keys: true,
    };

    type Guard<'a> = Guard;
    type With<W: Kept> = SccIndex<W, H>;

    fn new() -> Self {
        Self(HashIndex::with_hasher(H::default()))
    }

    fn with_capacity(entries: usize) -> Self {
        Self(HashIndex::with_capacity_and_hasher(entries, H::default()))
    }

    #[inline]
    fn guard(&self) -> Guard {
        Guard::new()
    }

    #[inline]
    fn get_in(&self, guard: &Guard, key: Key) -> u64 {
        self.0.peek(&key, guard).map_or(0, V::first)
    }

    #[inline]
    fn get(&self, key: Key) -> u64 {
        self.0.peek_with(&key, |_, value| value.first()).unwrap_or(0)
    }

    #[inline]
    fn insert(&self, key: Key) -> bool {
        self.0.insert_sync(key, V::of(key)).is_ok()
    }

    /// Looks up without a lock first, because `entry` takes one.
    #[inline]
    fn get_or_insert(&self, key: Key) -> u64 {
        match self.get(key) {
            0 => self.0.entry_sync(key).or_insert_with(|| V::of(key)).get().first(),
            first => first,
        }
    }

    #[inline]
    fn remove(&self, key: Key) -> bool {
        self.0.remove_sync(&key)
    }

    fn clear_id(&self, id: u64) -> usize {
        let mut count = 0;
        self.0.retain_sync(|key, _| {
            count += usize::from(key.1 == id);
            key.1 != id
        });
        count
    }
}
