//! The shadow store, with either backend. Nodes do not move, so values are inline. The id that workloads with one id use is
//! a [`Variable`], as a patch has for a field that it adds.

use std::sync::Arc;

use shadow_vars::{ObjAddr, Pinned, Reclaim, ShadowId, ShadowStore, Variable};

use crate::keys::ID;
use crate::store::{About, Key, Kind, Packed, Stall, Store, Value};

pub(crate) struct Shadow<R: Reclaim> {
    store: Arc<ShadowStore<R>>,
    /// Of [`ID`].
    values: Variable<Value, Arc<ShadowStore<R>>>,
}

/// A backend that stores can be made with, and what the store is called then.
pub(crate) trait Backend: Reclaim {
    const NAME: &'static str;
}

impl Backend for shadow_vars::Asymmetric {
    const NAME: &'static str = "shadow";
}

impl Backend for shadow_vars::Epoch {
    const NAME: &'static str = "shadow_epoch";
}

impl Backend for shadow_vars::Seize {
    const NAME: &'static str = "shadow_seize";
}

/// How many look-ups are handed over at once.
const BATCH: usize = 64;

#[inline]
fn id(key: Key) -> ShadowId<Value> {
    ShadowId::new(key.1)
}

impl<R: Backend> Store for Shadow<R> {
    const ABOUT: About = About {
        name: R::NAME,
        kind: Kind::Ours,
        lock_free_reads: true,
        stall: Stall::Garbage,
        max_entries: usize::MAX,
        stands_new_keys: true,
    };

    type Guard<'a> = Pinned<'a, R>;

    fn new() -> Self {
        Self::with_capacity(0)
    }

    fn with_capacity(entries: usize) -> Self {
        let store = ShadowStore::builder().capacity(entries).build();
        let store = Arc::new(store.expect("there is memory for a table"));
        let values = Variable::new(store.clone(), ShadowId::new(ID)).expect("a first id");
        Self { store, values }
    }

    #[inline]
    fn guard(&self) -> Self::Guard<'_> {
        self.store.pin()
    }

    #[inline]
    fn get_in<'a>(&'a self, guard: &Self::Guard<'a>, key: Key) -> u64 {
        guard.get(key.0, id(key)).map_or(0, |value| value.first)
    }

    #[inline]
    fn get(&self, key: Key) -> u64 {
        match key.1 {
            ID => self.values.get_with(key.0, |value| value.first).unwrap_or(0),
            _ => self.get_any(key),
        }
    }

    #[inline]
    fn get_any(&self, key: Key) -> u64 {
        self.store.get_with(key.0, id(key), |value| value.first).unwrap_or(0)
    }

    #[inline]
    fn get_each(&self, id: u64, keys: &[Packed], mut found: impl FnMut(u64, Packed)) {
        let pin = self.store.pin();
        let typed = pin.typed(ShadowId::<Value>::new(id));
        for &key in keys {
            let value = typed.and_then(|typed| typed.get(key.with_id(id).0));
            found(value.map_or(0, |value| value.first), key);
        }
    }

    #[inline]
    fn get_batch(&self, id: u64, keys: &[Packed], out: &mut [u64]) {
        let pin = self.store.pin();
        let Some(typed) = pin.typed(ShadowId::<Value>::new(id)) else {
            return out.fill(0);
        };
        let mut asked = [ObjAddr::PROCESS; BATCH];
        for (keys, out) in keys.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let asked = &mut asked[..keys.len()];
            for (asked, key) in asked.iter_mut().zip(keys) {
                *asked = ObjAddr::new(key.with_id(id).0);
            }
            let mut found = [None; BATCH];
            typed.get_many(asked, &mut found[..keys.len()]);
            for (out, found) in out.iter_mut().zip(found) {
                *out = found.map_or(0, |value| value.first);
            }
        }
    }

    #[inline]
    fn insert(&self, key: Key) -> bool {
        match key.1 {
            ID => self.values.alloc(key.0, Value::of(key)).is_ok(),
            _ => self.store.alloc(key.0, id(key), Value::of(key)).is_ok(),
        }
    }

    #[inline]
    fn get_or_insert(&self, key: Key) -> u64 {
        let (ctor, read) = (|_| Value::of(key), |value: &Value| value.first);
        let value = match key.1 {
            ID => self.values.get_or_alloc_with(key.0, ctor, read),
            _ => self.store.get_or_alloc_with(key.0, id(key), ctor, read),
        };
        value.expect("there is memory for a variable")
    }

    #[inline]
    fn remove(&self, key: Key) -> bool {
        match key.1 {
            ID => self.values.free(key.0),
            _ => self.store.free(key.0, id(key)),
        }
    }

    fn clear_id(&self, id: u64) -> usize {
        self.store.free_all(ShadowId::<Value>::new(id))
    }

    fn clear_id_parallel(&self, id: u64) -> Option<usize> {
        Some(self.store.par_free_all(ShadowId::<Value>::new(id)))
    }

    fn settle(&self) {
        // Fails only where this thread holds a guard, and no caller does.
        self.store.synchronize().expect("no guard is held");
    }

    fn free_bytes(&self) -> u64 {
        self.store.stats().packed_free_bytes as u64
    }

    fn shrink(&self) -> bool {
        self.store.shrink_to_fit();
        true
    }
}
