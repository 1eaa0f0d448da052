//! Loom models of the page of `task`: every interleaving of two or three threads, up to a number of preemptions, and every
//! value that the memory model lets a load see.
//!
//! `ci/loom.sh` runs them. Each model makes a world, two patch points and the versions of their functions, lets units meet
//! transitions, and checks that no unit sees two versions (T3); loom reports a call that nothing orders before the end of
//! what it calls (T4). The points and the world are the crate's own; what a transition does is in [`Service`], in the order
//! of `registry/transition.rs`. Threads' locals and the registry are not modelled.

mod defects;
mod force;
mod future;
mod refused;
mod reverse;
mod transition;

use std::any::type_name;
use std::ptr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering as Std};
use std::time::Instant;

use loom::cell::UnsafeCell;
use loom::thread::JoinHandle;

use crate::point::{Pointer, Sides};
use crate::sync::{self, AtomicPtr, Ordering};
use crate::task::{Record, Refusal, Side, TaskKind, World};

/// Explores a model, and prints how many executions that took.
///
/// Twice: with loads that may see any store that the memory model allows, then with loads that see the newest, which loom
/// interleaves without gaps. `LOOM_MAX_PREEMPTIONS` (2 unless set) says how often threads are stopped where they could go
/// on: `more` often than that in small models.
fn explore<F: Fn() + Send + Sync + 'static>(more: usize, model: F) {
    explore_with(&[false, true], more, model);
}

/// The same. Which kinds of loads there are: those that see the newest?
fn explore_with<F: Fn() + Send + Sync + 'static>(loads: &[bool], more: usize, model: F) {
    // The kind of loads is the process's: one model at a time.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);

    let mut builder = loom::model::Builder::new();
    let bound = builder.preemption_bound.unwrap_or(2);
    let model = Arc::new(model);
    let mut passes = String::new();
    for &newest in loads {
        builder.preemption_bound = Some(bound + more);
        sync::loads_see_the_newest(newest);
        let executions = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        builder.check({
            let (model, executions) = (Arc::clone(&model), Arc::clone(&executions));
            move || {
                executions.fetch_add(1, Std::Relaxed);
                model();
            }
        });
        let executions = executions.load(Std::Relaxed);
        passes += &format!(", {executions} executions in {:.1} s", start.elapsed().as_secs_f64());
    }
    let name = type_name::<F>()
        .split("::")
        .skip(3)
        .take(2)
        .collect::<Vec<_>>()
        .join("::");
    eprintln!("model {name}{passes}");
}

impl Pointer for AtomicPtr<()> {
    fn load(&self, order: Ordering) -> *mut () {
        self.load(order)
    }

    fn store(&self, pointer: *mut (), order: Ordering) {
        (**self).store(pointer, order);
    }
}

/// How many versions of the functions a model can have. Version 0 is the original.
const VERSIONS: usize = 3;

/// A service with two patch points.
struct Service {
    world: World,
    points: [Sides<AtomicPtr<()>>; 2],
    /// Each version's code: read by a call, written by who unloads it.
    code: [UnsafeCell<bool>; VERSIONS],
}

// SAFETY: the code is what loom watches; the rest is atomic or locked.
unsafe impl Sync for Service {}

impl Service {
    fn new() -> Arc<Self> {
        Self::of(false)
    }

    /// Without barriers: the model orders otherwise what they are for.
    fn without_barriers() -> Arc<Self> {
        Self::with(false, Some(Refusal::nothing()))
    }

    /// Of a process whose system refuses its barrier.
    fn refused() -> Arc<Self> {
        Self::with(false, Some(Refusal::new()))
    }

    /// `exact`: for models in which units are forced.
    fn of(exact: bool) -> Arc<Self> {
        Self::with(exact, None)
    }

    fn with(exact: bool, refusal: Option<Refusal>) -> Arc<Self> {
        let point = || Sides::new([AtomicPtr::new(function(0)), AtomicPtr::new(function(0))]);
        let mut world = World::new();
        world.defect = defects::planted();
        world.exact = exact;
        world.refusal = refusal;
        Arc::new(Self {
            world,
            points: [point(), point()],
            code: std::array::from_fn(|_| UnsafeCell::new(true)),
        })
    }

    /// A new task.
    fn task(&self) -> &'static Record {
        self.world.register("".into(), TaskKind::Thread)
    }

    /// A unit of work that calls both functions. The version that it saw.
    fn unit(&self, record: &Record) -> usize {
        self.world.begin_wholly(record);
        let version = self.work(record);
        self.world.leave(record);
        version
    }

    /// Calls both functions inside a unit.
    fn work(&self, record: &Record) -> usize {
        let version = self.call(0, record);
        assert_eq!(self.call(1, record), version, "a unit saw two versions");
        version
    }

    /// What the call of a point runs.
    fn call(&self, point: usize, record: &Record) -> usize {
        self.run(self.points[point].get(record.side()))
    }

    fn run(&self, function: *mut ()) -> usize {
        let version = function.addr() - 1;
        // SAFETY: loom reports a write that is not ordered with this.
        self.code[version].with(|code| assert!(unsafe { *code }, "the code of version {version} is gone"));
        version
    }

    /// A transition starts, to this version. The side that units leave.
    fn start(&self, version: usize) -> Side {
        let (left, fenced) = self.start_unsettled(version);
        assert!(fenced);
        left
    }

    /// The same. Whether the barrier was there, too.
    fn start_unsettled(&self, version: usize) -> (Side, bool) {
        let left = self.world.side();
        for point in &self.points {
            point.set(left.other(), function(version));
        }
        (left, self.world.flip())
    }

    /// The running transition is reversed.
    fn reverse(&self) -> Side {
        let left = self.world.side();
        assert!(self.world.flip());
        left
    }

    /// Whether the transition is over: no unit is on the side that was left.
    fn try_complete(&self, left: Side) -> bool {
        self.complete_if_empty(left, false)
    }

    fn complete_if_empty(&self, left: Side, forced: bool) -> bool {
        let over = self.world.is_empty(left, forced);
        if over {
            for point in &self.points {
                point.copy(left.other(), left);
            }
        }
        over
    }

    /// A whole transition, if units let it end within a few looks. Whether they did.
    fn switch(&self, version: usize) -> bool {
        let left = self.start(version);
        (0..2).any(|_| self.try_complete(left))
    }

    /// The code of a version goes.
    fn unload(&self, version: usize) {
        // SAFETY: loom reports a call that is not ordered before this.
        self.code[version].with_mut(|code| unsafe { *code = false });
    }
}

fn function(version: usize) -> *mut () {
    ptr::without_provenance_mut(version + 1)
}

/// Starts a thread of the model.
fn spawn<T: 'static>(service: &Arc<Service>, body: impl FnOnce(&Service) -> T + 'static) -> JoinHandle<T> {
    let service = Arc::clone(service);
    loom::thread::spawn(move || body(&service))
}

/// Waits for a thread's answer.
fn join<T>(thread: JoinHandle<T>) -> T {
    thread
        .join()
        .unwrap_or_else(|_| panic!("a thread of the model panicked"))
}
