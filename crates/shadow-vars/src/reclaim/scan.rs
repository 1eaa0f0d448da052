//! Grace periods of backends with [participants](super::participants): how they begin, and how a scan ends them (E2 to
//! E5).

use super::participants::{FENCES, Participant, Site};
use super::{barrier, old_guards};
use crate::events;
use crate::sync::{Ordering, stat};
use crate::table::defect::{Defect, planted_everywhere};

/// Begins a grace period, and returns its number, the target epoch.
pub(super) fn begin_period<S: Site>() -> u64 {
    // AcqRel: Release pairs with `announce` (E2), both with `scan_alone`. Incremented once per batch: no program
    // reaches 2^62.
    (S::domain().epoch.fetch_add(1, Ordering::AcqRel) & !FENCES) + 1
}

/// Returns whether the period is over.
#[inline]
pub(super) fn is_over<S: Site>(period: u64) -> bool {
    // Acquire: pairs with `scan_alone` (G3).
    S::domain().over.load(Ordering::Acquire) >= period
}

/// Returns whether a heavy barrier came after the newest period began, so that the next scan needs none (E4).
pub(super) fn is_fenced<S: Site>() -> bool {
    // Relaxed, both: the scan loads them again.
    let newest = S::domain().epoch.load(Ordering::Relaxed) & !FENCES;
    S::domain().fenced.load(Ordering::Relaxed) >= newest
}

/// Returns whether scans have been refused their barriers for so long that this is considered permanent.
pub(super) fn is_refused<S: Site>() -> bool {
    /// Consecutive refusals, for whatever reason.
    const PATIENCE: u64 = 10_000;
    barrier::unsettled() > 0 || S::domain().refused.load(stat::Ordering::Relaxed) > PATIENCE
}

/// Finds out which periods are over. Does nothing if another thread is scanning.
pub(super) fn scan<S: Site>() {
    let domain = S::domain();
    // Acquire: pairs with the Release below.
    if domain.scanning.swap(true, stat::Ordering::Acquire) {
        return;
    }
    let (refused, too_old) = scan_alone::<S>();
    domain.scanning.store(false, stat::Ordering::Release);
    if let Some(too_old) = too_old {
        old_guards::report::<S>(too_old);
    }
    if refused {
        let unsettled = barrier::unsettled();
        if unsettled > 0 {
            events::barrier_denied(unsettled);
        }
    }
}

/// Scans while no other thread does. Returns whether the barrier was refused, and the epoch below which guards are too
/// old.
fn scan_alone<S: Site>() -> (bool, Option<u64>) {
    let domain = S::domain();
    let early = planted_everywhere(Defect::OwnedSeenEarly).then(S::oldest_owned);
    // Acquire: pairs with the Release half of `begin_period`: the unlinking that the periods are for comes before the
    // barrier (E3).
    let newest = domain.epoch.load(Ordering::Acquire) & !FENCES;
    // Relaxed, both: written only by scans.
    if domain.over.load(Ordering::Relaxed) >= newest {
        return (false, None);
    }
    let mut fenced = domain.fenced.load(Ordering::Relaxed);
    let mut refused = false;
    if fenced < newest {
        if barrier::heavy() {
            fenced = newest;
            // Release: pairs with `laggards` (B3).
            domain.fenced.store(newest, Ordering::Release);
            domain.refused.store(0, stat::Ordering::Relaxed);
        } else {
            refused = true;
            domain.refused.fetch_add(1, stat::Ordering::Relaxed);
            if planted_everywhere(Defect::RefusedCountsAsFenced) {
                fenced = newest;
            }
        }
    }
    // Acquire: pairs with `retreat` (G3).
    let inside = Participant::all::<S>().map(|participant| participant.epoch.load(Ordering::Acquire) & !FENCES);
    let oldest = inside.filter(|&epoch| epoch != 0).min().unwrap_or(u64::MAX);
    // Read after the newest target (E8).
    let owned = early.unwrap_or_else(S::oldest_owned);
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
    domain.over.fetch_max(fenced.min(oldest), Ordering::AcqRel);
    // An `oldest` of 0 means that it is unknown (E8).
    let too_old = (1..fenced).contains(&oldest).then(|| S::ages().note(oldest, fenced));
    (refused, too_old.flatten())
}
