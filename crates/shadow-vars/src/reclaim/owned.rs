//! Owned guards of the default backend: counted by the epoch and the place in which they were made.
//!
//! - **E8** An owned guard is counted under a lock, by the global epoch that is read there. A scan looks up the oldest
//!   under the same lock, after it has read the newest target. Either the guard was counted by then, and the scan ends
//!   no period later than its epoch; or it came later, and has acquired by the lock what the scan had: it finds nothing
//!   of what those targets are for. So such guards need no barriers, and no thread's participant.
//!
//! Making and dropping a guard take constant time but for a binary search, and wait for other threads that do the same.
//! Scans never wait: if the lock is taken, no period ends this time.

use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;

use crate::fork;
use crate::mem::{try_box, try_string};
use crate::sync::{Mutex, MutexGuard, lock, stat, static_global};

/// A place in the program where guards are made. Copied, and never freed, as the library of that code may be unloaded.
#[derive(Debug)]
pub(crate) struct Place {
    /// The address of the original.
    address: usize,
    file: String,
    line: u32,
    column: u32,
}

impl Place {
    /// Compares contents too: another library may have been loaded at the same address.
    fn is(&self, location: &'static Location<'static>) -> bool {
        self.address == std::ptr::from_ref(location).addr()
            && (self.line, self.column) == (location.line(), location.column())
            && self.file.len() == location.file().len()
    }

    fn copied(location: &'static Location<'static>) -> Option<&'static Self> {
        let place = try_box(Self {
            address: std::ptr::from_ref(location).addr(),
            file: try_string(location.file())?,
            line: location.line(),
            column: location.column(),
        });
        Some(Box::leak(place?))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// In place of the number of a place: unknown.
const SPARE: u32 = u32::MAX;

/// The guards of one epoch that were made at one place.
struct Group {
    epoch: u64,
    /// The number of the place.
    place: u32,
    count: u32,
}

impl Group {
    #[inline]
    fn key(&self) -> (u64, u32) {
        (self.epoch, self.place)
    }

    /// Counts one more, if it fits; `empty` is the number of empty groups.
    #[inline]
    fn count_more(&mut self, empty: &mut usize) -> bool {
        *empty -= usize::from(self.count == 0);
        let more = self.count.checked_add(1);
        self.count = more.unwrap_or(self.count);
        more.is_some()
    }
}

/// Guards for which no group or place could be allocated: of this epoch, or later.
struct Spare {
    epoch: u64,
    count: usize,
    /// Whether they have been reported.
    reported: bool,
}

/// Places by number, and a direct-mapped cache of their numbers by address.
pub(super) struct Places {
    all: Vec<&'static Place>,
    recent: [u32; RECENT],
}

const RECENT: usize = 64;

impl Places {
    pub(super) const fn new() -> Self {
        Self {
            all: Vec::new(),
            recent: [0; RECENT],
        }
    }

    /// Returns the place with this number, if it is known.
    pub(super) fn get(&self, number: u32) -> Option<&'static Place> {
        self.all.get(number as usize).copied()
    }

    /// Returns the number of a place, or [`SPARE`] if a new one cannot be allocated.
    pub(super) fn number(&mut self, location: &'static Location<'static>) -> u32 {
        let recent = std::ptr::from_ref(location).addr() / size_of::<Location<'_>>() % RECENT;
        let number = self.recent[recent];
        match self.all.get(number as usize) {
            Some(place) if place.is(location) => number,
            _ => {
                let number = self.find(location);
                self.recent[recent] = number;
                number
            }
        }
    }

    #[cold]
    fn find(&mut self, location: &'static Location<'static>) -> u32 {
        if let Some(known) = self.all.iter().position(|place| place.is(location)) {
            return known as u32;
        }
        if self.all.len() >= SPARE as usize || self.all.try_reserve(1).is_err() {
            return SPARE;
        }
        let Some(place) = Place::copied(location) else {
            return SPARE;
        };
        self.all.push(place);
        (self.all.len() - 1) as u32
    }
}

/// Groups in the order of their epochs and places. Empty ones are removed when they are first, or more than half.
struct Guards {
    made: VecDeque<Group>,
    empty: usize,
    spare: Spare,
    places: Places,
    /// Groups up to this one have been reported, or never will be.
    reported: (u64, u32),
}

/// The origin of a guard: a place, or the guard that it replaces.
pub(super) enum Origin {
    At(&'static Location<'static>),
    As(Counted),
}

/// The group in which a guard is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    epoch: u64,
    place: u32,
}

static_global! {
    static GUARDS: Mutex<Guards> = Mutex::new(Guards {
        made: VecDeque::new(),
        empty: 0,
        spare: Spare { epoch: 0, count: 0, reported: false },
        places: Places::new(),
        reported: (0, 0),
    });
}

/// The last epoch before the last fork that led to this process.
static BEFORE_FORK: stat::AtomicU64 = stat::AtomicU64::new(0);

/// Counts a guard, in the epoch that `now` returns.
pub(super) fn enter(made: Origin, now: impl FnOnce() -> u64) -> Counted {
    let _section = fork::section();
    let guards = &mut *lock(&GUARDS);
    let place = match made {
        Origin::At(location) => guards.places.number(location),
        Origin::As(other) => other.place,
    };
    // E8: read under the lock, so it is no older than those before.
    let epoch = now();
    if place != SPARE && guards.count(epoch, place) {
        return Counted { epoch, place };
    }
    let spare = &mut guards.spare;
    if spare.count == 0 {
        (spare.epoch, spare.reported) = (epoch, false);
    }
    spare.count += 1;
    Counted { epoch, place: SPARE }
}

impl Guards {
    /// Returns false if allocation fails.
    #[inline]
    fn count(&mut self, epoch: u64, place: u32) -> bool {
        match self.made.back_mut() {
            Some(last) if last.key() == (epoch, place) => last.count_more(&mut self.empty),
            // Of the same epoch, in which there are at most as many groups as places.
            Some(last) if last.key() > (epoch, place) => self.count_between(epoch, place),
            _ => {
                let room = self.has_room();
                if room {
                    self.made.push_back(Group { epoch, place, count: 1 });
                }
                room
            }
        }
    }

    #[cold]
    fn count_between(&mut self, epoch: u64, place: u32) -> bool {
        match self.find((epoch, place)) {
            Ok(at) => self.made[at].count_more(&mut self.empty),
            Err(at) => {
                let room = self.has_room();
                if room {
                    self.made.insert(at, Group { epoch, place, count: 1 });
                }
                room
            }
        }
    }

    #[inline]
    fn has_room(&mut self) -> bool {
        self.made.len() < self.made.capacity() || self.made.try_reserve(1).is_ok()
    }

    fn find(&self, key: (u64, u32)) -> Result<usize, usize> {
        self.made.binary_search_by_key(&key, Group::key)
    }
}

/// Ends the counting of a guard.
pub(super) fn leave(Counted { epoch, place }: Counted) {
    let _section = fork::section();
    let guards = &mut *lock(&GUARDS);
    if place == SPARE {
        guards.spare.count -= 1;
        return;
    }
    let at = match guards.made.back() {
        // Usually one of the newest.
        Some(last) if last.key() == (epoch, place) => guards.made.len() - 1,
        _ => match guards.find((epoch, place)) {
            Ok(at) => at,
            Err(_) => return debug_assert!(false, "a guard that was not counted"),
        },
    };
    guards.made[at].count -= 1;
    if guards.made[at].count > 0 {
        return;
    }
    guards.empty += 1;
    while guards.made.front().is_some_and(|first| first.count == 0) {
        guards.made.pop_front();
        guards.empty -= 1;
    }
    if guards.empty > guards.made.len() / 2 {
        guards.made.retain(|made| made.count > 0);
        guards.empty = 0;
    }
    if guards.made.is_empty() && guards.made.capacity() > 64 {
        guards.made = VecDeque::new();
    }
}

/// Returns the epoch of the oldest guard: `u64::MAX` if there is none, 0 if it cannot be determined without waiting.
pub(super) fn oldest() -> u64 {
    let _section = fork::section();
    let guards = GUARDS.try_lock();
    // No code panics under the lock.
    let Ok(guards) = guards else { return 0 };
    // The first group is never empty.
    let first = guards.made.front().map(|first| first.epoch);
    let spare = (guards.spare.count > 0).then_some(guards.spare.epoch);
    first.into_iter().chain(spare).min().unwrap_or(u64::MAX)
}

/// Returns the number of guards of epochs below this, and the epoch of the oldest.
pub(super) fn older_than(too_old: u64) -> (usize, u64) {
    let _section = fork::section();
    let guards = lock_guards();
    let made = guards.made.iter().take_while(|group| group.epoch < too_old);
    let spare = Some(&guards.spare).filter(|spare| spare.epoch < too_old);
    made.map(|group| (group.epoch, group.count as usize))
        .chain(spare.map(|spare| (spare.epoch, spare.count)))
        .filter(|(_, count)| *count > 0)
        .fold((0, u64::MAX), |sum, (epoch, count)| (sum.0 + count, sum.1.min(epoch)))
}

/// Returns unreported guards of one epoch below this and one place: the epoch, their number, and the place if it is
/// known. The caller is about to report them. As no guard is made in an old epoch, each is returned once.
pub(super) fn next_to_report(too_old: u64) -> Option<(u64, usize, Option<&'static Place>)> {
    let _section = fork::section();
    let guards = &mut *lock_guards();
    let told = guards.made.partition_point(|group| group.key() <= guards.reported);
    let mut new = guards.made.range(told..).take_while(|group| group.epoch < too_old);
    if let Some(group) = new.find(|group| group.count > 0) {
        guards.reported = group.key();
        let place = guards.places.get(group.place);
        return Some((group.epoch, group.count as usize, place));
    }
    let spare = &mut guards.spare;
    let tell = spare.count > 0 && spare.epoch < too_old && !spare.reported;
    tell.then(|| {
        spare.reported = true;
        (spare.epoch, spare.count, None)
    })
}

fn lock_guards() -> MutexGuard<'static, Guards> {
    lock(&GUARDS)
}

/// Returns whether there are guards from before a fork.
pub(super) fn is_forked() -> bool {
    let before = BEFORE_FORK.load(stat::Ordering::Relaxed);
    (1..=before).contains(&oldest())
}

/// In the child of a fork: notes that guards of this epoch and before may have no owner here.
pub(super) fn forked(last: u64) {
    BEFORE_FORK.store(last, stat::Ordering::Relaxed);
}

#[cfg(all(test, not(shadow_loom)))]
mod tests {
    use super::*;

    /// The most guards that other tests have.
    const OTHERS: usize = 64;

    /// Far later than any epoch of this process; used by one test at a time.
    const LATE: u64 = u64::MAX / 2;
    static ONE: stat::Mutex<()> = stat::Mutex::new(());

    #[test]
    fn what_is_gone_leaves_nothing_behind() {
        const MANY: u64 = 10_000;
        let _one = crate::sync::lock_stat(&ONE);
        let here = Location::caller();
        let epochs: Vec<Counted> = (0..MANY).map(|n| enter(Origin::At(here), || LATE + n / 3)).collect();
        assert!(lock(&GUARDS).made.len() >= epochs.len() / 3);
        // One of each three first, then the others from the newest to the oldest.
        let (first, rest): (Vec<_>, Vec<_>) = epochs.iter().enumerate().partition(|(at, _)| at % 3 == 1);
        first.iter().for_each(|(_, epoch)| leave(**epoch));
        assert!(oldest() <= epochs[0].epoch);
        rest.iter().rev().for_each(|(_, epoch)| leave(**epoch));
        assert!(lock(&GUARDS).made.len() <= OTHERS);
    }

    /// Guards of one epoch made at several places alternately take a group for each place, not for each guard.
    #[test]
    fn places_by_turns_share_their_groups() {
        const EACH: usize = 1000;
        let _one = crate::sync::lock_stat(&ONE);
        let places = [
            Location::caller(),
            Location::caller(),
            Location::caller(),
            Location::caller(),
            Location::caller(),
        ];
        let before = lock(&GUARDS).made.len();
        let epoch = LATE + 1_000_000;
        let made: Vec<Counted> = (0..EACH * places.len())
            .map(|n| enter(Origin::At(places[n * 3 % places.len()]), || epoch))
            .collect();
        assert!(lock(&GUARDS).made.len() <= before + places.len() + OTHERS);
        let counts: Vec<u32> = {
            let guards = lock(&GUARDS);
            let of = guards.made.iter().filter(|group| group.epoch == epoch);
            of.map(|group| group.count).collect()
        };
        assert_eq!(counts, [EACH as u32; 5]);
        made.into_iter().for_each(leave);
        assert!(lock(&GUARDS).made.iter().all(|group| group.epoch < LATE));
    }

    /// Simulates leaked guards up to the count limit: no guard is lost from the counts, and none is released twice.
    #[test]
    fn guards_beyond_the_count_of_a_group_are_counted_apart() {
        const MORE: usize = 3;
        let _one = crate::sync::lock_stat(&ONE);
        let here = Location::caller();
        let epoch = LATE + 2_000_000;
        let enter = || enter(Origin::At(here), || epoch);
        let set = |count| {
            let guards = &mut *lock(&GUARDS);
            let found = guards.made.iter_mut().find(|group| group.epoch == epoch);
            found.expect("a group of the epoch").count = count;
        };
        let counts = || {
            let guards = lock(&GUARDS);
            let of = guards.made.iter().find(|group| group.epoch == epoch);
            (of.map(|group| group.count), guards.spare.count, guards.empty)
        };
        let (_, others, empty) = counts();
        let first = enter();
        set(u32::MAX - 1);
        let last = enter();
        assert_eq!(counts(), (Some(u32::MAX), others, empty));
        let beyond: [Counted; MORE] = std::array::from_fn(|_| enter());
        assert_eq!(counts(), (Some(u32::MAX), others + MORE, empty));
        assert!(beyond.iter().all(|guard| guard.place == SPARE) && last.place == first.place);
        let (count, oldest_of_all) = older_than(epoch + 1);
        assert!(count >= u32::MAX as usize + MORE && oldest_of_all <= epoch);
        // The guards of the group are dropped, except the leaked ones; the guards beyond it still hold.
        set(2);
        [first, last].into_iter().for_each(leave);
        assert_eq!(counts(), (None, others + MORE, empty));
        assert!(oldest() <= epoch);
        let another = enter();
        assert_eq!(counts(), (Some(1), others + MORE, empty));
        beyond.into_iter().for_each(leave);
        assert_eq!(counts(), (Some(1), others, empty));
        leave(another);
        assert_eq!(counts(), (None, others, empty));
    }

    /// A guard is no larger than before places were recorded.
    #[test]
    fn a_guard_takes_no_more_for_its_place() {
        assert_eq!((size_of::<Counted>(), size_of::<Group>()), (16, 16));
    }
}
