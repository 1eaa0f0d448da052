//! Targets, and the verdicts on them.

use std::collections::BTreeSet;

use crate::engine::Point;
use crate::gate::results::Results;
use crate::gate::targets::{self, Needs};
use crate::peers::Peers;
use crate::record::Memory;
use crate::tests::record::cell;
use crate::workloads::Workload;

const W1: Point = Point {
    workload: Workload::W1,
    entries: 1 << 16,
    threads: 1,
};

#[test]
fn targets_have_names_of_their_own_and_say_what_they_need() {
    let all = targets::all();
    let names: BTreeSet<&String> = all.iter().map(|target| &target.name).collect();
    assert_eq!(names.len(), all.len());
    for target in &all {
        let needs = Needs::of(&[target]);
        assert!(!needs.points.is_empty() || !needs.memory.is_empty(), "{}", target.name);
    }
    for workload in [
        "W1", "G64", "B64", "W2", "W3", "W4", "W4N", "W5", "W6", "W7", "W7P", "W8", "W9x4", "W9x64", "W9wide",
    ] {
        assert!(
            all.iter()
                .any(|target| target.name.starts_with(&format!("{workload},"))),
            "{workload} has no target"
        );
    }
}

#[test]
fn nothing_measured_is_nothing_met() {
    let results = Results::default();
    for target in targets::all() {
        assert!(!(target.check)(&results).met, "{}", target.name);
    }
}

#[test]
fn the_best_of_the_peers_counts_and_nothing_else() {
    let mut results = Results::default();
    for (store, mops) in [
        ("shadow", 12.0),
        ("dashmap", 10.0),
        ("papaya", 8.0),
        ("kernel", 99.0),
        ("nosync", 99.0),
    ] {
        results.add(cell(store, mops));
    }
    let verdict = |peers, at_least| results.against_best(W1, W1, peers, at_least);
    assert!(verdict(Peers::Boxed, 1.2).met);
    assert!(!verdict(Peers::Boxed, 1.21).met);
    assert!(verdict(Peers::LockFree, 1.5).met);
    assert!(verdict(Peers::Boxed, 1.2).found.contains("dashmap"));
    assert!(!results.against(W1, "nosync", 0.75).met);
}

/// A machine that slows down between turns slows both down.
#[test]
fn ratios_are_of_turns() {
    let mut results = Results::default();
    for (ours, theirs) in [(30.0, 20.0), (3.0, 2.0), (15.0, 10.0), (12.0, 8.0), (6.0, 12.0)] {
        results.add(cell("shadow", ours));
        results.add(cell("papaya", theirs));
    }
    // Of the medians it would be 1.2.
    let verdict = |at_least| results.against_best(W1, W1, Peers::Boxed, at_least);
    assert!(verdict(1.5).met && !verdict(1.51).met);
    assert!(
        verdict(1.5).found.contains("(12.0 and 10.0 Mop/s)"),
        "{}",
        verdict(1.5).found
    );
    let slower = |at_most| results.slower(W1, W1, at_most);
    assert!(slower(1.0).met && !slower(0.99).met);
}

#[test]
fn medians_of_all_rounds_count() {
    let mut results = Results::default();
    for mops in [1.0, 12.0, 13.0] {
        results.add(cell("shadow", mops));
    }
    results.add(cell("papaya", 10.0));
    assert!(results.against_best(W1, W1, Peers::Boxed, 1.2).met);
}

#[test]
fn limits_from_above() {
    let mut results = Results::default();
    results.add(cell("shadow", 10.0));
    assert!(results.at_most(W1, |cell| Some(cell.p999_ns as f64), 30.0, " ns").met);
    assert!(!results.at_most(W1, |cell| Some(cell.max_ns as f64), 49.0, " ns").met);
    results.add_prefetch(W1.entries, 70.0);
    assert!(results.near_prefetch(W1, 1.5).met, "100 ns against 70");
    assert!(!results.near_prefetch(W1, 1.4).met);
    for (store, bytes_per_entry) in [("shadow", 48.0), ("papaya", 60.0)] {
        results.add_memory(Memory {
            run: String::new(),
            store: store.to_owned(),
            hasher: "own".to_owned(),
            entries: 1 << 20,
            made: "grown".to_owned(),
            bytes_per_entry,
            heap_bytes_per_entry: 0.0,
        });
    }
    assert!(results.memory_at_most(1 << 20, 50.0).met && !results.memory_at_most(1 << 20, 40.0).met);
    assert!(results.memory_below_peers(1 << 20).met);
}

#[test]
fn memory_of_large_maps_is_asked_of_those_that_take_least() {
    let mut results = Results::default();
    assert!(results.least_memory(2, |_| true).is_empty());
    for (store, entries, bytes_per_entry) in [
        ("shadow", 1 << 20, 48.0),
        ("papaya", 1 << 20, 60.0),
        ("dashmap", 1 << 20, 70.0),
        ("skipmap", 1 << 20, 50.0),
        ("dashmap", 1 << 23, 10.0),
    ] {
        results.add_memory(Memory {
            run: String::new(),
            store: store.to_owned(),
            hasher: "own".to_owned(),
            entries,
            made: "grown".to_owned(),
            bytes_per_entry,
            heap_bytes_per_entry: 0.0,
        });
    }
    assert_eq!(
        results.least_memory(2, |_| true),
        ["papaya", "skipmap"].map(str::to_owned).into()
    );
    let holds = |store: &str| store != "skipmap";
    assert_eq!(
        results.least_memory(2, holds),
        ["dashmap", "papaya"].map(str::to_owned).into()
    );
}
