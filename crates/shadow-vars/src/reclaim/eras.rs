//! Eras: a stalled reader holds back only objects that already existed when it stalled.
//!
//! With the other backends a guard holds back everything retired while it exists, as it might find any of it. Here a
//! guard announces what it may have found: interval-based reclamation (Wen, Izraelevitz, Cai, Beadle and Scott,
//! *Interval-based memory reclamation*, PPoPP 2018; this is their 2GE) on the epochs of
//! [`asymmetric`](super::asymmetric), in a domain of its own. An *era* is a value of the global epoch. E1 to E7 hold as
//! they do there.
//!
//! - **B1** A participant has an `upper` besides its `epoch`: no look-up of its guards since the outermost began has led
//!   to anything younger. A protected load reads `upper`, then the word, then the global epoch. If the epoch equals
//!   `upper`, the load counts; else `upper` is set to the epoch, a light barrier follows, and the load is repeated.
//!   `upper` is read first because a signal handler of the thread may raise it in between (E6): that comes too late for
//!   a word that was already loaded.
//! - **B2** The birth era of an object is the `upper` of the thread that makes it, before anything leads to it. So it
//!   is no later than the global epoch that a finder of the object reads after the word: a load that counts leads to an
//!   object born at an era <= `upper`, and that era was announced before the load. The maker itself need not find the
//!   object for it to be protected.
//! - **B3** An object that waits for a period *p* may be freed when a heavy barrier came after *p* was taken, and each
//!   participant was then seen outside, or inside with `epoch` >= *p* (E3), or with an `upper` < the object's birth. If
//!   such a participant ever announces that birth or a later era, it does so after it was seen. If the light barrier
//!   that follows came before the heavy one, the announcement would have been seen; so it comes after, and the load
//!   that counts sees that the object was unlinked. What the participant announced before leads to nothing so young
//!   (B2). `upper` only grows, while a participant is inside and between its guards: so seeing the `upper` of another
//!   of its guards is seeing no less.
//! - **B4** B3 holds for words that are changed before what they led to is retired: the root, and slots (I5). The
//!   successor of a table stays, although both are retired, the older first, and the younger may be freed first: the
//!   reader that holds up the older may be too old to hold the younger. So a thread that has loaded a successor loads
//!   the root after that. If the root is no younger than the table, the table was not retired when the successor was
//!   announced, nor was the successor (O6), so B3 holds for it. If it is younger, all slots of the table are finished,
//!   and the thread continues with the root instead (`Core::next`).
//! - **B5** An owned guard is a participant of its own, which several threads may share. `upper` is raised to the
//!   maximum of what they announce. As another thread may have raised it, each load comes after a fence of its own
//!   thread: whether the thread raised `upper` itself or found it raised, its fence comes after that, as the barrier in
//!   B3.
//! - **B6** What a stalled reader holds back was born at an era <= its `upper`. An era begins with each period, of
//!   which there is one for each batch of a shard, and with every [`EVERY`] births under one participant. So besides
//!   what existed when the reader stalled, it holds back no more than what was born until the next era and, for each
//!   shard, the open batch and the waiting one. Held objects are checked again, two for each object that is retired
//!   ([`held`](super::held)): so what a reader leaves behind when it continues has been freed after half as many
//!   retirements, or by the next flush.
//!
//! A reader does not stall as long as it looks things up. A guard that is held for long and used again and again holds
//! back what is born and retired under it, as with all other backends.
//!
//! Progress: as the default backend, except that a load is repeated when an era has begun meanwhile. That is lock-free,
//! because then another thread has closed a batch or made a thousand objects.

use std::panic::Location;
use std::ptr;

use super::held::Laggards;
use super::owned::Places;
use super::participants::{self, FENCES, Guard, NO_THREAD, Participant, Shared, Site, site};
use super::sealed::Backend;
use super::{Named, Old, Stuck, barrier, old_guards, scan};
use crate::events::{self, Holder, Holds};
use crate::fork;
use crate::sync::{Mutex, Ordering, fence, lock, stat, static_global};
use crate::table::defect::{Defect, planted_everywhere};

/// Like [`Asymmetric`](super::Asymmetric), with a bound on what a stalled reader holds back: only what already existed
/// when it stalled.
///
/// A stalled reader is one that keeps a guard and does nothing under it: a stopped thread, or a task that holds a guard
/// across an await point. What is created after its last look-up, and freed, is dropped as if the guard did not exist;
/// with all other backends everything freed meanwhile waits. Guards of such a store hold back nothing in stores of
/// other backends, nor the other way round.
///
/// The price: 16 bytes more for each variable, one to three instructions more for each word that leads to one; look-ups
/// are lock-free instead of wait-free; and an [owned guard](crate::OwnedPinned) fences twice for each look-up. Owned
/// guards take memory that is never freed, for as many as ever exist at once.
#[derive(Debug)]
pub enum Eras {}

/// A bit of `upper`: it belongs to an owned guard (B5). No global epoch has it, so all loads take the slow path.
const OWNED: u64 = 1 << 62;

/// Births under one participant after which a new era begins.
const EVERY: u64 = 1024;

/// The last epoch before the last fork that led to this process.
static BEFORE_FORK: stat::AtomicU64 = stat::AtomicU64::new(0);

site! {
    Eras {
        const INTERVALS: bool = true;

        fn report_owned(too_old: u64) {
            old_guards::report_owned::<Self>(too_old, |epoch, count, place| {
                let place = {
                    let _section = fork::section();
                    lock(&SPARE).places.get(place)
                };
                events::old_guard(Holder::Owned { count, place }, Self::ages().of(epoch), Holds::Found);
            });
        }

        #[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
        fn forked(last: u64) {
            BEFORE_FORK.store(last, stat::Ordering::Relaxed);
        }
    }
}

/// A participant, as seen by protected loads.
#[derive(Clone, Copy)]
pub struct Place(&'static Shared);

impl Place {
    /// Raises `upper` to the global epoch if necessary (B1), and returns that epoch without [`FENCES`].
    #[inline(always)]
    fn current(self) -> u64 {
        // Relaxed, both: written by this thread, or by another as in B5; and a stale epoch is one that the thread has
        // seen.
        let upper = self.0.upper.load(Ordering::Relaxed);
        if upper == Eras::domain().epoch.load(Ordering::Relaxed) {
            upper & !FENCES
        } else {
            self.catch_up()
        }
    }

    /// Announces the global epoch, with a light barrier, and returns what was announced, without [`FENCES`].
    fn catch_up(self) -> u64 {
        let mine: &Participant = self.0;
        // Relaxed: as in `current`. So are the stores below: ordered by the barriers (B3).
        let epoch = Eras::domain().epoch.load(Ordering::Relaxed);
        let era = epoch & !FENCES;
        if planted_everywhere(Defect::UpperNotPublished) {
            return era;
        }
        if mine.upper.load(Ordering::Relaxed) & OWNED != 0 {
            // AcqRel: a thread that has it from another that shares the guard has seen the epoch that it was taken from
            // (B2).
            let before = mine.upper.fetch_max(OWNED | era, Ordering::AcqRel) & !OWNED;
            // SeqCst: pairs with heavy barriers, as a light one does, whichever thread this is (B5).
            fence(Ordering::SeqCst);
            return before.max(era);
        }
        // Not less than a signal handler may have set (E6). AcqRel: as above, for what the handler read.
        mine.upper.fetch_max(epoch, Ordering::AcqRel);
        if !barrier::light(epoch & FENCES == 0) {
            barrier::fence(&mine.reader);
        }
        era
    }

    /// Slow half of `load`: repeats a load that did not count.
    #[cold]
    #[inline(never)]
    fn load_slow<W>(self, load: impl Fn(Ordering) -> W) -> W {
        loop {
            let early = planted_everywhere(Defect::NoReload).then(|| load(Ordering::Acquire));
            let upper = self.catch_up();
            // Acquire: as in `load`.
            let word = early.unwrap_or_else(|| load(Ordering::Acquire));
            if Eras::domain().epoch.load(Ordering::Relaxed) & !FENCES <= upper {
                return word;
            }
        }
    }
}

/// An owned guard: a participant of its own.
pub struct ErasOwned(&'static Shared);

/// Spare participants, of dropped owned guards, as a linked list; and the places where owned guards are made.
struct Spare {
    first: *const Shared,
    places: Places,
}

// SAFETY: leads to participants, which may be used by all threads.
unsafe impl Send for Spare {}

static_global! {
    static SPARE: Mutex<Spare> = Mutex::new(Spare { first: ptr::null(), places: Places::new() });
}

impl ErasOwned {
    fn new(at: &'static Location<'static>) -> Self {
        let (spare, place) = {
            let _section = fork::section();
            let mut spare = lock(&SPARE);
            // SAFETY: null, or a participant, which is never freed.
            let first: Option<&'static Shared> = unsafe { spare.first.as_ref() };
            if let Some(first) = first {
                spare.first = first.spare.get();
            }
            (first, spare.places.number(at))
        };
        let mine = spare.unwrap_or_else(Participant::take_fresh::<Eras>);
        mine.noted.note_place(place);
        mine.owner.store(NO_THREAD, stat::Ordering::Relaxed);
        let owned = Self(mine);
        owned.announce();
        owned
    }

    /// Announces the guard, as a thread's participant does. No thread takes this participant, so it needs no
    /// [reader](asymmetric_barrier::Reader).
    fn announce(&self) {
        // Acquire: pairs with the Release half of `begin_period` (E2).
        let era = Eras::domain().epoch.load(Ordering::Acquire) & !FENCES;
        // Relaxed: as in `Place::catch_up`. Never lowered: B3.
        self.0.upper.fetch_max(OWNED | era, Ordering::Relaxed);
        // Release: as for a thread's participant.
        self.0.epoch.store(era, Ordering::Release);
        // SeqCst: pairs with heavy barriers (B5).
        fence(Ordering::SeqCst);
    }
}

impl Drop for ErasOwned {
    fn drop(&mut self) {
        self.0.retreat();
        let _section = fork::section();
        let mut spare = lock(&SPARE);
        self.0.spare.set(spare.first);
        spare.first = self.0;
    }
}

impl Backend for Eras {
    type Guard = Guard<Self>;
    type OwnedGuard = ErasOwned;
    type Place = Place;

    const NAMED: Named = Named::Eras;

    /// Acquire: the barriers do the rest (G2), and the epoch is read after the word (B1).
    const LOAD: Ordering = Ordering::Acquire;

    const PUSHES_PLAINLY: bool = true;

    const INTERVALS: bool = true;

    #[inline]
    fn pin() -> Guard<Self> {
        participants::pin()
    }

    fn pin_owned() -> ErasOwned {
        ErasOwned::new(Location::caller())
    }

    #[inline(always)]
    fn place(guard: &Guard<Self>) -> Place {
        Place(guard.participant())
    }

    #[inline(always)]
    fn place_owned(guard: &ErasOwned) -> Place {
        Place(guard.0)
    }

    #[inline(always)]
    fn load<W>(place: Place, load: impl Fn(Ordering) -> W) -> W {
        let upper = Self::announced(place);
        let word = load(Self::LOAD);
        if Self::counts(upper) {
            word
        } else {
            place.load_slow(load)
        }
    }

    #[inline(always)]
    fn announced(place: Place) -> u64 {
        // Acquire: read before the words (B1).
        place.0.upper.load(Ordering::Acquire)
    }

    #[inline(always)]
    fn counts(upper: u64) -> bool {
        // Relaxed: the thread that published the word had read an epoch no less than the birth of what it leads to
        // (B2); and the word was loaded with Acquire before this load.
        Self::domain().epoch.load(Ordering::Relaxed) == upper
    }

    #[inline]
    fn birth(place: Place) -> u64 {
        let era = place.current();
        // Relaxed: approximate; threads that share an owned guard may lose some counts.
        let births = place.0.births.load(stat::Ordering::Relaxed) + 1;
        place.0.births.store(births, stat::Ordering::Relaxed);
        if births.is_multiple_of(EVERY) {
            begin_era();
        }
        if planted_everywhere(Defect::BornLate) {
            era + 1
        } else {
            era
        }
    }

    fn laggards(period: u64) -> Option<Laggards> {
        // Acquire: pairs with the Release in `scan_alone`: the barrier comes before the loads that follow (B3).
        let fenced = Self::domain().fenced.load(Ordering::Acquire);
        if fenced < period && !planted_everywhere(Defect::UppersSeenEarly) {
            return None;
        }
        let mut laggards = Laggards::new();
        for participant in Participant::all::<Self>() {
            // Acquire: pairs with `retreat` (G3).
            let epoch = participant.epoch.load(Ordering::Acquire) & !FENCES;
            if epoch != 0 && epoch < period {
                // Relaxed: B3.
                let upper = participant.upper.load(Ordering::Relaxed) & !(FENCES | OWNED);
                laggards.add(epoch, upper);
            }
        }
        Some(laggards)
    }

    fn repin(guard: &mut Guard<Self>) {
        guard.renew();
    }

    fn repin_owned(guard: &mut ErasOwned) {
        guard.0.retreat();
        guard.announce();
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
        barrier::unsettled()
    }

    fn old_guards() -> Old {
        old_guards::look::<Self>()
    }

    fn stuck() -> Option<Stuck> {
        if scan::is_refused::<Self>() {
            return Some(Stuck::NoBarrier);
        }
        let before = BEFORE_FORK.load(stat::Ordering::Relaxed);
        let of_before = |participant: &Shared| {
            let owned = participant.owner.load(stat::Ordering::Relaxed) == NO_THREAD;
            owned && (1..=before).contains(&participant.epoch.load(Ordering::Relaxed))
        };
        Participant::all::<Self>()
            .find(|participant| of_before(participant))
            .map(|_| Stuck::Forked)
    }
}

/// Begins an era, so that later objects are younger than all born until now (B6).
#[cold]
#[inline(never)]
fn begin_era() {
    scan::begin_period::<Eras>();
}
