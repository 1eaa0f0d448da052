//! Many threads that change patches and modules at once, while others are in units: nothing deadlocks, one transition
//! runs at a time, and callbacks are called in the right order.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use common::notation::Word;
use common::session::{Session, is_let_go};
use livepatch::{ObjectPatch, Patch, patchable, registry, unit};

const ROUNDS: usize = 60;
const PATCHES: [&str; 4] = ["P0", "P1", "P2", "P3"];

#[patchable]
fn first() -> u32 {
    0
}

#[patchable]
fn second() -> u32 {
    0
}

fn version<const N: u32>() -> u32 {
    N
}

fn patch(session: &Session, number: usize) -> Arc<Patch> {
    let new = [version::<1>, version::<2>, version::<3>, version::<4>][number];
    let program = ObjectPatch::program().function::<first>(new).function::<second>(new);
    Patch::builder(PATCHES[number])
        .replace(number == 3)
        .object(session.log.object(program))
        .object(session.log.object(ObjectPatch::module("m")))
        .build()
        .expect("a valid patch")
}

/// A refused thread retries, or continues: only the overall result is checked.
fn enable_and_disable(patch: &Arc<Patch>, number: usize) {
    for round in 0..ROUNDS {
        let _ = registry().enable(patch);
        if (round + number).is_multiple_of(3) {
            let _ = registry().reverse(patch.name());
        }
        if (round + number).is_multiple_of(7) {
            let _ = registry().force(patch.name());
        }
        let _ = registry().wait(Duration::from_millis(2));
        let _ = registry().disable(patch.name());
    }
}

fn come_and_go() {
    for _ in 0..ROUNDS {
        registry().module_coming("m", []).expect("no callback refuses it");
        registry().module_live("m").expect("it is there");
        thread::yield_now();
        registry().module_going("m").expect("it is there");
    }
}

/// Runs units, some of which are long. Forced ones may see two versions, so results are not checked.
fn work(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let _unit = unit();
        for _ in 0..100 {
            assert!(first() <= 4 && second() <= 4);
        }
        thread::yield_now();
    }
}

#[test]
fn changes_from_many_threads() {
    let session = Session::new();
    let patches: Vec<_> = (0..PATCHES.len()).map(|number| patch(&session, number)).collect();
    let (stop, start) = (AtomicBool::new(false), Barrier::new(PATCHES.len() + 1));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| work(&stop));
        }
        let changers: Vec<_> = patches
            .iter()
            .enumerate()
            .map(|(number, patch)| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    enable_and_disable(patch, number);
                })
            })
            .collect();
        start.wait();
        come_and_go();
        let ended: Vec<_> = changers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    for name in PATCHES {
        session.wait();
        let _ = registry().disable(name);
    }
    session.wait();
    assert!(registry().status().patches.is_empty());
    assert_eq!((first(), second()), (0, 0));
    let (words, calls) = session.log.take();
    let completed = judge_transitions(&words);
    assert!(completed > ROUNDS, "{completed} transitions");
    judge_callbacks(&calls);
    for patch in &patches {
        assert!(is_let_go(patch), "{patch:?}");
    }
}

/// Checks that nothing happens to other patches during a transition, except through modules. Returns how many transitions
/// ended.
fn judge_transitions(words: &[Word]) -> usize {
    let mut running: Option<&str> = None;
    let mut completed = 0;
    for word in words {
        let Some(patch) = word.patch.as_deref() else { continue };
        match word.text.as_str() {
            "T+" | "T-" => assert_eq!(running.replace(patch), None, "one at a time"),
            "S+" | "S-" | "REV+" | "REV-" | "C+" | "C-" | "CAN" => assert_eq!(running, Some(patch), "{word:?}"),
            "D+" | "D-" => {
                assert_eq!(running.take(), Some(patch), "{word:?}");
                completed += 1;
            }
            _ => {}
        }
    }
    assert_eq!(running, None);
    completed
}

/// Checks for each object of each patch that callbacks follow the life cycle, possibly cut short or reversed.
fn judge_callbacks(calls: &[Word]) {
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    enum At {
        #[default]
        Off,
        Prepared,
        On,
        Leaving,
    }
    let mut places: BTreeMap<(&str, &str), At> = BTreeMap::new();
    for call in calls {
        let patch = call.patch.as_deref().expect("callbacks are a patch's");
        let (callback, object) = call.text.split_once('(').expect("a callback");
        let object = &object[..1];
        let place = places.entry((patch, object)).or_default();
        *place = match (*place, callback) {
            (At::Off, "pre") => At::Prepared,
            (At::Prepared | At::Leaving, "post") => At::On,
            (At::On, "preU") => At::Leaving,
            (At::Prepared | At::Leaving, "postU") => At::Off,
            // A replaced patch gets no callbacks, and begins again.
            (At::On, "pre") => At::Prepared,
            (at, _) => panic!("{call:?} of an object that is {at:?}"),
        };
    }
}
