//! The owned guards of the default backend: counted by the epoch in which they were made.
//!
//! - **E8** An owned guard is counted under a lock, by the global epoch that is read there. A scan looks for the oldest under
//!   the same lock, after it has read the newest target. Either the guard was there, and the scan goes no further than its
//!   epoch; or it came later, and has acquired by the lock what the scan had: it finds nothing of what those targets are for.
//!   So such guards need no barriers, and no thread's participant.
//!
//! Making one and letting it go take the same time however many there are, but for a search by halves, and wait for others who
//! do the same. Scans wait for nobody: where the lock is taken, no period ends this time.

use std::collections::VecDeque;

use crate::fork;
use crate::sync::{Mutex, lock, stat, static_global};

/// How many guards there are of an epoch.
struct Made {
    epoch: u64,
    count: usize,
}

/// In the order of their epochs. Those of which there are none any more go when they come to be the first, or when they are
/// the most.
struct Guards {
    made: VecDeque<Made>,
    gone: usize,
    /// Those for which there was no memory: of this epoch, or later.
    spare: Made,
}

/// Where a guard is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    epoch: u64,
    spare: bool,
}

static_global! {
    static GUARDS: Mutex<Guards> = Mutex::new(Guards {
        made: VecDeque::new(),
        gone: 0,
        spare: Made { epoch: 0, count: 0 },
    });
}

/// The last epoch of before the last fork that led to this process.
static BEFORE_FORK: stat::AtomicU64 = stat::AtomicU64::new(0);

/// Counts a guard, of the epoch that `now` reads.
pub(super) fn enter(now: impl FnOnce() -> u64) -> Counted {
    let _section = fork::section();
    let guards = &mut *lock(&GUARDS);
    // E8: read under the lock, so no older than those before.
    let epoch = now();
    if let Some(last) = guards.made.back_mut().filter(|last| last.epoch == epoch) {
        guards.gone -= usize::from(last.count == 0);
        last.count += 1;
    } else if guards.made.try_reserve(1).is_ok() {
        guards.made.push_back(Made { epoch, count: 1 });
    } else {
        let spare = &mut guards.spare;
        if spare.count == 0 {
            spare.epoch = epoch;
        }
        spare.count += 1;
        return Counted { epoch, spare: true };
    }
    Counted { epoch, spare: false }
}

/// Counts it no more.
pub(super) fn leave(Counted { epoch, spare }: Counted) {
    let _section = fork::section();
    let guards = &mut *lock(&GUARDS);
    if spare {
        guards.spare.count -= 1;
        return;
    }
    let Ok(at) = guards.made.binary_search_by_key(&epoch, |made| made.epoch) else {
        return debug_assert!(false, "a guard that was not counted");
    };
    guards.made[at].count -= 1;
    if guards.made[at].count > 0 {
        return;
    }
    guards.gone += 1;
    while guards.made.front().is_some_and(|first| first.count == 0) {
        guards.made.pop_front();
        guards.gone -= 1;
    }
    if guards.gone > guards.made.len() / 2 {
        guards.made.retain(|made| made.count > 0);
        guards.gone = 0;
    }
    if guards.made.is_empty() && guards.made.capacity() > 64 {
        guards.made = VecDeque::new();
    }
}

/// The epoch of the oldest guard: `u64::MAX` if there is none, 0 if that cannot be said without waiting.
pub(super) fn oldest() -> u64 {
    let _section = fork::section();
    let guards = GUARDS.try_lock();
    // Nothing panics under it.
    let Ok(guards) = guards else { return 0 };
    // None is gone that is the first.
    let first = guards.made.front().map(|first| first.epoch);
    let spare = (guards.spare.count > 0).then_some(guards.spare.epoch);
    first.into_iter().chain(spare).min().unwrap_or(u64::MAX)
}

/// Whether there are guards of before a fork.
pub(super) fn is_forked() -> bool {
    let before = BEFORE_FORK.load(stat::Ordering::Relaxed);
    (1..=before).contains(&oldest())
}

/// In the child of a fork: guards of this epoch and before may be nobody's.
#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
pub(super) fn forked(last: u64) {
    BEFORE_FORK.store(last, stat::Ordering::Relaxed);
}

#[cfg(all(test, not(shadow_loom)))]
mod tests {
    use super::*;

    /// What guards of other tests there are, at most.
    const OTHERS: usize = 64;

    #[test]
    fn what_is_gone_leaves_nothing_behind() {
        const MANY: u64 = 10_000;
        // Far later than any epoch of this process.
        let epochs: Vec<Counted> = (0..MANY).map(|n| enter(|| u64::MAX / 2 + n / 3)).collect();
        assert!(lock(&GUARDS).made.len() >= epochs.len() / 3);
        // One of each three first, then the others from the newest to the oldest.
        let (first, rest): (Vec<_>, Vec<_>) = epochs.iter().enumerate().partition(|(at, _)| at % 3 == 1);
        first.iter().for_each(|(_, epoch)| leave(**epoch));
        assert!(oldest() <= epochs[0].epoch);
        rest.iter().rev().for_each(|(_, epoch)| leave(**epoch));
        assert!(lock(&GUARDS).made.len() <= OTHERS);
    }
}
