//! Units of many threads while patches are enabled and disabled as fast as possible: no unit sees two versions.

mod solo;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use livepatch::{Event, ObjectPatch, Patch, Unit, patchable, registry, unit};

/// Two functions of one patch, with many points between them, and one that calls another.
#[patchable]
fn first() -> u32 {
    0
}
#[patchable]
fn second() -> u32 {
    0
}
#[patchable]
fn calls_second() -> u32 {
    second()
}

/// Makes a patch to this version of all three.
macro_rules! version {
    ($name:literal, $version:literal, replace: $replace:literal) => {
        Patch::builder($name)
            .replace($replace)
            .object(
                ObjectPatch::program()
                    .function::<first>(|| $version)
                    .function::<second>(|| $version)
                    .function::<calls_second>(|| second()),
            )
            .build()
            .unwrap()
    };
}

/// Counts of what happened.
#[derive(Default)]
struct Counts {
    units: AtomicU64,
    transitions: AtomicU64,
    reversals: AtomicU64,
}

/// One unit of work, in one of several forms.
fn work(round: u64, guards: &mut Option<Unit>) {
    let mut guard = unit();
    let version = first();
    match round % 7 {
        0 => {
            let _inner = unit();
            assert_eq!(second(), version, "nested");
        }
        1 => {
            let unwound = panic::catch_unwind(|| {
                let _inner = unit();
                panic::resume_unwind(Box::new(()));
            });
            assert!(unwound.is_err());
        }
        2 => {
            thread::yield_now();
            assert_eq!(calls_second(), version, "after a pause");
        }
        3 => {
            // Outside; then with any version, and again with a single one.
            guard.quiescent(thread::yield_now);
            let version = first();
            assert_eq!(second(), version, "after a quiescent wait");
            return;
        }
        4 => {
            // The unit continues in a guard that stays for a while.
            *guards = Some(guard);
            let kept = first();
            assert_eq!(second(), kept, "in a kept guard");
            assert_eq!(calls_second(), kept, "in a kept guard");
            *guards = None;
            return;
        }
        _ => {}
    }
    assert_eq!(calls_second(), version, "through another function");
    assert_eq!(second(), version, "in the end");
    assert_eq!(first(), version, "in the end");
}

/// Enables and disables patches, stacks them, and reverses transitions.
fn change(round: u64, patches: &[Arc<Patch>; 3]) {
    let [one, two, replacing] = patches;
    let off = |patch: &Arc<Patch>| {
        registry().disable(patch.name()).unwrap();
        solo::settle();
    };
    let on = |patch: &Arc<Patch>| {
        registry().enable(patch).unwrap();
        solo::settle();
    };
    match round % 4 {
        0 => {
            on(one);
            off(one);
        }
        1 => {
            on(one);
            on(two);
            off(one);
            off(two);
        }
        2 => {
            on(one);
            on(two);
            on(replacing);
            off(replacing);
        }
        _ => {
            // If it is still running, it is reversed, twice; otherwise there is nothing to reverse.
            registry().enable(one).unwrap();
            if registry().reverse(one.name()).is_ok() {
                let _ = registry().reverse(one.name());
            }
            solo::settle();
            if registry().patch(one.name()).is_some() {
                registry().disable(one.name()).unwrap();
                let _ = registry().reverse(one.name());
                solo::settle();
            }
            if registry().patch(one.name()).is_some() {
                off(one);
            }
        }
    }
}

fn stress(threads: usize, usual: f64) {
    let _alone = solo::alone();
    let patches = [
        version!("one", 1, replace: false),
        version!("two", 2, replace: false),
        version!("replacing", 3, replace: true),
    ];
    let counts = Arc::new(Counts::default());
    let observed = Arc::clone(&counts);
    let observation = registry().observe(move |event| match event {
        Event::Starting { .. } => drop(observed.transitions.fetch_add(1, Ordering::Relaxed)),
        Event::Reversing { .. } => drop(observed.reversals.fetch_add(1, Ordering::Relaxed)),
        _ => {}
    });
    let stop = AtomicBool::new(false);
    let until = Instant::now() + solo::seconds(usual);
    let mut rounds = 0;
    thread::scope(|scope| {
        for number in 0..threads {
            let (stop, counts) = (&stop, &counts);
            scope.spawn(move || {
                let mut units = 0;
                let mut kept = None;
                while !stop.load(Ordering::Relaxed) {
                    work(units + number as u64, &mut kept);
                    units += 1;
                }
                counts.units.fetch_add(units, Ordering::Relaxed);
            });
        }
        // Threads that are started and end.
        let (stop, counts) = (&stop, &counts);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                thread::spawn(|| (0..7).for_each(|round| work(round, &mut None)))
                    .join()
                    .unwrap();
                counts.units.fetch_add(7, Ordering::Relaxed);
            }
        });
        let changed = panic::catch_unwind(AssertUnwindSafe(|| {
            while Instant::now() < until {
                change(rounds, &patches);
                rounds += 1;
            }
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(payload) = changed {
            panic::resume_unwind(payload);
        }
    });
    drop(observation);
    let [units, transitions, reversals] =
        [&counts.units, &counts.transitions, &counts.reversals].map(|count| count.load(Ordering::Relaxed));
    println!("{threads} threads: {units} units, {transitions} transitions, {reversals} reversals, {rounds} rounds");
    assert!(units > 0 && transitions > 2 * rounds, "each round has two and more");
    assert_eq!((first(), second(), calls_second()), (0, 0, 0));
    assert!(registry().status().patches.is_empty());
}

#[test]
fn no_unit_sees_two_versions() {
    stress(6, 2.0);
}

#[test]
#[ignore = "runs for SHADOW_STRESS_SECONDS"]
fn torture() {
    stress(16, 60.0);
}

#[test]
fn calls_outside_units_are_units_of_their_own() {
    let _alone = solo::alone();
    #[patchable]
    fn both() -> (u32, u32) {
        (first(), second())
    }
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let one = version!("one", 1, replace: false);
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let (one, other) = both();
                assert_eq!(one, other, "one call, two versions");
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
        let changed = panic::catch_unwind(AssertUnwindSafe(|| {
            for round in 0..200 {
                registry().enable(&one).unwrap();
                solo::settle();
                registry().disable("one").unwrap();
                solo::settle();
                // Waits for the caller to have run, so that not all rounds pass before it begins.
                while calls.load(Ordering::Relaxed) < round && !caller.is_finished() {
                    thread::yield_now();
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        assert!(changed.is_ok());
        caller.join().unwrap();
    });
    assert!(calls.into_inner() > 0);
}

/// T6: a forced unit also holds up the reversal of the next transition.
#[test]
fn a_forced_unit_holds_up_the_reversal_of_the_next_transition() {
    let _alone = solo::alone();
    let one = version!("one", 1, replace: false);
    let two = version!("two", 2, replace: false);
    let guard = unit();
    registry().enable(&one).unwrap();
    registry().force("one").unwrap();
    registry().enable(&two).unwrap();
    registry().reverse("two").unwrap();
    registry().poll().unwrap();
    assert!(
        registry().status().transition.is_some(),
        "the call that it may be in may have taken the other side"
    );
    assert_eq!(
        registry().status().holding_up().count(),
        1,
        "and a status says who does"
    );
    drop(guard);
    solo::settle();
    assert!(registry().patch("two").is_none());
    registry().disable("one").unwrap();
    solo::settle();
    assert_eq!(first(), 0);
}
