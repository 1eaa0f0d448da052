//! Units of futures, on tokio's threads.

mod solo;

use std::cell::RefCell;
use std::future::{self, Future};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};
use std::time::Duration;

use livepatch::{ObjectPatch, Patch, TaskKind, TaskStatus, Unit, UnitExt, patchable, registry, unit};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::yield_now;

#[patchable]
fn first() -> u32 {
    0
}
#[patchable]
fn second() -> u32 {
    0
}

fn patch() -> Arc<Patch> {
    let object = ObjectPatch::program().function::<first>(|| 1).function::<second>(|| 1);
    Patch::builder("async").object(object).build().unwrap()
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap()
}

fn futures() -> Vec<TaskStatus> {
    let tasks = registry().status().tasks;
    tasks
        .into_iter()
        .filter(|task| task.kind == TaskKind::Future && task.inside.is_some())
        .collect()
}

/// A request that waits between its calls. Returns the threads that it ran on.
async fn request(awaits: usize) -> (u32, Vec<ThreadId>) {
    let version = first();
    let mut threads = vec![thread::current().id()];
    for number in 0..awaits {
        if number % 3 == 2 {
            tokio::time::sleep(Duration::from_micros(50)).await;
        } else {
            yield_now().await;
        }
        threads.push(thread::current().id());
        assert_eq!(second(), version, "another version after an await");
        // A unit within the unit, and a call through both.
        let inner = async {
            let _guard = unit();
            (first(), second())
        };
        assert_eq!(
            inner.in_unit().await,
            (version, version),
            "another version in a nested unit"
        );
    }
    assert_eq!(first(), version);
    (version, threads)
}

fn flip_while(runtime: &Runtime, patch: &Arc<Patch>, body: impl Future<Output = ()> + Send + 'static) -> u32 {
    let done = runtime.spawn(body);
    let mut flips = 0;
    while !done.is_finished() {
        registry().enable(patch).unwrap();
        solo::settle();
        registry().disable("async").unwrap();
        solo::settle();
        flips += 2;
    }
    runtime.block_on(done).unwrap();
    flips
}

#[test]
fn futures_keep_their_version_over_awaits_and_threads() {
    let _alone = solo::alone();
    let runtime = runtime();
    let patch = patch();
    let (moved, new) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counts = (Arc::clone(&moved), Arc::clone(&new));
    let flips = flip_while(&runtime, &patch, async move {
        for _ in 0..40 {
            let tasks: Vec<_> = (0..50).map(|n| tokio::spawn(request(n % 12).in_unit())).collect();
            for task in tasks {
                let (version, threads) = task.await.unwrap();
                counts.0.fetch_add(
                    u64::from(threads.iter().any(|one| *one != threads[0])),
                    Ordering::Relaxed,
                );
                counts.1.fetch_add(u64::from(version), Ordering::Relaxed);
            }
        }
    });
    let (moved, new) = (moved.load(Ordering::Relaxed), new.load(Ordering::Relaxed));
    println!("2000 requests, {moved} on several threads, {new} of the new version, {flips} transitions");
    assert!(moved > 0, "tokio moves tasks");
    assert!(flips > 0);
    assert_eq!(futures().len(), 0);
}

#[test]
fn a_future_holds_a_transition_up_until_it_ends() {
    let _alone = solo::alone();
    let runtime = runtime();
    for end in ["ready", "dropped", "aborted", "panicked"] {
        let (go, gone) = oneshot::channel::<()>();
        let (begun, seen) = oneshot::channel();
        let body = async move {
            assert_eq!(first(), 0);
            begun.send(()).unwrap();
            let _ = gone.await;
            assert_eq!(second(), 0, "it began before the patch");
            assert_ne!(end, "panicked", "on purpose");
        };
        let task = runtime.spawn(body.in_unit());
        runtime.block_on(seen).unwrap();
        registry().enable(&patch()).unwrap();
        registry().poll().unwrap();
        assert!(registry().status().transition.is_some(), "{end}: it is inside");
        let holders = futures();
        assert_eq!(holders.len(), 1, "{end}: {holders:?}");
        assert!(holders[0].name.contains("a_future_holds"), "{}", holders[0].name);
        let inside = holders[0].inside.as_ref().unwrap();
        assert!(
            !inside.switched && inside.entered_at.contains("futures.rs"),
            "{inside:?}"
        );
        assert_eq!(first(), 1);
        match end {
            "aborted" => task.abort(),
            "dropped" => drop(go),
            _ => go.send(()).unwrap(),
        }
        let ended = runtime.block_on(task);
        assert_eq!(ended.is_err(), end == "aborted" || end == "panicked", "{end}");
        solo::settle();
        registry().disable("async").unwrap();
        solo::settle();
        assert_eq!(futures().len(), 0, "{end}");
    }
}

#[test]
fn a_future_that_was_never_polled_is_in_no_unit() {
    let _alone = solo::alone();
    let waiting = async { first() }.in_unit();
    registry().enable(&patch()).unwrap();
    solo::settle();
    assert_eq!(futures().len(), 0);
    assert_eq!(runtime().block_on(waiting), 1, "its unit begins with its first poll");
    registry().disable("async").unwrap();
    solo::settle();
}

#[test]
fn what_a_dropped_future_drops_is_of_its_version() {
    struct Asks(Arc<AtomicBool>);
    impl Drop for Asks {
        fn drop(&mut self) {
            assert_eq!((first(), second()), (0, 0), "the version of the unit");
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let _alone = solo::alone();
    let asked = Arc::new(AtomicBool::new(false));
    let asks = Asks(Arc::clone(&asked));
    let mut future = Box::pin(
        async move {
            let _asks = asks;
            assert_eq!(first(), 0);
            future::pending::<()>().await;
        }
        .in_unit(),
    );
    let waker = std::task::Waker::noop();
    assert!(future.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    registry().enable(&patch()).unwrap();
    assert_eq!(first(), 1);
    // On another thread, as with executors.
    thread::spawn(move || drop(future)).join().unwrap();
    assert!(asked.load(Ordering::Relaxed));
    solo::settle();
    registry().disable("async").unwrap();
    solo::settle();
}

thread_local! {
    static LEFT: RefCell<Vec<Unit>> = const { RefCell::new(Vec::new()) };
}

/// A future that leaves guards on the threads that poll it.
struct Careless(u32);

impl Future for Careless {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let guard = unit();
        assert_eq!(first(), second());
        LEFT.with_borrow_mut(|left| left.push(guard));
        self.0 -= 1;
        if self.0 == 0 {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[test]
fn guards_that_polls_leave_behind_end_with_their_threads() {
    let _alone = solo::alone();
    let runtime = runtime();
    let patch = patch();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..20).map(|_| tokio::spawn(Careless(10).in_unit())).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert!(!futures().is_empty(), "the guards are still there");
    registry().enable(&patch).unwrap();
    registry().poll().unwrap();
    assert!(registry().status().transition.is_some(), "they hold the transition up");
    drop(runtime); // Its threads end.
    solo::settle();
    assert_eq!(futures().len(), 0);
    registry().disable("async").unwrap();
    solo::settle();
}

#[test]
fn a_panicking_future_that_is_caught_leaves_the_threads_task_alone() {
    let _alone = solo::alone();
    let _unit = unit();
    let mut future = Box::pin(
        async {
            assert_eq!(first(), 0);
            yield_now().await;
            panic!("on purpose");
        }
        .in_unit(),
    );
    let mut poll = || {
        let mut context = Context::from_waker(std::task::Waker::noop());
        std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context).is_pending()))
    };
    // Outside a runtime, tokio's yield is a wake and a pause.
    assert!(poll().is_ok_and(|pending| pending));
    assert!(poll().is_err());
    assert_eq!(futures().len(), 1, "until it is dropped");
    drop(future);
    assert_eq!(futures().len(), 0);
    assert_eq!(first(), second());
}
