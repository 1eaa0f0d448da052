//! A backend of our own: epochs whose readers only store. The default.
//!
//! A reader says where it is by one plain store and a compiler fence; whoever reclaims pays for both, with a process-wide
//! barrier ([`barrier`](super::barrier)). The idea is liburcu's "memb" flavour (Desnoyers, McKenney, Stern, Dagenais and Walpole,
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
//! Owned guards are no participants: E8 of [`owned`]. For how long a guard has been held: E9 of [`age`](super::age).
//!
//! Progress: `pin` is wait-free, but for a thread's first, which takes a participant: lock-free. Beginning a grace period
//! is wait-free, and so is asking whether it is over. One thread at a time scans, others pass by: a thread stopped during a
//! scan holds up grace periods as if it held a guard, and nothing else.
//!
//! The code is in [`participants`], which [`Eras`](super::Eras) shares.

use std::panic::Location;

use super::participants::{self, FENCES, Guard, Site, site};
use super::sealed::Backend;
use super::{Named, Old, Stuck, old, owned, scan};
use crate::events::{self, Holder, Holds};
use crate::sync::Ordering;

/// Epochs whose readers only store, and whose reclaiming side pays by a process-wide barrier: the default.
///
/// The barrier is Linux's `membarrier`; where there is none, readers fence, as those of [`Epoch`](super::Epoch) do.
#[derive(Debug)]
pub enum Asymmetric {}

site! {
    Asymmetric {
        const INTERVALS: bool = false;

        fn oldest_apart() -> u64 {
            owned::oldest()
        }

        fn older_apart(too_old: u64) -> (usize, u64) {
            owned::older_than(too_old)
        }

        fn report_apart(too_old: u64) {
            while let Some((epoch, count, place)) = owned::next_to_report(too_old) {
                events::old_guard(Holder::Owned { count, place }, Self::ages().of(epoch), Holds::All);
            }
        }

        #[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
        fn forked(last: u64) {
            owned::forked(last);
        }
    }
}

/// A guard of a thread.
pub(super) type AsymmetricGuard = Guard<Asymmetric>;

/// An owned guard.
#[derive(Debug)]
pub struct AsymmetricOwned(owned::Counted);

impl AsymmetricOwned {
    fn made(at: owned::Made) -> Self {
        // Acquire: pairs with the Release half of `begin_period` (E2, E8).
        Self(owned::enter(at, || {
            Asymmetric::domain().epoch.load(Ordering::Acquire) & !FENCES
        }))
    }
}

impl Drop for AsymmetricOwned {
    fn drop(&mut self) {
        owned::leave(self.0);
    }
}

impl Backend for Asymmetric {
    type Guard = AsymmetricGuard;
    type OwnedGuard = AsymmetricOwned;
    type Place = ();

    const NAMED: Named = Named::Asymmetric;

    /// Acquire: the barriers do the rest (G2).
    const LOAD: Ordering = Ordering::Acquire;

    const PUSHES_PLAINLY: bool = true;

    #[inline]
    fn pin() -> AsymmetricGuard {
        participants::pin()
    }

    fn pin_owned() -> AsymmetricOwned {
        AsymmetricOwned::made(owned::Made::At(Location::caller()))
    }

    #[inline(always)]
    fn place(_: &AsymmetricGuard) {}

    #[inline(always)]
    fn place_owned(_: &AsymmetricOwned) {}

    fn repin(guard: &mut AsymmetricGuard) {
        guard.renew();
    }

    fn repin_owned(guard: &mut AsymmetricOwned) {
        *guard = AsymmetricOwned::made(owned::Made::As(guard.0));
    }

    fn is_pinned() -> bool {
        participants::is_pinned::<Self>()
    }

    fn begin_period() -> u64 {
        scan::begin_period::<Self>()
    }

    #[inline]
    fn is_over(period: u64) -> bool {
        scan::is_over::<Self>(period)
    }

    fn drive() {
        scan::scan::<Self>();
    }

    fn unsettled() -> usize {
        super::barrier::unsettled()
    }

    fn old_guards() -> Old {
        old::look::<Self>()
    }

    fn stuck() -> Option<Stuck> {
        if scan::is_refused::<Self>() {
            return Some(Stuck::NoBarrier);
        }
        owned::is_forked().then_some(Stuck::Forked)
    }
}
