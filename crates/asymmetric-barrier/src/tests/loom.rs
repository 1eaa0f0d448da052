//! Models of the hand-over: the system refuses its barrier from the first time on, and a compiler fence does nothing.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::handover::{Answer, Barriers, Place, Rule, System};

/// Lets the process register, then denies each barrier. Breaks the rule with this number, if there is one.
#[derive(Debug)]
struct Denied<const BREAKS: usize>;

const RULES: [Rule; 7] = [
    Rule::AllAreSettled,
    Rule::FenceBeforeFirstLook,
    Rule::FenceBeforeLooking,
    Rule::SettledAfterFence,
    Rule::LeftIsReleased,
    Rule::ReadersFence,
    Rule::FoundIsHandedOn,
];
const NONE: usize = RULES.len();

impl<const BREAKS: usize> System for Denied<BREAKS> {
    fn register() -> bool {
        true
    }

    fn barrier() -> Answer {
        Answer::Denied
    }

    fn breaks(rule: Rule) -> bool {
        RULES.get(BREAKS) == Some(&rule)
    }
}

/// The state that a model's threads share: the barriers, and a word that each side stores and the other loads.
struct Scene<const BREAKS: usize> {
    barriers: Barriers<Denied<BREAKS>>,
    /// Stored before the heavy barrier.
    closed: AtomicUsize,
    /// Stored before the light barriers, one each.
    inside: [AtomicUsize; 2],
    place: &'static Place,
}

impl<const BREAKS: usize> Scene<BREAKS> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            barriers: Barriers::new(),
            closed: AtomicUsize::new(0),
            inside: [AtomicUsize::new(0), AtomicUsize::new(0)],
            // Leaked: places must be `'static`.
            place: Box::leak(Box::new(Place::new())),
        })
    }

    /// Executes a light barrier after a store. Returns whether the other side's store was seen after it.
    fn read(&self, at: usize) -> bool {
        self.inside[at].store(1, Ordering::Relaxed);
        let _ = self.barriers.light(self.place);
        self.closed.load(Ordering::Relaxed) == 1
    }

    /// Executes a heavy barrier after a store. If it succeeds, returns which stores of the other side were seen after
    /// it.
    fn close(&self) -> Option<[bool; 2]> {
        self.closed.store(1, Ordering::Relaxed);
        let seen = || self.inside.each_ref().map(|word| word.load(Ordering::Relaxed) == 1);
        self.barriers.heavy().then(seen)
    }
}

/// Checks that for each light barrier, one of the two sides saw the other.
fn check(read: [bool; 2], seen: Option<[bool; 2]>) {
    if let Some(seen) = seen {
        for (at, (read, seen)) in read.into_iter().zip(seen).enumerate() {
            assert!(read || seen, "light barrier {at} and the heavy one passed each other");
        }
    }
}

/// A reader that was active when the barrier was denied.
fn active_before<const BREAKS: usize>() {
    loom::model(|| {
        let scene = Scene::<BREAKS>::new();
        scene.barriers.activate(scene.place);
        let other = scene.clone();
        let reader = thread::spawn(move || [other.read(0), other.read(1)]);
        let _ = scene.close();
        let seen = scene.close();
        check(reader.join().unwrap(), seen);
    });
}

/// A reader that becomes active during the heavy barrier. Another was active before, so that the mode is LIGHT.
fn active_meanwhile<const BREAKS: usize>() {
    loom::model(|| {
        let scene = Scene::<BREAKS>::new();
        let first: &'static Place = Box::leak(Box::new(Place::new()));
        scene.barriers.activate(first);
        first.deactivate::<Denied<BREAKS>>();
        let other = scene.clone();
        let reader = thread::spawn(move || {
            other.barriers.activate(other.place);
            [other.read(0), true]
        });
        let seen = scene.close();
        check(reader.join().unwrap(), seen);
    });
}

/// Like `active_meanwhile`, but a later heavy barrier uses the result of an earlier one.
fn active_between<const BREAKS: usize>() {
    loom::model(|| {
        let scene = Scene::<BREAKS>::new();
        let other = scene.clone();
        let reader = thread::spawn(move || {
            other.barriers.activate(other.place);
            [other.read(0), true]
        });
        let _ = scene.barriers.heavy();
        let seen = scene.close();
        check(reader.join().unwrap(), seen);
    });
}

/// A reader that is deactivated, and activated again by another thread.
fn handed_on<const BREAKS: usize>() {
    loom::model(|| {
        let scene = Scene::<BREAKS>::new();
        scene.barriers.activate(scene.place);
        let other = scene.clone();
        let reader = thread::spawn(move || {
            let first = other.read(0);
            other.place.deactivate::<Denied<BREAKS>>();
            let next = other.clone();
            let second = thread::spawn(move || {
                next.barriers.activate(next.place);
                next.read(1)
            });
            [first, second.join().unwrap()]
        });
        let seen = scene.close();
        check(reader.join().unwrap(), seen);
    });
}

/// A second heavy barrier uses the result of the first.
fn two_who_close<const BREAKS: usize>() {
    // The preemptions needed to act on a stale result: each of the three threads is stopped once, one of them twice.
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(|| {
        let scene = Scene::<BREAKS>::new();
        scene.barriers.activate(scene.place);
        let other = scene.clone();
        let reader = thread::spawn(move || [other.read(0), other.read(1)]);
        let other = scene.clone();
        let closer = thread::spawn(move || other.close());
        let seen = scene.close();
        let read = reader.join().unwrap();
        check(read, seen);
        check(read, closer.join().unwrap());
    });
}

#[test]
fn a_reader_that_was_active_before() {
    active_before::<NONE>();
}

#[test]
fn a_reader_that_becomes_active_meanwhile() {
    active_meanwhile::<NONE>();
}

#[test]
fn a_reader_that_becomes_active_between_two_heavy_barriers() {
    active_between::<NONE>();
}

#[test]
fn a_reader_that_is_handed_on() {
    handed_on::<NONE>();
}

#[test]
fn two_heavy_barriers_at_once() {
    two_who_close::<NONE>();
}

/// The hand-over ends: when all readers have fenced or left, heavy barriers succeed again.
#[test]
fn barriers_come_back() {
    loom::model(|| {
        let scene = Scene::<NONE>::new();
        scene.barriers.activate(scene.place);
        let left: &'static Place = Box::leak(Box::new(Place::new()));
        scene.barriers.activate(left);
        assert!(!scene.barriers.heavy());
        assert_eq!(scene.barriers.unsettled(), 2);
        let other = scene.clone();
        let reader = thread::spawn(move || other.read(0));
        left.deactivate::<Denied<NONE>>();
        reader.join().unwrap();
        assert_eq!(scene.barriers.unsettled(), 0);
        assert!(scene.barriers.heavy());
    });
}

/// Every broken rule is noticed, and the output says by which model.
#[test]
fn broken_rules_are_noticed() {
    type Models = [(&'static str, fn()); 5];
    fn models<const BREAKS: usize>() -> Models {
        [
            ("active before", active_before::<BREAKS>),
            ("active meanwhile", active_meanwhile::<BREAKS>),
            ("active between", active_between::<BREAKS>),
            ("handed on", handed_on::<BREAKS>),
            ("two who close", two_who_close::<BREAKS>),
        ]
    }
    let all: [Models; NONE] = [
        models::<0>(),
        models::<1>(),
        models::<2>(),
        models::<3>(),
        models::<4>(),
        models::<5>(),
        models::<6>(),
    ];
    for (rule, models) in RULES.iter().zip(all) {
        let noticed: Vec<_> = models
            .iter()
            .filter(|(_, model)| std::panic::catch_unwind(*model).is_err())
            .map(|(name, _)| name)
            .collect();
        println!("{rule:?}: noticed by {noticed:?}");
        assert!(!noticed.is_empty(), "no model notices that {rule:?} is broken");
    }
}
