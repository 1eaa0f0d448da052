//! The child of a fork continues: no transition waits for a thread that does not exist there, no lock is held by one, and
//! a change that cannot be completed is an error.
#![cfg(target_os = "linux")]

mod common;
mod solo;

use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::task::Task;
use livepatch::{ChangeError, EnableError, ModuleError, ObjectPatch, Patch, Unit, UnitExt, patchable, registry, unit};
use solo::alone;

/// Far longer than any operation takes; a child that hangs is killed by its alarm.
const LONG: Duration = Duration::from_secs(60);

#[patchable]
fn answer() -> usize {
    0
}

fn patch(name: &str) -> Arc<Patch> {
    patch_with(name, |object| object)
}

fn patch_with(name: &str, more: impl FnOnce(ObjectPatch) -> ObjectPatch) -> Arc<Patch> {
    let object = ObjectPatch::program().function::<answer>(|| 1);
    Patch::builder(name)
        .object(more(object))
        .build()
        .expect("a valid patch")
}

fn enable(name: &str) {
    registry().enable(&patch(name)).expect("the patch is enabled");
}

fn settled() {
    registry().wait(LONG).expect("the transition ends");
}

fn disable(name: &str) {
    registry().disable(name).expect("the patch is disabled");
    settled();
}

/// Forks, and runs this in the child.
#[track_caller]
fn in_child(what: &str, work: impl FnOnce()) {
    // SAFETY: the child runs `work`, which is allowed there, and ends by `_exit`.
    match unsafe { libc::fork() } {
        -1 => panic!("no fork: {}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: only takes a number.
            unsafe { libc::alarm(50) };
            let done = panic::catch_unwind(AssertUnwindSafe(work));
            // SAFETY: exits the child.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
        child => {
            let mut status = 0;
            // SAFETY: a child of this process, and a local variable for its status.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "{what}: signal {}, or it panicked", libc::WTERMSIG(status));
        }
    }
}

/// Runs a whole transition that must wait for a unit, and so for the thread that ends transitions.
fn stalled_and_ended(name: &str) {
    let task = Task::new("in the child");
    task.enter();
    enable(name);
    assert!(registry().status().transition.is_some());
    task.leave();
    settled();
    assert_eq!(answer(), 1);
    disable(name);
    assert_eq!(answer(), 0);
}

#[test]
fn units_of_other_threads_are_left() {
    let _alone = alone();
    let task = Task::new("busy");
    task.enter();
    in_child("busy", || {
        assert!(registry().status().tasks.iter().all(|task| task.name != "busy"));
        enable("child");
        settled();
        assert_eq!(answer(), 1);
        disable("child");
        stalled_and_ended("child");
        // A new thread claims the record.
        let task = Task::new("busy");
        task.enter();
        enable("child");
        let late = registry().wait(Duration::from_millis(20)).expect_err("it is inside");
        assert_eq!(late.tasks, 1);
    });
    // None of this affects the parent.
    enable("parent");
    assert!(registry().status().transition.is_some());
    task.leave();
    settled();
    disable("parent");
}

#[test]
fn the_worker_is_started_again() {
    let _alone = alone();
    stalled_and_ended("parent");
    in_child("worker", || {
        stalled_and_ended("child");
        in_child("grandchild", || stalled_and_ended("grandchild"));
    });
    stalled_and_ended("parent");
}

#[test]
fn the_units_of_the_forking_thread_stay() {
    let _alone = alone();
    let outer = unit();
    in_child("own unit", move || {
        enable("child");
        let status = registry().status();
        let inside: Vec<_> = status.holding_up().collect();
        assert_eq!(inside.len(), 1, "{status:?}");
        assert_eq!(answer(), 0, "its version is the old one");
        registry().wait(Duration::from_millis(20)).expect_err("it is inside");
        drop(outer);
        settled();
        assert_eq!(answer(), 1);
    });
}

#[test]
fn a_transition_that_runs_goes_on() {
    let _alone = alone();
    let task = Task::new("holds it up");
    task.enter();
    enable("both");
    // Only by waiting.
    in_child("waits", || {
        settled();
        assert_eq!(answer(), 1);
        disable("both");
    });
    // By a change.
    in_child("changes", || {
        enable("another"); // Not refused as it would be if the other were still running.
        settled();
        assert_eq!((answer(), registry().status().patches.len()), (1, 2));
        disable("another");
        disable("both");
        stalled_and_ended("another");
    });
    // Also held up by the forking thread: reversed there.
    registry().disable("both").expect("it is reversed");
    task.leave();
    settled();
    let own = unit();
    enable("both");
    in_child("reverses", move || {
        registry().reverse("both").expect("it is in transition");
        settled();
        drop(own);
        assert_eq!(answer(), 0);
    });
    settled();
    disable("both");
}

#[test]
fn patches_stay_in_effect_in_both() {
    let _alone = alone();
    enable("both");
    settled();
    in_child("patched", || {
        assert_eq!(answer(), 1);
        disable("both");
        assert_eq!(answer(), 0);
    });
    assert_eq!(answer(), 1);
    disable("both");
}

/// A future that is ready when the flag is set.
struct Gate(Arc<AtomicBool>);

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0.load(Ordering::SeqCst) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

type Running = Pin<Box<dyn Future<Output = usize> + Send>>;

fn poll(future: &mut Running) -> Poll<usize> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn futures_go_with_the_thread_that_polled_them() {
    let _alone = alone();
    let go = Arc::new(AtomicBool::new(false));
    let future = |go: &Arc<AtomicBool>| -> Running {
        let gate = Gate(Arc::clone(go));
        Box::pin(
            async move {
                gate.await;
                answer()
            }
            .in_unit(),
        )
    };
    let mut own = future(&go);
    assert!(poll(&mut own).is_pending());
    let mut others = future(&go);
    let mut dropped = future(&go);
    let other = Task::new("polls");
    let (mut others, mut dropped) = other.run(move || {
        assert!(poll(&mut others).is_pending() && poll(&mut dropped).is_pending());
        (others, dropped)
    });
    in_child("futures", || {
        enable("child");
        let late = registry()
            .wait(Duration::from_millis(20))
            .expect_err("our own is inside");
        assert_eq!(late.tasks, 1, "and no other");
        go.store(true, Ordering::SeqCst);
        assert_eq!(poll(&mut own), Poll::Ready(0), "as it began");
        settled();
        // Released, but polled after all: it begins again, and is in a unit again.
        assert_eq!(poll(&mut others), Poll::Ready(1));
        go.store(false, Ordering::SeqCst);
        assert!(poll(&mut dropped).is_pending());
        registry().disable("child").expect("it is enabled");
        registry().wait(Duration::from_millis(20)).expect_err("it is inside");
        dropped = Box::pin(async { 0 });
        settled();
        drop(dropped);
        assert!(registry().status().tasks.iter().all(|task| task.inside.is_none()));
    });
}

#[test]
fn a_child_of_a_change_that_nobody_ends_gets_errors() {
    let _alone = alone();
    let (inside, go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let changing = thread::spawn({
        let (inside, go) = (Arc::clone(&inside), Arc::clone(&go));
        let slow = patch_with("slow", |object| {
            object.pre_patch(move |_| {
                inside.store(true, Ordering::SeqCst);
                while !go.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                Ok(())
            })
        });
        move || registry().enable(&slow).expect("the patch is enabled")
    });
    while !inside.load(Ordering::SeqCst) {
        thread::yield_now();
    }
    in_child("torn", || {
        assert!(matches!(
            registry().enable(&patch("child")),
            Err(EnableError::Forked(_))
        ));
        assert!(matches!(registry().disable("slow"), Err(ChangeError::Forked(_))));
        assert!(matches!(registry().reverse("slow"), Err(ChangeError::Forked(_))));
        assert!(matches!(registry().force("slow"), Err(ChangeError::Forked(_))));
        assert!(matches!(registry().module_coming("m", []), Err(ModuleError::Forked(_))));
        registry().poll().expect("it does nothing");
        registry()
            .wait(LONG * 1000)
            .expect_err("fails at once, as it can never end");
        assert_eq!(registry().status().patches.len(), 1);
        let _unit = unit();
        assert_eq!(answer(), 0);
    });
    go.store(true, Ordering::SeqCst);
    changing.join().expect("the change ends");
    settled();
    in_child("whole", || disable("slow"));
    disable("slow");
}

/// A callback that forks: the child is in the middle of the change, and completes it.
#[test]
fn a_callback_forks() {
    let _alone = alone();
    let forking = patch_with("forking", |object| {
        object.pre_patch(|_| {
            // SAFETY: the child continues the change, which is allowed in a forked child, and then ends by `_exit`.
            match unsafe { libc::fork() } {
                -1 => return Err("no fork".into()),
                // SAFETY: only takes a number.
                0 => drop(unsafe { libc::alarm(50) }),
                child => {
                    let mut status = 0;
                    // SAFETY: a child of this process, and a local variable for its status.
                    unsafe { libc::waitpid(child, &mut status, 0) };
                    assert_eq!(status, 0);
                }
            }
            Ok(())
        })
    });
    let parent = std::process::id();
    registry().enable(&forking).expect("the patch is enabled, in both");
    settled();
    assert_eq!(answer(), 1);
    disable("forking");
    stalled_and_ended("after");
    if std::process::id() != parent {
        // SAFETY: exits the child.
        unsafe { libc::_exit(0) };
    }
}

/// Forks at arbitrary times while others do everything: each child finds every lock free, and all data consistent.
#[test]
fn forks_of_a_busy_process() {
    let _alone = alone();
    let stop = AtomicBool::new(false);
    let until = Instant::now() + solo::seconds(3.0);
    thread::scope(|scope| {
        for number in 0..2 {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut held: Vec<Unit> = Vec::new();
                    for _ in 0..number {
                        held.push(unit());
                    }
                    answer();
                    thread::spawn(answer).join().expect("it calls");
                    let mut future: Running = Box::pin(async { answer() }.in_unit());
                    assert!(poll(&mut future).is_ready());
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop(registry().status());
                drop(registry().observe(|_| {}));
                let _ = registry().poll();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                enable("changing");
                disable("changing");
                registry().module_coming("m", []).expect("it comes");
                registry().module_going("m").expect("it goes");
            }
        });
        let mut children = 0;
        while Instant::now() < until || children < 20 {
            children += 1;
            in_child("busy", || {
                drop(registry().status());
                if registry().patch("changing").is_some() {
                    settled();
                    if registry().patch("changing").is_some() {
                        disable("changing");
                    }
                }
                assert_eq!(answer(), 0);
                enable("child");
                settled();
                assert_eq!(answer(), 1);
                disable("child");
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
}
