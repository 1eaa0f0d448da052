//! Loom models of the page of `task`: every interleaving of two or three threads, up to a number of preemptions, and
//! every value that the memory model allows a load to see.
//!
//! `ci/loom.sh` runs them. Each model makes a world, two patch points and the versions of their functions, runs units
//! concurrently with transitions, and checks that no unit sees two versions (T3); loom reports a call that is not ordered
//! before its code is unloaded (T4). The points and the world are the crate's own; [`Service`] does the steps of a
//! transition, in the order of `registry/transition.rs`. Thread-locals and the registry are not modelled.

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
use crate::sync::{AtomicPtr, Ordering};
use crate::task::model::Refusal;
use crate::task::record::Record;
use crate::task::world::World;
use crate::task::{Side, TaskKind};

/// Explores a model, and prints the number of executions.
///
/// Twice: with loads that may see any store that the memory model allows, then with loads that see the newest one, which
/// loom interleaves without gaps. `LOOM_MAX_PREEMPTIONS` (by default 2) is the number of preemptions; small models add
/// `more`.
fn explore<F: Fn() + Send + Sync + 'static>(more: usize, model: F) {
    explore_with(&[false, true], more, model);
}

/// Like [`explore`], with the kinds of loads to explore: `true` for loads that see the newest store.
fn explore_with<F: Fn() + Send + Sync + 'static>(loads: &[bool], more: usize, model: F) {
    // The kind of loads is a static of the process: one model at a time.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);

    let mut builder = loom::model::Builder::new();
    let bound = builder.preemption_bound.unwrap_or(2);
    let model = Arc::new(model);
    let mut passes = String::new();
    for &newest in loads {
        builder.preemption_bound = Some(bound + more);
        asymmetric_barrier::atomics::loads_see_the_newest(newest);
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

/// The maximum number of versions of the functions in a model. Version 0 is the original.
const VERSIONS: usize = 3;

/// A service with two patch points.
struct Service {
    world: World,
    points: [Sides<AtomicPtr<()>>; 2],
    /// The code of each version: read by a call, written when it is unloaded.
    code: [UnsafeCell<bool>; VERSIONS],
}

// SAFETY: loom checks the accesses to the code; the rest is atomic or locked.
unsafe impl Sync for Service {}

impl Service {
    fn new() -> Arc<Self> {
        Self::of(false)
    }

    /// Returns a service without barriers, for models that establish their order by other means.
    fn without_barriers() -> Arc<Self> {
        Self::with(false, Some(Refusal::nothing()))
    }

    /// Returns the service of a process whose system refuses its barrier.
    fn refused() -> Arc<Self> {
        Self::with(false, Some(Refusal::new()))
    }

    /// Returns a service; `exact` for models in which units are forced.
    fn of(exact: bool) -> Arc<Self> {
        Self::with(exact, None)
    }

    fn with(exact: bool, refusal: Option<Refusal>) -> Arc<Self> {
        let point = || Sides::new([AtomicPtr::new(function(0)), AtomicPtr::new(function(0))]);
        let mut world = World::new();
        world.model.defect = defects::planted();
        world.model.exact = exact;
        world.model.refusal = refusal;
        Arc::new(Self {
            world,
            points: [point(), point()],
            code: std::array::from_fn(|_| UnsafeCell::new(true)),
        })
    }

    /// Registers a new task.
    fn task(&self) -> &'static Record {
        self.world.register("".into(), TaskKind::Thread, || {})
    }

    /// Runs a unit of work that calls both functions. Returns the version that it saw.
    fn unit(&self, record: &Record) -> usize {
        self.world.begin(record);
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

    /// Calls a point, and returns the version that ran.
    fn call(&self, point: usize, record: &Record) -> usize {
        self.run(self.points[point].get(record.side()))
    }

    fn run(&self, function: *mut ()) -> usize {
        let version = function.addr() - 1;
        // SAFETY: loom reports a write that is not ordered with this.
        self.code[version].with(|code| assert!(unsafe { *code }, "the code of version {version} is gone"));
        version
    }

    /// Starts a transition to this version. Returns the side that units leave.
    fn start(&self, version: usize) -> Side {
        let (left, fenced) = self.start_unsettled(version);
        assert!(fenced);
        left
    }

    /// Like [`start`](Self::start), and returns whether the barrier was executed.
    fn start_unsettled(&self, version: usize) -> (Side, bool) {
        let left = self.world.side();
        for point in &self.points {
            point.set(left.other(), function(version));
        }
        (left, self.world.flip())
    }

    /// Reverses the running transition.
    fn reverse(&self) -> Side {
        let left = self.world.side();
        assert!(self.world.flip());
        left
    }

    /// Ends the transition if no unit is on the side that was left, and returns whether it did.
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

    /// Runs a whole transition, if units let it end within a few checks. Returns whether they did.
    fn switch(&self, version: usize) -> bool {
        let left = self.start(version);
        (0..2).any(|_| self.try_complete(left))
    }

    /// Unloads the code of a version.
    fn unload(&self, version: usize) {
        // SAFETY: loom reports a call that is not ordered before this.
        self.code[version].with_mut(|code| unsafe { *code = false });
    }
}

/// A model's world ends with its execution, and its records with it.
impl Drop for Service {
    fn drop(&mut self) {
        let records: Vec<_> = self.world.records().collect();
        for record in records {
            // SAFETY: leaked by `World::register`; the model's threads are joined, so no reference to the records is left.
            drop(unsafe { Box::from_raw(ptr::from_ref(record).cast_mut()) });
        }
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

/// Returns the result of a thread.
fn join<T>(thread: JoinHandle<T>) -> T {
    thread
        .join()
        .unwrap_or_else(|_| panic!("a thread of the model panicked"))
}
