//! What a loom model changes in the protocol: the barriers, the stores of owners, and the defects that it plants.
//!
//! In ordinary builds the barriers are those of [`asymmetric_barrier`], and nothing else is changed: [`Model`] has no
//! size, and its functions compile to the plain operation.

pub(crate) use imp::*;

#[cfg(not(shadow_loom))]
mod imp {
    pub(crate) use asymmetric_barrier::Reader;

    use super::super::defect::Defect;
    use crate::sync::{AtomicU64, Ordering, compiler_fence};

    /// The world of a process: no model.
    #[derive(Debug)]
    pub(crate) struct Model(());

    #[allow(clippy::unused_self, reason = "models have a state")]
    impl Model {
        pub(crate) const fn new() -> Self {
            Self(())
        }

        /// Returns whether this rule is broken on purpose: never.
        #[inline(always)]
        pub(crate) fn breaks(&self, _: Defect) -> bool {
            false
        }

        /// Stores an owner's word.
        #[inline(always)]
        pub(crate) fn store(&self, word: &AtomicU64, value: u64, order: Ordering) {
            word.store(value, order);
        }

        /// Executes the light barrier of a unit that tries a side: a compiler fence, which suffices unless light barriers
        /// are fences, as the unit then finds out (O5).
        #[inline(always)]
        pub(crate) fn try_light(&self) {
            compiler_fence(Ordering::SeqCst);
        }

        /// Executes a light barrier. If it is a fence, `asymmetric_barrier` calls the hook of all threads.
        pub(crate) fn light(&self, reader: &Reader, _: impl FnOnce()) {
            reader.light();
        }

        /// Executes the heavy barrier, and returns whether it succeeded.
        pub(crate) fn heavy<'r>(&self, _: impl FnOnce(), _: impl Iterator<Item = &'r Reader>) -> bool {
            asymmetric_barrier::heavy()
        }

        /// Returns whether light barriers are compiler fences.
        pub(crate) fn is_asymmetric(&self) -> bool {
            asymmetric_barrier::is_asymmetric()
        }
    }
}

/// Models. The system of a [`Refusal`] lets the process register for its barrier and then refuses it; this does what
/// `asymmetric_barrier` does then (its H1 to H6, which have models of their own), with one reader for each record.
#[cfg(shadow_loom)]
mod imp {
    use super::super::defect::Defect;
    use crate::sync::{AtomicU64, AtomicUsize, Ordering, fence};

    const LIGHT: usize = 0;
    const FENCES: usize = 1;
    /// A system that does not refuse: neither light barriers nor heavy ones do anything. For models that establish by
    /// other means the order that barriers are for.
    const NOTHING: usize = 2;

    /// What a model changes in its world.
    #[derive(Debug)]
    pub(crate) struct Model {
        /// The defect that is planted.
        pub(crate) defect: Option<Defect>,
        /// Loom lets another store come between the load and the store of a read-modify-write, unless that store is a
        /// read-modify-write too. If set, owners' stores are swaps.
        pub(crate) exact: bool,
        /// The barrier of a system that refuses it. Without one, both barriers are fences.
        pub(crate) refusal: Option<Refusal>,
    }

    impl Model {
        pub(crate) fn new() -> Self {
            Self {
                defect: None,
                exact: false,
                refusal: None,
            }
        }

        /// Returns whether this rule is broken on purpose.
        pub(crate) fn breaks(&self, defect: Defect) -> bool {
            self.defect == Some(defect)
        }

        pub(crate) fn store(&self, word: &AtomicU64, value: u64, order: Ordering) {
            if self.exact {
                word.swap(value, order);
            } else {
                word.store(value, order);
            }
        }

        pub(crate) fn try_light(&self) {
            if self.refusal.is_none() {
                // The effect of a compiler fence in combination with the heavy barrier.
                fence(Ordering::SeqCst);
            }
        }

        /// Calls `on_fence` if the barrier is a fence.
        pub(crate) fn light(&self, reader: &Reader, on_fence: impl FnOnce()) {
            match &self.refusal {
                Some(refusal) => refusal.light(reader, on_fence),
                None => {
                    reader.light();
                }
            }
        }

        /// Calls `on_fence` if the system refuses its barrier.
        pub(crate) fn heavy<'r>(&self, on_fence: impl FnOnce(), readers: impl Iterator<Item = &'r Reader>) -> bool {
            match &self.refusal {
                Some(refusal) => refusal.heavy(on_fence, readers),
                None => asymmetric_barrier::heavy(),
            }
        }

        /// Returns `true`: a world's word learns of fences from [`Refusal`] alone.
        #[expect(clippy::unused_self, reason = "as the other")]
        pub(crate) fn is_asymmetric(&self) -> bool {
            true
        }
    }

    /// The reader of a record, which a [`Refusal`] may settle.
    #[derive(Debug)]
    pub(crate) struct Reader {
        system: asymmetric_barrier::Reader,
        /// Whether it has fenced in a model whose system refuses its barrier.
        settled: AtomicUsize,
    }

    impl Reader {
        pub(crate) fn new() -> Self {
            Self {
                system: asymmetric_barrier::Reader::new(),
                settled: AtomicUsize::new(0),
            }
        }

        pub(crate) fn activate(&'static self) {
            self.system.activate();
        }

        pub(crate) fn deactivate(&self) {
            self.system.deactivate();
        }

        pub(crate) fn light(&self) -> bool {
            self.system.light()
        }

        /// Fences, and marks the reader as settled.
        pub(crate) fn settle(&self) {
            // SeqCst: pairs with the fence of `heavy`.
            fence(Ordering::SeqCst);
            self.settled.store(1, Ordering::Relaxed);
        }
    }

    /// A system that refuses its barrier.
    #[derive(Debug)]
    pub(crate) struct Refusal {
        /// The mode of light barriers.
        mode: AtomicUsize,
        /// Whether all readers are settled: from then on hooks are not called.
        settled: AtomicUsize,
    }

    impl Refusal {
        pub(crate) fn new() -> Self {
            Self::of(LIGHT)
        }

        /// Neither refuses nor executes barriers.
        pub(crate) fn nothing() -> Self {
            Self::of(NOTHING)
        }

        fn of(mode: usize) -> Self {
            Self {
                mode: AtomicUsize::new(mode),
                settled: AtomicUsize::new(0),
            }
        }

        /// Executes a light barrier: nothing, as a compiler fence is nothing to loom, or a fence, after which `hook` is
        /// called.
        fn light(&self, reader: &Reader, hook: impl FnOnce()) {
            if self.is_fences() {
                reader.settle();
                hook();
            }
        }

        /// Executes a heavy barrier, and returns whether all readers are settled, so that it is one. Calls `hook` before
        /// it checks.
        fn heavy<'r>(&self, hook: impl FnOnce(), mut readers: impl Iterator<Item = &'r Reader>) -> bool {
            if self.mode.load(Ordering::Relaxed) == NOTHING {
                return true;
            }
            // SeqCst: pairs with the fence of `settle`.
            fence(Ordering::SeqCst);
            self.mode.store(FENCES, Ordering::Release);
            // Acquire: pairs with the store below.
            if self.settled.load(Ordering::Acquire) == 1 {
                return true;
            }
            hook();
            // Acquire: pairs with the fence of `settle`.
            let all = readers.all(|reader| reader.settled.load(Ordering::Acquire) == 1);
            if all {
                self.settled.store(1, Ordering::Release);
            }
            all
        }

        pub(crate) fn is_fences(&self) -> bool {
            self.mode.load(Ordering::Relaxed) == FENCES
        }
    }
}
