//! What was sent, what arrived, and what that makes: lost, overtaken, or in order.

use std::collections::BTreeSet;
use std::ops::{AddAssign, Index, IndexMut};
use std::sync::atomic::{AtomicU8, Ordering};

/// What one station has received.
#[derive(Default)]
pub(crate) struct Account {
    /// One more than the highest sequence number seen.
    next: u64,
    /// Numbers below `next` that have not come.
    missing: BTreeSet<u64>,
    /// Numbers that came after a higher one.
    overtaken: Vec<u64>,
    /// Frames that came more than once.
    duplicates: u64,
}

impl Account {
    /// A frame has arrived.
    pub(crate) fn note(&mut self, seq: u64) {
        if seq >= self.next {
            self.missing.extend(self.next..seq);
            self.next = seq + 1;
        } else if self.missing.remove(&seq) {
            self.overtaken.push(seq);
        } else {
            self.duplicates += 1;
        }
    }

    /// Compares with what was sent, by the phase in which it was sent.
    pub(crate) fn settle(&self, sent: &SentLog) -> PerPhase<Tally> {
        let mut tallies = PerPhase::<Tally>::default();
        let mut first = 0;
        for phase in Phase::ALL {
            let end = first + sent[phase];
            let never_came = end.saturating_sub(self.next.max(first));
            let skipped = self.missing.range(first..end).count() as u64;
            let overtaken = self.overtaken.iter().filter(|seq| (first..end).contains(seq)).count();
            let lost = never_came + skipped;
            tallies[phase] = Tally {
                sent: sent[phase],
                delivered: sent[phase] - lost,
                lost,
                overtaken: overtaken as u64,
            };
            first = end;
        }
        tallies
    }

    /// Frames that should not have come: a second time, or without having been sent.
    pub(crate) fn strange(&self, sent: &SentLog) -> u64 {
        self.duplicates + self.next.saturating_sub(sent.total())
    }
}

/// How many frames were sent to one station in each phase. Sequence numbers run through.
pub(crate) type SentLog = PerPhase<u64>;

/// What became of the frames of one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Frames handed to the access point.
    pub(crate) sent: u64,
    /// Frames that came, in order or not.
    pub(crate) delivered: u64,
    /// Frames that never came.
    pub(crate) lost: u64,
    /// Frames that came after one sent later.
    pub(crate) overtaken: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.overtaken += other.overtaken;
    }
}

/// The parts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// All threads run the old code.
    Before,
    /// The switch is made; some threads are still inside the old code.
    Transition,
    /// All threads run the fixed code.
    After,
}

impl Phase {
    pub(crate) const ALL: [Phase; 3] = [Phase::Before, Phase::Transition, Phase::After];

    /// What it is called in the report.
    pub(crate) fn name(self) -> &'static str {
        ["before", "transition", "after"][self as usize]
    }
}

/// The phase the run is in.
pub(crate) struct PhaseClock(AtomicU8);

impl PhaseClock {
    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(Phase::Before as u8))
    }

    pub(crate) fn set(&self, phase: Phase) {
        // Release: with the Acquire of `get`. Who sends in `After` sends after the last old call.
        self.0.store(phase as u8, Ordering::Release);
    }

    pub(crate) fn get(&self) -> Phase {
        Phase::ALL[usize::from(self.0.load(Ordering::Acquire))]
    }
}

/// One value for each phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerPhase<T>([T; 3]);

impl PerPhase<u64> {
    /// The sum over all phases.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl<T> Index<Phase> for PerPhase<T> {
    type Output = T;

    fn index(&self, phase: Phase) -> &T {
        &self.0[phase as usize]
    }
}

impl<T> IndexMut<Phase> for PerPhase<T> {
    fn index_mut(&mut self, phase: Phase) -> &mut T {
        &mut self.0[phase as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(arrivals: impl IntoIterator<Item = u64>) -> Account {
        let mut account = Account::default();
        arrivals.into_iter().for_each(|seq| account.note(seq));
        account
    }

    fn tally(sent: u64, lost: u64, overtaken: u64) -> Tally {
        Tally {
            sent,
            delivered: sent - lost,
            lost,
            overtaken,
        }
    }

    #[test]
    fn all_in_order() {
        let tallies = account(0..10).settle(&PerPhase([4, 1, 5]));
        assert_eq!(tallies, PerPhase([tally(4, 0, 0), tally(1, 0, 0), tally(5, 0, 0)]));
    }

    #[test]
    fn a_late_frame_is_overtaken_and_not_lost() {
        let tallies = account([0, 2, 3, 1, 4]).settle(&PerPhase([5, 0, 0]));
        assert_eq!(tallies[Phase::Before], tally(5, 0, 1));
    }

    #[test]
    fn gaps_and_missing_ends_are_lost() {
        let tallies = account([0, 2, 5]).settle(&PerPhase([4, 0, 4]));
        assert_eq!(tallies[Phase::Before], tally(4, 2, 0));
        assert_eq!(tallies[Phase::After], tally(4, 3, 0));
    }

    #[test]
    fn nothing_came_at_all() {
        let tallies = account([]).settle(&PerPhase([3, 2, 1]));
        assert_eq!(tallies, PerPhase([tally(3, 3, 0), tally(2, 2, 0), tally(1, 1, 0)]));
    }

    #[test]
    fn a_frame_counts_for_the_phase_that_sent_it() {
        // Frame 1 was sent before the switch and comes after frames sent behind it.
        let tallies = account([0, 2, 3, 4, 5, 1]).settle(&PerPhase([2, 2, 2]));
        assert_eq!(tallies, PerPhase([tally(2, 0, 1), tally(2, 0, 0), tally(2, 0, 0)]));
    }

    #[test]
    fn duplicates_are_strange_and_count_once() {
        let account = account([0, 1, 1, 0, 2]);
        assert_eq!(account.strange(&PerPhase([3, 0, 0])), 2);
        assert_eq!(account.settle(&PerPhase([3, 0, 0]))[Phase::Before], tally(3, 0, 0));
    }

    #[test]
    fn a_late_frame_that_comes_twice_is_overtaken_once() {
        let account = account([1, 0, 0]);
        assert_eq!(account.strange(&PerPhase([2, 0, 0])), 1);
        assert_eq!(account.settle(&PerPhase([2, 0, 0]))[Phase::Before], tally(2, 0, 1));
    }

    #[test]
    fn a_frame_nobody_sent_is_strange() {
        assert_eq!(account(0..4).strange(&PerPhase([1, 1, 1])), 1);
        assert_eq!(account(0..3).strange(&PerPhase([1, 1, 1])), 0);
    }
}
