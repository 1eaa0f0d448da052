//! Watching: reports events as they happen, and the running transition.
//!
//! The registry's observer only pushes events to a bounded queue: it never waits for a client.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::protocol::Answer;
use super::sessions::Shared;
use super::socket::{self, Polled};
use crate::events::Event;
use crate::registry::{TaskStatus, registry};

/// The interval at which a running transition is reported: the default, and the minimum.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(10));

/// The events that have not been sent to the client yet.
struct Queue {
    waiting: Mutex<Waiting>,
    capacity: usize,
    wakeup: OwnedFd,
}

/// The queued events, and the number of those after them that were dropped.
#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    missed: u64,
}

impl Queue {
    fn push(&self, event: &Event) {
        let mut waiting = self.waiting.lock();
        // Once an event is dropped, all are until the client has caught up, so that it can be told where the gap is.
        if waiting.missed > 0 || waiting.events.len() >= self.capacity {
            waiting.missed = waiting.missed.saturating_add(1);
        } else {
            waiting.events.push_back(event.clone());
        }
        drop(waiting);
        socket::wake(&self.wakeup);
    }
}

/// Reports events to a client, until it disconnects or is too slow.
pub(super) fn run(
    shared: &Shared,
    stream: &UnixStream,
    patch: Option<&str>,
    interval_ms: Option<u64>,
) -> io::Result<()> {
    let interval = interval_ms.map_or(INTERVALS.0, |ms| Duration::from_millis(ms).max(INTERVALS.1));
    let send = |answer: &Answer| socket::send(stream, answer, shared.limits.timeout);
    let queue = Arc::new(Queue {
        waiting: Mutex::default(),
        capacity: shared.limits.events,
        wakeup: socket::wakeup()?,
    });
    let _observation = registry().observe({
        let (queue, patch) = (Arc::clone(&queue), patch.map(str::to_owned));
        move |event| {
            if patch.as_deref().is_none_or(|name| concerns(event, name)) {
                queue.push(event);
            }
        }
    });
    // The transition that was last reported to the client, and when.
    let mut known = transition(patch);
    let mut reported_at = Instant::now();
    let first = report(patch);
    if first.is_none() {
        known = None;
    }
    send(&first.unwrap_or_else(no_transition))?;
    loop {
        // Read before the events are taken, so that the end of a transition is reported after its events.
        let running = transition(patch);
        let Waiting { events, missed } = std::mem::take(&mut *queue.waiting.lock());
        for event in events {
            send(&Answer::Event { event })?;
        }
        if missed > 0 {
            send(&Answer::Missed { events: missed })?;
        }
        if running != known && known.is_some() {
            send(&no_transition())?;
        }
        if running.is_some() && (running != known || reported_at.elapsed() >= interval) {
            reported_at = Instant::now();
            // `None`: it has ended by now, and its events follow.
            if let Some(report) = report(patch) {
                send(&report)?;
            }
        }
        known = running;
        let pause = known.as_ref().map(|_| {
            // The last event precedes the end itself, so the end is noticed soon.
            interval.saturating_sub(reported_at.elapsed()).min(INTERVALS.1 * 10)
        });
        match socket::poll(stream, &queue.wakeup, false, pause)? {
            Polled::HungUp => return Ok(()),
            Polled::TimedOut | Polled::Woken | Polled::Readable => {}
        }
    }
}

/// Returns whether an event concerns the patch or module of this name, or a module that the patch patches.
fn concerns(event: &Event, name: &str) -> bool {
    let of_its_modules = |module: &str| {
        let patch = registry().patch(name);
        patch.is_some_and(|patch| patch.objects.iter().any(|object| object.name == module))
    };
    event.concerns(name)
        || match event {
            Event::ModuleFailed { module, .. } | Event::ModuleRefused { module, .. } => of_its_modules(module),
            // A module's library has its name.
            Event::Unloaded { library } | Event::StaysLoaded { library, .. } => of_its_modules(library),
            _ => false,
        }
}

/// Returns the running transition, if the client watches it.
fn transition(patch: Option<&str>) -> Option<(String, Instant)> {
    registry()
        .transition()
        .filter(|(name, _)| patch.is_none_or(|patch| patch == name))
}

/// Returns a report of the running transition, if there still is one.
fn report(patch: Option<&str>) -> Option<Answer> {
    let status = registry().status();
    let held_up_by: Vec<TaskStatus> = status.holding_up().cloned().collect();
    let transition = status.transition?;
    patch
        .is_none_or(|patch| patch == transition.patch)
        .then_some(Answer::Transition {
            transition: Some(transition),
            held_up_by,
        })
}

fn no_transition() -> Answer {
    Answer::Transition {
        transition: None,
        held_up_by: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::concerns;
    use crate::events::{Direction, Event};
    use crate::patch::{ObjectPatch, Patch};
    use crate::registry::registry;

    /// A watcher is told all that concerns the patch, not only the steps of its transitions.
    #[test]
    fn a_patch_is_concerned_by_its_library_states_and_modules() {
        let name = |name: &str| name.to_owned();
        let module = ObjectPatch::module("watched-module").post_patch(|_| {});
        let patch = Patch::builder("watched").object(module).build().unwrap();
        registry().enable(&patch).unwrap();
        let events = [
            (
                Event::Unloaded {
                    library: name("watched"),
                },
                true,
            ),
            (
                Event::StaysLoaded {
                    library: name("watched"),
                    why: name("w"),
                },
                true,
            ),
            (
                Event::Freed {
                    patch: name("watched"),
                    state: 1,
                    shadow: 2,
                    variables: 3,
                },
                true,
            ),
            (
                Event::FreeFailed {
                    patch: name("watched"),
                    state: 1,
                    shadow: 2,
                    message: name("m"),
                },
                true,
            ),
            (
                Event::ModuleFailed {
                    module: name("watched-module"),
                    message: name("m"),
                },
                true,
            ),
            (
                Event::ModuleRefused {
                    module: name("watched-module"),
                    message: name("m"),
                },
                true,
            ),
            (
                Event::StaysLoaded {
                    library: name("watched-module"),
                    why: name("w"),
                },
                true,
            ),
            (Event::Unloaded { library: name("other") }, false),
            (
                Event::ModuleFailed {
                    module: name("other"),
                    message: name("m"),
                },
                false,
            ),
            (
                Event::Complete {
                    patch: name("other"),
                    direction: Direction::Patching,
                    forced: true,
                },
                false,
            ),
        ];
        for (event, expected) in &events {
            assert_eq!(concerns(event, "watched"), *expected, "{event:?}");
        }
        // A module can be watched by its own name.
        assert!(events.iter().any(|(event, _)| concerns(event, "watched-module")));
        registry().disable("watched").unwrap();
        registry().wait(std::time::Duration::from_secs(60)).unwrap();
    }
}
