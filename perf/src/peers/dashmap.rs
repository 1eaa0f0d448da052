//! dashmap, 6 and 7: a few shards, each a hashbrown table under a lock. Entries move when it grows, so values are boxed.
//! With the feature for inlining (`inline`, later `inline-more`), which its documentation names as the faster one.

use crate::store::{About, Hashing, Key, Kind, Stall, Store, Value};

/// Both have the same interface, but their types are not the same.
macro_rules! adapter {
    ($store:ident, $dashmap:ident, $name:literal) => {
        pub(crate) struct $store<H>($dashmap::DashMap<Key, Box<Value>, H>);

        impl<H: Hashing> Store for $store<H> {
            const ABOUT: About = About {
                name: $name,
                kind: Kind::Peer,
                lock_free_reads: false,
                stall: Stall::Blocks,
                max_entries: usize::MAX,
                stands_new_keys: true,
            };

            type Guard<'a> = ();

            fn new() -> Self {
                Self($dashmap::DashMap::with_hasher(H::default()))
            }

            fn with_capacity(entries: usize) -> Self {
                Self($dashmap::DashMap::with_capacity_and_hasher(entries, H::default()))
            }

            #[inline]
            fn guard(&self) -> Self::Guard<'_> {}

            #[inline]
            fn get_in(&self, _guard: &(), key: Key) -> u64 {
                self.0.get(&key).map_or(0, |value| value.first)
            }

            #[inline]
            fn insert(&self, key: Key) -> bool {
                use $dashmap::mapref::entry::Entry;
                match self.0.entry(key) {
                    Entry::Vacant(entry) => {
                        entry.insert(Box::new(Value::of(key)));
                        true
                    }
                    Entry::Occupied(_) => false,
                }
            }

            #[inline]
            fn get_or_insert(&self, key: Key) -> u64 {
                self.0
                    .entry(key)
                    .or_insert_with(|| Box::new(Value::of(key)))
                    .first
            }

            #[inline]
            fn remove(&self, key: Key) -> bool {
                self.0.remove(&key).is_some()
            }

            fn clear_id(&self, id: u64) -> usize {
                let mut count = 0;
                self.0.retain(|key, _| {
                    count += usize::from(key.1 == id);
                    key.1 != id
                });
                count
            }

            fn shrink(&self) -> bool {
                self.0.shrink_to_fit();
                true
            }
        }
    };
}

adapter!(Dash, dashmap, "dashmap");
adapter!(Dash7, dashmap7, "dashmap7");
