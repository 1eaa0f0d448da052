//! Guards that are held for long: who holds them, and who is told (E9 of [`age`]).

use super::super::{Old, age, owned};
use super::{Asymmetric, FENCES, scan};
use crate::events::{self, Holder};
use crate::reclaim::participants::Participant;
use crate::reclaim::sealed::Backend;
use crate::sync::stat::{AtomicU64, Ordering};

/// What scans and reports need of a participant, beside its epoch.
pub(in crate::reclaim) struct Noted {
    /// The newest epoch of which somebody was told.
    reported: AtomicU64,
    /// The name of the thread that took it: what the kernel keeps of it, filled up with zeros.
    name: [AtomicU64; 2],
}

impl Noted {
    pub(in crate::reclaim) const fn new() -> Self {
        Self {
            reported: AtomicU64::new(0),
            name: [const { AtomicU64::new(0) }; 2],
        }
    }

    /// Notes this thread's name. Takes no memory.
    pub(in crate::reclaim) fn note_name(&self) {
        let mut name = [0_u8; 16];
        #[cfg(all(target_os = "linux", feature = "tracing", not(miri)))]
        {
            // SAFETY: writes 16 bytes at most. If it is refused, the thread has no name here.
            unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
        }
        // Relaxed: read by who looks again whether the guard is still there.
        for (word, part) in self.name.iter().zip(name.chunks_exact_mut(8)) {
            word.store(
                part.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
                Ordering::Relaxed,
            );
        }
    }

    fn name(&self) -> [u8; 16] {
        let [first, last] = self
            .name
            .each_ref()
            .map(|word| word.load(Ordering::Relaxed).to_be_bytes());
        let mut name = [0; 16];
        name[..8].copy_from_slice(&first);
        name[8..].copy_from_slice(&last);
        name
    }
}

impl Participant {
    /// The epoch of its outermost guard, if it has one that is older than this.
    fn older_than(&self, too_old: u64) -> Option<u64> {
        // Acquire: as in `scan_alone`.
        let epoch = self.epoch.load(super::Ordering::Acquire) & !FENCES;
        (1..too_old).contains(&epoch).then_some(epoch)
    }
}

/// Reports guards that are too old, each once. Runs code of others: of whoever listens to events.
#[cold]
pub(super) fn report(too_old: u64) {
    for participant in Participant::all::<Asymmetric>() {
        let noted = &participant.noted;
        let Some(epoch) = participant.older_than(too_old) else {
            continue;
        };
        let name = noted.name();
        // A participant's epochs grow, so it is the same guard, and the name is its thread's, if it is still there.
        if noted.reported.fetch_max(epoch, Ordering::Relaxed) < epoch && participant.older_than(too_old) == Some(epoch)
        {
            events::old_guard(Holder::Thread(&name), age::of(epoch));
        }
    }
    while let Some((epoch, count, place)) = owned::next_to_report(too_old) {
        events::old_guard(Holder::Owned { count, place }, age::of(epoch));
    }
}

/// Guards that are too old; also reports those that were not.
pub(super) fn look() -> Old {
    beat();
    let Some(too_old) = age::too_old() else {
        return Old::default();
    };
    let (mut count, mut oldest) = owned::older_than(too_old);
    for epoch in Participant::all::<Asymmetric>().filter_map(|participant| participant.older_than(too_old)) {
        count += 1;
        oldest = oldest.min(epoch);
    }
    if count > 0 {
        report(too_old);
    }
    Old {
        count,
        oldest: (count > 0).then(|| (oldest, age::of(oldest))),
    }
}

/// Sees from time to time who holds a guard, also while nothing is retired.
pub(in crate::reclaim) fn beat() {
    if !age::is_beat_due() {
        return;
    }
    // Acquire: as in `scan_alone`.
    let inside = |participant: &Participant| participant.epoch.load(super::Ordering::Acquire) != 0;
    if Participant::all::<Asymmetric>().any(|participant| inside(participant)) || owned::oldest() != u64::MAX {
        Asymmetric::begin_period();
        scan::scan::<Asymmetric>();
    }
}
