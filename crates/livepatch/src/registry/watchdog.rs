//! The watchdog: reports transitions that run for too long, and optionally reverses them.
//!
//! It is checked whenever the registry is polled. Each direction of a transition is timed by itself: it is reported once,
//! and reversed at most once in all.

use std::time::{Duration, Instant};

use super::change::{Change, Registry};
use crate::events::{Direction, Event};
use crate::sync::Lock;

/// What to do about a transition that does not end. See [`Registry::set_watchdog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    after: Duration,
    reverse: bool,
}

impl Watchdog {
    /// Reports a transition that has been running for this long, once, as an [`Event::Overdue`].
    #[must_use]
    pub const fn after(after: Duration) -> Self {
        Self { after, reverse: false }
    }

    /// Also reverses it: a patch that was being enabled is disabled again, and vice versa. If the reversed transition
    /// does not end either, it is reported, but not reversed again.
    #[must_use]
    pub const fn and_reverse(self) -> Self {
        Self { reverse: true, ..self }
    }
}

/// A static, because there is one registry.
static STATE: Lock<State> = Lock::new(State {
    watchdog: None,
    watched: None,
});

struct State {
    watchdog: Option<Watchdog>,
    watched: Option<Watched>,
}

/// A transition in one direction.
struct Watched {
    /// When the transition began, which identifies it.
    since: Instant,
    direction: Direction,
    /// Since when it has had this direction.
    direction_since: Instant,
    reported: bool,
    was_reversed: bool,
}

impl State {
    /// Returns whether to report the transition now: how long it has been running, and whether to reverse it.
    fn check(&mut self, since: Instant, direction: Direction, now: Instant) -> Option<(Duration, bool)> {
        let watchdog = self.watchdog?;
        let known = self.watched.take().filter(|known| known.since == since);
        let watched = self.watched.insert(match known {
            Some(known) if known.direction == direction => known,
            previous => Watched {
                since,
                direction,
                direction_since: previous.as_ref().map_or(since, |_| now),
                reported: false,
                was_reversed: previous.is_some_and(|previous| previous.was_reversed),
            },
        });
        let running = now.saturating_duration_since(watched.direction_since);
        if watched.reported || running < watchdog.after {
            return None;
        }
        watched.reported = true;
        let reverse = watchdog.reverse && !watched.was_reversed;
        watched.was_reversed |= reverse;
        Some((running, reverse))
    }
}

impl Registry {
    /// Sets the watchdog of all transitions, including the running one; or removes it. Without one, which is the default,
    /// a transition that a unit of work holds up runs on unnoticed until a [status](Self::status) is requested.
    ///
    /// The thread that ends transitions checks at least every tenth of a second; if there can be no such thread, each
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

impl Change<'_> {
    /// Checks whether the running transition is overdue.
    pub(super) fn check_watchdog(&self) {
        let Some((patch, direction, since)) = ({
            let inner = self.inner();
            inner.transition.as_ref().map(|transition| {
                let patch = transition.patch.name.clone();
                (patch, transition.direction, transition.since)
            })
        }) else {
            return;
        };
        let Some((running, reversing)) = STATE.lock().check(since, direction, Instant::now()) else {
            return;
        };
        let holding_up = self.registry.holding_up();
        self.emit(&Event::Overdue {
            patch: patch.clone(),
            direction,
            running,
            held_up_by: holding_up.iter().map(ToString::to_string).collect(),
            reversing,
        });
        if reversing {
            // The patch is in transition, and this change has the lock, so this cannot fail.
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
        let mut check =
            |since: u32, direction, now: u32| state.check(start + since * second, direction, start + now * second);
        assert_eq!(check(0, Direction::Patching, 9), None);
        assert_eq!(check(0, Direction::Patching, 11), Some((11 * second, true)));
        assert_eq!(check(0, Direction::Patching, 12), None);
        // After the reversal its time begins again.
        assert_eq!(check(0, Direction::Unpatching, 13), None);
        assert_eq!(check(0, Direction::Unpatching, 22), None);
        assert_eq!(check(0, Direction::Unpatching, 23), Some((10 * second, false)));
        assert_eq!(check(0, Direction::Unpatching, 99), None);
        // Another transition.
        assert_eq!(check(100, Direction::Unpatching, 111), Some((11 * second, true)));
    }
}
