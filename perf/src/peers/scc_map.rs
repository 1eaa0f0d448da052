//! scc's `HashMap`: buckets of entries, a lock each. Entries move when it grows, so values are boxed.

use scc::HashMap;

use crate::store::{About, Hashing, Key, Kind, Stall, Store, Value};

pub(crate) struct SccMap<H: Hashing>(HashMap<Key, Box<Value>, H>);

impl<H: Hashing> Store for SccMap<H> {
    const ABOUT: About = About {
        name: "scc_map",
        kind: Kind::Peer,
        lock_free_reads: false,
        stall: Stall::Blocks,
        max_entries: usize::MAX,
        stands_new_keys: true,
    };

    type Guard<'a> = ();

    fn new() -> Self {
        Self(HashMap::with_hasher(H::default()))
    }

    fn with_capacity(entries: usize) -> Self {
        Self(HashMap::with_capacity_and_hasher(entries, H::default()))
    }

    #[inline]
    fn guard(&self) -> Self::Guard<'_> {}

    #[inline]
    fn get_in(&self, _guard: &(), key: Key) -> u64 {
        self.0.read_sync(&key, |_, value| value.first).unwrap_or(0)
    }

    #[inline]
    fn insert(&self, key: Key) -> bool {
        self.0.insert_sync(key, Box::new(Value::of(key))).is_ok()
    }

    #[inline]
    fn get_or_insert(&self, key: Key) -> u64 {
        self.0
            .entry_sync(key)
            .or_insert_with(|| Box::new(Value::of(key)))
            .get()
            .first
    }

    #[inline]
    fn remove(&self, key: Key) -> bool {
        self.0.remove_sync(&key).is_some()
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
