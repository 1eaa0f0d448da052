//! Planted defects, and the tests that catch them.
//!
//! A test that cannot fail proves nothing. Here each rule of the protocol is broken on purpose, and a stress run that
//! passes on the correct store must fail on the broken one: by a wrong result, a value dropped twice or never, an
//! access that the checked backend knows to be too late, or a hang. Every run is a process of its own, as a broken
//! store may crash its process.

use std::cell::Cell;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::interleave;
use super::stall::support::configs::Config;
use super::stall::support::{Counted, Ledger, Random};
use super::stall::{OTHER, Own, VALUE, settle};
use crate::defect::{Defect, Stage};
use crate::reclaim::checked::Checked;
use crate::{Reclaim, ShadowId, ShadowStore};

/// The tests that catch a defect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    /// The runs below.
    Runs,
    /// The runs, with the directed kind of case that is made for the defect.
    Kind(u64),
    /// Not the runs, for this reason.
    Others(&'static str),
}

macro_rules! defects {
    ($($name:ident: $by:expr,)*) => {
        const ALL: &[(Defect, By)] = &[$((Defect::$name, $by)),*];

        /// Does not compile if a defect is missing above.
        const fn listed(defect: Defect) {
            match defect {
                $(Defect::$name)|* => {}
            }
        }
    };
}

defects! {
    AnyTomb: By::Runs,
    EmptyBeforeSealed: By::Runs,
    AnyIsLast: By::Runs,
    LastWithoutFence: By::Others("this machine's loads are ordered; a model catches it"),
    SieveIsLast: By::Runs,
    SieveAfterClaim: By::Others("takes a find that comes after a claim and before the next few steps of who made it; a model catches it"),
    TombNotNoted: By::Runs,
    EmptyAfterMovedIsAbsent: By::Runs,
    SealedIsAbsent: By::Runs,
    FrozenDeadIsAbsent: By::Others("harmless alone: insert makes FROZEN(dead) MOVED before it goes on, and a key that was dead while it was looked for was absent"),
    FullIsAbsent: By::Others("takes a successor that is full while the table before it lives, which tickets keep from coming about"),
    BuildingIsFound: By::Runs,
    BuildingExists: By::Runs,
    DeadExists: By::Runs,
    ClaimAfterMoved: By::Runs,
    NoSeal: By::Others("harmless alone: an insert that looked for a successor just before there was one does the same"),
    DeadLinkLeft: By::Others("a run meets it rarely, as keys that come back mostly find their tomb; a model catches it"),
    TombLeft: By::Runs,
    FrozenDeadReused: By::Kind(3),
    ReplacerRetires: By::Runs,
    KillByStore: By::Runs,
    RetireBeforeUnlink: By::Kind(5),
    UnlinkByStore: By::Runs,
    UnlinkToEmpty: By::Runs,
    UnlinkFromFound: By::Others("takes four threads, each at its place: `lagging` has them there, and catches it"),
    RemoverStopsAtFrozen: By::Runs,
    RemoverNeverClaims: By::Runs,
    FrozenLeft: By::Kind(2),
    FrozenToTomb: By::Kind(1),
    TombAfterMoved: By::Runs,
    FailedNotUnlinked: By::Runs,
    PlaceBeforeFreeze: By::Runs,
    MovedBeforePlace: By::Runs,
    FreezeByStore: By::Kind(0),
    SealByStore: By::Kind(6),
    SealLast: By::Runs,
    BuildingNotPlaced: By::Runs,
    PlaceOverTomb: By::Runs,
    PlaceAfterMoved: By::Kind(7),
    HelperRetires: By::Runs,
    PromoteEarly: By::Runs,
    RetireTableFirst: By::Runs,
    SweepNextFirst: By::Runs,
    SweepWithoutFence: By::Others("this machine's loads are ordered; the models catch it"),
    FirstPlaceOnly: By::Runs,
    LastPlaceDecides: By::Others("a variable must move while its parent is freed; a model catches it"),
    PushBesideClose: By::Others("the runs have a backend of their own; the models catch it"),
    CloseBesidePush: By::Others("the runs have a backend of their own; the models catch it"),
    TakeBesideOwner: By::Others("the runs have a backend of their own; the models catch it"),
    HandForgotten: By::Others("the runs have a backend of their own; the models catch it"),
    OwnedIgnored: By::Others("the runs have a backend of their own; the models catch it"),
    OwnedSeenEarly: By::Others("the runs have a backend of their own; the models catch it"),
    CountAfterClose: By::Others("the runs have a backend of their own; the models catch it"),
    MarkForgetsOpen: By::Others("the runs have a backend of their own; the models catch it"),
    NoLightBarrier: By::Others("the runs have a backend of their own; the models catch it"),
    NoHeavyBarrier: By::Others("the runs have a backend of their own; the models catch it"),
    RefusedCountsAsFenced: By::Others("the runs have a backend of their own; a model and a process that is denied the barrier catch it"),
    ReadersIgnored: By::Others("the runs have a backend of their own; the models catch it"),
    UpperNotPublished: By::Others("of a backend that the runs do not have; the models catch it"),
    NoReload: By::Others("of a backend that the runs do not have; the models catch it"),
    UppersSeenEarly: By::Others("of a backend that the runs do not have; the models catch it"),
    BornLate: By::Others("of a backend that the runs do not have; the models catch it"),
    SuccessorUnchecked: By::Others("of a backend that the runs do not have; the models catch it"),
    PhaseIgnored: By::Others("planted in models only, which catch it"),
    PhaseMovedLast: By::Others("planted in models only, which catch it"),
    LookUnchecked: By::Others("planted in models only, which catch it"),
    LookWithoutFence: By::Others("this machine's barriers are in the operations and the exchange; the models catch it"),
}

pub(super) fn by_name(name: &str) -> Option<Defect> {
    ALL.iter()
        .map(|(defect, _)| *defect)
        .find(|defect| format!("{defect:?}") == name)
}

/// Returns the directed kind of case that is made for the defect.
pub(super) fn kind_of(name: &str) -> Option<u64> {
    let (_, by) = ALL.iter().find(|(defect, _)| format!("{defect:?}") == name)?;
    if let By::Kind(kind) = *by { Some(kind) } else { None }
}

/// The environment variables that tell a child what to plant, and with which seed to begin.
const PLANT: &str = "SHADOW_PLANTED_DEFECT";
const SEED: &str = "SHADOW_PLANTED_SEED";

/// The duration of a run that finds nothing, and the time after which a run counts as hung.
const RUN: Duration = Duration::from_secs(5);
const HANG: Duration = Duration::from_secs(20);

/// Runs for each defect, with different seeds, before it counts as not caught.
const ATTEMPTS: u64 = 12;

#[test]
fn planted_defects_are_caught() {
    listed(Defect::AnyTomb);
    let start = Instant::now();
    let (how, passed) = run_child("none", 0);
    println!("no defect: {how}, {:?}", start.elapsed());
    assert!(passed, "the runs pass on a whole store");
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    let runs: Vec<_> = ALL.iter().filter(|(_, by)| !matches!(by, By::Others(_))).collect();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((defect, _)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let caught = (0..ATTEMPTS).find_map(|attempt| {
                        let (how, passed) = run_child(&format!("{defect:?}"), attempt);
                        (!passed).then_some((attempt, how))
                    });
                    println!("{defect:?}: {caught:?}, {:?}", begun.elapsed());
                    if caught.is_none() {
                        missed.lock().unwrap().push(defect);
                    }
                }
            });
        }
    });
    println!("{} defects, {:?}", runs.len(), start.elapsed());
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// Runs the stress with this defect. Returns how it ended, and whether it passed.
fn run_child(defect: &str, seed: u64) -> (String, bool) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::defects::child", "--nocapture", "--test-threads", "1"])
        .env(PLANT, defect)
        .env(SEED, seed.to_string())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    match wait(&mut child) {
        Some(status) => (status.to_string(), status.success()),
        None => {
            child.kill().unwrap();
            child.wait().unwrap();
            ("hangs".into(), false)
        }
    }
}

fn wait(child: &mut Child) -> Option<std::process::ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < HANG {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}

/// The body of a child. Does nothing when it is run as an ordinary test.
#[test]
fn child() {
    let Ok(planted) = std::env::var(PLANT) else { return };
    let defect = by_name(&planted);
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    assert!(defect.is_some() || planted == "none");
    // The first panic on any thread suffices; a broken store need not terminate.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::exit(1);
    }));
    // Most defects need the right order of steps, some need real concurrency.
    let start = Instant::now();
    let cases = interleave::explore(defect, kind_of(&planted), seed << 20, RUN * 3 / 4);
    let mut episodes = 0;
    while start.elapsed() < RUN {
        mixed(defect, seed << 20 | episodes);
        duel(defect, seed << 20 | episodes);
        episodes += 1;
    }
    println!("{cases} cases, {episodes} episodes");
}

thread_local! {
    static JITTER: Cell<u64> = const { Cell::new(0) };
}

/// Yields now and then, at every stage, so that other threads run in between.
fn jitter(_: Stage) {
    let mut random = Random(JITTER.get() | 1);
    match random.next() >> 32 & 63 {
        0..8 => thread::yield_now(),
        8 => thread::sleep(Duration::from_micros(30)),
        _ => {}
    }
    JITTER.set(random.0);
}

fn rigged<R: Reclaim>(config: &Config, defect: Option<Defect>, seed: u64) -> ShadowStore<R> {
    let mut core = ShadowStore::<R>::builder()
        .hash_seed(seed)
        .provoke(config.provoke)
        .core()
        .unwrap();
    core.rigging.defect = defect;
    core.rigging.watch = Some(Box::new(jitter));
    ShadowStore::from_core(core)
}

/// Runs all operations at once on a small table that is always migrating, as in the stall tests, with sweeps besides.
fn mixed(defect: Option<Defect>, episode: u64) {
    const THREADS: usize = 4;
    // Each attempt begins elsewhere, because on a busy machine a run does not get far.
    let config = if (episode ^ episode >> 20) % 8 == 7 {
        Config::provoked()
    } else {
        Config::migrating()
    };
    let store = rigged::<Checked>(&config, defect, episode);
    let ledger = Ledger::new(20_000);
    let shared: [AtomicUsize; 3] = Default::default();
    let mut expected = std::collections::BTreeMap::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (store, ledger, shared) = (&store, &ledger, &shared);
                scope.spawn(move || {
                    JITTER.set((episode + 1) << 20 | (number as u64 + 1) << 8);
                    let mut own = Own::new(store, ledger, number);
                    own.random = Random((episode * 64 + number as u64 + 1) << 7);
                    let mine = ShadowId::<usize>::new(100 + number as u64);
                    for round in 0..40 {
                        own.step(12);
                        own.share(shared);
                        if round % 20 == 10 {
                            own.burst(24);
                        }
                        if round % 10 == 5 {
                            // Everything that this thread has made under an id of its own is there for a sweep, and for
                            // a look-up.
                            let count = 1 + round / 5;
                            (0..count).for_each(|n| store.pin().alloc(n * 16, mine, n).map(drop).unwrap());
                            assert_eq!(store.pin().iter().filter(|var| var.get(mine).is_some()).count(), count);
                            assert_eq!(store.pin().free_all(mine), count);
                            (0..count).for_each(|n| assert!(!store.pin().contains(n * 16, mine)));
                        }
                    }
                    own.expected
                })
            })
            .collect();
        for worker in workers {
            expected.extend(worker.join().unwrap());
        }
    });
    settle(store, &ledger, &shared, &expected);
}

/// Runs two threads on one variable: both free it, then one frees it while the other creates it again.
fn duel(defect: Option<Defect>, episode: u64) {
    let config = Config::migrating();
    let store = rigged::<Checked<false>>(&config, defect, episode);
    let ledger = Ledger::new(2000);
    let together = Barrier::new(2);
    let freed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for second in [false, true] {
            let (store, ledger, together, freed) = (&store, &ledger, &together, &freed);
            scope.spawn(move || {
                JITTER.set((episode + 1) << 9 | u64::from(second) << 3);
                for round in 1..100 {
                    let obj = round % 3 * 9;
                    let construct = || {
                        thread::yield_now();
                        ledger.value()
                    };
                    let serial = store
                        .pin()
                        .get_or_alloc_with(obj, OTHER, construct)
                        .map(Counted::serial)
                        .unwrap();
                    together.wait();
                    assert_eq!(
                        store
                            .pin()
                            .free_with(obj, OTHER, |_, value| value.serial())
                            .unwrap_or(serial),
                        serial
                    );
                    together.wait();
                    if second {
                        store.pin().alloc(obj, VALUE, ledger.value()).unwrap();
                    }
                    together.wait();
                    let won = store.pin().free_with(obj, VALUE, |_, value| value.serial()).is_some();
                    freed.fetch_add(usize::from(won), Ordering::Relaxed);
                    together.wait();
                    assert_eq!(freed.load(Ordering::Relaxed), round, "one of two frees the variable");
                    if second {
                        store.pin().alloc(obj, OTHER, ledger.value()).unwrap();
                    }
                    together.wait();
                    if second {
                        assert!(store.pin().free(obj, OTHER));
                    } else {
                        let mut value = ledger.value();
                        while let Err(refused) = store.pin().alloc(obj, OTHER, value).map(drop) {
                            value = refused.value;
                        }
                    }
                    together.wait();
                    assert!(store.pin().get(obj, OTHER).map(Counted::serial).is_some(), "made anew");
                    together.wait();
                    if second {
                        assert!(store.pin().free(obj, OTHER));
                    }
                }
            });
        }
    });
    assert!(store.is_empty());
    drop(store);
    ledger.assert_balanced();
}
