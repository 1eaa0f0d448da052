//! Participants: the registered readers of backends with epochs of their own.
//!
//! [`asymmetric`](super::asymmetric) has the correctness argument (E1 to E7) and its numbers; [`eras`](super::eras)
//! adds intervals (B1 to B6). Each of the two backends has its own [`Site`], so a guard of one is not a guard of the
//! other.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

use asymmetric_barrier::Reader;
use crossbeam_utils::CachePadded;

use super::age::{Ages, Noted};
use super::barrier;
use crate::mem::try_box;
use crate::shard;
use crate::sync::{AtomicPtr, AtomicU64, LOOM, Ordering, compiler_fence, const_unless_loom, stat, thread_token};

/// A thread's entry among the readers. Never freed; reused by later threads.
#[repr(C)]
pub struct Participant {
    /// E1.
    pub(super) epoch: AtomicU64,
    /// B1, in backends with intervals; otherwise unused.
    pub(super) upper: AtomicU64,
    /// The number of guards that the owner holds, and [`LAST`]. Only the owner touches it.
    pub(super) guards: Cell<u64>,
    /// For the owner's light barriers. Active while the participant is taken.
    pub(super) reader: Reader,
    pub(super) taken: stat::AtomicBool,
    /// The token of the thread that took it.
    pub(super) owner: stat::AtomicU64,
    /// The approximate number of objects born under its guards, in backends with intervals.
    pub(super) births: stat::AtomicU64,
    /// For the participant of a dropped owned guard: the next spare one.
    pub(super) spare: Cell<*const Shared>,
    next: Cell<*const Shared>,
    pub(super) noted: Noted,
}

pub(super) type Shared = CachePadded<Participant>;

const _: () = assert!(LOOM || size_of::<Participant>() <= 128);

/// A bit of `guards`: the participant is given back with the last guard, as its thread is ending. The lower bits count
/// guards one by one: no program reaches 2^63.
pub(super) const LAST: u64 = 1 << 63;

/// A bit of the global epoch, and of the epochs that participants read from it (E7).
pub(super) const FENCES: u64 = 1 << 63;

/// The first epoch. In loom models all light barriers are fences.
const FIRST: u64 = if LOOM { FENCES | 1 } else { 1 };

/// In place of a thread's token: the participant has no owner.
const NO_OWNER: u64 = u64::MAX;

/// In place of a thread's token: the participant belongs to an owned guard.
pub(super) const NO_THREAD: u64 = u64::MAX - 1;

// SAFETY: `next` never changes once the participant is shared; `guards` is only touched by the thread that has taken
// the participant, and `taken` passes it on.
unsafe impl Sync for Participant {}
// SAFETY: as above.
unsafe impl Send for Participant {}

/// No code panics between two changes of one participant.
impl std::panic::RefUnwindSafe for Participant {}

/// The state that all readers of one backend share.
pub struct Domain {
    /// The newest target, and [`FENCES`].
    pub(super) epoch: CachePadded<AtomicU64>,
    participants: AtomicPtr<Shared>,
    /// E5.
    pub(super) over: CachePadded<AtomicU64>,
    /// E4. Only scans touch it.
    pub(super) fenced: AtomicU64,
    /// Whether a thread is scanning.
    pub(super) scanning: stat::AtomicBool,
    /// Consecutive refused barriers.
    pub(super) refused: stat::AtomicU64,
}

impl Domain {
    const_unless_loom! {
        pub(super) fn new() -> Self {
            Self {
                epoch: CachePadded::new(AtomicU64::new(FIRST)),
                participants: AtomicPtr::new(ptr::null_mut()),
                over: CachePadded::new(AtomicU64::new(1)),
                fenced: AtomicU64::new(1),
                scanning: stat::AtomicBool::new(false),
                refused: stat::AtomicU64::new(0),
            }
        }
    }
}

/// A backend whose readers are participants: gives access to their common state and to each thread's participant.
pub trait Site: Sized + 'static {
    /// Whether readers also announce the newest era of what they read.
    const INTERVALS: bool;

    fn domain() -> &'static Domain;

    /// Returns this thread's participant: [`NONE`] until its first pin.
    fn mine() -> *const Shared;

    fn set_mine(mine: *const Shared);

    /// Returns the hook that is called when this thread fences. It is one function for the process: it must not lie in
    /// whichever library pins first.
    fn on_fence() -> fn();

    /// Arranges that the participant is given back when the thread's locals are destroyed. Returns false if they
    /// already have been.
    fn give_back_at_end() -> bool;

    /// Returns the epoch of the oldest guard that is not a participant's, or `u64::MAX`.
    fn oldest_owned() -> u64 {
        u64::MAX
    }

    /// Returns the record of how long guards have been held.
    fn ages() -> &'static Ages;

    /// Returns the number of guards from before this epoch that are not participants', and the epoch of the oldest.
    fn older_owned(_too_old: u64) -> (usize, u64) {
        (0, u64::MAX)
    }

    /// Reports guards from before this epoch that are not a thread's.
    fn report_owned(too_old: u64);

    /// In the child of a fork: notes that epochs up to this one were before the fork.
    fn forked(last: u64);
}

/// Implements [`Site`] for a backend, with statics of its own.
macro_rules! site {
    ($site:ty { $($more:item)* }) => {
        const _: () = {
            use std::cell::Cell;

            use $crate::reclaim::age::Ages;
            use $crate::reclaim::participants::{Domain, GiveBack, NONE, Shared, Site};
            use $crate::sync::{static_global, static_thread_local};

            static_global! {
                static DOMAIN: Domain = Domain::new();
            }
            static AGES: Ages = Ages::new();

            static_thread_local! {
                /// Has no destructor, so it is usable until the thread's very end.
                static PARTICIPANT: Cell<*const Shared> = Cell::new(NONE);
            }
            static_thread_local! {
                static GIVE_BACK: GiveBack<$site> = GiveBack::new();
            }

            impl Site for $site {
                #[inline(always)]
                fn domain() -> &'static Domain {
                    &DOMAIN
                }

                fn ages() -> &'static Ages {
                    &AGES
                }

                #[inline(never)]
                fn on_fence() -> fn() {
                    /// Not generic, so that it is compiled into this crate.
                    #[inline(never)]
                    fn hook() {
                        $crate::reclaim::participants::on_fence::<$site>();
                    }
                    hook
                }

                #[inline(always)]
                fn mine() -> *const Shared {
                    PARTICIPANT.try_with(Cell::get).unwrap_or(NONE)
                }

                fn set_mine(mine: *const Shared) {
                    let _ = PARTICIPANT.try_with(|cell| cell.set(mine));
                }

                fn give_back_at_end() -> bool {
                    GIVE_BACK.try_with(|_| ()).is_ok()
                }

                $($more)*
            }
        };
    };
}
pub(super) use site;

pub(super) use fixed::NONE;

/// Participants that are not allocated.
#[cfg(not(shadow_loom))]
mod fixed {
    use std::cell::Cell;

    use crossbeam_utils::CachePadded;

    use super::{Participant, Shared};
    use crate::sync::stat::{AtomicUsize, Ordering};

    /// For this many threads, a first guard without memory is not an error.
    static RESERVE: [Shared; 64] = [const { CachePadded::new(Participant::new()) }; 64];

    /// A placeholder that looks as if it held a guard, so that the fast path of a pin need not check for a missing
    /// participant. Never changes.
    static PLACEHOLDER: Shared = CachePadded::new(Participant {
        guards: Cell::new(1),
        ..Participant::new()
    });
    pub(in crate::reclaim) const NONE: *const Shared = &raw const PLACEHOLDER;

    /// Returns a participant that needs no allocation and was never taken.
    pub(super) fn reserved() -> Option<&'static Shared> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: only that each is given out once matters. Loaded first, so that the counter is bounded.
        if NEXT.load(Ordering::Relaxed) >= RESERVE.len() {
            return None;
        }
        RESERVE.get(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A model's threads need participants that belong to their execution.
#[cfg(shadow_loom)]
mod fixed {
    use super::Shared;

    pub(in crate::reclaim) const NONE: *const Shared = std::ptr::null();

    pub(super) fn reserved() -> Option<&'static Shared> {
        None
    }
}

/// Gives the thread's participant back when the thread's locals are destroyed.
pub(super) struct GiveBack<S: Site>(PhantomData<fn() -> S>);

impl<S: Site> GiveBack<S> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<S: Site> Drop for GiveBack<S> {
    fn drop(&mut self) {
        // SAFETY: participants are never freed.
        if let Some(mine) = unsafe { participant::<S>().as_ref() } {
            match mine.guards.get() {
                0 => mine.give_back::<S>(),
                held => mine.guards.set(held | LAST),
            }
        }
    }
}

/// Returns this thread's participant, or null.
pub(super) fn participant<S: Site>() -> *const Shared {
    let mine = S::mine();
    if ptr::eq(mine, NONE) { ptr::null() } else { mine }
}

/// Returns this thread's participant, if it has one and holds no guard.
#[inline(always)]
fn outside<S: Site>() -> Option<&'static Shared> {
    // SAFETY: null under loom, else a participant, which is never freed, or the static `PLACEHOLDER`.
    unsafe { S::mine().as_ref() }.filter(|mine| mine.guards.get() == 0)
}

/// Pins this thread. Wait-free except for a thread's first guard; nested guards are cheap.
#[inline]
pub(super) fn pin<S: Site>() -> Guard<S> {
    let Some(mine) = outside::<S>() else {
        return pin_inside();
    };
    if mine.enter::<S>() {
        // SAFETY: a participant that is outside any guard is no placeholder.
        unsafe { Guard::of(mine) }
    } else {
        pin_fenced()
    }
}

/// Slow half of [`pin`]: nested guards, a thread's very first guard, and guards at a thread's end.
#[cold]
#[inline(never)]
fn pin_inside<S: Site>() -> Guard<S> {
    let mine = participant::<S>();
    // SAFETY: participants are never freed.
    let mine = unsafe { mine.as_ref() }.unwrap_or_else(register::<S>);
    let guards = mine.guards.get();
    mine.guards.set(guards + 1);
    // E6: the outer guard may not have announced itself yet. Relaxed: written by this thread only.
    let announced = mine.epoch.load(Ordering::Relaxed);
    let light = if guards & !LAST == 0 || announced == 0 {
        mine.announce::<S>()
    } else {
        barrier::light(announced & FENCES == 0)
    };
    // Needed for a nested guard too: the outer one may not have reached its own barrier (E6).
    if !light {
        barrier::fence(&mine.reader);
    }
    // SAFETY: this thread's, or registered for it just now.
    unsafe { Guard::of(mine) }
}

/// Finishes a pin whose light barrier is a fence.
#[cold]
#[inline(never)]
fn pin_fenced<S: Site>() -> Guard<S> {
    let mine = participant::<S>();
    // SAFETY: participants are never freed.
    if let Some(mine) = unsafe { mine.as_ref() } {
        barrier::fence(&mine.reader);
    }
    // SAFETY: `pin` has entered this thread's participant.
    unsafe { Guard::of(mine) }
}

/// Makes light barriers fences from now on (E7).
fn fence_from_now_on<S: Site>() {
    // Relaxed, both: coherence suffices. A model's epoch has the bit from the start.
    if !LOOM && S::domain().epoch.load(Ordering::Relaxed) & FENCES == 0 {
        // Release: a thread that sees the bit sees that the barrier is refused.
        S::domain().epoch.fetch_or(FENCES, Ordering::Release);
    }
}

/// Runs when this thread fences: settles its readers, that of its participant and that of its shard.
pub(super) fn on_fence<S: Site>() {
    fence_from_now_on::<S>();
    // SAFETY: participants are never freed.
    if let Some(mine) = unsafe { participant::<S>().as_ref() } {
        mine.reader.settle();
    }
    shard::settle();
}

/// Takes a participant for this thread.
fn register<S: Site>() -> &'static Shared {
    let mine = Participant::take::<S>();
    S::set_mine(mine);
    if !S::give_back_at_end() {
        mine.guards.set(LAST);
    }
    mine
}

impl Participant {
    const_unless_loom! {
        fn new() -> Self {
            Self {
                epoch: AtomicU64::new(0),
                upper: AtomicU64::new(0),
                guards: Cell::new(0),
                reader: Reader::new(),
                taken: stat::AtomicBool::new(true),
                owner: stat::AtomicU64::new(NO_OWNER),
                births: stat::AtomicU64::new(0),
                spare: Cell::new(ptr::null()),
                next: Cell::new(ptr::null()),
                noted: Noted::new(),
            }
        }
    }

    /// Takes a participant for this thread. Lock-free. Aborts the process if none is free and allocation fails, as a
    /// full [`Vec`] does.
    fn take<S: Site>() -> &'static Shared {
        let taken = Self::take_free::<S>().unwrap_or_else(Self::take_fresh::<S>);
        // Relaxed: read only in the child of a fork.
        taken.owner.store(thread_token(), stat::Ordering::Relaxed);
        taken.noted.note_name();
        taken.reader.activate();
        if !asymmetric_barrier::is_asymmetric() {
            fence_from_now_on::<S>();
        }
        taken
    }

    pub(super) fn all<S: Site>() -> impl Iterator<Item = &'static Shared> {
        // Acquire: pairs with the push in `take_fresh`.
        let mut next = S::domain().participants.load(Ordering::Acquire).cast_const();
        std::iter::from_fn(move || {
            // SAFETY: null, or a participant, which is never freed.
            let participant: &'static Shared = unsafe { next.as_ref() }?;
            next = participant.next.get();
            Some(participant)
        })
    }

    fn take_free<S: Site>() -> Option<&'static Shared> {
        Self::all::<S>().find(|participant| {
            let taken = &participant.taken;
            // Acquire: pairs with `release`, for the owner's cells.
            taken
                .compare_exchange(false, true, stat::Ordering::Acquire, stat::Ordering::Relaxed)
                .is_ok()
        })
    }

    /// Adds a new participant, already taken. Aborts the process if allocation fails.
    pub(super) fn take_fresh<S: Site>() -> &'static Shared {
        // Registered before the first participant is in use.
        asymmetric_barrier::on_fence(S::on_fence());
        let fresh = fixed::reserved().or_else(|| Some(Box::leak(try_box(CachePadded::new(Self::new()))?)));
        let Some(fresh) = fresh else {
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<Shared>());
        };
        let participants = &S::domain().participants;
        // Relaxed: the exchange fails if it is stale.
        let mut next = participants.load(Ordering::Relaxed);
        loop {
            fresh.next.set(next);
            // Release: publishes the participant to `all`.
            let pushed = participants.compare_exchange_weak(
                next,
                ptr::from_ref(fresh).cast_mut(),
                Ordering::Release,
                Ordering::Relaxed,
            );
            match pushed {
                Ok(_) => return fresh,
                Err(found) => next = found,
            }
        }
    }

    /// Releases the participant, which is outside any guard.
    fn release(&self) {
        self.reader.deactivate();
        // Relaxed: as in `take`.
        self.owner.store(NO_OWNER, stat::Ordering::Relaxed);
        // Release: pairs with `take`.
        self.taken.store(false, stat::Ordering::Release);
    }

    /// Counts the first guard and announces it. Like [`announce`](Self::announce).
    #[inline]
    #[must_use]
    fn enter<S: Site>(&self) -> bool {
        self.guards.set(1);
        self.announce::<S>()
    }

    /// Announces the thread's epoch. Returns whether that was followed by a light barrier; if not, the caller has to
    /// fence.
    #[inline]
    #[must_use]
    fn announce<S: Site>(&self) -> bool {
        // Acquire: pairs with the Release half of `begin_period` (E2).
        let epoch = S::domain().epoch.load(Ordering::Acquire);
        if S::INTERVALS {
            // Relaxed: ordered by the barriers, as the loads that follow (B1).
            self.upper.store(epoch, Ordering::Relaxed);
        }
        // Release: as in `retreat`, for a scan that sees this store and missed that one. Its order with the loads that
        // follow comes from the barriers, this one and the heavy one in `scan` (E3).
        self.epoch.store(epoch, Ordering::Release);
        barrier::light(epoch & FENCES == 0)
    }

    #[inline]
    fn leave<S: Site>(&self) {
        // Keeps the reads under the guard before the decrement, so that no signal handler sees the guard gone too early
        // (E6).
        compiler_fence(Ordering::SeqCst);
        let guards = self.guards.get() - 1;
        self.guards.set(guards);
        if guards == 0 {
            self.retreat();
        } else if guards == LAST {
            self.give_back::<S>();
        }
    }

    #[inline]
    pub(super) fn retreat(&self) {
        // Release: the reads under the guard come before; pairs with the Acquire in `scan` (E3, G3).
        self.epoch.store(0, Ordering::Release);
    }

    /// Gives the participant back: the thread is ending, and its last guard has been dropped.
    #[cold]
    #[inline(never)]
    fn give_back<S: Site>(&self) {
        self.retreat();
        self.guards.set(0);
        S::set_mine(NONE);
        self.release();
    }

    /// Ends the protection of the only guard and begins a new one.
    fn renew<S: Site>(&self) {
        self.retreat();
        if !self.announce::<S>() {
            barrier::fence(&self.reader);
        }
    }

    /// Returns the number of guards that the owner holds.
    fn held(&self) -> u64 {
        self.guards.get() & !LAST
    }
}

/// A guard of this thread's participant.
pub struct Guard<S: Site>(*const Shared, PhantomData<S>);

impl<S: Site> Guard<S> {
    /// Creates a guard of a participant, which counts it.
    ///
    /// # Safety
    ///
    /// The participant is this thread's: not null, and not a placeholder.
    #[inline(always)]
    unsafe fn of(mine: *const Shared) -> Self {
        Self(mine, PhantomData)
    }

    #[inline]
    pub(super) fn participant(&self) -> &'static Shared {
        // SAFETY: of a participant, and participants are never freed.
        unsafe { &*self.0 }
    }

    /// Ends the protection of the guard and begins a new one, if the thread has no other guard.
    pub(super) fn renew(&self) {
        let mine = self.participant();
        if mine.held() == 1 {
            mine.renew::<S>();
        }
    }
}

impl<S: Site> Drop for Guard<S> {
    #[inline]
    fn drop(&mut self) {
        self.participant().leave::<S>();
    }
}

/// Returns whether this thread holds a guard.
pub(super) fn is_pinned<S: Site>() -> bool {
    // SAFETY: participants are never freed.
    unsafe { participant::<S>().as_ref() }.is_some_and(|mine| mine.held() > 0)
}

/// In the child of a fork: releases the participants of other threads. Owned guards stay, as they may be this thread's:
/// those from before the fork are recognised by their epochs.
pub(super) fn let_go_of_others<S: Site>() {
    let me = thread_token();
    for participant in Participant::all::<S>() {
        let owner = participant.owner.load(stat::Ordering::Relaxed);
        if participant.taken.load(stat::Ordering::Relaxed) && owner != me && owner != NO_THREAD {
            participant.retreat();
            participant.guards.set(0);
            participant.release();
        }
    }
    let domain = S::domain();
    domain.scanning.store(false, stat::Ordering::Relaxed);
    S::forked(domain.epoch.fetch_add(1, Ordering::AcqRel) & !FENCES);
}

#[cfg(all(test, not(shadow_loom)))]
mod tests;
