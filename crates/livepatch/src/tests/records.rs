//! Records: which task has one, when it is released, and that no frame or guard still refers to a released one.
//!
//! The process has one world, and other tests run concurrently: the counts here allow for them.

use std::cell::{Cell, RefCell};
use std::future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::task::record::Record;
use crate::task::unit::current_record;
use crate::task::{Side, WORLD};
use crate::{InUnit, TaskKind, Unit, UnitExt, patchable, unit};

/// More records than all tests of this file use at once.
const ROOM: usize = 64;

#[patchable(crate = "crate")]
fn one() -> u32 {
    1
}

fn records_inside(name: &str) -> usize {
    let of_name = |record: &'static Record| record.info().name == name;
    WORLD
        .tasks()
        .iter()
        .filter(|seen| seen.inside.is_some() && of_name(seen.record))
        .count()
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn named(name: &str, body: impl FnOnce() + Send + 'static) {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn short_threads_share_records() {
    for round in 0..2000 {
        named("short", move || {
            let _unit = (round % 2 == 0).then(unit);
            assert_eq!(one(), 1);
        });
    }
    assert!(WORLD.records().count() < ROOM, "{} records", WORLD.records().count());
    assert_eq!(records_inside("short"), 0);
}

#[test]
fn futures_share_records() {
    for round in 0..2000 {
        let mut future = Box::pin(async move { one() }.in_unit());
        if round % 2 == 0 {
            assert_eq!(poll(&mut future), Poll::Ready(1));
        }
    }
    assert!(WORLD.records().count() < ROOM, "{} records", WORLD.records().count());
}

/// Runs a function when it is dropped.
struct AtEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

thread_local! {
    static GUARDS: RefCell<Vec<Unit>> = const { RefCell::new(Vec::new()) };
    static AT_END: RefCell<Option<Box<dyn std::any::Any>>> = const { RefCell::new(None) };
}

#[test]
fn a_guard_in_a_thread_local_outlives_its_thread_and_no_longer() {
    // Made before the record, and so dropped after it; and vice versa.
    for first in [true, false] {
        named("stashed", move || {
            if first {
                GUARDS.with_borrow_mut(|guards| guards.reserve(2));
            }
            let guard = unit();
            GUARDS.with_borrow_mut(|guards| guards.push(guard));
            assert_eq!(records_inside("stashed"), 1);
        });
        assert_eq!(records_inside("stashed"), 0);
    }
}

#[test]
fn units_in_destructors_of_thread_locals_end() {
    named("late", || {
        AT_END.set(Some(Box::new(AtEnd(|| {
            let mut outer = unit();
            assert_eq!(one(), 1);
            // The wait ends a unit of its own, which must not release the record.
            outer.quiescent(|| assert_eq!(one(), 1));
            let mine = outer_record();
            assert!(mine.is_taken());
            drop(outer);
            assert_eq!(one(), 1);
        }))));
        assert_eq!(one(), 1);
    });
    assert_eq!(records_inside("late"), 0);
}

fn outer_record() -> &'static Record {
    current_record().expect("the thread is in a unit")
}

/// A late guard is dropped in the middle of a future's poll. It is the last guard of the record that the poll returns to.
#[test]
fn a_record_stays_while_a_poll_will_come_back_to_it() {
    named("under a poll", || {
        AT_END.set(Some(Box::new(AtEnd(|| {
            let guard = unit();
            let late = outer_record();
            let mut future = Box::pin(
                async move {
                    drop(guard);
                    assert!(late.is_taken(), "given back under a frame that comes back to it");
                    one()
                }
                .in_unit(),
            );
            assert_eq!(poll(&mut future), Poll::Ready(1));
            assert!(!late.is_taken(), "the record was not released");
            assert_eq!(one(), 1);
        }))));
        assert_eq!(one(), 1);
    });
    assert_eq!(records_inside("under a poll"), 0);
}

#[test]
fn quiescent_leaves_the_unit_and_comes_back() {
    named("quiet", || {
        let mut guard = unit();
        guard.quiescent(|| assert_eq!(records_inside("quiet"), 0));
        assert_eq!(records_inside("quiet"), 1);
        // Part of another unit: stays inside.
        let mut inner = unit();
        inner.quiescent(|| assert_eq!(records_inside("quiet"), 1));
        guard.quiescent(|| assert_eq!(records_inside("quiet"), 1));
        drop(inner);
        let panicked = panic::catch_unwind(AssertUnwindSafe(|| guard.quiescent(|| panic!("on purpose"))));
        assert!(panicked.is_err());
        assert_eq!(records_inside("quiet"), 1);
        // A guard that the wait leaves behind.
        let left = guard.quiescent(unit);
        drop(guard);
        assert_eq!(records_inside("quiet"), 1);
        drop(left);
        assert_eq!(records_inside("quiet"), 0);
    });
}

#[patchable(crate = "crate")]
fn wait_in(guard: &mut Unit) -> usize {
    guard.quiescent(|| records_inside("called"))
}

#[test]
fn a_patchable_function_cannot_leave_its_callers_unit() {
    named("called", || {
        let mut guard = unit();
        assert_eq!(wait_in(&mut guard), 1, "its code is of the version that it would leave");
    });
}

#[patchable(crate = "crate")]
fn drops_the_guards() -> usize {
    GUARDS.take();
    records_inside("dropper")
}

#[test]
fn a_call_stays_inside_when_its_units_guard_goes() {
    named("dropper", || {
        let guard = unit();
        GUARDS.with_borrow_mut(|guards| guards.push(guard));
        assert_eq!(drops_the_guards(), 1);
        assert_eq!(records_inside("dropper"), 0);
    });
}

#[test]
fn panics_end_units_and_calls() {
    #[patchable(crate = "crate")]
    fn panics() -> u32 {
        panic!("on purpose")
    }
    named("panics", || {
        assert!(panic::catch_unwind(panics).is_err());
        assert_eq!(records_inside("panics"), 0);
        let unwound = panic::catch_unwind(|| {
            let _unit = unit();
            panics()
        });
        assert!(unwound.is_err());
        assert_eq!(records_inside("panics"), 0);
    });
}

/// A future that is ready at its second poll, and runs a function at each poll and when it is dropped.
struct Script<P: FnMut(), D: FnMut()> {
    polls: u32,
    on_poll: P,
    _on_drop: AtEnd<D>,
}

impl<P: FnMut() + Unpin, D: FnMut() + Unpin> Future for Script<P, D> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        (self.on_poll)();
        self.polls += 1;
        if self.polls < 2 { Poll::Pending } else { Poll::Ready(()) }
    }
}

fn script<P: FnMut() + Unpin, D: FnMut() + Unpin>(on_poll: P, on_drop: D) -> Pin<Box<InUnit<Script<P, D>>>> {
    Box::pin(
        Script {
            polls: 0,
            on_poll,
            _on_drop: AtEnd(on_drop),
        }
        .in_unit(),
    )
}

fn futures_inside() -> Vec<(&'static Record, Side)> {
    WORLD
        .tasks()
        .iter()
        .filter(|seen| seen.record.info().kind == TaskKind::Future)
        .filter_map(|seen| Some((seen.record, seen.inside?.0)))
        .collect()
}

#[test]
fn a_guard_left_by_a_poll_stays_where_it_is_and_the_future_goes_on() {
    fn leave_a_guard() {
        let guard = unit();
        GUARDS.with_borrow_mut(|guards| guards.push(guard));
    }
    named("polls", || {
        let mut future = script(leave_a_guard, || ());
        let before = current_record().is_none();
        assert!(before, "the thread itself was in no unit yet");
        assert!(poll(&mut future).is_pending());
        let left = GUARDS.with_borrow(|guards| format!("{:?}", guards[0]));
        assert!(left.contains("records.rs"), "{left}");
        // The future ends on another thread; the guard stays on this one.
        thread::spawn(move || assert!(poll(&mut future).is_ready()))
            .join()
            .unwrap();
        assert!(!futures_inside().is_empty(), "the guard's unit goes on");
        assert_eq!(one(), 1);
        GUARDS.take();
    });
}

#[test]
fn a_future_whose_drop_panics_leaves_its_unit() {
    #[derive(Default)]
    struct PanicsOnce(Cell<bool>);
    named("drops", || {
        let done = PanicsOnce::default();
        let seen: Cell<Option<&'static Record>> = Cell::new(None);
        let mut future = script(
            || seen.set(current_record()),
            || {
                if !done.0.replace(true) {
                    panic!("on purpose");
                }
            },
        );
        assert!(poll(&mut future).is_pending());
        let record = seen.get().expect("it was polled");
        assert!(record.is_taken());
        assert!(panic::catch_unwind(AssertUnwindSafe(|| drop(future))).is_err());
        assert!(!record.is_taken() || record.info().kind == TaskKind::Thread || !is_inside(record));
    });
}

fn is_inside(record: &'static Record) -> bool {
    WORLD
        .tasks()
        .iter()
        .any(|seen| std::ptr::eq(seen.record, record) && seen.inside.is_some())
}

#[test]
fn a_future_inside_a_unit_begins_on_its_side_and_nests() {
    named("nests", || {
        let mut sides = Vec::new();
        let _unit = unit();
        let thread = outer_record();
        let mut future = Box::pin(
            async {
                let outer = outer_record();
                let inner = async { outer_record() }.in_unit().await;
                assert_eq!(one(), 1);
                sides.push(outer.side());
                assert!(!std::ptr::eq(outer, inner));
                future::ready(outer).await
            }
            .in_unit(),
        );
        assert!(poll(&mut future).is_ready());
        assert!(std::ptr::eq(outer_record(), thread), "back in the thread's own unit");
        drop(future);
        assert_eq!(sides, [thread.side()]);
    });
}
