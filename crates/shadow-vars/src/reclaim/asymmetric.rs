//! The default backend: epochs whose readers only store.
//!
//! A reader announces itself by one plain store and a compiler fence; the reclaiming thread pays for both, with a
//! process-wide barrier ([`barrier`](super::barrier)). The idea is liburcu's "memb" flavour (Desnoyers, McKenney,
//! Stern, Dagenais and Walpole, *User-level implementations of read-copy update*, TPDS 2012); the book-keeping is
//! Fraser's epochs (*Practical lock-freedom*, 2004), with an unbounded counter in place of three values.
//!
//! - **E1** A participant's `epoch` is 0 outside guards; under guards it is the value that the outermost guard read
//!   from the global epoch.
//! - **E2** A grace period takes the next global epoch as its *target*, after everything that it is for was unlinked. A
//!   reader that read the target or a later epoch has acquired the unlinking, and cannot find what was unlinked.
//! - **E3** A period is over when a heavy barrier came after its target was taken, and each participant was then seen
//!   outside, or inside with the target or a later epoch. There are two cases for a participant seen outside. Either it
//!   announced itself after the barrier: then its loads came after the barrier too, and find nothing that was unlinked
//!   before. Or it has left, by a Release store that the scan acquired. The scan likewise acquires what participants
//!   seen inside read under earlier guards.
//! - **E4** So a period needs one heavy barrier. Later scans read all participants again, but need no barrier for it.
//!   `fenced` is the newest target that a heavy barrier came after: a scan ends no later period, whatever it sees. A
//!   refused barrier leaves `fenced` unchanged.
//! - **E5** `over` is the newest target whose period is over. All earlier periods are over too, as their guards are
//!   among those that it waited for.
//! - **E6** A signal handler may pin between any two instructions of its thread, if the thread has pinned before. The
//!   interrupted code has announced itself if `guards` counts a guard and `epoch` is not 0. Otherwise the handler
//!   announces itself, and the interrupted code does so again, or leaves.
//! - **E7** Light barriers are fences where the global epoch has the bit [`FENCES`], which a reader loads anyway. The
//!   bit is never cleared, and a thread has seen it before one of its participants counts as settled
//!   ([`asymmetric_barrier`]): so it sees the bit at all later pins.
//!
//! Owned guards are not participants: see E8 of [`owned`]. How the age of a guard is determined: E9 of
//! [`age`](super::age).
//!
//! Progress: `pin` is wait-free, except for a thread's first, which takes a participant and is lock-free. Beginning a
//! grace period is wait-free, and so is checking whether it is over. One thread at a time scans, and others skip the
//! scan: a thread stopped during a scan delays grace periods as if it held a guard, and nothing else.
//!
//! The code is in [`participants`], shared with [`Eras`](super::Eras).

use std::panic::Location;

use super::participants::{self, FENCES, Guard, Site, site};
use super::sealed::Backend;
use super::{Named, Old, Stuck, old_guards, owned, scan};
use crate::events::{self, Holder, Holds};
use crate::sync::Ordering;

/// The default: epochs whose readers only store, while the reclaiming side pays with a process-wide barrier.
///
/// The barrier is Linux's `membarrier`; where it is not available, readers fence, as those of [`Epoch`](super::Epoch)
/// do.
#[derive(Debug)]
pub enum Asymmetric {}

site! {
    Asymmetric {
        const INTERVALS: bool = false;

        fn oldest_owned() -> u64 {
            owned::oldest()
        }

        fn older_owned(too_old: u64) -> (usize, u64) {
            owned::older_than(too_old)
        }

        fn report_owned(too_old: u64) {
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
    fn made(at: owned::Origin) -> Self {
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
        AsymmetricOwned::made(owned::Origin::At(Location::caller()))
    }

    #[inline(always)]
    fn place(_: &AsymmetricGuard) {}

    #[inline(always)]
    fn place_owned(_: &AsymmetricOwned) {}

    fn repin(guard: &mut AsymmetricGuard) {
        guard.renew();
    }

    fn repin_owned(guard: &mut AsymmetricOwned) {
        *guard = AsymmetricOwned::made(owned::Origin::As(guard.0));
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

    fn poll() {
        if scan::is_fenced::<Self>() {
            scan::scan::<Self>();
        }
    }

    fn unsettled() -> usize {
        super::barrier::unsettled()
    }

    fn old_guards() -> Old {
        old_guards::look::<Self>()
    }

    fn stuck() -> Option<Stuck> {
        if scan::is_refused::<Self>() {
            return Some(Stuck::NoBarrier);
        }
        owned::is_forked().then_some(Stuck::Forked)
    }
}
