//! Many look-ups under one guard: of one id, which is looked up and checked once, and of keys in batches.

use std::fmt;
use std::marker::PhantomData;

use crate::pinned::Pinned;
use crate::reclaim::{Asymmetric, GuardKind, Reclaim};
use crate::registry::IdEntry;
use crate::table::prefetch::BATCH;
use crate::table::{Core, NodeRef, Shield};
use crate::{ObjAddr, ShadowId};

/// The variables of one id, for who looks up many: what a [`get`](crate::Pinned::get) does for the id alone is done.
///
/// Made by [`Pinned::typed`](crate::Pinned::typed); references that it returns are good for as long as that guard is. It
/// sees what comes and goes meanwhile, as `get` does.
///
/// ```
/// use shadow_vars::{ShadowId, ShadowStore};
/// const N: ShadowId<usize> = ShadowId::new(1);
/// let store = ShadowStore::new();
/// (1..=100_usize).step_by(2).for_each(|obj| store.alloc(obj, N, obj * obj).unwrap());
/// let pin = store.pin();
/// let squares = pin.typed(N).expect("there are some");
/// assert_eq!((1..=100_usize).filter_map(|obj| squares.get(obj)).sum::<usize>(), 166_650);
/// ```
///
/// It stays on its thread, as most guards do, and does not outlive the guard:
///
/// ```compile_fail,E0505
/// # use shadow_vars::{ShadowId, ShadowStore};
/// # let store = ShadowStore::new();
/// let pin = store.pin();
/// let typed = pin.typed(ShadowId::<u32>::new(1));
/// drop(pin);
/// assert!(typed.is_none());
/// ```
/// ```
/// # use shadow_vars::{ShadowId, ShadowStore};
/// # let store = ShadowStore::new();
/// let pin = store.pin();
/// let typed = pin.typed(ShadowId::<u32>::new(1));
/// assert!(typed.is_none());
/// drop(pin);
/// ```
pub struct Typed<'g, T, R: Reclaim = Asymmetric> {
    core: &'g Core<R>,
    /// Of the guard that it was made under.
    shield: Shield<'g>,
    /// Holds `T`.
    entry: &'g IdEntry,
    /// By its pointer neither `Send` nor `Sync`.
    _value: PhantomData<*const T>,
}

impl<'g, T: Send + Sync + 'static, R: Reclaim> Typed<'g, T, R> {
    /// The entry holds `T`.
    #[inline]
    pub(crate) fn new(core: &'g Core<R>, shield: Shield<'g>, entry: &'g IdEntry) -> Self {
        debug_assert!(entry.holds::<T>());
        Self {
            core,
            shield,
            entry,
            _value: PhantomData,
        }
    }

    /// The variable, if it exists. Wait-free but for the length of the probe, as [`get`](crate::Pinned::get).
    #[inline]
    pub fn get(&self, obj: impl Into<ObjAddr>) -> Option<&'g T> {
        // SAFETY: the entry holds `T`; found means live.
        let value = |node: NodeRef<'g>| unsafe { node.value() };
        self.core.find_as(self.shield, obj.into().get(), self.entry, value)
    }

    /// Whether the variable exists. As [`get`](Self::get).
    #[inline]
    pub fn contains(&self, obj: impl Into<ObjAddr>) -> bool {
        self.get(obj).is_some()
    }

    /// Looks up a batch: `out[i]` becomes the variable of `objs[i]`, for as many as the shorter of the two has.
    ///
    /// Each look-up is an instant of its own, as [`get`](Self::get). As
    /// [`Pinned::get_many`](crate::Pinned::get_many), in fewer steps.
    pub fn get_many(&self, objs: &[ObjAddr], out: &mut [Option<&'g T>]) {
        for (objs, out) in objs.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let count = objs.len().min(out.len());
            let key = |at: usize| (objs[at].get(), Some(self.entry));
            self.core.find_batch(self.shield, count, key, |at, node| {
                // SAFETY: as in `get`.
                out[at] = node.map(|node| unsafe { node.value() });
            });
        }
    }
}

impl<R: Reclaim, G: GuardKind<R>> Pinned<'_, R, G> {
    /// The variables of one id, for many look-ups: what each does for the id alone is done once. Nothing if the id was
    /// never used in this store, or (and a `tracing` error) if it holds another type. Wait-free.
    #[inline]
    pub fn typed<T: Send + Sync + 'static>(&self, id: ShadowId<T>) -> Option<Typed<'_, T, R>> {
        let entry = self.entry_of(id)?;
        Some(Typed::new(self.core(), self.shield(), entry))
    }

    /// Looks up a batch: `out[i]` becomes the variable of `keys[i]`, for as many as the shorter of the two has.
    ///
    /// Each look-up is an instant of its own, as [`get`](Self::get). Beyond the caches this is several times as fast as
    /// single gets, as the batch waits for the memory of many keys at once.
    ///
    /// ```
    /// use shadow_vars::{ObjAddr, ShadowId, ShadowStore};
    /// const N: ShadowId<usize> = ShadowId::new(1);
    /// let store = ShadowStore::new();
    /// let keys: Vec<_> = (1..=100).map(|n| (ObjAddr::new(n * 64), N)).collect();
    /// keys.iter().step_by(2).for_each(|&(obj, id)| store.alloc(obj, id, obj.get()).unwrap());
    /// let pin = store.pin();
    /// let mut found = vec![None; keys.len()];
    /// pin.get_many(&keys, &mut found);
    /// assert_eq!((found[0], found[1]), (Some(&64), None));
    /// ```
    pub fn get_many<'g, T: Send + Sync + 'static>(
        &'g self,
        keys: &[(ObjAddr, ShadowId<T>)],
        out: &mut [Option<&'g T>],
    ) {
        let core = self.core();
        // Batches mostly ask for one id.
        let mut last: Option<(u64, Option<&IdEntry>)> = None;
        let mut asked = [(0, None); BATCH];
        for (keys, out) in keys.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            for (&(obj, id), asked) in keys.iter().zip(&mut asked) {
                let entry = match last {
                    Some((number, entry)) if number == id.get() => entry,
                    _ => self.entry_of(id),
                };
                last = Some((id.get(), entry));
                *asked = (obj.get(), entry);
            }
            let asked = &asked[..keys.len().min(out.len())];
            core.find_batch(
                self.shield(),
                asked.len(),
                |at| asked[at],
                |at, node| {
                    // SAFETY: only entries that hold `T` were asked for; found means live.
                    out[at] = node.map(|node| unsafe { node.value() });
                },
            );
        }
    }
}

impl<T, R: Reclaim> Clone for Typed<'_, T, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, R: Reclaim> Copy for Typed<'_, T, R> {}

impl<T, R: Reclaim> fmt::Debug for Typed<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed")
            .field("id", &self.entry.id)
            .field("type_name", &self.entry.type_name)
            .finish_non_exhaustive()
    }
}
