//! Compares the frames that were handled with those that arrived: lost, overtaken, or in order.

use std::collections::BTreeSet;
use std::ops::AddAssign;

use crate::phase::{MAX_PHASES, PerPhase};

/// The frames that one station has received.
#[derive(Default)]
pub(crate) struct Account {
    /// One more than the highest sequence number seen.
    next: u64,
    /// Numbers below `next` that have not arrived.
    missing: BTreeSet<u64>,
    /// Numbers that arrived after a higher one.
    overtaken: Vec<u64>,
    /// Frames that arrived more than once.
    duplicates: u64,
}

impl Account {
    /// Records the arrival of a frame. Returns whether it was overtaken.
    pub(crate) fn note(&mut self, seq: u64) -> bool {
        if seq >= self.next {
            self.missing.extend(self.next..seq);
            self.next = seq + 1;
        } else if self.missing.remove(&seq) {
            self.overtaken.push(seq);
            return true;
        } else {
            self.duplicates += 1;
        }
        false
    }

    /// Compares the arrivals with what the access point handled, for each phase in which it did.
    pub(crate) fn settle(&self, handled: &HandledLog) -> PerPhase<Tally> {
        let mut tallies = PerPhase::<Tally>::default();
        let mut first = 0;
        for phase in 0..MAX_PHASES {
            let end = first + handled[phase];
            let never_came = end.saturating_sub(self.next.max(first));
            let skipped = self.missing.range(first..end).count() as u64;
            let overtaken = self.overtaken.iter().filter(|seq| (first..end).contains(seq)).count();
            let lost = never_came + skipped;
            tallies[phase] = Tally {
                handled: handled[phase],
                delivered: handled[phase] - lost,
                lost,
                overtaken: overtaken as u64,
            };
            first = end;
        }
        tallies
    }

    /// Returns the number of frames that should not have arrived: a second time, or without having been handled.
    pub(crate) fn strange(&self, handled: &HandledLog) -> u64 {
        self.duplicates + self.next.saturating_sub(handled.total())
    }
}

/// How many frames for one station were handled in each phase. They are handled in the order of their numbers.
pub(crate) type HandledLog = PerPhase<u64>;

/// The outcome of the frames of one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Frames that the access point handled.
    pub(crate) handled: u64,
    /// Frames that arrived, in order or not.
    pub(crate) delivered: u64,
    /// Frames that never arrived.
    pub(crate) lost: u64,
    /// Frames that arrived after one sent later.
    pub(crate) overtaken: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.handled += other.handled;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.overtaken += other.overtaken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(arrivals: impl IntoIterator<Item = u64>) -> Account {
        let mut account = Account::default();
        for seq in arrivals {
            account.note(seq);
        }
        account
    }

    /// Returns a log of the first three phases.
    fn handled(counts: [u64; 3]) -> HandledLog {
        let mut log = HandledLog::default();
        counts
            .into_iter()
            .enumerate()
            .for_each(|(phase, count)| log[phase] = count);
        log
    }

    fn first_three(tallies: &PerPhase<Tally>) -> [Tally; 3] {
        [tallies[0], tallies[1], tallies[2]]
    }

    fn tally(handled: u64, lost: u64, overtaken: u64) -> Tally {
        Tally {
            handled,
            delivered: handled - lost,
            lost,
            overtaken,
        }
    }

    #[test]
    fn all_in_order() {
        let tallies = account(0..10).settle(&handled([4, 1, 5]));
        assert_eq!(first_three(&tallies), [tally(4, 0, 0), tally(1, 0, 0), tally(5, 0, 0)]);
    }

    #[test]
    fn a_late_frame_is_overtaken_and_not_lost() {
        let tallies = account([0, 2, 3, 1, 4]).settle(&handled([5, 0, 0]));
        assert_eq!(tallies[0], tally(5, 0, 1));
    }

    #[test]
    fn gaps_and_missing_ends_are_lost() {
        let tallies = account([0, 2, 5]).settle(&handled([4, 0, 4]));
        assert_eq!(tallies[0], tally(4, 2, 0));
        assert_eq!(tallies[2], tally(4, 3, 0));
    }

    #[test]
    fn nothing_came_at_all() {
        let tallies = account([]).settle(&handled([3, 2, 1]));
        assert_eq!(first_three(&tallies), [tally(3, 3, 0), tally(2, 2, 0), tally(1, 1, 0)]);
    }

    #[test]
    fn a_frame_counts_for_the_phase_that_handled_it() {
        // Frame 1 was queued in the first phase, and arrives after frames that were handled later.
        let tallies = account([0, 2, 3, 4, 5, 1]).settle(&handled([2, 2, 2]));
        assert_eq!(first_three(&tallies), [tally(2, 0, 1), tally(2, 0, 0), tally(2, 0, 0)]);
    }

    #[test]
    fn duplicates_are_strange_and_count_once() {
        let account = account([0, 1, 1, 0, 2]);
        assert_eq!(account.strange(&handled([3, 0, 0])), 2);
        assert_eq!(account.settle(&handled([3, 0, 0]))[0], tally(3, 0, 0));
    }

    #[test]
    fn a_late_frame_that_comes_twice_is_overtaken_once() {
        let account = account([1, 0, 0]);
        assert_eq!(account.strange(&handled([2, 0, 0])), 1);
        assert_eq!(account.settle(&handled([2, 0, 0]))[0], tally(2, 0, 1));
    }

    #[test]
    fn a_frame_nobody_handled_is_strange() {
        assert_eq!(account(0..4).strange(&handled([1, 1, 1])), 1);
        assert_eq!(account(0..3).strange(&handled([1, 1, 1])), 0);
    }
}
