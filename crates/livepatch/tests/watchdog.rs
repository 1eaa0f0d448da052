//! Transitions that units hold up: what a status reports about them, and what the watchdog does.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use livepatch::{
    Direction, EnteredBy, Event, ObjectPatch, Patch, TaskStatus, UnitExt, Watchdog, patchable, registry, unit,
};

/// A time that only a defect exceeds.
const LONG: Duration = Duration::from_secs(60);

#[patchable]
fn answer() -> u32 {
    41
}

/// A mistake, for the test: the loop itself is patchable, and so never lets a transition end.
#[patchable]
fn main_loop(turns: &Receiver<()>) -> usize {
    turns.iter().fold(0, |turns, ()| turns + usize::from(answer() > 0))
}

/// Locks out other tests, as the process has one registry.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn patch() -> Arc<Patch> {
    let program = ObjectPatch::program().function::<answer>(|| 42);
    Patch::builder("fix").object(program).build().unwrap()
}

/// A thread that is in a unit until it is told to leave.
struct Holder(Sender<()>, JoinHandle<()>);

impl Holder {
    fn new(by: EnteredBy) -> Self {
        let (leave, turns) = mpsc::channel();
        let (inside, entered) = mpsc::channel();
        let hold = move || match by {
            EnteredBy::Call => {
                inside.send(()).unwrap();
                main_loop(&turns);
            }
            EnteredBy::Guard => {
                let _unit = unit();
                inside.send(()).unwrap();
                turns.iter().for_each(drop);
            }
            _ => {
                let mut future = Box::pin(std::future::pending::<()>().in_unit());
                assert!(
                    future
                        .as_mut()
                        .poll(&mut Context::from_waker(Waker::noop()))
                        .is_pending()
                );
                inside.send(()).unwrap();
                turns.iter().for_each(drop);
            }
        };
        let thread = thread::Builder::new().name("holder".to_owned()).spawn(hold).unwrap();
        entered.recv().unwrap();
        let holder = Self(leave, thread);
        while !registry().status().tasks.iter().any(|task| by_of(task) == Some(by)) {
            thread::yield_now();
        }
        holder
    }

    fn leave(self) {
        drop(self.0);
        self.1.join().unwrap();
    }
}

fn by_of(task: &TaskStatus) -> Option<EnteredBy> {
    task.inside.as_ref().map(|inside| inside.entered_by)
}

/// Returns the task that the transition waits for, once that is unusual.
fn unusual() -> TaskStatus {
    loop {
        let status = registry().status();
        let holder = status.holding_up().next().expect("it is held up").clone();
        if holder.unusual().is_some() {
            return holder;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_status_says_what_is_unusual_about_a_unit_that_does_not_end() {
    let _alone = alone();
    for (by, word) in [
        (EnteredBy::Call, "loop"),
        (EnteredBy::Guard, "guard"),
        (EnteredBy::Future, "future"),
    ] {
        let holder = Holder::new(by);
        registry().enable(&patch()).unwrap();
        let status = registry().status();
        let task = status.holding_up().next().unwrap();
        assert_eq!(by_of(task), Some(by));
        assert!(task.inside.as_ref().unwrap().since >= Duration::from_secs(1) || task.unusual().is_none());
        let task = unusual();
        let said = task.to_string();
        assert!(
            said.contains(task.unusual().unwrap()) && said.contains("watchdog.rs:"),
            "{said}"
        );
        assert!(task.unusual().unwrap().contains(word), "{said}");
        holder.leave();
        registry().wait(LONG).unwrap();
        registry().disable("fix").unwrap();
        registry().wait(LONG).unwrap();
    }
}

/// Returns a channel of events, until the observation is dropped.
fn events() -> (Receiver<Event>, livepatch::Observation) {
    let (sender, events) = mpsc::channel();
    let observation = registry().observe(move |event| drop(sender.send(event.clone())));
    (events, observation)
}

fn overdue(events: &Receiver<Event>) -> (Direction, Vec<String>, bool) {
    loop {
        if let Event::Overdue {
            patch,
            direction,
            running,
            held_up_by,
            reversing,
        } = events.recv_timeout(LONG).expect("it is told")
        {
            assert_eq!(patch, "fix");
            assert!(running >= Duration::from_millis(20));
            return (direction, held_up_by, reversing);
        }
    }
}

#[test]
fn the_watchdog_tells_once_and_leaves_the_transition_alone() {
    let _alone = alone();
    let holder = Holder::new(EnteredBy::Guard);
    registry().set_watchdog(Some(Watchdog::after(Duration::from_millis(20))));
    let (events, _observation) = events();
    registry().enable(&patch()).unwrap();
    let (direction, held_up_by, reversing) = overdue(&events);
    assert_eq!((direction, reversing), (Direction::Patching, false));
    assert_eq!(held_up_by.len(), 1);
    assert!(
        held_up_by[0].starts_with("holder (thread): inside for "),
        "{held_up_by:?}"
    );
    thread::sleep(Duration::from_millis(300));
    holder.leave();
    registry().wait(LONG).unwrap();
    let rest: Vec<_> = events.try_iter().collect();
    assert!(
        !rest.iter().any(|event| matches!(event, Event::Overdue { .. })),
        "{rest:?}"
    );
    assert_eq!(answer(), 42);
    // A transition that ends in time is not reported.
    registry().set_watchdog(Some(Watchdog::after(LONG).and_reverse()));
    let holder = Holder::new(EnteredBy::Guard);
    registry().disable("fix").unwrap();
    thread::sleep(Duration::from_millis(150));
    holder.leave();
    registry().wait(LONG).unwrap();
    registry().set_watchdog(None);
    assert!(!events.try_iter().any(|event| matches!(event, Event::Overdue { .. })));
}

#[test]
fn the_watchdog_reverses() {
    let _alone = alone();
    let holder = Holder::new(EnteredBy::Call);
    registry().set_watchdog(Some(Watchdog::after(Duration::from_millis(20)).and_reverse()));
    let (events, _observation) = events();
    registry().enable(&patch()).unwrap();
    // The loop continues; the patch is disabled nevertheless.
    let (direction, _, reversing) = overdue(&events);
    assert_eq!((direction, reversing), (Direction::Patching, true));
    registry().wait(LONG).unwrap();
    assert!(registry().status().patches.is_empty());
    assert_eq!(answer(), 41);
    // The same for a patch that an operator disables, in the other direction.
    holder.leave();
    registry().enable(&patch()).unwrap();
    registry().wait(LONG).unwrap();
    let holder = Holder::new(EnteredBy::Guard);
    registry().disable("fix").unwrap();
    let (direction, _, reversing) = overdue(&events);
    assert_eq!((direction, reversing), (Direction::Unpatching, true));
    registry().wait(LONG).unwrap();
    assert!(registry().status().patches[0].enabled);
    registry().set_watchdog(None);
    holder.leave();
    registry().disable("fix").unwrap();
    registry().wait(LONG).unwrap();
}
