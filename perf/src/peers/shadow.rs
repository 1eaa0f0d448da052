//! The shadow store, with each backend. Nodes do not move, so values are in place.
//!
//! By `Variable`: the id that workloads with one id use is a [`Variable`], as a patch has for a field that it adds. By id: each
//! operation is given the id, which the store looks up.

use std::sync::Arc;

use shadow_vars::{ObjAddr, Pinned, Reclaim, ShadowId, ShadowStore, Variable};

use crate::keys::ID;
use crate::store::{About, Form, Kept, Key, Kind, Packed, Stall, Store};

pub(crate) struct Shadow<R: Reclaim, V: Kept, const BY_ID: bool = false> {
    store: Arc<ShadowStore<R>>,
    /// The variable with the id [`ID`].
    values: Variable<V, Arc<ShadowStore<R>>>,
}

/// A backend for stores, and the names of its stores.
pub(crate) trait Backend: Reclaim {
    const NAME: &'static str;
    /// The name of the store if every operation is given the id.
    const NAME_BY_ID: &'static str;
}

impl Backend for shadow_vars::Asymmetric {
    const NAME: &'static str = "shadow";
    const NAME_BY_ID: &'static str = "shadow-by-id";
}

impl Backend for shadow_vars::Epoch {
    const NAME: &'static str = "shadow_epoch";
    const NAME_BY_ID: &'static str = "shadow_epoch-by-id";
}

impl Backend for shadow_vars::Eras {
    const NAME: &'static str = "shadow_eras";
    const NAME_BY_ID: &'static str = "shadow_eras-by-id";
}

impl Backend for shadow_vars::Seize {
    const NAME: &'static str = "shadow_seize";
    const NAME_BY_ID: &'static str = "shadow_seize-by-id";
}

/// The most look-ups in one call.
const BATCH: usize = 64;

#[inline]
fn id<V>(key: Key) -> ShadowId<V> {
    ShadowId::new(key.1)
}

/// Runs an operation with what stands for the id: the handle, if it is for this id, or the id.
macro_rules! with_id {
    ($self:ident, $id:expr, |$of:ident| $operation:expr) => {
        if Self::is_bound($id) {
            let $of = &$self.values;
            $operation
        } else {
            let $of = ShadowId::<V>::new($id);
            $operation
        }
    };
}

impl<R: Backend, V: Kept, const BY_ID: bool> Shadow<R, V, BY_ID> {
    /// Returns whether the handle is for this id, and is to be used.
    #[inline]
    fn is_bound(id: u64) -> bool {
        !BY_ID && id == ID
    }
}

impl<R: Backend, V: Kept, const BY_ID: bool> Store for Shadow<R, V, BY_ID> {
    const ABOUT: About = About {
        name: if BY_ID { R::NAME_BY_ID } else { R::NAME },
        kind: Kind::Ours,
        lock_free_reads: true,
        form: Form::Stable,
        any_value: true,
        stall: Stall::Garbage,
        max_entries: usize::MAX,
        stands_new_keys: true,
    };

    type Guard<'a> = Pinned<'a, R>;
    type With<W: Kept> = Shadow<R, W, BY_ID>;

    fn new() -> Self {
        Self::with_capacity(0)
    }

    fn bare() -> impl Send {
        ShadowStore::<R>::builder()
            .build()
            .expect("there is memory for a store")
    }

    fn with_capacity(entries: usize) -> Self {
        let store = ShadowStore::builder().capacity(entries).build();
        let store = Arc::new(store.expect("there is memory for a table"));
        let values = Variable::new_in(ShadowId::new(ID), store.clone()).expect("a first id");
        Self { store, values }
    }

    #[inline]
    fn guard(&self) -> Self::Guard<'_> {
        self.store.pin()
    }

    #[inline]
    fn get_in<'a>(&'a self, guard: &Self::Guard<'a>, key: Key) -> u64 {
        guard.get(key.0, id::<V>(key)).map_or(0, V::first)
    }

    #[inline]
    fn get(&self, key: Key) -> u64 {
        with_id!(self, key.1, |of| self.store.pin().get(key.0, of).map_or(0, V::first))
    }

    #[inline]
    fn get_any(&self, key: Key) -> u64 {
        self.store.pin().get(key.0, id(key)).map_or(0, V::first)
    }

    #[inline]
    fn get_each(&self, id: u64, keys: &[Packed], mut found: impl FnMut(u64, Packed)) {
        let pin = self.store.pin();
        with_id!(self, id, |of| for &key in keys {
            found(pin.get(key.with_id(id).0, of).map_or(0, V::first), key);
        });
    }

    /// A batch is answered 64 at a time.
    #[inline]
    fn get_batch(&self, id: u64, keys: &[Packed], out: &mut [u64]) {
        let pin = self.store.pin();
        let mut asked = [ObjAddr::PROCESS; BATCH];
        for (keys, out) in keys.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let asked = &mut asked[..keys.len()];
            for (asked, key) in asked.iter_mut().zip(keys) {
                *asked = ObjAddr::new(key.with_id(id).0);
            }
            let mut found = [None; BATCH];
            with_id!(self, id, |of| pin.get_many(asked, of, &mut found[..keys.len()]));
            for (out, found) in out.iter_mut().zip(found) {
                *out = found.map_or(0, V::first);
            }
        }
    }

    #[inline]
    fn insert(&self, key: Key) -> bool {
        with_id!(self, key.1, |of| self.store.pin().alloc(key.0, of, V::of(key)).is_ok())
    }

    #[inline]
    fn get_or_insert(&self, key: Key) -> u64 {
        let ctor = || V::of(key);
        let value = with_id!(self, key.1, |of| self
            .store
            .pin()
            .get_or_alloc_with(key.0, of, ctor)
            .map(V::first));
        value.expect("there is memory for a variable")
    }

    #[inline]
    fn remove(&self, key: Key) -> bool {
        with_id!(self, key.1, |of| self.store.pin().free(key.0, of))
    }

    fn clear_id(&self, id: u64) -> usize {
        self.store.pin().free_all(ShadowId::<V>::new(id))
    }

    fn clear_id_parallel(&self, id: u64) -> Option<usize> {
        Some(self.store.pin().par_free_all(ShadowId::<V>::new(id)))
    }

    fn settle(&self) {
        // It fails only if this thread holds a guard, and no caller does.
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
