//! A backend of our own: epochs whose readers only store. The default.
//!
//! A reader says where it is by one plain store and a compiler fence; whoever reclaims pays for both, with a process-wide
//! barrier ([`barrier`]). The idea is liburcu's "memb" flavour (Desnoyers, McKenney, Stern, Dagenais and Walpole,
//! *User-level implementations of read-copy update*, TPDS 2012); the book-keeping is Fraser's epochs (*Practical
//! lock-freedom*, 2004), with a counter that has no end in place of three.
//!
//! - **E1** A participant's `epoch` is 0 outside guards, else what its outermost guard read from the global one.
//! - **E2** A grace period takes the next global epoch as its *target*, after all that it is for was unlinked. A reader
//!   that read the target or more has acquired that, and cannot find what was unlinked.
//! - **E3** A period is over when a heavy barrier came after its target was taken, and then each participant was seen
//!   outside, or inside with the target or more. Who was seen outside either stored after the barrier, and its loads
//!   came after the barrier too and find nothing that was unlinked before; or it has left, by a Release store that the
//!   scan acquired; so with those seen inside, for what they read before.
//! - **E4** So a period needs one heavy barrier; later scans only look again at those that were inside. `fenced` is the
//!   newest target that a heavy barrier came after: a scan goes no further, whatever it sees. A barrier that is refused
//!   leaves it as it is.
//! - **E5** `over` is the newest target whose period is over; so are those of all before, as their guards are among those
//!   that it waited for.
//! - **E6** A signal handler may pin between any two instructions of its thread, once that has pinned before. What it
//!   interrupts has announced itself whenever `guards` says that a guard is there and `epoch` is not 0; else the handler
//!   announces, and what it interrupts does so again, or leaves.
//! - **E7** Light barriers are fences where the global epoch has [`FENCES`], which a reader loads anyway. It is never taken
//!   away, and a thread has seen it before one of its participants counts as settled ([`asymmetric_barrier`]): so it sees it
//!   at all later pins.
//!
//! Owned guards are no participants: E8 of [`owned`]. For how long a guard has been held: E9 of [`age`].
//!
//! Progress: `pin` is wait-free, but for a thread's first, which takes a participant: lock-free. Beginning a grace period
//! is wait-free, and so is asking whether it is over. One thread at a time scans, others pass by: a thread stopped during a
//! scan holds up grace periods as if it held a guard, and nothing else.

use std::cell::Cell;
use std::panic::Location;
use std::ptr;

use asymmetric_barrier::Reader;
use crossbeam_utils::CachePadded;

use super::sealed::Backend;
use super::{Named, Old, Stuck, age, barrier, owned};
use crate::mem::try_box;
use crate::sync::{
    AtomicPtr, AtomicU64, Ordering, compiler_fence, const_unless_loom, stat, static_global, static_thread_local,
    thread_token,
};
use crate::table::defect::{Defect, planted_everywhere};
use crate::{events, shard};

/// Epochs whose readers only store, and whose reclaiming side pays by a process-wide barrier: the default.
///
/// The barrier is Linux's `membarrier`; where there is none, readers fence, as those of [`Epoch`](super::Epoch) do.
#[derive(Debug)]
pub enum Asymmetric {}

/// One thread's place among the readers. Never freed; used again by later threads.
#[repr(C)]
struct Participant {
    /// E1.
    epoch: AtomicU64,
    /// Guards that the owner holds, and [`LAST`]. Only the owner touches it.
    guards: Cell<u64>,
    /// For the owner's light barriers. Active while the participant is taken.
    reader: Reader,
    taken: stat::AtomicBool,
    /// The token of the thread that took it.
    owner: stat::AtomicU64,
    next: Cell<*const Shared>,
    noted: old::Noted,
}

type Shared = CachePadded<Participant>;

#[cfg(not(shadow_loom))]
const _: () = assert!(size_of::<Participant>() <= 128);

/// In `guards`: the participant goes back with the last guard, as its thread is at its end. The guards below are counted one
/// by one: no program gets through 2^63.
const LAST: u64 = 1 << 63;

/// In the global epoch, and in what participants take from it (E7).
const FENCES: u64 = 1 << 63;

/// The first epoch. Loom's light barriers are fences.
const FIRST: u64 = if cfg!(shadow_loom) { FENCES | 1 } else { 1 };

/// In place of a thread's token: nobody's.
const GONE: u64 = u64::MAX;

// SAFETY: `next` never changes once the participant is shared; `guards` is only touched by whoever has taken the
// participant, and `taken` hands it on.
unsafe impl Sync for Participant {}
// SAFETY: as above.
unsafe impl Send for Participant {}

/// Nothing panics between two of its changes.
impl std::panic::RefUnwindSafe for Participant {}

/// What all threads share.
struct Domain {
    /// The newest target, and [`FENCES`].
    epoch: CachePadded<AtomicU64>,
    participants: AtomicPtr<Shared>,
    /// E5.
    over: CachePadded<AtomicU64>,
    /// E4. Only scans touch it.
    fenced: AtomicU64,
    /// Whether somebody scans.
    scanning: stat::AtomicBool,
    /// Barriers that were refused since the last that was not, and whether somebody was told.
    refused: stat::AtomicU64,
    told: stat::AtomicBool,
}

static_global! {
    static DOMAIN: Domain = Domain {
        epoch: CachePadded::new(AtomicU64::new(FIRST)),
        participants: AtomicPtr::new(ptr::null_mut()),
        over: CachePadded::new(AtomicU64::new(1)),
        fenced: AtomicU64::new(1),
        scanning: stat::AtomicBool::new(false),
        refused: stat::AtomicU64::new(0),
        told: stat::AtomicBool::new(false),
    };
}

/// Participants that need no memory: a first guard without any is no error for so many threads.
#[cfg(not(shadow_loom))]
static RESERVE: [Shared; 64] = [const { CachePadded::new(Participant::new()) }; 64];

/// In place of a participant: looks as if it had a guard, so that a pin need not ask whether there is one. Never changes.
#[cfg(not(shadow_loom))]
static NOBODY: Shared = CachePadded::new(Participant::nobody());
#[cfg(not(shadow_loom))]
const NONE: *const Shared = &raw const NOBODY;
#[cfg(shadow_loom)]
const NONE: *const Shared = ptr::null();

static_thread_local! {
    /// This thread's participant, [`NONE`] until its first pin. Has no destructor, so it is there to the thread's very end.
    static PARTICIPANT: Cell<*const Shared> = Cell::new(NONE);
}

static_thread_local! {
    /// Gives the participant back when the thread's locals go.
    static GIVE_BACK: GiveBack = GiveBack;
}

struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        // SAFETY: participants are never freed.
        if let Some(mine) = unsafe { participant().as_ref() } {
            match mine.guards.get() {
                0 => mine.give_back(),
                held => mine.guards.set(held | LAST),
            }
        }
    }
}

/// This thread's participant, or null.
fn participant() -> *const Shared {
    let mine = PARTICIPANT.try_with(Cell::get).unwrap_or(NONE);
    if ptr::eq(mine, NONE) { ptr::null() } else { mine }
}

/// This thread's participant, if it has one and no guard.
#[inline(always)]
fn outside() -> Option<&'static Shared> {
    #[cfg(not(shadow_loom))]
    let mine = PARTICIPANT.try_with(Cell::get).unwrap_or(&raw const NOBODY);
    #[cfg(shadow_loom)]
    let mine = participant();
    // SAFETY: null under loom, else a participant, which is never freed, or nobody's.
    unsafe { mine.as_ref() }.filter(|mine| mine.guards.get() == 0)
}

/// All pins but a thread's first guard: one inside another, the very first, and those at a thread's end.
#[cold]
#[inline(never)]
fn pin_inside() -> AsymmetricGuard {
    let mine = participant();
    // SAFETY: participants are never freed.
    let mine = unsafe { mine.as_ref() }.unwrap_or_else(register);
    let guards = mine.guards.get();
    mine.guards.set(guards + 1);
    // E6: the guard that is there already may be about to announce itself. Relaxed: the owner's own.
    let announced = mine.epoch.load(Ordering::Relaxed);
    let light = if guards & !LAST == 0 || announced == 0 {
        mine.announce()
    } else {
        barrier::light(announced & FENCES == 0)
    };
    // Also of a guard inside another: the other may not have come to its own barrier (E6).
    if !light {
        barrier::fence(&mine.reader);
    }
    AsymmetricGuard(mine)
}

/// The end of a pin whose barrier is a fence.
#[cold]
#[inline(never)]
fn pin_fenced() -> AsymmetricGuard {
    let mine = participant();
    // SAFETY: participants are never freed.
    if let Some(mine) = unsafe { mine.as_ref() } {
        barrier::fence(&mine.reader);
    }
    AsymmetricGuard(mine)
}

/// This thread's light barriers are fences from now on (E7).
fn fence_from_now_on() {
    // Relaxed, both: coherence is what counts. A model's epoch has it from the start.
    if !cfg!(shadow_loom) && DOMAIN.epoch.load(Ordering::Relaxed) & FENCES == 0 {
        // Release: who sees it sees that the barrier is refused.
        DOMAIN.epoch.fetch_or(FENCES, Ordering::Release);
    }
}

/// This thread fences: so do its readers, that of its participant and that of its place.
fn on_fence() {
    fence_from_now_on();
    // SAFETY: participants are never freed.
    if let Some(mine) = unsafe { participant().as_ref() } {
        mine.reader.settle();
    }
    shard::settle();
}

/// Takes a participant for this thread.
fn register() -> &'static Shared {
    let mine = Participant::take();
    let _ = PARTICIPANT.try_with(|cell| cell.set(ptr::from_ref(mine)));
    if GIVE_BACK.try_with(|_| ()).is_err() {
        mine.guards.set(LAST);
    }
    mine
}

impl Participant {
    const_unless_loom! {
        fn new() -> Self {
            Self {
                epoch: AtomicU64::new(0),
                guards: Cell::new(0),
                reader: Reader::new(),
                taken: stat::AtomicBool::new(true),
                owner: stat::AtomicU64::new(GONE),
                next: Cell::new(ptr::null()),
                noted: old::Noted::new(),
            }
        }
    }

    #[cfg(not(shadow_loom))]
    const fn nobody() -> Self {
        Self {
            guards: Cell::new(1),
            ..Self::new()
        }
    }

    /// A participant that nobody else has. Lock-free. Ends the process if there is none and no memory for one, as a full
    /// [`Vec`] does.
    fn take() -> &'static Shared {
        let taken = Self::take_free().or_else(Self::take_fresh);
        let Some(taken) = taken else {
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<Shared>());
        };
        // Relaxed: read in the child of a fork.
        taken.owner.store(thread_token(), stat::Ordering::Relaxed);
        taken.noted.note_name();
        taken.reader.activate();
        if !asymmetric_barrier::is_asymmetric() {
            fence_from_now_on();
        }
        taken
    }

    fn all() -> impl Iterator<Item = &'static Shared> {
        // Acquire: pairs with the push in `take_fresh`.
        let mut next = DOMAIN.participants.load(Ordering::Acquire).cast_const();
        std::iter::from_fn(move || {
            // SAFETY: null, or a participant, which is never freed.
            let participant: &'static Shared = unsafe { next.as_ref() }?;
            next = participant.next.get();
            Some(participant)
        })
    }

    fn take_free() -> Option<&'static Shared> {
        Self::all().find(|participant| {
            let taken = &participant.taken;
            // Acquire: pairs with `let_go`, for the owner's cells.
            taken
                .compare_exchange(false, true, stat::Ordering::Acquire, stat::Ordering::Relaxed)
                .is_ok()
        })
    }

    fn take_fresh() -> Option<&'static Shared> {
        // Before the first is anybody's.
        asymmetric_barrier::on_fence(on_fence);
        let fresh = reserved().or_else(|| Some(Box::leak(try_box(CachePadded::new(Self::new()))?)))?;
        // Relaxed: the exchange fails if it is stale.
        let mut next = DOMAIN.participants.load(Ordering::Relaxed);
        loop {
            fresh.next.set(next);
            // Release: publishes the participant to `all`.
            let pushed = DOMAIN.participants.compare_exchange_weak(
                next,
                ptr::from_ref(fresh).cast_mut(),
                Ordering::Release,
                Ordering::Relaxed,
            );
            match pushed {
                Ok(_) => return Some(fresh),
                Err(found) => next = found,
            }
        }
    }

    /// Nobody's from now on, and outside.
    fn let_go(&self) {
        self.reader.deactivate();
        // Relaxed: as in `take`.
        self.owner.store(GONE, stat::Ordering::Relaxed);
        // Release: pairs with `take`.
        self.taken.store(false, stat::Ordering::Release);
    }

    /// One guard more, the first. As [`announce`](Self::announce).
    #[inline]
    #[must_use]
    fn enter(&self) -> bool {
        self.guards.set(1);
        self.announce()
    }

    /// Says where the thread is. Whether a light barrier came after that; if not, a fence is to follow.
    #[inline]
    #[must_use]
    fn announce(&self) -> bool {
        // Acquire: pairs with the Release half of `begin_period` (E2).
        let epoch = DOMAIN.epoch.load(Ordering::Acquire);
        // Release: as in `retreat`, for a scan that sees this and never saw that. What orders it with the loads that follow
        // are the barriers, this one and the heavy one in `scan` (E3).
        self.epoch.store(epoch, Ordering::Release);
        barrier::light(epoch & FENCES == 0)
    }

    #[inline]
    fn leave(&self) {
        // So that what was read under the guard was, before a signal handler sees none (E6).
        compiler_fence(Ordering::SeqCst);
        let guards = self.guards.get() - 1;
        self.guards.set(guards);
        if guards == 0 {
            self.retreat();
        } else if guards == LAST {
            self.give_back();
        }
    }

    #[inline]
    fn retreat(&self) {
        // Release: what was read under the guard comes before; pairs with the Acquire in `scan` (E3, G3).
        self.epoch.store(0, Ordering::Release);
    }

    /// The thread is at its end, and has no guard any more.
    #[cold]
    #[inline(never)]
    fn give_back(&self) {
        self.retreat();
        self.guards.set(0);
        let _ = PARTICIPANT.try_with(|cell| cell.set(NONE));
        self.let_go();
    }

    /// Lets go of what the only guard protects, and protects what there is now.
    fn renew(&self) {
        self.retreat();
        if !self.announce() {
            barrier::fence(&self.reader);
        }
    }

    /// Whether the owner holds a guard: so many.
    fn held(&self) -> u64 {
        self.guards.get() & !LAST
    }
}

/// A guard of this thread's participant.
#[derive(Debug)]
pub struct AsymmetricGuard(*const Shared);

impl AsymmetricGuard {
    #[inline]
    fn participant(&self) -> &Participant {
        // SAFETY: participants are never freed.
        unsafe { &*self.0 }
    }
}

impl Drop for AsymmetricGuard {
    #[inline]
    fn drop(&mut self) {
        self.participant().leave();
    }
}

/// An owned guard.
#[derive(Debug)]
pub struct AsymmetricOwned(owned::Counted);

impl AsymmetricOwned {
    fn made(at: owned::Made) -> Self {
        // Acquire: pairs with the Release half of `begin_period` (E2, E8).
        Self(owned::enter(at, || DOMAIN.epoch.load(Ordering::Acquire) & !FENCES))
    }
}

impl Drop for AsymmetricOwned {
    fn drop(&mut self) {
        owned::leave(self.0);
    }
}

/// One that needs no memory, and was never taken.
#[cfg(not(shadow_loom))]
fn reserved() -> Option<&'static Shared> {
    static NEXT: stat::AtomicUsize = stat::AtomicUsize::new(0);
    // Relaxed: only that each is given once matters. Looked at first, so that the count has an end.
    if NEXT.load(stat::Ordering::Relaxed) >= RESERVE.len() {
        return None;
    }
    RESERVE.get(NEXT.fetch_add(1, stat::Ordering::Relaxed))
}

/// A model's threads have participants of their execution.
#[cfg(shadow_loom)]
fn reserved() -> Option<&'static Shared> {
    None
}

/// Sees which periods are over. Passes by if another thread is at it.
fn scan() {
    // Acquire: pairs with the Release below.
    if DOMAIN.scanning.swap(true, stat::Ordering::Acquire) {
        return;
    }
    let (refused, too_old) = scan_alone();
    DOMAIN.scanning.store(false, stat::Ordering::Release);
    if let Some(too_old) = too_old {
        old::report(too_old);
    }
    if refused && barrier::unsettled() > 0 && !DOMAIN.told.swap(true, stat::Ordering::Relaxed) {
        events::barrier_denied(barrier::unsettled());
    }
}

/// Returns whether the barrier was refused, and the epoch below which guards are too old.
fn scan_alone() -> (bool, Option<u64>) {
    let early = planted_everywhere(Defect::OwnedSeenEarly).then(owned::oldest);
    // Acquire: pairs with the Release half of `begin_period`: what the periods are for comes before the barrier (E3).
    let newest = DOMAIN.epoch.load(Ordering::Acquire) & !FENCES;
    // Relaxed, both: written by scans.
    if DOMAIN.over.load(Ordering::Relaxed) >= newest {
        return (false, None);
    }
    let mut fenced = DOMAIN.fenced.load(Ordering::Relaxed);
    let mut refused = false;
    if fenced < newest {
        if barrier::heavy() {
            fenced = newest;
            DOMAIN.fenced.store(newest, Ordering::Relaxed);
            DOMAIN.refused.store(0, stat::Ordering::Relaxed);
        } else {
            refused = true;
            DOMAIN.refused.fetch_add(1, stat::Ordering::Relaxed);
            if planted_everywhere(Defect::RefusedCountsAsFenced) {
                fenced = newest;
            }
        }
    }
    // Acquire: pairs with `retreat` (G3).
    let inside = Participant::all().map(|participant| participant.epoch.load(Ordering::Acquire) & !FENCES);
    let oldest = inside.filter(|&epoch| epoch != 0).min().unwrap_or(u64::MAX);
    // After the newest target was read (E8).
    let owned = early.unwrap_or_else(owned::oldest);
    let oldest = if planted_everywhere(Defect::OwnedIgnored) {
        oldest
    } else {
        oldest.min(owned)
    };
    let oldest = if planted_everywhere(Defect::ReadersIgnored) {
        u64::MAX
    } else {
        oldest
    };
    // AcqRel: Release pairs with `is_over` (G3).
    DOMAIN.over.fetch_max(fenced.min(oldest), Ordering::AcqRel);
    // 0: nobody knows (E8).
    let too_old = (1..fenced).contains(&oldest).then(|| age::note(oldest, fenced));
    (refused, too_old.flatten())
}

impl Backend for Asymmetric {
    type Guard = AsymmetricGuard;
    type OwnedGuard = AsymmetricOwned;

    const NAMED: Named = Named::Asymmetric;

    /// Acquire: the barriers do the rest (G2).
    const LOAD: Ordering = Ordering::Acquire;

    const PUSHES_PLAINLY: bool = true;

    #[inline]
    fn pin() -> AsymmetricGuard {
        let Some(mine) = outside() else {
            return pin_inside();
        };
        if mine.enter() {
            AsymmetricGuard(mine)
        } else {
            pin_fenced()
        }
    }

    fn pin_owned() -> AsymmetricOwned {
        AsymmetricOwned::made(owned::Made::At(Location::caller()))
    }

    fn repin(guard: &mut AsymmetricGuard) {
        let mine = guard.participant();
        if mine.held() == 1 {
            mine.renew();
        }
    }

    fn repin_owned(guard: &mut AsymmetricOwned) {
        *guard = AsymmetricOwned::made(owned::Made::As(guard.0));
    }

    fn is_pinned() -> bool {
        // SAFETY: participants are never freed.
        unsafe { participant().as_ref() }.is_some_and(|mine| mine.held() > 0)
    }

    fn begin_period() -> u64 {
        // AcqRel: Release pairs with `announce` (E2), both with `scan_alone`. One for each batch: no program gets through
        // 2^62.
        (DOMAIN.epoch.fetch_add(1, Ordering::AcqRel) & !FENCES) + 1
    }

    #[inline]
    fn is_over(period: u64) -> bool {
        // Acquire: pairs with `scan_alone` (G3).
        DOMAIN.over.load(Ordering::Acquire) >= period
    }

    fn drive() {
        scan();
    }

    fn unsettled() -> usize {
        barrier::unsettled()
    }

    fn old_guards() -> Old {
        old::look()
    }

    fn stuck() -> Option<Stuck> {
        /// Barriers refused one after the other, for whatever reason, before that is taken for how it stays.
        const PATIENCE: u64 = 10_000;
        if barrier::unsettled() > 0 || DOMAIN.refused.load(stat::Ordering::Relaxed) > PATIENCE {
            return Some(Stuck::NoBarrier);
        }
        owned::is_forked().then_some(Stuck::Forked)
    }
}

#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
pub(super) mod child;
pub(super) mod old;
#[cfg(all(test, not(shadow_loom)))]
mod tests;
