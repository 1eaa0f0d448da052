//! The operations on the variables of one id, with what a guard and an id have been resolved to.
//!
//! Passed by value: a reference to the guard in a call would keep the guard in memory.

use std::convert::Infallible;
use std::marker::PhantomData;

use crate::entry::IdEntry;
use crate::error::{AllocError, CtorError, StoreError};
use crate::reclaim::Reclaim;
use crate::table::batch::BATCH;
use crate::table::insert::{IfExists, Unplaced};
use crate::table::key::Key;
use crate::table::node::Node;
use crate::table::node_alloc::Payload;
use crate::table::{Core, NodeRef, Shield};
use crate::{ObjAddr, events};

/// The variables of one id, under a guard.
pub(crate) struct Bound<'g, T, R: Reclaim> {
    core: &'g Core<R>,
    shield: Shield<'g, R>,
    /// The entry of the id, which holds `T`.
    entry: &'g IdEntry,
    _value: PhantomData<fn(T) -> T>,
}

impl<T, R: Reclaim> Clone for Bound<'_, T, R> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, R: Reclaim> Copy for Bound<'_, T, R> {}

impl<'g, T: Send + Sync + 'static, R: Reclaim> Bound<'g, T, R> {
    /// # Safety
    ///
    /// The entry is of this store, and holds `T`.
    #[inline(always)]
    pub(crate) unsafe fn new(core: &'g Core<R>, shield: Shield<'g, R>, entry: &'g IdEntry) -> Self {
        debug_assert!(entry.holds::<T>());
        Self {
            core,
            shield,
            entry,
            _value: PhantomData,
        }
    }

    #[cfg(any(feature = "rayon", all(test, not(shadow_loom))))]
    pub(crate) fn entry(self) -> &'g IdEntry {
        self.entry
    }

    #[cfg(feature = "rayon")]
    pub(crate) fn core(self) -> &'g Core<R> {
        self.core
    }

    #[inline(always)]
    pub(crate) fn find(self, obj: ObjAddr) -> Option<&'g T> {
        // SAFETY: the entry holds `T`, and a node that is found is live.
        let value = |node: NodeRef<'g>| unsafe { node.value() };
        self.core.find_as(self.shield, obj.get(), self.entry, value)
    }

    pub(crate) fn find_many(self, objs: &[ObjAddr], out: &mut [Option<&'g T>]) {
        for (objs, out) in objs.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let count = objs.len().min(out.len());
            let key = |at: usize| (objs[at].get(), Some(self.entry));
            self.core.find_batch(self.shield, count, key, |at, node| {
                // SAFETY: the entry holds `T`, and a node that is found is live.
                out[at] = node.map(|node| unsafe { node.value() });
            });
        }
    }

    #[inline]
    pub(crate) fn remove<O>(self, obj: ObjAddr, dtor: impl FnOnce(ObjAddr, &T) -> O) -> Option<O> {
        let key = self.core.key(obj.get(), self.entry);
        // SAFETY: the entry holds `T`, and the node was live until it was removed.
        (self.core).remove(self.shield, &key, |node| dtor(obj, unsafe { node.value() }))
    }

    pub(crate) fn remove_all(self, mut dtor: impl FnMut(ObjAddr, &T)) -> usize {
        // SAFETY: the entry holds `T`, and the node was live until it was removed.
        let dtor = |node: NodeRef<'_>| dtor(ObjAddr::new(node.obj), unsafe { node.value() });
        self.core.free_all(self.shield, self.entry, dtor)
    }

    #[inline(never)]
    pub(crate) fn by_value(self, obj: ObjAddr, value: T, if_exists: IfExists) -> Result<&'g T, AllocError<T>> {
        let key = self.key_to_alloc(obj);
        // SAFETY: the entry holds `T`.
        match unsafe { self.core.try_alloc_fast(self.shield, &key, value) } {
            // SAFETY: the entry holds `T`, and the node is live.
            Ok(node) => Ok(unsafe { node.value() }),
            Err(left) => self.by_value_slow(&key, if_exists, left),
        }
    }

    /// The slow path of [`by_value`](Self::by_value).
    #[cold]
    #[inline(never)]
    fn by_value_slow(self, key: &Key<'_>, if_exists: IfExists, left: Unplaced<T>) -> Result<&'g T, AllocError<T>> {
        // SAFETY: the entry, which is the key's, holds `T`; what is left comes from `by_value` for this key.
        let result = unsafe { self.core.alloc_slow(self.shield, key, if_exists, left) };
        // SAFETY: the key's entry holds `T`, and the node is live, or was when it was found.
        result
            .map(|node| unsafe { node.value() })
            .inspect_err(|failed| events::refused(&failed.error))
    }

    #[inline(never)]
    pub(crate) fn by_ctor<E>(
        self,
        obj: ObjAddr,
        ctor: impl FnOnce() -> Result<T, E>,
        if_exists: IfExists,
    ) -> Result<&'g T, CtorError<E>> {
        let key = self.key_to_alloc(obj);
        // SAFETY: the closure writes a `T`, which the entry holds, before it returns Ok.
        let result = unsafe {
            self.core
                .alloc_constructed(self.shield, &key, if_exists, Payload::TYPED, |node| {
                    Node::value_ptr::<T>(node).write(ctor()?);
                    Ok(())
                })
        };
        // SAFETY: the entry holds `T`, and the node is live, or was when it was found.
        result.map(|node| unsafe { node.value() }).inspect_err(|failed| {
            if let CtorError::Store(error) = failed {
                events::refused(error);
            }
        })
    }

    /// Returns the key of a variable that is about to be created, and makes the caller's code drop its value.
    #[inline]
    fn key_to_alloc(self, obj: ObjAddr) -> Key<'g> {
        const {
            assert!(
                align_of::<T>() <= crate::MAX_ALIGN,
                "shadow variables are aligned to 4096 at most"
            )
        };
        // SAFETY: the entry holds `T`.
        unsafe { self.entry.drop_as::<T>() };
        self.core.key(obj.get(), self.entry)
    }
}

pub(crate) fn infallible<T>(ctor: impl FnOnce() -> T) -> impl FnOnce() -> Result<T, Infallible> {
    || Ok(ctor())
}

pub(crate) fn store_error(error: CtorError<Infallible>) -> StoreError {
    match error {
        CtorError::Store(error) => error,
        CtorError::Ctor(never) => match never {},
    }
}
