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
//! - **E4** So a period needs one heavy barrier; later scans only look again at those that were inside.
//!
//! Progress: `pin` is wait-free, but for a thread's first, which takes a participant: lock-free. Asking for a grace period
//! is lock-free. One thread at a time scans, others pass by: a thread stopped during a scan holds up grace periods as if
//! it held a guard, and nothing else.

use std::cell::Cell;
use std::ptr;

use crossbeam_utils::CachePadded;

use super::asked::Asked;
use super::barrier;
use super::retired::GracePeriod;
use super::sealed::Backend;
use crate::sync::{AtomicPtr, AtomicU64, Ordering, stat, static_global, static_thread_local};
use crate::table::defect::{Defect, planted_everywhere};

/// Epochs whose readers only store, and whose reclaiming side pays by a process-wide barrier: the default.
///
/// The barrier is Linux's `membarrier`; where there is none, readers fence, as those of [`Epoch`](super::Epoch) do.
#[derive(Debug)]
pub enum Asymmetric {}

/// One thread's place among the readers, or one owned guard's. Never freed; used again by later threads.
struct Participant {
    /// E1.
    epoch: AtomicU64,
    /// Guards that the owner holds, and [`LAST`]. Only the owner touches it.
    guards: Cell<u64>,
    taken: stat::AtomicBool,
    next: *const Shared,
}

type Shared = CachePadded<Participant>;

/// In `guards`: the participant goes back with the last guard, as its thread is at its end.
const LAST: u64 = 1 << 32;

// SAFETY: `next` never changes once the participant is shared; `guards` is only touched by whoever has taken the
// participant, and `taken` hands it on.
unsafe impl Sync for Participant {}
// SAFETY: as above.
unsafe impl Send for Participant {}

/// What all threads share.
struct Domain {
    /// The newest target.
    epoch: CachePadded<AtomicU64>,
    participants: AtomicPtr<Shared>,
    /// Periods that were asked for, each with its target, and that no scan has taken over yet.
    asked: Asked<u64>,
    /// Those that a scan has taken over. Locked during a scan; nobody waits for it.
    waiting: stat::Mutex<Vec<(u64, GracePeriod)>>,
}

static_global! {
    static DOMAIN: Domain = Domain {
        epoch: CachePadded::new(AtomicU64::new(1)),
        participants: AtomicPtr::new(ptr::null_mut()),
        asked: Asked::new(),
        waiting: stat::Mutex::new(Vec::new()),
    };
}

static_thread_local! {
    /// This thread's participant, null until its first pin. Has no destructor, so it is there to the thread's very end.
    static PARTICIPANT: Cell<*const Shared> = Cell::new(ptr::null());
}

static_thread_local! {
    /// The same, if the thread's guards need no more than [`barrier::compiler`]: all that a usual pin looks at.
    static LIGHT: Cell<*const Shared> = Cell::new(ptr::null());
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
    PARTICIPANT.try_with(Cell::get).unwrap_or(ptr::null())
}

/// A thread's first pin, and all pins of a thread whose guards fence.
#[cold]
#[inline(never)]
fn pin_slowly() -> AsymmetricGuard {
    let mut mine = participant();
    if mine.is_null() {
        mine = register();
    }
    let guard = AsymmetricGuard(mine);
    if guard.participant().enter() {
        barrier::light();
    }
    guard
}

/// Takes a participant for this thread.
fn register() -> *const Shared {
    let mine = Participant::take();
    let _ = PARTICIPANT.try_with(|cell| cell.set(mine));
    if barrier::is_compilers() {
        let _ = LIGHT.try_with(|cell| cell.set(mine));
    }
    if GIVE_BACK.try_with(|_| ()).is_err() {
        mine.guards.set(LAST);
    }
    mine
}

impl Participant {
    /// A participant that nobody else has. Lock-free.
    fn take() -> &'static Shared {
        barrier::init();
        // Acquire: pairs with the push below.
        let mut current = DOMAIN.participants.load(Ordering::Acquire).cast_const();
        // SAFETY: participants are never freed.
        while let Some(participant) = unsafe { current.as_ref() } {
            let taken = &participant.taken;
            // Acquire: pairs with `let_go`, for the owner's cell.
            if taken
                .compare_exchange(false, true, stat::Ordering::Acquire, stat::Ordering::Relaxed)
                .is_ok()
            {
                return participant;
            }
            current = participant.next;
        }
        let fresh = Box::into_raw(Box::new(CachePadded::new(Self {
            epoch: AtomicU64::new(0),
            guards: Cell::new(0),
            taken: stat::AtomicBool::new(true),
            next: ptr::null(),
        })));
        // Relaxed: the exchange fails if it is stale.
        let mut next = DOMAIN.participants.load(Ordering::Relaxed);
        loop {
            // SAFETY: not shared yet.
            unsafe { &mut *fresh }.next = next;
            // Release: publishes the participant to the walks here and in `scan`.
            let pushed = DOMAIN
                .participants
                .compare_exchange_weak(next, fresh, Ordering::Release, Ordering::Relaxed);
            match pushed {
                // SAFETY: never freed.
                Ok(_) => return unsafe { &*fresh },
                Err(found) => next = found,
            }
        }
    }

    fn let_go(&self) {
        // Release: pairs with `take`.
        self.taken.store(false, stat::Ordering::Release);
    }

    /// One guard more. Whether it is the outermost: then the caller's barrier comes next.
    #[inline]
    fn enter(&self) -> bool {
        let guards = self.guards.get();
        self.guards.set(guards + 1);
        let outermost = guards == 0 || guards == LAST;
        if outermost {
            self.announce();
        }
        outermost
    }

    /// Says where the thread is. A barrier must follow.
    #[inline]
    fn announce(&self) {
        // Acquire: pairs with the Release half of `after_grace_period` (E2).
        let epoch = DOMAIN.epoch.load(Ordering::Acquire);
        // Release: as in `retreat`, for a scan that sees this and never saw that. What orders it with the loads that follow
        // are the barriers, the caller's and the heavy one in `scan` (E3).
        self.epoch.store(epoch, Ordering::Release);
    }

    #[inline]
    fn leave(&self) {
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
        let _ = PARTICIPANT.try_with(|cell| cell.set(ptr::null()));
        let _ = LIGHT.try_with(|cell| cell.set(ptr::null()));
        self.let_go();
    }

    /// Lets go of what the only guard protects, and protects what there is now.
    fn renew(&self) {
        self.retreat();
        self.announce();
        barrier::light();
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

/// A guard with a participant of its own.
pub struct AsymmetricOwned(&'static Shared);

// SAFETY: the participant is this guard's alone, and its cell is only touched by `repin_owned` and the drop, which have
// the guard to themselves.
unsafe impl Send for AsymmetricOwned {}
// SAFETY: a shared reference gives access to nothing.
unsafe impl Sync for AsymmetricOwned {}

impl Drop for AsymmetricOwned {
    fn drop(&mut self) {
        self.0.leave();
        self.0.let_go();
    }
}

/// Ends the periods that are over. Passes by if another thread is at it.
fn scan() {
    let Ok(mut waiting) = DOMAIN.waiting.try_lock() else {
        return;
    };
    let before = waiting.len();
    waiting.extend(DOMAIN.asked.take().map(|(period, target)| (target, period)));
    // E4. If there is no barrier, what is new waits for a scan that has one.
    let fenced = if waiting.len() > before && !barrier::heavy() {
        before
    } else {
        waiting.len()
    };
    if fenced == 0 {
        return;
    }
    let mut oldest = u64::MAX;
    // Acquire, both: pairs with the push in `take`, and with `retreat` (G3).
    let mut current = DOMAIN.participants.load(Ordering::Acquire).cast_const();
    // SAFETY: participants are never freed.
    while let Some(participant) = unsafe { current.as_ref() } {
        match participant.epoch.load(Ordering::Acquire) {
            0 => {}
            epoch => oldest = oldest.min(epoch),
        }
        current = participant.next;
    }
    if planted_everywhere(Defect::ReadersIgnored) {
        oldest = u64::MAX;
    }
    let over: Vec<_> = waiting.extract_if(..fenced, |(target, _)| *target <= oldest).collect();
    drop(waiting);
    over.into_iter().for_each(|(_, period)| period.elapsed());
}

impl Backend for Asymmetric {
    type Guard = AsymmetricGuard;
    type OwnedGuard = AsymmetricOwned;

    /// Acquire: the barriers do the rest (G2).
    const LOAD: Ordering = Ordering::Acquire;

    const PUSHES_PLAINLY: bool = true;

    #[inline]
    fn pin() -> AsymmetricGuard {
        let mine = LIGHT.try_with(Cell::get).unwrap_or(ptr::null());
        if mine.is_null() {
            return pin_slowly();
        }
        let guard = AsymmetricGuard(mine);
        if guard.participant().enter() {
            barrier::compiler();
        }
        guard
    }

    fn pin_owned() -> AsymmetricOwned {
        let guard = AsymmetricOwned(Participant::take());
        guard.0.enter();
        barrier::light();
        guard
    }

    fn repin(guard: &mut AsymmetricGuard) {
        let mine = guard.participant();
        if mine.guards.get() as u32 == 1 {
            mine.renew();
        }
    }

    fn repin_owned(guard: &mut AsymmetricOwned) {
        guard.0.renew();
    }

    fn is_pinned() -> bool {
        // SAFETY: participants are never freed.
        unsafe { participant().as_ref() }.is_some_and(|mine| mine.guards.get() as u32 > 0)
    }

    fn after_grace_period(period: GracePeriod) {
        // AcqRel: Release pairs with `announce` (E2).
        let target = DOMAIN.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        DOMAIN.asked.push(period, target);
    }

    fn drive() {
        scan();
    }
}
