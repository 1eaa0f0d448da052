//! Every workload runs on every map, and the answers are right.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::engine::{Plan, Point};
use crate::keys::{KeyKind, KeySets};
use crate::peers::{self, Peers};
use crate::record::{Cell, Failure, Line};
use crate::store::{Form, Kind, Stall};
use crate::workloads::Workload;

/// Maps that sometimes fail, and where, or with which panic of their own. The study names such a run as failed and continues.
const UNRELIABLE: &[(&str, &str)] = &[("leapfrog", "W4N"), ("leapfrog", "assertion failed: prev_status == 15")];

fn is_unreliable(failure: &Failure) -> bool {
    UNRELIABLE
        .iter()
        .any(|&(store, known)| failure.store == store && (failure.workload == known || failure.message == known))
}

/// Returns the cells measured, and the number of cells that failed in a way that [`UNRELIABLE`] allows.
fn run(points: Vec<Point>, hasher: Option<&str>, keys: KeyKind) -> (Vec<Cell>, usize) {
    let all = peers::all();
    let plan = Plan {
        contenders: all.iter().collect(),
        points,
        reps: 0..1,
        deadline: None,
        seconds: 0.002,
        cycles: 2000,
        own_processes: false,
        latency: |_| true,
        hasher,
        keep_peers: None,
        always_measured: |_, _| false,
        known: None,
        wanted: |_, _| true,
    };
    let (mut cells, mut excused) = (Vec::new(), 0);
    plan.run(
        &mut KeySets::new(keys),
        &ProgressBar::hidden(),
        &mut |line| match line {
            Line::Cell(cell) => cells.push(cell),
            Line::Failure(failure) if is_unreliable(&failure) => excused += 1,
            other => panic!("{other:?}"),
        },
    );
    (cells, excused)
}

#[test]
fn every_workload_runs_with_every_map() {
    for hasher in ["foldhash", "ahash"] {
        for workload in Workload::ALL {
            let point = |threads| Point {
                workload,
                entries: 500,
                threads,
            };
            let (cells, excused) = run(vec![point(1), point(2)], Some(hasher), KeyKind::Heap);
            let expected: usize = peers::all()
                .iter()
                .map(|contender| {
                    (1..=2)
                        .filter(|&threads| workload.suits(&contender.about, 500, threads))
                        .count()
                })
                .sum();
            assert_eq!(cells.len() + excused, expected, "{workload}");
            for cell in cells {
                assert!(cell.mops > 0.0 && cell.ops > 0, "{cell:?}");
                assert!(
                    cell.p50_ns > 0 && cell.p50_ns <= cell.p99_ns && cell.p999_ns <= cell.max_ns,
                    "{cell:?}"
                );
            }
        }
    }
}

#[test]
fn every_kind_of_keys_can_be_used() {
    for kind in [KeyKind::Heap, KeyKind::Sequential, KeyKind::Pages, KeyKind::Random] {
        let points = [Workload::W1, Workload::W2, Workload::W3].map(|workload| Point {
            workload,
            entries: 300,
            threads: 1,
        });
        let (cells, _) = run(points.to_vec(), None, kind);
        assert!(cells.iter().all(|cell| cell.keys == kind.to_string()));
    }
}

#[test]
fn few_entries_and_many_threads_are_enough() {
    for workload in [
        Workload::W1,
        Workload::G64,
        Workload::W3,
        Workload::W4,
        Workload::W5,
        Workload::W6,
    ] {
        let point = Point {
            workload,
            entries: 1,
            threads: 3,
        };
        run(vec![point], Some("foldhash"), KeyKind::Heap);
    }
}

#[test]
fn the_fastest_peers_stay_when_only_some_may() {
    let all = peers::all();
    let point = Point {
        workload: Workload::W1,
        entries: 300,
        threads: 1,
    };
    let plan = Plan {
        contenders: all.iter().collect(),
        points: vec![point],
        reps: 0..2,
        deadline: None,
        seconds: 0.002,
        cycles: 2000,
        own_processes: false,
        latency: |_| false,
        hasher: None,
        keep_peers: Some(2),
        always_measured: |_, _| false,
        known: None,
        wanted: |about, _| about.kind != Kind::Design,
    };
    let mut stores = Vec::new();
    plan.run(&mut KeySets::new(KeyKind::Heap), &ProgressBar::hidden(), &mut |line| {
        if let Line::Cell(cell) = line {
            stores.push(cell.store);
        }
    });
    stores.sort();
    stores.dedup();
    let count = |peers: Peers| {
        let of = |name: &&String| peers::about(name).is_some_and(|about| peers.have(&about));
        stores.iter().filter(of).count()
    };
    // Two peers of each form, some of which may count for both, and a lock-free one if none of these is.
    assert!((2..=5).contains(&count(Peers::Boxed)), "{stores:?}");
    assert!((2..=5).contains(&count(Peers::InPlace)), "{stores:?}");
    assert!(count(Peers::LockFree) >= 1, "{stores:?}");
    let all_peers = stores.iter().filter(|name| peers::is_peer(name)).count();
    assert!((2..=5).contains(&all_peers), "{stores:?}");
    assert!(stores.contains(&"shadow".to_owned()) && stores.contains(&"nosync".to_owned()));
}

#[test]
fn a_peer_that_is_named_stays_whatever_its_rate() {
    let all = peers::all();
    let plan = Plan {
        contenders: all.iter().filter(|one| one.about.kind == Kind::Peer).collect(),
        points: vec![Point {
            workload: Workload::W1,
            entries: 2000,
            threads: 1,
        }],
        reps: 0..1,
        deadline: None,
        seconds: 0.002,
        cycles: 2000,
        own_processes: false,
        latency: |_| false,
        hasher: Some("foldhash"),
        keep_peers: Some(1),
        // The peer with the slowest look-ups.
        always_measured: |about, _| about.name == "skipmap",
        known: None,
        wanted: |_, _| true,
    };
    let mut stores = Vec::new();
    plan.run(&mut KeySets::new(KeyKind::Heap), &ProgressBar::hidden(), &mut |line| {
        if let Line::Cell(cell) = line {
            stores.push(cell.store);
        }
    });
    assert!(stores.contains(&"skipmap".to_owned()) && stores.len() < 6, "{stores:?}");
}

#[test]
fn what_was_settled_on_is_measured_again_without_a_first_look() {
    let all = peers::all();
    let point = |threads| Point {
        workload: Workload::W1,
        entries: 300,
        threads,
    };
    let stores = |stores: &[(&str, &str)]| {
        let owned = stores
            .iter()
            .map(|(store, hasher)| (store.to_string(), hasher.to_string()));
        owned.collect::<BTreeMap<_, _>>()
    };
    let known = BTreeMap::from([
        (point(1), stores(&[("shadow", "own"), ("papaya", "ahash")])),
        (point(2), stores(&[("shadow", "own"), ("papaya", "foldhash")])),
    ]);
    let plan = Plan {
        contenders: all.iter().collect(),
        points: vec![point(1), point(2)],
        reps: 0..2,
        deadline: None,
        seconds: 0.002,
        cycles: 2000,
        own_processes: false,
        latency: |point| point.threads == 1,
        hasher: None,
        keep_peers: Some(1),
        always_measured: |_, _| false,
        known: Some(&known),
        wanted: |_, _| true,
    };
    let mut cells = Vec::new();
    let spent = plan.run(&mut KeySets::new(KeyKind::Heap), &ProgressBar::hidden(), &mut |line| {
        if let Line::Cell(cell) = line {
            assert_eq!(cell.p50_ns > 0, cell.threads == 1, "{cell:?}");
            cells.push((cell.threads, cell.store, cell.hasher));
        }
    });
    assert_eq!(cells.len(), 2 * 2 * 2);
    cells.sort();
    cells.dedup();
    let expected = known.iter().flat_map(|(point, stores)| {
        stores
            .iter()
            .map(|(store, hasher)| (point.threads, store.clone(), hasher.clone()))
    });
    assert!(cells.into_iter().eq(expected));
    assert_eq!(spent.len(), 2);
    assert!(spent.values().all(|took| !took.is_zero()));
}

#[test]
fn what_comes_late_is_repeated_less() {
    let all = peers::all();
    let repeated = |deadline| {
        let plan = Plan {
            contenders: all
                .iter()
                .filter(|contender| contender.about.name == "shadow")
                .collect(),
            points: vec![Point {
                workload: Workload::W1,
                entries: 300,
                threads: 1,
            }],
            reps: 0..5,
            deadline,
            seconds: 0.002,
            cycles: 2000,
            own_processes: false,
            latency: |_| false,
            hasher: None,
            keep_peers: None,
            always_measured: |_, _| false,
            known: None,
            wanted: |_, _| true,
        };
        let mut cells = 0;
        plan.run(&mut KeySets::new(KeyKind::Heap), &ProgressBar::hidden(), &mut |_| {
            cells += 1
        });
        cells
    };
    let now = Instant::now();
    assert_eq!((repeated(Some(now)), repeated(None)), (3, 5));
    assert_eq!(repeated(Some(now + Duration::from_secs(3600))), 5);
}

#[test]
fn what_a_map_cannot_do_is_not_asked_of_it() {
    for contender in peers::all() {
        let about = &contender.about;
        assert_eq!(Workload::W3.suits(about, 100, 2), about.kind != Kind::Limit);
        assert_eq!(
            Workload::W10.suits(about, 100, 1),
            about.stall == Stall::Garbage && !about.is_by_id()
        );
        assert_eq!(
            Workload::W7P.suits(about, 100, 2),
            about.kind == Kind::Ours && !about.is_by_id()
        );
        // Workloads with values of their own run on maps that can store them, in the form that programs use.
        let as_programs_do = about.any_value && about.form != Form::Boxed && !about.is_by_id();
        assert_eq!(Workload::W14.suits(about, 100, 1), as_programs_do, "{}", about.name);
        assert_eq!(
            Workload::W15stall.suits(about, 100, 1),
            as_programs_do && about.stall == Stall::Garbage
        );
        assert!(!Workload::W12.suits(about, 100, 1), "nobody would read");
        assert!(Workload::W1.suits(about, 100, 32));
        assert!(!Workload::W7.suits(about, 100, 2), "a sweep is one thread's");
    }
}
