//! Targets, and the verdicts on them.

use std::collections::BTreeSet;

use crate::class::Class;
use crate::engine::Point;
use crate::gate::results::Results;
use crate::gate::targets::{self, Group, Needs};
use crate::memory;
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
        "W1", "G64", "B64", "W2", "W3", "W4", "W4N", "L4", "W5", "W6", "W7", "W7P", "W8", "W9x4", "W9x64", "W9wide",
        "W12", "W13", "W14", "W14F", "W15idle", "W15large",
    ] {
        assert!(
            all.iter()
                .any(|target| target.name.starts_with(&format!("{workload},"))),
            "{workload} has no target"
        );
    }
}

#[test]
fn the_standing_targets_stand() {
    let all = targets::all();
    let of = |group| all.iter().filter(|target| target.group == group).count();
    assert_eq!(of(Group::Standing), 67, "they are counted from issue to issue");
    assert!(
        all.iter()
            .all(|target| target.group != Group::Standing || target.class.is_none())
    );
}

#[test]
fn a_target_may_be_for_one_class_of_machines() {
    let names = |class| -> BTreeSet<String> { targets::of(class).into_iter().map(|target| target.name).collect() };
    let (small, large) = (names(Class::SmallCache), names(Class::LargeCache));
    assert!(large.is_subset(&small) && large.len() < small.len());
    assert!(small.difference(&large).all(|name| name.starts_with("W5, 64 k,")));
}

/// Every target finds its figures among the measurements that it needs: it names none that no workload gives.
#[test]
fn every_target_can_be_measured() {
    let all = targets::all();
    let mut results = Results::default();
    for target in &all {
        let needs = Needs::of(&[target]);
        for point in &needs.points {
            for store in ["shadow", "shadow-by-id", "papaya", "dashmap-in-place", "nosync"] {
                let mut cell = cell(store, 10.0);
                point.workload.name().clone_into(&mut cell.workload);
                (cell.entries, cell.threads) = (point.entries, point.threads);
                for name in [
                    "shrunk_ratio",
                    "longest_over_pause",
                    "longest_pause_ns",
                    "empty_make_ns",
                    "empty_drop_ns",
                    "empty_bytes",
                    "of_one_bytes",
                    "bytes_each_empty",
                    "dropped_at_once_of_reads",
                    "peak_resident_mib",
                ] {
                    cell.extra.insert(name.to_owned(), 1.0);
                }
                results.add(cell);
            }
        }
        for &entries in &needs.prefetch {
            results.add_prefetch(entries, 70.0);
        }
        for &entries in &needs.memory {
            for (store, bytes) in [("shadow", 40.0), ("papaya", 60.0)] {
                results.add_memory(of_memory(store, entries, bytes));
            }
        }
    }
    for target in &all {
        let verdict = (target.check)(&results);
        assert!(verdict.measured, "{}: {}", target.name, verdict.found);
    }
}

#[test]
fn both_forms_of_peers_stand_in_a_verdict() {
    let mut results = Results::default();
    for (store, mops) in [
        ("shadow", 12.0),
        ("dashmap", 10.0),
        ("dashmap-in-place", 20.0),
        ("papaya", 8.0),
    ] {
        results.add(cell(store, mops));
    }
    let boxed = results.against_best(W1, W1, Peers::Boxed, 1.2);
    assert!(boxed.met && boxed.found.contains("1.20x dashmap ("), "{}", boxed.found);
    assert!(
        boxed.found.contains("values in place: 0.600x dashmap-in-place"),
        "{}",
        boxed.found
    );
    let in_place = results.against_best(W1, W1, Peers::InPlace, 1.0);
    assert!(
        !in_place.met && in_place.found.contains("0.600x dashmap-in-place"),
        "{}",
        in_place.found
    );
    assert!(!results.against_best(W1, W1, Peers::All, 1.0).met, "of every form");
}

#[test]
fn a_form_has_its_own_peers_only() {
    let mut results = Results::default();
    for store in ["shadow", "dashmap"] {
        results.add(cell(store, 10.0));
    }
    assert!(results.against_best(W1, W1, Peers::Boxed, 1.0).met);
    assert!(
        !results.against_best(W1, W1, Peers::InPlace, 1.0).measured,
        "its values are boxed"
    );
    results.add(cell("papaya", 20.0));
    for form in Peers::FORMS {
        assert!(
            !results.against_best(W1, W1, form, 1.0).met,
            "{form:?}: its values do not move"
        );
    }
    results.add(cell("dashmap-in-place", 40.0));
    assert!(
        results.against_best(W1, W1, Peers::Boxed, 0.5).met,
        "in place is no boxed form"
    );
}

#[test]
fn tails_are_compared_with_the_least_of_the_peers() {
    let mut results = Results::default();
    for (store, p999) in [
        ("shadow", 900),
        ("dashmap-in-place", 300),
        ("papaya", 9000),
        ("dashmap", 100),
    ] {
        let mut cell = cell(store, 10.0);
        cell.p999_ns = p999;
        results.add(cell);
    }
    let verdict = |at_most| results.p999_against_best(W1, Peers::InPlace, at_most);
    assert!(verdict(3.0).met && !verdict(2.9).met, "{}", verdict(3.0).found);
    assert!(verdict(3.0).found.contains("dashmap-in-place (900 and 300 ns)"));
    let lines = results.latencies(&[Workload::W1]);
    assert!(
        lines
            .iter()
            .any(|line| line.ends_with("10.0 / 20.0 / 900 / 40.0 / 50.0")),
        "{lines:?}"
    );
}

#[test]
fn a_limit_may_be_the_machines() {
    let mut results = Results::default();
    for pause in [10.0, 20.0] {
        let mut cell = cell("shadow", 10.0);
        cell.extra.insert("pause".to_owned(), pause);
        results.add(cell);
    }
    let max = |cell: &crate::record::Cell| Some(cell.max_ns as f64);
    let verdict = |limit, times| results.at_most_or_times(W1, max, limit, (times, "pause"), " ns").met;
    assert!(verdict(50.0, 1.0) && !verdict(49.0, 1.0));
    assert!(verdict(1.0, 5.0) && !verdict(1.0, 4.9), "of the worst repetition");
}

#[test]
fn memory_is_asked_for_at_every_size_of_the_curve() {
    let sizes = memory::curve();
    assert!(sizes.is_sorted() && sizes.contains(&(1 << 20)) && sizes.contains(&(1 << 23)));
    assert!(sizes[0] > 1 << 19 && sizes[16] > 1 << 22);
    let mut results = Results::default();
    for (at, &entries) in sizes.iter().enumerate() {
        assert!(!results.memory_curve_at_most(99.0).measured, "not all are there");
        results.add_memory(of_memory("shadow", entries, if at == 7 { 41.0 } else { 30.0 }));
        results.add_memory(of_memory("papaya", entries, 41.0));
    }
    assert!(results.memory_curve_at_most(41.0).met && !results.memory_curve_at_most(40.9).met);
    let verdict = results.memory_curve_below_peers();
    assert!(
        !verdict.met && verdict.found.starts_with("at 31 of 32 sizes; not at 768 k"),
        "{}",
        verdict.found
    );
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

/// If the machine slows down between repetitions, both maps slow down.
#[test]
fn ratios_are_of_turns() {
    let mut results = Results::default();
    for (ours, theirs) in [(30.0, 20.0), (3.0, 2.0), (15.0, 10.0), (12.0, 8.0), (6.0, 12.0)] {
        results.add(cell("shadow", ours));
        results.add(cell("papaya", theirs));
    }
    // The ratio of the medians would be 1.2.
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

fn of_memory(store: &str, entries: usize, bytes_per_entry: f64) -> Memory {
    Memory {
        run: String::new(),
        store: store.to_owned(),
        hasher: "own".to_owned(),
        entries,
        made: "grown".to_owned(),
        bytes_per_entry,
        heap_bytes_per_entry: 0.0,
    }
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
        results.add_memory(of_memory(store, 1 << 20, bytes_per_entry));
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
        results.add_memory(of_memory(store, entries, bytes_per_entry));
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
