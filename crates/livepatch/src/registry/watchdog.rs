//! Transitions that run for longer than they should: told, and let go back if that is wanted.

use std::time::{Duration, Instant};

use super::{Registry, Turn};
use crate::events::{Direction, Event};
use crate::sync::Lock;

/// What to do about a transition that does not end. See [`Registry::set_watchdog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    after: Duration,
    reverse: bool,
}

impl Watchdog {
    /// A transition that has been running for so long is told, once, as an [`Event::Overdue`].
    #[must_use]
    pub const fn after(after: Duration) -> Self {
        Self { after, reverse: false }
    }

    /// And lets it go back: a patch that was being enabled is disabled again, and the other way round. One that has gone back
    /// so is told if it does not end either, but left as it is.
    #[must_use]
    pub const fn and_reverse(self) -> Self {
        Self { reverse: true, ..self }
    }
}

/// There is one registry.
static STATE: Lock<State> = Lock::new(State {
    watchdog: None,
    watched: None,
});

struct State {
    watchdog: Option<Watchdog>,
    watched: Option<Watched>,
}

/// A transition, in one direction.
struct Watched {
    /// When the transition began: which one it is.
    since: Instant,
    direction: Direction,
    /// Since when it has had this direction.
    from: Instant,
    is_told: bool,
    was_reversed: bool,
}

impl State {
    /// What is to be done about the transition as it is now: tell it, and reverse it or not.
    fn look(&mut self, since: Instant, direction: Direction, now: Instant) -> Option<(Duration, bool)> {
        let watchdog = self.watchdog?;
        let known = self.watched.take().filter(|known| known.since == since);
        let watched = self.watched.insert(match known {
            Some(known) if known.direction == direction => known,
            turned => Watched {
                since,
                direction,
                from: turned.as_ref().map_or(since, |_| now),
                is_told: false,
                was_reversed: turned.is_some_and(|turned| turned.was_reversed),
            },
        });
        let running = now.saturating_duration_since(watched.from);
        if watched.is_told || running < watchdog.after {
            return None;
        }
        watched.is_told = true;
        let reverse = watchdog.reverse && !watched.was_reversed;
        watched.was_reversed |= reverse;
        Some((running, reverse))
    }
}

impl Registry {
    /// Watches over transitions from now on, also the one that runs; or no more. Without one, as at first, a transition that
    /// a unit of work holds up runs on in silence until somebody [asks](Self::status).
    ///
    /// The thread that ends transitions looks, at least every tenth of a second; where there can be none, each
    /// [`poll`](Self::poll) does.
    ///
    /// ```
    /// use std::time::Duration;
    /// use livepatch::{Watchdog, registry};
    ///
    /// registry().set_watchdog(Some(Watchdog::after(Duration::from_secs(60)).and_reverse()));
    /// ```
    pub fn set_watchdog(&self, watchdog: Option<Watchdog>) {
        let mut state = STATE.lock();
        *state = State {
            watchdog,
            watched: None,
        };
    }
}

#[cfg(all(feature = "control", target_os = "linux"))]
impl Registry {
    /// [`reverse`](Self::reverse), if the transition has this direction still: nobody else has reversed it.
    pub(crate) fn reverse_from(&self, patch: &str, from: Direction) -> Result<(), crate::error::ChangeError> {
        let turn = self.turn()?;
        let direction = turn.inner().transition_of(patch)?.1.direction;
        if direction != from {
            return Err(crate::error::ChangeError::NotInTransition {
                patch: patch.to_owned(),
            });
        }
        turn.reverse(patch)
    }
}

impl Turn<'_> {
    /// Looks whether the running transition is overdue.
    pub(super) fn watch_over(&self) {
        let Some((patch, direction, since)) = ({
            let inner = self.inner();
            inner.transition.as_ref().map(|transition| {
                let patch = transition.patch.name.clone();
                (patch, transition.direction, transition.since)
            })
        }) else {
            return;
        };
        let Some((running, reversing)) = STATE.lock().look(since, direction, Instant::now()) else {
            return;
        };
        let status = self.registry.status();
        self.emit(&Event::Overdue {
            patch: patch.clone(),
            direction,
            running,
            held_up_by: status.holding_up().map(ToString::to_string).collect(),
            reversing,
        });
        if reversing {
            // It is in transition: this turn has it.
            let _ = self.reverse(&patch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_is_told_once_and_reversed_once() {
        let second = Duration::from_secs(1);
        let watchdog = Some(Watchdog::after(10 * second).and_reverse());
        let mut state = State {
            watchdog,
            watched: None,
        };
        let start = Instant::now();
        let mut look =
            |since: u32, direction, now: u32| state.look(start + since * second, direction, start + now * second);
        assert_eq!(look(0, Direction::Patching, 9), None);
        assert_eq!(look(0, Direction::Patching, 11), Some((11 * second, true)));
        assert_eq!(look(0, Direction::Patching, 12), None);
        // On its way back, its time begins again.
        assert_eq!(look(0, Direction::Unpatching, 13), None);
        assert_eq!(look(0, Direction::Unpatching, 22), None);
        assert_eq!(look(0, Direction::Unpatching, 23), Some((10 * second, false)));
        assert_eq!(look(0, Direction::Unpatching, 99), None);
        // Another transition.
        assert_eq!(look(100, Direction::Unpatching, 111), Some((11 * second, true)));
    }
}
