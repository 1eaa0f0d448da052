//! Watching: events as they come, and the transition that runs.
//!
//! The registry's observer only puts events into a bounded queue: it never waits for a client.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::protocol::Answer;
use super::server::Shared;
use super::session::send;
use super::socket::{self, Polled};
use crate::events::Event;
use crate::registry::{TaskStatus, registry};

/// How often a running transition is told: unless said otherwise, and at most.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(10));

/// Events that the client has not been sent.
struct Queue {
    waiting: Mutex<Waiting>,
    room: usize,
    wakeup: OwnedFd,
}

/// In order: the events, then those that had no room.
#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    missed: u64,
}

impl Queue {
    fn put(&self, event: &Event) {
        let mut waiting = self.waiting.lock();
        // Once some are missed, all are until the client has caught up: so it is told where the gap is.
        if waiting.missed > 0 || waiting.events.len() >= self.room {
            waiting.missed = waiting.missed.saturating_add(1);
        } else {
            waiting.events.push_back(event.clone());
        }
        drop(waiting);
        socket::wake(&self.wakeup);
    }
}

/// Tells a client what happens, until it goes or is too slow.
pub(super) fn run(
    shared: &Shared,
    stream: &UnixStream,
    patch: Option<&str>,
    interval_ms: Option<u64>,
) -> io::Result<()> {
    let interval = interval_ms.map_or(INTERVALS.0, |ms| Duration::from_millis(ms).max(INTERVALS.1));
    let send = |answer: &Answer| send(stream, answer, shared.limits.timeout);
    let queue = Arc::new(Queue {
        waiting: Mutex::default(),
        room: shared.limits.events,
        wakeup: socket::wakeup()?,
    });
    let _observation = registry().observe({
        let (queue, patch) = (Arc::clone(&queue), patch.map(str::to_owned));
        move |event| {
            if patch.is_none() || event.patch() == patch.as_deref() {
                queue.put(event);
            }
        }
    });
    // The transition that the client knows of, and when it was told.
    let mut known = transition(patch);
    let mut told = Instant::now();
    let first = report(patch);
    if first.is_none() {
        known = None;
    }
    send(&first.unwrap_or_else(none))?;
    loop {
        // Looked at before the events are taken: the end of a transition is told after its events.
        let runs = transition(patch);
        let Waiting { events, missed } = std::mem::take(&mut *queue.waiting.lock());
        for event in events {
            send(&Answer::Event { event })?;
        }
        if missed > 0 {
            send(&Answer::Missed { events: missed })?;
        }
        if runs != known && known.is_some() {
            send(&none())?;
        }
        if runs.is_some() && (runs != known || told.elapsed() >= interval) {
            told = Instant::now();
            // None: it is over by now, with events to come.
            if let Some(report) = report(patch) {
                send(&report)?;
            }
        }
        known = runs;
        let pause = known.as_ref().map(|_| {
            // The last event comes before the end itself, which so is seen soon.
            interval.saturating_sub(told.elapsed()).min(INTERVALS.1 * 10)
        });
        match socket::poll(stream, &queue.wakeup, false, pause)? {
            Polled::HungUp => return Ok(()),
            Polled::Nothing | Polled::Woken | Polled::Readable => {}
        }
    }
}

/// The running transition, if the client wants to know of it.
fn transition(patch: Option<&str>) -> Option<(String, Instant)> {
    registry()
        .transition()
        .filter(|(name, _)| patch.is_none_or(|patch| patch == name))
}

/// The running transition as it is now, if one runs still.
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

fn none() -> Answer {
    Answer::Transition {
        transition: None,
        held_up_by: Vec::new(),
    }
}
