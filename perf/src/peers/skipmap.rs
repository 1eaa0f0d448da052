//! crossbeam's `SkipMap`: ordered by address and id, so all entries of a parent are neighbours. Nodes do not move.

use crossbeam_epoch::{Guard, pin};
use crossbeam_skiplist::SkipMap;

use crate::peers::epochs::flush_epochs;
use crate::store::{About, Form, Kept, Key, Kind, Stall, Store};

pub(crate) struct Skip<V>(SkipMap<Key, V>);

impl<V: Kept> Store for Skip<V> {
    const ABOUT: About = About {
        name: "skipmap",
        kind: Kind::Peer,
        lock_free_reads: true,
        form: Form::Stable,
        any_value: true,
        stall: Stall::Garbage,
        // An insert takes two microseconds: eight million would take too long.
        max_entries: 1 << 20,
        stands_new_keys: true,
    };

    /// The map pins for every operation itself, which costs less if the thread has pinned its collector already.
    type Guard<'a> = Guard;
    type With<W: Kept> = Skip<W>;

    fn new() -> Self {
        Self(SkipMap::new())
    }

    /// A skip list cannot reserve room.
    fn with_capacity(_entries: usize) -> Self {
        Self::new()
    }

    #[inline]
    fn guard(&self) -> Guard {
        pin()
    }

    #[inline]
    fn get_in(&self, _guard: &Guard, key: Key) -> u64 {
        self.get(key)
    }

    #[inline]
    fn get(&self, key: Key) -> u64 {
        self.0.get(&key).map_or(0, |entry| entry.value().first())
    }

    /// Exact unless another thread inserts the same key at the same time, which no workload does.
    #[inline]
    fn insert(&self, key: Key) -> bool {
        let mut absent = false;
        self.0.get_or_insert_with(key, || {
            absent = true;
            V::of(key)
        });
        absent
    }

    #[inline]
    fn get_or_insert(&self, key: Key) -> u64 {
        self.0.get_or_insert_with(key, || V::of(key)).value().first()
    }

    #[inline]
    fn remove(&self, key: Key) -> bool {
        self.0.remove(&key).is_some()
    }

    fn clear_id(&self, id: u64) -> usize {
        self.0
            .iter()
            .filter(|entry| entry.key().1 == id && entry.remove())
            .count()
    }

    fn settle(&self) {
        flush_epochs();
    }
}
