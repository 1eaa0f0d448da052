//! Light barriers that rely on the system's barrier, and become fences in a hand-over when that is refused.
//!
//! - **H1** The mode changes in one direction: from UNKNOWN to LIGHT or FENCES, and from LIGHT to FENCES when the
//!   system refuses its barrier.
//! - **H2** A reader is active before its first light barrier, and reads the mode after a fence that comes after its
//!   activation. A thread that checks whether all readers are settled has seen FENCES, fences, then looks for active
//!   readers. One of the two sees the other: a reader that is not seen to be active fences at each of its light
//!   barriers, from the first.
//! - **H3** A reader is settled once it has fenced in the mode FENCES: before, its light barriers may have been
//!   compiler fences. `settled` is stored after that fence, which makes the store a release: a thread that acquires it
//!   sees what was stored before any of those light barriers; and by coherence the reader sees FENCES at all later
//!   ones.
//! - **H4** So a heavy barrier in the mode FENCES succeeds if all active readers are settled: what came before the
//!   hand-over is seen by H3, and what comes after it is a pair of fences. Once all are settled, they stay so, by H2.
//! - **H5** A reader that is not active has left by a Release store: it counts as settled, as in H3.
//! - **H6** A thread that fences in the mode FENCES may settle each of its readers, whichever of them the fence was
//!   for: all that the thread did before, it did before that fence. So a thread that reaches a light barrier of any
//!   reader, or a heavy one, calls the hooks.

use std::marker::PhantomData;
use std::ptr;

#[cfg(shadow_loom)]
use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering, fence};
#[cfg(not(shadow_loom))]
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering, fence};

/// The system's barrier.
pub(crate) trait System {
    /// Registers the process, and returns whether it may use the barrier.
    fn register() -> bool;

    /// Makes all threads of the process execute a barrier.
    fn barrier() -> Answer;

    /// Returns whether a model breaks this rule on purpose.
    #[inline(always)]
    fn breaks(_: Rule) -> bool {
        false
    }
}

/// The rules that models break on purpose, to show that they notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// Heavy barriers wait for all readers to be settled (H4).
    AllAreSettled,
    /// A reader's first look at the mode comes after a fence (H2).
    FenceBeforeFirstLook,
    /// A thread that looks for active readers fences before (H2).
    FenceBeforeLooking,
    /// Settled is stored after the fence (H3).
    SettledAfterFence,
    /// A reader that is not active has left by Release (H5).
    LeftIsReleased,
    /// Readers fence once the mode is FENCES (H4).
    ReadersFence,
    /// The result that all are settled is published with what was seen of them (H4).
    FoundIsHandedOn,
}

/// The system's answer to a request for its barrier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(
    shadow_loom,
    expect(dead_code, reason = "loom has no such barrier: it is always denied")
)]
pub(crate) enum Answer {
    Done,
    /// The barrier failed this time.
    NotNow,
    /// The barrier is refused, now and later.
    Denied,
}

const UNKNOWN: u8 = 0;
const LIGHT: u8 = 1;
const FENCES: u8 = 2;

/// The state of a reader, linked into the list that heavy barriers scan.
#[derive(Debug)]
pub(crate) struct Place {
    active: AtomicBool,
    /// H3.
    settled: AtomicBool,
    linked: AtomicBool,
    /// Does not change once the place is in the list.
    next: AtomicPtr<Place>,
}

impl Place {
    __const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self {
                active: AtomicBool::new(false),
                settled: AtomicBool::new(false),
                linked: AtomicBool::new(false),
                next: AtomicPtr::new(ptr::null_mut()),
            }
        }
    }

    pub(crate) fn deactivate<S: System>(&self) {
        let order = if S::breaks(Rule::LeftIsReleased) {
            Ordering::Relaxed
        } else {
            // Release: pairs with the Acquire in `unsettled` (H5).
            Ordering::Release
        };
        self.active.store(false, order);
    }

    /// Fences, and marks the reader as settled.
    fn fence<S: System>(&self) {
        if S::breaks(Rule::SettledAfterFence) {
            self.settled.store(true, Ordering::Relaxed);
        }
        if !S::breaks(Rule::ReadersFence) {
            // SeqCst: pairs with the fences of `heavy` (H4), and with the Acquire in `unsettled` (H3).
            fence(Ordering::SeqCst);
        }
        // Relaxed, both: written by the reader only, and after the fence.
        if !self.settled.load(Ordering::Relaxed) {
            self.settled.store(true, Ordering::Relaxed);
        }
    }
}

/// The most hooks, which let a thread that fences settle its other readers.
const HOOKS: usize = 8;

/// The state that all readers of a process share.
#[derive(Debug)]
pub(crate) struct Barriers<S> {
    /// Functions of the type `fn()`. Not modelled, as they need no publication: a model's threads have one reader each.
    hooks: [std::sync::atomic::AtomicPtr<()>; HOOKS],
    mode: AtomicU8,
    /// Whether all readers are settled: H4.
    settled: AtomicBool,
    places: AtomicPtr<Place>,
    _system: PhantomData<fn() -> S>,
}

impl<S: System> Barriers<S> {
    __const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self {
                hooks: [const { std::sync::atomic::AtomicPtr::new(ptr::null_mut()) }; HOOKS],
                mode: AtomicU8::new(UNKNOWN),
                settled: AtomicBool::new(false),
                places: AtomicPtr::new(ptr::null_mut()),
                _system: PhantomData,
            }
        }
    }

    /// Determines the mode, unless another thread has.
    fn init(&self) {
        // Relaxed: only to avoid the call.
        if self.mode.load(Ordering::Relaxed) == UNKNOWN {
            let mode = if S::register() { LIGHT } else { FENCES };
            // AcqRel: pairs with itself. If it fails, another thread has determined the mode (H1).
            let found = self
                .mode
                .compare_exchange(UNKNOWN, mode, Ordering::AcqRel, Ordering::Acquire);
            if found.is_ok() && mode == FENCES {
                // No reader was active before: those that are have seen the mode. Release: as in `heavy`.
                self.settled.store(true, Ordering::Release);
            }
        }
    }

    /// Registers a hook that is called by threads that fence (H6). Returns whether there was room for it.
    #[cfg(not(shadow_loom))]
    pub(crate) fn add_hook(&self, hook: fn()) -> bool {
        let hook = hook as *mut ();
        self.hooks.iter().any(|place| {
            // Relaxed: the function itself needs no publication.
            let found = place.compare_exchange(ptr::null_mut(), hook, Ordering::Relaxed, Ordering::Relaxed);
            found.is_ok() || found == Err(hook)
        })
    }

    fn call_hooks(&self) {
        for place in &self.hooks {
            // SAFETY: null, or stored by `add_hook` as a function of this type.
            let hook = unsafe { std::mem::transmute::<*mut (), Option<fn()>>(place.load(Ordering::Relaxed)) };
            let Some(hook) = hook else { return };
            hook();
        }
    }

    #[inline(always)]
    pub(crate) fn is_light(&self) -> bool {
        // Relaxed: H3, and H2 for a reader's first look.
        self.mode.load(Ordering::Relaxed) == LIGHT
    }

    pub(crate) fn activate(&self, place: &'static Place) {
        self.init();
        // Relaxed, here and at `linked`: written by the reader only.
        if place.active.load(Ordering::Relaxed) {
            return;
        }
        // Relaxed: ordered by the fence below (H2).
        place.active.store(true, Ordering::Relaxed);
        if !place.linked.load(Ordering::Relaxed) {
            place.linked.store(true, Ordering::Relaxed);
            self.link(place);
        }
        if !S::breaks(Rule::FenceBeforeFirstLook) {
            // SeqCst: pairs with that in `unsettled` (H2).
            fence(Ordering::SeqCst);
        }
        if !self.is_light() {
            // Relaxed: after the fence, as in `Place::fence`.
            place.settled.store(true, Ordering::Relaxed);
        }
    }

    fn link(&self, place: &'static Place) {
        // Relaxed: the exchange fails if it is stale.
        let mut head = self.places.load(Ordering::Relaxed);
        loop {
            place.next.store(head, Ordering::Relaxed);
            // Release: pairs with the Acquire in `unsettled`.
            match self.places.compare_exchange(
                head,
                ptr::from_ref(place).cast_mut(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(found) => head = found,
            }
        }
    }

    /// Executes the light barrier. Returns whether it was a fence.
    #[inline(always)]
    pub(crate) fn light(&self, place: &Place) -> bool {
        if self.is_light() {
            // Loom has no such fence: to it this is nothing, as it is to the processor.
            std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
            return false;
        }
        self.fence(place);
        true
    }

    #[cold]
    #[inline(never)]
    fn fence(&self, place: &Place) {
        place.fence::<S>();
        self.call_hooks();
    }

    /// Executes the fence of a reader in hooks, where light barriers are fences: it calls no hooks.
    #[cfg(not(shadow_loom))]
    pub(crate) fn settle(&self, place: &Place) {
        if !self.is_light() {
            place.fence::<S>();
        }
    }

    pub(crate) fn heavy(&self) -> bool {
        self.init();
        // SeqCst: pairs with the fences of readers, in `Place::fence`.
        fence(Ordering::SeqCst);
        if self.is_light() {
            match S::barrier() {
                Answer::Done => return true,
                Answer::NotNow => return false,
                // Release: a thread that sees it fences from now on (H1).
                Answer::Denied => self.mode.store(FENCES, Ordering::Release),
            }
        }
        // Acquire: pairs with the store below: what the storing thread saw is seen here too (H4).
        let acquire = if S::breaks(Rule::FoundIsHandedOn) {
            Ordering::Relaxed
        } else {
            Ordering::Acquire
        };
        if self.settled.load(acquire) {
            return true;
        }
        // The caller's own readers must not make the barrier fail (H6).
        self.call_hooks();
        if self.unsettled() > 0 && !S::breaks(Rule::AllAreSettled) {
            return false;
        }
        // Release: pairs with the load above.
        self.settled.store(true, Ordering::Release);
        true
    }

    pub(crate) fn unsettled(&self) -> usize {
        // Acquire, both: if the mode is not FENCES, there is nothing to settle (H2); or all are settled (H4).
        if self.mode.load(Ordering::Acquire) != FENCES || self.settled.load(Ordering::Acquire) {
            return 0;
        }
        if !S::breaks(Rule::FenceBeforeLooking) {
            // SeqCst: pairs with that in `activate` (H2).
            fence(Ordering::SeqCst);
        }
        let mut count = 0;
        // Acquire: pairs with `link`.
        let mut next = self.places.load(Ordering::Acquire).cast_const();
        // SAFETY: null, or a place of the list, which is `'static` as `activate` requires.
        while let Some(place) = unsafe { next.as_ref() } {
            // Acquire, both: H5, H3. `active` is loaded first: a reader that is activated again may have been settled
            // before.
            if place.active.load(Ordering::Acquire) && !place.settled.load(Ordering::Acquire) {
                count += 1;
            }
            // Relaxed: never changes.
            next = place.next.load(Ordering::Relaxed);
        }
        count
    }
}
