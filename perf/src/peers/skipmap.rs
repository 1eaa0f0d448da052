//! crossbeam's `SkipMap`: ordered by address and id, so all entries of a parent are neighbours. Nodes do not move.

use crossbeam_epoch::{Guard, pin};
use crossbeam_skiplist::SkipMap;

use crate::peers::flush_epochs;
use crate::store::{About, Key, Kind, Stall, Store, Value};

pub(crate) struct Skip(SkipMap<Key, Value>);

impl Store for Skip {
    const ABOUT: About = About {
        name: "skipmap",
        kind: Kind::Peer,
        lock_free_reads: true,
        stall: Stall::Garbage,
        // Two microseconds an insert: eight million take too long for what they would show.
        max_entries: 1 << 20,
        stands_new_keys: true,
    };

    /// The map pins for every operation itself, which costs less if its collector is pinned already.
    type Guard<'a> = Guard;

    fn new() -> Self {
        Self(SkipMap::new())
    }

    /// There is nothing to make room in.
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
        self.0.get(&key).map_or(0, |entry| entry.value().first)
    }

    /// Exact as long as no other thread inserts the same key at the same time, which no workload does.
    #[inline]
    fn insert(&self, key: Key) -> bool {
        let mut absent = false;
        self.0.get_or_insert_with(key, || {
            absent = true;
            Value::of(key)
        });
        absent
    }

    #[inline]
    fn get_or_insert(&self, key: Key) -> u64 {
        self.0.get_or_insert_with(key, || Value::of(key)).value().first
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
