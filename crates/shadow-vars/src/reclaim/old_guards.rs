//! Guards held for too long: finds their holders and reports them (E9 of [`age`](super::age)).

use super::Old;
use super::age::Noted;
use super::participants::{FENCES, NO_THREAD, Participant, Site};
use crate::events::{self, Holder, Holds};
use crate::sync::Ordering as Order;
use crate::sync::stat::Ordering;

impl Participant {
    /// Returns the epoch of the outermost guard, if it is older than `too_old`.
    fn older_than(&self, too_old: u64) -> Option<u64> {
        // Acquire: as in `scan_alone`.
        let epoch = self.epoch.load(Order::Acquire) & !FENCES;
        (1..too_old).contains(&epoch).then_some(epoch)
    }

    fn is_owned(&self) -> bool {
        // Relaxed: of the thread that has announced the epoch acquired before.
        self.owner.load(Ordering::Relaxed) == NO_THREAD
    }

    /// Returns the epoch of the guard and the result of `look`, if the guard is too old and has not been reported: the
    /// caller is about to report it.
    fn to_report<O>(&self, too_old: u64, look: impl FnOnce(&Noted) -> O) -> Option<(u64, O)> {
        let epoch = self.older_than(too_old)?;
        let seen = look(&self.noted);
        // A participant's epochs only grow, so if the epoch is unchanged, it is the same guard, and `seen` is its own.
        let mine = self.noted.reported.fetch_max(epoch, Ordering::Relaxed) < epoch;
        (mine && self.older_than(too_old) == Some(epoch)).then_some((epoch, seen))
    }
}

/// Reports guards that are too old, each once. Runs foreign code: the event listeners.
#[cold]
pub(super) fn report<S: Site>(too_old: u64) {
    for participant in Participant::all::<S>() {
        if participant.older_than(too_old).is_some()
            && !participant.is_owned()
            && let Some((epoch, name)) = participant.to_report(too_old, Noted::name)
        {
            let holds = if S::INTERVALS { Holds::Found } else { Holds::All };
            events::old_guard(Holder::Thread(&name), S::ages().of(epoch), holds);
        }
    }
    S::report_owned(too_old);
}

/// Reports owned guards that are participants and too old, each once: those of one epoch and one place together, if
/// allocation succeeds. Calls `tell` with the epoch, their number, and the number of the place.
#[cold]
pub(super) fn report_owned<S: Site>(too_old: u64, tell: impl Fn(u64, usize, u32)) {
    let mut found = Vec::new();
    for participant in Participant::all::<S>() {
        if participant.older_than(too_old).is_some()
            && participant.is_owned()
            && let Some((epoch, place)) = participant.to_report(too_old, Noted::place)
        {
            match found.try_reserve(1) {
                Ok(()) => found.push((epoch, place)),
                Err(_) => tell(epoch, 1, place),
            }
        }
    }
    found.sort_unstable();
    for group in found.chunk_by(|one, next| one == next) {
        let (epoch, place) = group[0];
        tell(epoch, group.len(), place);
    }
}

/// Returns the guards that are too old, and reports those that have not been reported.
pub(super) fn look<S: Site>() -> Old {
    let Some(too_old) = S::ages().too_old() else {
        return Old::default();
    };
    let (mut count, mut oldest) = S::older_owned(too_old);
    for epoch in Participant::all::<S>().filter_map(|participant| participant.older_than(too_old)) {
        count += 1;
        oldest = oldest.min(epoch);
    }
    if count > 0 {
        report::<S>(too_old);
    }
    Old {
        count,
        oldest: (count > 0).then(|| (oldest, S::ages().of(oldest))),
    }
}
