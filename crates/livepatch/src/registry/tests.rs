//! Tests that count the work of a change, and that a status waits for no change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::registry;
use crate::patch::{ObjectPatch, Patch};
use crate::point::{PatchPoint, RawPoint};

type Fn = fn() -> u32;

/// Far longer than any operation takes.
const LONG: Duration = Duration::from_secs(60);

/// How many functions were looked up, set, or copied at points.
static STEPS: AtomicUsize = AtomicUsize::new(0);

pub(super) fn count_step() {
    STEPS.fetch_add(1, Ordering::Relaxed);
}

fn original() -> u32 {
    0
}

fn replacement() -> u32 {
    1
}

/// Returns points of functions that are never called.
fn points(prefix: &str, count: usize) -> Vec<&'static RawPoint> {
    let point = |number| -> &'static RawPoint {
        let name = Box::leak(format!("{prefix}-{number}").into_boxed_str());
        // SAFETY: `Fn` is a function pointer type, and `original` a function of that type.
        let point = unsafe { PatchPoint::<Fn>::new(name, original as Fn as *const ()) };
        Box::leak(Box::new(point)).raw()
    };
    (0..count).map(point).collect()
}

fn patch(name: &str, points: &[&'static RawPoint]) -> Arc<Patch> {
    let object = points.iter().fold(ObjectPatch::program(), |object, point| {
        // SAFETY: `Fn` is a function pointer type.
        unsafe { object.function_named::<Fn>(point.name(), replacement) }
    });
    Patch::builder(name).object(object).build().unwrap()
}

/// Returns the number of steps at points in `change`, including its transition.
fn work(change: impl FnOnce()) -> usize {
    let so_far = || STEPS.load(Ordering::Relaxed);
    let before = so_far();
    change();
    registry().wait(LONG).unwrap();
    so_far() - before
}

fn enable(patch: &Arc<Patch>) -> usize {
    work(|| registry().enable(patch).unwrap())
}

fn disable(name: &str) -> usize {
    work(|| registry().disable(name).unwrap())
}

/// Whatever else is enabled, stacked on the same function or not, and in any order of removal.
#[test]
fn a_change_is_proportional_to_what_it_changes() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    const MANY: usize = 300;
    let some = points("some", MANY);
    assert_eq!(work(|| registry().announce_points(some.iter().copied())), MANY);
    let name = |number: usize| format!("patch-{number}");
    // One function each; and all of the same function.
    for same in [false, true] {
        let of = |number: usize| patch(&name(number), &some[if same { 0..1 } else { number..number + 1 }]);
        let first = enable(&of(0));
        assert!(first <= 8, "{first} steps for one function");
        for number in 1..MANY {
            assert_eq!(enable(&of(number)), first, "patch {number}");
        }
        let down = disable(&name(MANY - 1));
        assert!(down <= 8, "{down} steps for one function");
        for number in 0..MANY - 1 {
            assert_eq!(disable(&name(number)), down, "patch {number}");
        }
    }
    // Many functions at once; then a patch that replaces all of them.
    let all = enable(&patch("all", &some));
    assert!(all <= 8 * MANY, "{all} steps for {MANY} functions");
    let over = enable(&patch("over", &some));
    assert_eq!(over, all);
    let replacing = Patch::builder("replacing")
        .replace(true)
        .object(ObjectPatch::program().pre_patch(|_| Ok(())));
    let replaced = enable(&replacing.build().unwrap());
    assert!(
        replaced <= 8 * 2 * MANY,
        "{replaced} steps for two patches of {MANY} functions"
    );
    assert_eq!(disable("replacing"), 0);
}

/// Not while points are locked, and not while a callback runs.
#[test]
fn a_status_waits_for_no_change() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let status = |during: &str| {
        let (told, tells) = channel();
        thread::spawn(move || told.send(registry().status().patches.len()));
        tells
            .recv_timeout(LONG)
            .unwrap_or_else(|_| panic!("a status waits for {during}"))
    };
    let points = registry().points.lock();
    assert_eq!(status("points"), 0);
    drop(points);
    let (told, tells) = channel();
    let (go, gone) = channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let slow = Patch::builder("slow").object(ObjectPatch::program().pre_patch(move |_| {
        told.send(()).unwrap();
        gone.lock().unwrap().recv().unwrap();
        Ok(())
    }));
    let slow = slow.build().unwrap();
    let changing = thread::spawn(move || registry().enable(&slow).unwrap());
    tells.recv().unwrap();
    assert_eq!(status("a callback"), 1);
    go.send(()).unwrap();
    changing.join().unwrap();
    registry().wait(LONG).unwrap();
    disable("slow");
}

/// The tests share the one registry.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
