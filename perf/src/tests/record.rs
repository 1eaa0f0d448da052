//! Records: what is written can be read, and is complete.

use crate::class::Class;
use crate::env::{Run, date_and_time, records};
use crate::quiet::Quiet;
use crate::record::{Cell, Failure, Failures, Line, read_all, rounded};
use crate::summary::{Spread, count, figures};
use crate::workloads::{Latency, Measured};

/// Returns a cell with ordinary figures.
pub(crate) fn cell(store: &str, mops: f64) -> Cell {
    let mut cell = Cell {
        run: "2026-01-02T030405-1-abc".to_owned(),
        workload: "W1".to_owned(),
        store: store.to_owned(),
        hasher: "own".to_owned(),
        keys: "heap".to_owned(),
        entries: 1 << 16,
        threads: 1,
        seconds: 0.5,
        latency_of: "operation".to_owned(),
        ..Cell::default()
    };
    cell.set(Measured {
        ops: 1000,
        mops,
        latency: Some(Latency {
            p50: 10,
            p99: 20,
            p999: 30,
            p9999: 40,
            max: 50,
        }),
        bytes_per_entry: 32.0,
        extra: [("total_s".to_owned(), 1.0)].into(),
        series: Vec::new(),
    });
    cell
}

#[test]
fn a_line_has_what_it_must_have_and_can_be_read_again() {
    let text = serde_json::to_string(&Line::Cell(cell("shadow", 12.5))).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    for name in [
        "workload",
        "store",
        "entries",
        "threads",
        "rep",
        "mops",
        "p50_ns",
        "p99_ns",
        "p999_ns",
        "max_ns",
        "bytes_per_entry",
    ] {
        assert!(value.get(name).is_some(), "{name} is missing in {text}");
    }
    assert_eq!(value["total_s"], 1.0);
    let Line::Cell(again) = serde_json::from_str(&text).unwrap() else {
        panic!("{text}")
    };
    assert_eq!((again.mops, again.max_ns, again.extra.len()), (12.5, 50, 1));
    assert!(value.get("series").is_none(), "most workloads have none");
}

#[test]
fn a_series_is_kept_and_is_no_extra_figure() {
    let mut cell = cell("shadow", 12.5);
    cell.series = vec![(0.0, 0.0), (0.5, 1024.0)];
    let text = serde_json::to_string(&Line::Cell(cell)).unwrap();
    let Line::Cell(again) = serde_json::from_str(&text).unwrap() else {
        panic!("{text}")
    };
    assert_eq!(again.series, [(0.0, 0.0), (0.5, 1024.0)]);
    assert_eq!(again.extra.keys().collect::<Vec<_>>(), ["total_s"]);
}

#[test]
fn a_run_says_what_it_was_made_of_and_how_quiet_it_was() {
    let run = Run::describe(Quiet {
        busiest: Some(0.123),
        waited: 12,
        anyway: true,
    });
    assert_eq!((run.busy_before, run.waited_s, run.anyway), (Some(0.12), 12, true));
    assert!(
        run.in_short().contains("not waited for a quiet machine"),
        "{}",
        run.in_short()
    );
    for peer in ["papaya 0.2", "dashmap 6.", "dashmap 7.0.0-rc2", "scc 3."] {
        assert!(run.peers.contains(peer), "{peer}: {}", run.peers);
    }
    assert_eq!(run.lock.len(), 16, "a number of the lock file");
    let line = serde_json::to_string(&Line::Run(run.clone())).unwrap();
    let Line::Run(again) = serde_json::from_str(&line).unwrap() else {
        panic!("{line}")
    };
    assert_eq!((again.lock, again.caches), (run.lock, run.caches));
}

/// The records in the repository can be read, and each has a class.
#[test]
fn old_records_are_of_a_class() {
    let lines = read_all(&records()).unwrap();
    let runs = lines.iter().filter_map(|line| match line {
        Line::Run(run) => Some(run.class()),
        _ => None,
    });
    let classes: Vec<Class> = runs.collect();
    assert!(!classes.is_empty() && !classes.contains(&Class::Unknown), "{classes:?}");
}

#[test]
fn only_a_failure_of_ours_fails_a_run() {
    let failure = |store: &str| Failure {
        run: String::new(),
        workload: "W1".to_owned(),
        store: store.to_owned(),
        hasher: "own".to_owned(),
        entries: 1,
        threads: 1,
        message: "wrong".to_owned(),
    };
    let mut failures = Failures::default();
    failures.add(&failure("leapfrog"));
    assert!(!failures.are_ours());
    failures.add(&failure("shadow_seize"));
    assert!(failures.are_ours());
}

#[test]
fn numbers_are_rounded_to_what_they_are_worth() {
    assert_eq!(rounded(123.456_789), 123.457);
    assert_eq!(rounded(0.000_123_456_789), 0.000_123_457);
    assert_eq!(rounded(f64::NAN), 0.0);
    assert_eq!(
        ["0.0123", "1.23", "12.3", "123", "1234"],
        [0.0123, 1.234, 12.34, 123.4, 1234.4]
            .map(figures)
            .each_ref()
            .map(String::as_str)
    );
    assert_eq!(
        ["500", "64 k", "1 M", "8 M"],
        [500, 1 << 16, 1 << 20, 1 << 23]
            .map(count)
            .each_ref()
            .map(String::as_str)
    );
}

#[test]
fn a_spread_is_of_all_repetitions() {
    let spread = Spread::of([3.0, 1.0, 2.0, 10.0]).unwrap();
    assert_eq!((spread.median, spread.least, spread.most), (2.5, 1.0, 10.0));
    assert_eq!(spread.percent(), 180.0);
    assert_eq!(Spread::of([]), None);
}

#[test]
fn dates_are_those_of_the_calendar() {
    let date = |seconds| date_and_time(seconds).0;
    assert_eq!(date(0), "1970-01-01");
    assert_eq!(date(951_782_400), "2000-02-29");
    assert_eq!(date(1_767_225_599), "2025-12-31");
    assert_eq!(date_and_time(1_767_225_599).1, "235959");
}
