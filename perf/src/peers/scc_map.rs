//! scc's `HashMap`: buckets of entries, with a lock each. Entries move when it grows.

use scc::HashMap;

use crate::store::{About, Form, Hashing, Kept, Key, Kind, Stall, Store};

pub(crate) struct SccMap<V, H: Hashing>(HashMap<Key, V, H>);

impl<V: Kept, H: Hashing> Store for SccMap<V, H> {
    const ABOUT: About = About {
        name: if V::BOXED { "scc_map" } else { "scc_map-in-place" },
        kind: Kind::Peer,
        lock_free_reads: false,
        form: Form::moving::<V>(),
        any_value: true,
        stall: Stall::Blocks,
        max_entries: usize::MAX,
        stands_new_keys: true,
    };

    type Guard<'a> = ();
    type With<W: Kept> = SccMap<W, H>;

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
        self.0.read_sync(&key, |_, value| value.first()).unwrap_or(0)
    }

    #[inline]
    fn insert(&self, key: Key) -> bool {
        self.0.insert_sync(key, V::of(key)).is_ok()
    }

    #[inline]
    fn get_or_insert(&self, key: Key) -> u64 {
        self.0.entry_sync(key).or_insert_with(|| V::of(key)).get().first()
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
