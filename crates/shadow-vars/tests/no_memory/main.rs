//! Every operation on every backend, as a thread's first and later, while another thread constructs, fails or panics, with
//! its n-th allocation failing: it returns an error and the store is whole, or it ends the process where that is documented.
//!
//! Each attempt is a process of its own.

#![cfg(target_os = "linux")]

mod guarded;
mod listed;
mod processes;
mod stores;
#[path = "../support/mod.rs"]
mod support;

use std::process::{Command, Stdio, exit};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use shadow_vars::{AllocError, CtorError, Reclaim, ShadowId, ShadowStore, StoreError};
use support::failing::{Failing, with_failure};

#[global_allocator]
static ALLOCATOR: Failing = Failing;

const N: ShadowId<usize> = ShadowId::new(1);
const TEXT: ShadowId<Box<usize>> = ShadowId::new(2);
const RAW: u64 = 4;
/// The same number, with another type.
const WRONG: ShadowId<u8> = ShadowId::new(1);

/// The number of variables of `N` that exist, and a parent that has none.
const OLD: usize = 20;
const NEW: usize = 0x9990;
/// Does not fit into a word.
const FAR: usize = 0x9991;

fn obj(n: usize) -> usize {
    n * 16
}

/// Returns whether the operation was done; it may only fail for lack of memory.
fn done<O>(result: Result<O, StoreError>) -> bool {
    match result {
        Ok(_) => true,
        Err(StoreError::OutOfMemory) => false,
        Err(error) => panic!("{error}"),
    }
}

fn placed<T, O>(result: Result<O, AllocError<T>>) -> bool {
    done(result.map_err(|refused| refused.error))
}

fn constructed<O>(result: Result<O, CtorError<()>>) -> bool {
    match result {
        Ok(_) => true,
        Err(CtorError::Store(StoreError::OutOfMemory)) => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// The effect on the variables when an operation is done. If it fails, there is none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Nothing,
    /// `N` of this parent exists.
    Makes(usize),
    /// `N` of the first parent is freed.
    Frees,
    FreesAll,
}
use Effect::{Frees, FreesAll, Makes};

/// Returns whether an operation was done.
type Run<R> = fn(&Arc<ShadowStore<R>>) -> bool;

/// Named by the public function that it calls, and the case.
type Operation<R> = (&'static str, Effect, Run<R>);

fn operations<R: Reclaim>() -> Vec<Operation<R>> {
    let mut all = stores::of_stores();
    all.extend(guarded::pinned());
    all.extend(guarded::by_variable());
    all.extend(processes::of_processes());
    all
}

/// Returns whether an operation is this one, in any case.
fn is_of(op: &str, named: &str) -> bool {
    op == named || op.strip_prefix(named).is_some_and(|case| case.starts_with(", "))
}

/// The operations that end the process, with every backend, as [`docs::processes`](shadow_vars::docs::processes) says under
/// "No memory".
const ENDS: &[&str] = &[
    // Needs a place among the readers.
    "ShadowStore::pin, when all places are taken",
    // Collect.
    "ShadowStore::stats",
    "Pinned::ids_of",
    "Pinned::iter",
    // A parent's box.
    "Parent::new",
    "Parent::new_in",
    // Some of the allocations that make a store; for lack of others, these panic.
    "Builder::build",
    "ShadowStore::new",
    "ShadowStore::with_capacity",
    "global",
    // Starts a thread.
    "start_reclaimer",
    // Collects, and passes work to rayon.
    "OwnedPinned::par_iter",
];

/// Returns whether the process may end, as that page says, too.
fn may_end(backend: &str, op: &str, first: bool) -> bool {
    if ENDS.iter().any(|ends| is_of(op, ends)) {
        return true;
    }
    match backend {
        "asymmetric" => false,
        // Each owned guard is a reader.
        "eras" => op == "ShadowStore::pin_owned, when all places are taken",
        _ => first || is_of(op, "ShadowStore::pin_owned") || retires(op),
    }
}

/// Returns whether an operation requests a grace period of a third-party backend, or advances one.
fn retires(op: &str) -> bool {
    let parts = [
        "free",
        "refuses",
        "panics",
        "raw",
        "weigh",
        "Attached",
        "Parent",
        "flush",
        "synchronize",
        "shrink_to_fit",
    ];
    parts.iter().any(|part| op.contains(part))
}

/// Ends the process with this code if there were fewer allocations, else with 0.
const NONE_LEFT: i32 = 42;

/// One attempt, in a process of its own.
fn attempt<R: Reclaim>(op: &str, first: bool, nth: usize, for_good: bool) -> ! {
    let (_, effect, run) = operations::<R>().into_iter().find(|(name, ..)| *name == op).unwrap();
    let store = Arc::new(ShadowStore::<R>::builder().batch(1).hash_seed(1).build().unwrap());
    (1..=OLD).for_each(|n| store.pin().alloc(obj(n), N, n).map(drop).unwrap());
    store.pin().alloc(obj(1) + 8, TEXT, Box::new(5)).unwrap();
    let (was_done, fired) = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if !first {
                store.pin().alloc(FAR + 8, N, 1).unwrap();
                assert!(store.pin().free(FAR + 8, N));
                drop(store.pin_owned());
                store.synchronize().unwrap();
            }
            with_failure(nth, for_good, || run(&store))
        });
        thread.join().unwrap()
    });
    assert!(fired || was_done, "{op} was not done, with memory for it");
    check(&store, effect, was_done);
    println!("{op}: whole");
    exit(if fired { 0 } else { NONE_LEFT });
}

/// Checks that the store is whole: the expected variables exist, and every operation works.
fn check<R: Reclaim>(store: &Arc<ShadowStore<R>>, effect: Effect, was_done: bool) {
    for n in 1..=OLD {
        let gone = was_done && (effect == FreesAll || (effect == Frees && n == 1));
        assert_eq!(store.pin().get(obj(n), N).cloned(), (!gone).then_some(n));
    }
    if let Makes(parent) = effect {
        assert_eq!(store.pin().contains(parent, N), was_done);
    }
    store.pin().free_object(NEW);
    store.pin().free_object(FAR);
    for n in 1..=10 * OLD {
        store
            .pin()
            .get_or_alloc(obj(n), N, n)
            .map(|&value| assert_eq!(value, n))
            .unwrap();
    }
    assert_eq!(
        (store.len_of(N), store.pin().iter().count() >= 10 * OLD),
        (10 * OLD, true)
    );
    assert_eq!(store.pin().free_all(N), 10 * OLD);
    store.pin().free_all(TEXT);
    store.synchronize().unwrap();
    let stats = store.stats();
    assert_eq!(
        (
            stats.live - store.len_of(ShadowId::<u16>::new(77)) as u64 - raw(store),
            stats.drop_panics
        ),
        (0, 0)
    );
    assert_eq!(stats.retired_objects, 0);
}

fn raw<R: Reclaim>(store: &ShadowStore<R>) -> u64 {
    // SAFETY: no destructor.
    unsafe { store.pin().raw_free_all(RAW, None, null_mut()) as u64 }
}

/// The environment variable that tells a process which attempt to run.
const ATTEMPT: &str = "SHADOW_NO_MEMORY";

#[test]
#[ignore = "an attempt, run by the test below"]
fn one_attempt() {
    let Ok(attempt_of) = std::env::var(ATTEMPT) else { return };
    let parts: Vec<&str> = attempt_of.split('|').collect();
    let [backend, op, first, nth, for_good] = parts[..] else {
        panic!("{attempt_of}")
    };
    let (first, nth, for_good) = (first == "true", nth.parse().unwrap(), for_good == "true");
    match backend {
        "asymmetric" => attempt::<shadow_vars::Asymmetric>(op, first, nth, for_good),
        "epoch" => attempt::<shadow_vars::Epoch>(op, first, nth, for_good),
        "eras" => attempt::<shadow_vars::Eras>(op, first, nth, for_good),
        #[cfg(feature = "seize")]
        "seize" => attempt::<shadow_vars::Seize>(op, first, nth, for_good),
        _ => panic!("{backend}"),
    }
}

/// The outcome of the attempts at one operation.
#[derive(Debug, Default)]
struct Outcome {
    held: usize,
    ended: Vec<String>,
    broken: Vec<String>,
}

fn attempts(backend: &str, op: &str, first: bool) -> Outcome {
    use std::os::unix::process::ExitStatusExt;
    let mut outcome = Outcome::default();
    for for_good in [false, true] {
        let mut nth = 0;
        // Some need memory for each value that they free.
        while outcome.ended.len() <= 24 {
            nth += 1;
            assert!(nth < 60, "{backend}, {op}: there are more allocations than are tried");
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "one_attempt", "--ignored", "--nocapture", "--test-threads=1"])
                .env(ATTEMPT, format!("{backend}|{op}|{first}|{nth}|{for_good}"))
                .env("RUST_BACKTRACE", "0")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let at = format!("{backend}, {op}, first {first}, allocation {nth}, for good {for_good}");
            match (child.status.code(), child.status.signal()) {
                (Some(0), _) => outcome.held += 1,
                (Some(NONE_LEFT), _) => break,
                (_, Some(libc::SIGABRT)) => outcome.ended.push(at),
                _ => outcome.broken.push(format!(
                    "{at}: {}: {}",
                    child.status,
                    String::from_utf8_lossy(&child.stderr)
                )),
            }
        }
    }
    outcome
}

#[test]
fn every_operation_with_its_nth_allocation_failing() {
    let mut cases = Vec::new();
    let mut add = |backend: &'static str, ops: Vec<&'static str>| {
        cases.extend(ops.iter().flat_map(|&op| [(backend, op, true), (backend, op, false)]));
    };
    fn names<R: Reclaim>() -> Vec<&'static str> {
        operations::<R>().into_iter().map(|(name, ..)| name).collect()
    }
    add("asymmetric", names::<shadow_vars::Asymmetric>());
    add("epoch", names::<shadow_vars::Epoch>());
    add("eras", names::<shadow_vars::Eras>());
    #[cfg(feature = "seize")]
    add("seize", names::<shadow_vars::Seize>());
    let (left, outcomes) = (Mutex::new(cases), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = { left.lock().unwrap().pop() } {
                    let outcome = attempts(case.0, case.1, case.2);
                    outcomes
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((case, outcome));
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let (mut held, mut ended) = (0, 0);
    let mut unfounded: Vec<_> = ENDS
        .iter()
        .filter(|ends| cfg!(feature = "rayon") || !ends.contains("::par_"))
        .collect();
    let mut faults = Vec::new();
    for ((backend, op, first), outcome) in outcomes {
        held += outcome.held;
        ended += outcome.ended.len();
        if backend == "asymmetric" && !outcome.ended.is_empty() {
            unfounded.retain(|ends| !is_of(op, ends));
        }
        faults.extend(outcome.broken);
        if !outcome.ended.is_empty() && !may_end(backend, op, first) {
            faults.extend(outcome.ended);
        } else if !outcome.ended.is_empty() {
            println!(
                "{backend}, {op}, first {first}: ends, at {} of its allocations",
                outcome.ended.len()
            );
        }
    }
    println!("{held} failed allocations held, {ended} ended the process");
    assert!(
        held > 200,
        "only {held} allocations failed: does the allocator fail any?"
    );
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(
        unfounded.is_empty(),
        "it is said that these may end the process: {unfounded:?}"
    );
}

#[test]
fn what_ends_the_process_is_documented() {
    let page = include_str!("../../src/docs/processes.rs");
    let (_, section) = page.split_once("//! # No memory").unwrap();
    let section = section.split("//! # ").next().unwrap();
    for ends in ENDS {
        let function = ends.split(", ").next().unwrap();
        assert!(section.contains(&format!("`{function}`")), "no word of {function}");
    }
}
