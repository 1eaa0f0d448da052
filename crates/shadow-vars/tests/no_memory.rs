//! Every operation on every backend, as a thread's first and later, while another thread constructs, fails or panics, with its
//! n-th allocation failing: an error and a store that is whole, or the end of the process where that is documented.
//!
//! Each attempt is a process of its own.

#![cfg(target_os = "linux")]

mod support;

use std::alloc::Layout;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Stdio, exit};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use shadow_vars::{
    AllocError, Attached, BuildError, CtorError, ObjAddr, Parent, Reclaim, ShadowId, ShadowStore, StoreError, Variable,
};
use support::failing::{Failing, spared, with_failure};

#[global_allocator]
static ALLOCATOR: Failing = Failing;

const N: ShadowId<usize> = ShadowId::new(1);
const TEXT: ShadowId<Box<usize>> = ShadowId::new(2);
const ZERO: ShadowId<[u64; 32]> = ShadowId::new(3);
const RAW: u64 = 4;
/// The same number, another type.
const WRONG: ShadowId<u8> = ShadowId::new(1);

/// Variables of `N` that are there, and where none is.
const OLD: usize = 20;
const NEW: usize = 0x9990;
/// Does not fit into a word.
const FAR: usize = 0x9991;

fn obj(n: usize) -> usize {
    n * 16
}

/// Whether it was done; not for lack of memory.
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

/// What becomes of the variables when an operation is done. If it is not, nothing does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Nothing,
    /// `N` of this parent is there.
    Makes(usize),
    /// `N` of the first parent is gone.
    Frees,
    FreesAll,
}
use Effect::{Frees, FreesAll, Makes, Nothing};

/// Whether an operation was done.
type Run<R> = fn(&Arc<ShadowStore<R>>) -> bool;

fn operations<R: Reclaim>() -> Vec<(&'static str, Effect, Run<R>)> {
    vec![
        ("pin", Nothing, |store| (drop(store.pin()), true).1),
        ("repin", Nothing, |store| (store.pin().repin(), true).1),
        ("pin_owned", Nothing, |store| (drop(store.pin_owned()), true).1),
        ("get", Nothing, |store| store.get_cloned(obj(1), N) == Some(1)),
        ("get of another type", Nothing, |store| !store.contains(obj(1), WRONG)),
        ("try_get of another type", Nothing, |store| {
            store.pin().try_get(obj(1), WRONG).is_err()
        }),
        ("check_id", Nothing, |store| store.check_id(WRONG).is_err()),
        ("get_many", Nothing, |store| {
            let mut found = [None];
            let pin = store.pin();
            pin.get_many(&[(ObjAddr::new(obj(2)), N)], &mut found);
            found[0] == Some(&2)
        }),
        ("alloc", Makes(NEW), |store| placed(store.alloc(NEW, N, 7))),
        ("alloc far", Makes(FAR), |store| placed(store.alloc(FAR, N, 7))),
        ("alloc what exists", Nothing, |store| {
            let refused = store.alloc(obj(1), N, 9).unwrap_err();
            assert_eq!(refused.value, 9);
            refused.is_exists() || refused.error == StoreError::OutOfMemory
        }),
        ("alloc of another type", Nothing, |store| {
            matches!(
                store.alloc(obj(1), WRONG, 9).unwrap_err().error,
                StoreError::TypeMismatch(_)
            )
        }),
        ("alloc of a new id", Nothing, |store| {
            placed(store.alloc(obj(1), ShadowId::<u16>::new(77), 9));
            true
        }),
        ("get_or_alloc", Makes(NEW), |store| {
            placed(store.get_or_alloc(NEW, N, 7, |_| ()))
        }),
        ("alloc_with", Makes(NEW), |store| done(store.alloc_with(NEW, N, |_| 7))),
        ("get_or_alloc_with", Makes(FAR), |store| {
            done(store.get_or_alloc_with(FAR, N, |_| 7, |_| ()))
        }),
        ("try_alloc_with", Makes(NEW), |store| {
            constructed(store.try_alloc_with(NEW, N, |_| Ok(7)))
        }),
        ("a constructor that refuses", Nothing, |store| {
            let refused = store.get_or_try_alloc_with(NEW, N, |_| Err(()), |_| ()).unwrap_err();
            matches!(refused, CtorError::Ctor(()) | CtorError::Store(StoreError::OutOfMemory))
        }),
        ("a constructor that panics", Nothing, |store| {
            // Memory for the panic itself is std's, and it gives it back while it unwinds.
            let caught = catch_unwind(AssertUnwindSafe(|| {
                store.alloc_with(NEW, N, |_| spared(|| resume_unwind(Box::new(()))))
            }));
            spared(|| caught.map_or(true, |result| result == Err(StoreError::OutOfMemory)))
        }),
        ("alloc_zeroed", Nothing, |store| {
            let was_done = done(store.alloc_zeroed(NEW, ZERO));
            assert_eq!(spared(|| store.free(NEW, ZERO)), was_done);
            true
        }),
        ("raw_alloc", Nothing, |store| {
            let pin = store.pin();
            // SAFETY: no constructor.
            match unsafe { pin.raw_alloc(NEW, RAW, Layout::new::<u128>(), None, null_mut()) } {
                Ok(_) | Err(CtorError::Store(StoreError::OutOfMemory)) => true,
                Err(error) => panic!("{error:?}"),
            }
        }),
        ("Variable", Makes(NEW), |store| {
            Variable::new(store.clone(), N).is_ok_and(|variable| placed(variable.alloc(NEW, 7)))
        }),
        ("Variable of a new id", Nothing, |store| {
            done(Variable::new(&**store, ShadowId::<u16>::new(78)));
            true
        }),
        ("free", Frees, |store| store.free(obj(1), N)),
        ("free_with", Frees, |store| {
            store.free_with(obj(1), N, |_, &value| value) == Some(1)
        }),
        ("free_object", Frees, |store| store.free_object(obj(1)) == 1),
        ("free_all", FreesAll, |store| store.free_all(N) == OLD),
        ("free_all_with", FreesAll, |store| {
            store.free_all_with(N, |_, _| ()) == OLD
        }),
        ("free of a value with a drop", Nothing, |store| {
            store.free(obj(1) + 8, TEXT)
        }),
        ("free often, of many ids", Nothing, |store| {
            const IDS: u64 = 8;
            let id_of = |n| ShadowId::<[u64; 5]>::new(80 + n % IDS);
            // This thread's place is taken before the other's, so that it has nothing of what that one makes there.
            spared(|| store.flush());
            let prepare = || {
                (0..4 * IDS).for_each(|n| store.alloc(NEW + 8 * n as usize, id_of(n), [n; 5]).unwrap());
                (0..4 * IDS).for_each(|n| assert!(store.free(NEW + 8 * n as usize, id_of(n))));
                store.synchronize().unwrap();
            };
            spared(|| thread::scope(|scope| scope.spawn(prepare).join().unwrap()));
            // Often enough for the shard to get magazines, and counters of its own for each id, if there is memory for them.
            let mut made = 0;
            for n in 0..20 * IDS {
                let there = placed(store.alloc(NEW, id_of(n), [n; 5]));
                made += usize::from(there);
                let counted = || (store.len_of(id_of(n)), store.len());
                assert_eq!(spared(counted), (usize::from(there), OLD + 1 + usize::from(there)));
                assert_eq!(store.free(NEW, id_of(n)), there);
            }
            // What was freed is used again.
            assert!(made == 0 || made as u64 > 15 * IDS, "{made} of {}", 20 * IDS);
            true
        }),
        ("len", Nothing, |store| {
            store.len() == OLD + 1 && store.len_of(N) == OLD && store.capacity() > 0
        }),
        ("flush", Nothing, |store| (store.flush(), true).1),
        ("synchronize", Nothing, |store| store.synchronize() == Ok(())),
        ("shrink_to_fit", Nothing, |store| (store.shrink_to_fit(), true).1),
        ("ids_of", Nothing, |store| store.ids_of(obj(1)) == [1]),
        ("for_each", Nothing, |store| (store.for_each(|_| ()), true).1),
        ("stats", Nothing, |store| store.stats().live == OLD as u64 + 1),
        ("Builder::build", Nothing, |_| {
            match ShadowStore::<R>::builder().build() {
                Ok(store) => placed(store.alloc(NEW, N, 7)) | true,
                Err(error) => error == BuildError::OutOfMemory { asked: 0 },
            }
        }),
        ("drop of a store", Nothing, |_| {
            let store = spared(|| ShadowStore::<R>::builder().build().unwrap());
            (drop(store), true).1
        }),
        ("Parent", Nothing, |store| {
            let parent = Parent::new_in(7_u32, &**store);
            placed(store.alloc(parent.addr(), N, 7));
            true
        }),
        ("Attached", Nothing, |store| {
            let object = spared(|| Arc::new(7_u32));
            let attached = Attached::new_in(object, &**store);
            placed(store.alloc(&*attached, N, 7));
            true
        }),
        ("alloc, waiting", Nothing, |store| {
            let refused = while_constructing(store, Ending::Made, || store.alloc(NEW, N, 7)).unwrap_err();
            refused.value == 7 && (refused.is_exists() || refused.error == StoreError::OutOfMemory)
        }),
        ("get_or_alloc_with, waiting", Nothing, |store| {
            let ask = || store.get_or_alloc_with(NEW, N, |_| 8, |&value| value);
            matches!(
                while_constructing(store, Ending::Made, ask),
                Ok(7) | Err(StoreError::OutOfMemory)
            )
        }),
        ("get_or_alloc, waiting for what fails", Makes(NEW), |store| {
            placed(while_constructing(store, Ending::Refused, || {
                store.get_or_alloc(NEW, N, 8, |_| ())
            }))
        }),
        ("get_or_alloc_with, waiting for what panics", Makes(NEW), |store| {
            let ask = || store.get_or_alloc_with(NEW, N, |_| 8, |_| ());
            done(while_constructing(store, Ending::Panicked, ask))
        }),
    ]
}

/// How the constructor ends that another thread runs.
#[derive(Clone, Copy)]
enum Ending {
    Made,
    Refused,
    Panicked,
}

/// Calls `ask` while another thread constructs `N` of `NEW`.
fn while_constructing<R: Reclaim, O>(store: &Arc<ShadowStore<R>>, ending: Ending, ask: impl FnOnce() -> O) -> O {
    let builder = spared(|| {
        let (store, (inside, enters)) = (store.clone(), mpsc::channel());
        let builder = thread::spawn(move || {
            let construct = |_| {
                inside.send(()).unwrap();
                // Mostly long enough for the other to wait.
                thread::sleep(Duration::from_millis(3));
                match ending {
                    Ending::Made => Ok(7),
                    Ending::Refused => Err(()),
                    Ending::Panicked => resume_unwind(Box::new(())),
                }
            };
            let _ = catch_unwind(AssertUnwindSafe(|| store.try_alloc_with(NEW, N, construct)));
        });
        enters.recv().unwrap();
        builder
    });
    let result = ask();
    spared(|| builder.join().unwrap());
    result
}

/// Where the process may end, as [`docs::processes`](shadow_vars::docs::processes) says under "No memory".
fn may_end(backend: &str, op: &str, first: bool) -> bool {
    let is_one_of = |parts: &[&str]| parts.iter().any(|part| op.contains(part));
    // What makes a reader known to a backend that is not ours.
    let registers = first || op == "pin_owned";
    // What asks such a backend for a grace period, or pushes one on.
    let retires = is_one_of(&[
        "free",
        "that refuses",
        "that panics",
        "alloc_zeroed",
        "Attached",
        "Parent",
    ]) || is_one_of(&["flush", "synchronize", "shrink_to_fit"]);
    // What collects.
    let collects = is_one_of(&["ids_of", "for_each", "stats", "Parent", "build"]);
    let foreign = backend != "asymmetric";
    foreign && (registers || retires) || collects
}

/// Ends the process with this if there were not so many allocations, else with 0.
const NONE_LEFT: i32 = 42;

/// One attempt, in a process of its own.
fn attempt<R: Reclaim>(op: &str, first: bool, nth: usize, for_good: bool) -> ! {
    let (_, effect, run) = operations::<R>().into_iter().find(|(name, ..)| *name == op).unwrap();
    let store = Arc::new(ShadowStore::<R>::builder().batch(1).hash_seed(1).build().unwrap());
    (1..=OLD).for_each(|n| store.alloc(obj(n), N, n).unwrap());
    store.alloc(obj(1) + 8, TEXT, Box::new(5)).unwrap();
    let (was_done, fired) = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if !first {
                store.alloc(FAR + 8, N, 1).unwrap();
                assert!(store.free(FAR + 8, N));
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

/// The store is whole: what should be there is, and all goes on.
fn check<R: Reclaim>(store: &Arc<ShadowStore<R>>, effect: Effect, was_done: bool) {
    for n in 1..=OLD {
        let gone = was_done && (effect == FreesAll || (effect == Frees && n == 1));
        assert_eq!(store.get_cloned(obj(n), N), (!gone).then_some(n));
    }
    if let Makes(parent) = effect {
        assert_eq!(store.contains(parent, N), was_done);
    }
    store.free_object(NEW);
    store.free_object(FAR);
    for n in 1..=10 * OLD {
        store.get_or_alloc(obj(n), N, n, |&value| assert_eq!(value, n)).unwrap();
    }
    assert_eq!(
        (store.len_of(N), store.pin().iter().count() >= 10 * OLD),
        (10 * OLD, true)
    );
    assert_eq!(store.free_all(N), 10 * OLD);
    store.free_all(TEXT);
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

/// The variable that tells a process which attempt it is.
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

/// What came of the attempts at one operation.
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
        for nth in 1..60 {
            // Some ask for memory for each thing they free.
            if outcome.ended.len() > 24 {
                break;
            }
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
    let mut faults = Vec::new();
    for ((backend, op, first), outcome) in outcomes {
        held += outcome.held;
        ended += outcome.ended.len();
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
}
