//! Comparing two counters of which one follows the other.

use crate::sync::stat::{AtomicU64, Ordering};

/// Returns how far the first counter was ahead of the second: at one point in time during the call, if a few attempts
/// find one.
pub(super) fn difference(first: &AtomicU64, second: &AtomicU64) -> u64 {
    // Acquire: the load of the first comes after that of the second, and before the next.
    let mut before = second.load(Ordering::Acquire);
    for _ in 0..8 {
        let now = first.load(Ordering::Acquire);
        let after = second.load(Ordering::Acquire);
        if before == after {
            return ahead(now, after);
        }
        before = after;
    }
    ahead(first.load(Ordering::Acquire), before)
}

/// Returns how far the first of two counts is ahead of the second: 0 if it is behind, as it may be if it was read
/// first. They may have wrapped around: exact while they are less than 2^63 apart.
pub(super) fn ahead(first: u64, second: u64) -> u64 {
    u64::try_from(first.wrapping_sub(second).cast_signed()).unwrap_or(0)
}
