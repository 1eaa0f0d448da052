//! The phases of a run, derived from the registry's events: unpatched, in transition, patched.

use std::ops::{Index, IndexMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use livepatch::{Direction, Event, registry};
use parking_lot::Mutex;

/// The maximum number of distinct phases. Later ones count as the last, which claims nothing.
pub(crate) const MAX_PHASES: usize = 32;

/// The index of a phase.
pub(crate) type Phase = usize;

/// The phases so far, and the current one.
#[derive(Debug)]
pub(crate) struct Clock {
    now: AtomicUsize,
    phases: Mutex<Vec<PhaseInfo>>,
}

/// One phase.
#[derive(Clone, Debug)]
pub(crate) struct PhaseInfo {
    /// Its name in the report.
    pub(crate) name: String,
    /// Whether all units of work that begin in it run a patch.
    pub(crate) patched: bool,
    /// When it began.
    pub(crate) began: Instant,
}

impl Clock {
    /// Begins with the first phase, unpatched.
    pub(crate) fn new() -> Self {
        let first = PhaseInfo {
            name: "unpatched".to_owned(),
            patched: false,
            began: Instant::now(),
        };
        Self {
            now: AtomicUsize::new(0),
            phases: Mutex::new(vec![first]),
        }
    }

    /// Processes an event of the registry, while the registry is reporting it.
    ///
    /// A transition phase begins before units begin on the other side, and ends after the last unit has left the old one.
    /// So a unit that finds itself in a patched phase runs a patch.
    pub(crate) fn note(&self, event: &Event) {
        match event {
            Event::Starting { patch, direction } => {
                let stays = *direction == Direction::Patching && self.last().patched;
                self.begin(format!("{direction} {patch}"), stays);
            }
            Event::Complete { direction, .. } => {
                // The patch in transition is still in the list, and not enabled if it is being removed.
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

    fn last(&self) -> PhaseInfo {
        self.phases.lock().last().expect("there is a first").clone()
    }

    fn begin(&self, name: String, patched: bool) {
        let mut phases = self.phases.lock();
        let overflow = phases.len() == MAX_PHASES - 1;
        if phases.len() < MAX_PHASES {
            phases.push(PhaseInfo {
                name: if overflow { "later".to_owned() } else { name },
                patched: patched && !overflow,
                began: Instant::now(),
            });
        }
        // Release: pairs with the Acquire of `get`.
        self.now.store(phases.len() - 1, Ordering::Release);
    }

    /// Returns the current phase.
    pub(crate) fn get(&self) -> Phase {
        self.now.load(Ordering::Acquire)
    }

    /// Returns all phases so far.
    pub(crate) fn phases(&self) -> Vec<PhaseInfo> {
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
    /// Returns the sum over all phases.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl<T> PerPhase<T> {
    /// Iterates over the values, in the order of the phases.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// Maps each value.
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
