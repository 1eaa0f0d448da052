//! dashmap, 6 and 7: a few shards, each a hashbrown table under a lock. Entries move when it grows. Built with the feature for
//! inlining (`inline`, in later versions `inline-more`), which its documentation says is faster.

use crate::store::{About, Form, Hashing, Kept, Key, Kind, Stall, Store};

/// Both versions have the same interface, but different types.
macro_rules! adapter {
    ($store:ident, $dashmap:ident, $name:literal, $in_place:literal) => {
        pub(crate) struct $store<V, H>($dashmap::DashMap<Key, V, H>);

        impl<V: Kept, H: Hashing> Store for $store<V, H> {
            const ABOUT: About = About {
                name: if V::BOXED { $name } else { $in_place },
                kind: Kind::Peer,
                lock_free_reads: false,
                form: Form::moving::<V>(),
                any_value: true,
                stall: Stall::Blocks,
                max_entries: usize::MAX,
                stands_new_keys: true,
            };

            type Guard<'a> = ();
            type With<W: Kept> = $store<W, H>;

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
                self.0.get(&key).map_or(0, |value| value.first())
            }

            #[inline]
            fn insert(&self, key: Key) -> bool {
                use $dashmap::mapref::entry::Entry;
                match self.0.entry(key) {
                    Entry::Vacant(entry) => {
                        entry.insert(V::of(key));
                        true
                    }
                    Entry::Occupied(_) => false,
                }
            }

            #[inline]
            fn get_or_insert(&self, key: Key) -> u64 {
                self.0.entry(key).or_insert_with(|| V::of(key)).first()
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

adapter!(Dash, dashmap, "dashmap", "dashmap-in-place");
adapter!(Dash7, dashmap7, "dashmap7", "dashmap7-in-place");
