//! The phases of a run: unpatched, in transition, patched, as the registry's events tell them.

use std::ops::{Index, IndexMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use livepatch::{Direction, Event, registry};
use parking_lot::Mutex;

/// The most phases that are told apart. What comes later counts for the last, which claims nothing.
pub(crate) const MAX_PHASES: usize = 32;

/// Which phase, from 0.
pub(crate) type Phase = usize;

/// The phases so far, and the one that the run is in.
#[derive(Debug)]
pub(crate) struct Clock {
    now: AtomicUsize,
    phases: Mutex<Vec<About>>,
}

/// One phase.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// What it is called in the report.
    pub(crate) name: String,
    /// Whether all units of work that begin in it run a patch.
    pub(crate) patched: bool,
    /// When it began.
    pub(crate) began: Instant,
}

impl Clock {
    /// In the first phase: unpatched.
    pub(crate) fn new() -> Self {
        let first = About {
            name: "unpatched".to_owned(),
            patched: false,
            began: Instant::now(),
        };
        Self {
            now: AtomicUsize::new(0),
            phases: Mutex::new(vec![first]),
        }
    }

    /// Takes an event of the registry, in the middle of what it tells.
    ///
    /// A transition begins before units begin on its other side, and ends after the last has left the one that it left.
    /// So a unit that finds itself in a patched phase runs a patch.
    pub(crate) fn note(&self, event: &Event) {
        match event {
            Event::Starting { patch, direction } => {
                let stays = *direction == Direction::Patching && self.last().patched;
                self.begin(format!("{direction} {patch}"), stays);
            }
            Event::Complete { direction, .. } => {
                // The patch in transition is still in the list, and not enabled if it goes.
                let newest = registry()
                    .status()
                    .patches
                    .into_iter()
                    .rev()
                    .find(|patch| patch.enabled);
                debug_assert!(*direction == Direction::Unpatching || newest.is_some());
                match newest {
                    Some(patch) => self.begin(patch.name, true),
                    None => self.begin("unpatched".to_owned(), false),
                }
            }
            _ => {}
        }
    }

    fn last(&self) -> About {
        self.phases.lock().last().expect("there is a first").clone()
    }

    fn begin(&self, name: String, patched: bool) {
        let mut phases = self.phases.lock();
        let overflow = phases.len() == MAX_PHASES - 1;
        if phases.len() < MAX_PHASES {
            phases.push(About {
                name: if overflow { "later".to_owned() } else { name },
                patched: patched && !overflow,
                began: Instant::now(),
            });
        }
        // Release: with the Acquire of `get`.
        self.now.store(phases.len() - 1, Ordering::Release);
    }

    /// The phase now.
    pub(crate) fn get(&self) -> Phase {
        self.now.load(Ordering::Acquire)
    }

    /// All phases so far.
    pub(crate) fn phases(&self) -> Vec<About> {
        self.phases.lock().clone()
    }
}

/// One value for each phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PerPhase<T>([T; MAX_PHASES]);

impl<T: Default> Default for PerPhase<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| T::default()))
    }
}

impl PerPhase<u64> {
    /// The sum over all phases.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl<T> PerPhase<T> {
    /// Each value, in the order of the phases.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// Another value for each.
    pub(crate) fn map<U>(&self, other: impl Fn(&T) -> U) -> PerPhase<U> {
        PerPhase(std::array::from_fn(|phase| other(&self.0[phase])))
    }
}

impl<T> Index<Phase> for PerPhase<T> {
    type Output = T;

    fn index(&self, phase: Phase) -> &T {
        &self.0[phase]
    }
}

impl<T> IndexMut<Phase> for PerPhase<T> {
    fn index_mut(&mut self, phase: Phase) -> &mut T {
        &mut self.0[phase]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_phases_end_in_one_that_claims_nothing() {
        let clock = Clock::new();
        for n in 0..2 * MAX_PHASES {
            clock.begin(n.to_string(), true);
        }
        assert_eq!(clock.get(), MAX_PHASES - 1);
        let last = clock.last();
        assert_eq!((last.name.as_str(), last.patched), ("later", false));
    }
}
