//! Guards that are held for long: who holds them, and who is told (E9 of [`age`](super::age)).

use super::participants::{FENCES, NO_THREAD, Participant, Site};
use super::{Old, scan};
use crate::events::{self, Holder, Holds};
use crate::sync::Ordering as Order;
use crate::sync::stat::{AtomicU64, Ordering};

/// What scans and reports need of a participant, beside its epoch.
pub(super) struct Noted {
    /// The newest epoch of which somebody was told.
    reported: AtomicU64,
    /// The name of the thread that took it: what the kernel keeps of it, filled up with zeros. Of an owned guard's, the number
    /// of the place where that was made.
    name: [AtomicU64; 2],
}

impl Noted {
    pub(super) const fn new() -> Self {
        Self {
            reported: AtomicU64::new(0),
            name: [const { AtomicU64::new(0) }; 2],
        }
    }

    /// Notes this thread's name. Takes no memory.
    pub(super) fn note_name(&self) {
        let mut name = [0_u8; 16];
        #[cfg(all(target_os = "linux", feature = "tracing", not(miri)))]
        {
            // SAFETY: writes 16 bytes at most. If it is refused, the thread has no name here.
            unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
        }
        // Release: pairs with `name`.
        for (word, part) in self.name.iter().zip(name.chunks_exact_mut(8)) {
            word.store(
                part.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
                Ordering::Release,
            );
        }
    }

    /// Notes the number of the place where an owned guard is made.
    pub(super) fn note_place(&self, number: u32) {
        // Release: as in `note_name`.
        self.name[0].store(u64::from(number), Ordering::Release);
    }

    fn place(&self) -> u32 {
        // Acquire: as in `name`.
        self.name[0].load(Ordering::Acquire) as u32
    }

    fn name(&self) -> [u8; 16] {
        // Acquire: who sees the name of the next one sees that the guard of the last is gone.
        let [first, last] = self
            .name
            .each_ref()
            .map(|word| word.load(Ordering::Acquire).to_be_bytes());
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
        let epoch = self.epoch.load(Order::Acquire) & !FENCES;
        (1..too_old).contains(&epoch).then_some(epoch)
    }

    fn is_owned(&self) -> bool {
        // Relaxed: of whoever has announced the epoch that was acquired before.
        self.owner.load(Ordering::Relaxed) == NO_THREAD
    }

    /// What `look` says of the participant, and the epoch of its guard, if that is too old and nobody was told of it yet: the
    /// caller is about to tell.
    fn to_report<O>(&self, too_old: u64, look: impl FnOnce(&Noted) -> O) -> Option<(u64, O)> {
        let epoch = self.older_than(too_old)?;
        let seen = look(&self.noted);
        // A participant's epochs grow, so it is the same guard, if it is still there, and what was seen is its own.
        let mine = self.noted.reported.fetch_max(epoch, Ordering::Relaxed) < epoch;
        (mine && self.older_than(too_old) == Some(epoch)).then_some((epoch, seen))
    }
}

/// Reports guards that are too old, each once. Runs code of others: of whoever listens to events.
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
    S::report_apart(too_old);
}

/// Reports owned guards that are participants and too old, each once: those of one epoch and one place together, if there is
/// memory for that. Calls `tell` with the epoch, how many, and the number of the place.
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

/// Guards that are too old; also reports those that were not.
pub(super) fn look<S: Site>() -> Old {
    beat::<S>();
    let Some(too_old) = S::ages().too_old() else {
        return Old::default();
    };
    let (mut count, mut oldest) = S::older_apart(too_old);
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

/// Sees from time to time who holds a guard, also while nothing is retired.
pub(super) fn beat<S: Site>() {
    if !S::ages().is_beat_due() {
        return;
    }
    // Acquire: as in `scan_alone`.
    let inside = |participant: &Participant| participant.epoch.load(Order::Acquire) != 0;
    if Participant::all::<S>().any(|participant| inside(participant)) || S::oldest_apart() != u64::MAX {
        scan::begin_period::<S>();
        scan::scan::<S>();
    }
}
