//! The workloads of life cycles, small stores and freed values measure what they claim to.

use super::Small;
use crate::record::Cell;
use crate::workloads::Workload;

/// Measures one repetition of one map.
fn cell(store: &str, workload: Workload, entries: usize, threads: usize) -> Cell {
    let (mut cells, failures) = Small {
        stores: &[store],
        workload,
        entries,
        threads,
        reps: 1,
        seconds: 0.05,
        cycles: 3000,
    }
    .run();
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(cells.len(), 1, "{store} can run {workload}");
    cells.remove(0)
}

/// A map that drops a value where it is removed: the expected results of the workloads are known.
const AT_ONCE: &str = "dashmap-in-place";

#[test]
fn a_run_of_life_cycles_has_as_many_as_it_was_told() {
    let cell = cell("shadow", Workload::L4, 100, 2);
    assert_eq!((cell.ops, cell.extra["cycles"]), (3000, 3000.0));
    let longest = cell.extra["longest_alloc_ns"].max(cell.extra["longest_free_ns"]);
    // The histogram has three significant digits.
    assert!((longest / cell.max_ns as f64 - 1.0).abs() < 0.01, "{cell:?}");
    let pause = cell.extra["longest_pause_ns"];
    assert!(pause > 0.0, "a clock that is read takes time to read");
    assert!((cell.extra["longest_over_pause"] / (longest / pause) - 1.0).abs() < 0.01);
}

#[test]
fn the_rate_of_hot_keys_is_the_writers() {
    let cell = cell("shadow", Workload::W12, 1000, 3);
    assert!(cell.extra["readers_mops"] > 0.0 && cell.mops > 0.0);
    assert_eq!(cell.latency_of, "free and alloc of one key");
}

#[test]
fn small_stores_are_weighed_empty_and_filled() {
    for store in ["shadow", AT_ONCE] {
        let cell = cell(store, Workload::W13, 60, 3);
        assert_eq!(cell.ops, 60);
        let of = |name: &str| cell.extra[name];
        // 16 entries of 32 bytes at least.
        assert!(of("bytes_each_filled") >= of("bytes_each_empty") + 512.0, "{cell:?}");
        assert!(
            of("empty_bytes") <= of("of_one_bytes") && of("of_one_bytes") > 0.0,
            "{cell:?}"
        );
        let alone = self::cell(store, Workload::W13, 40, 1);
        // The phase contains all of the stores' creations.
        assert!(alone.extra["make_ns"] >= alone.p50_ns as f64 / 2.0, "{alone:?}");
        assert!(of("empty_make_ns") > 0.0 && of("make_ns") > 0.0 && of("drop_ns") > 0.0);
    }
}

#[test]
fn what_drops_at_once_keeps_nobody_waiting() {
    let cell = cell(AT_ONCE, Workload::W15idle, 200, 1);
    for name in [
        "dropped_at_once_of_reads",
        "dropped_100ms_of_reads",
        "dropped_100ms_of_nothing",
    ] {
        assert_eq!(cell.extra[name], 200.0, "{name}: {cell:?}");
    }
    assert_eq!(cell.extra["never_dropped_in_reads"], 0.0);
    assert!(cell.ops > 0, "there were reads");
}

/// Values that are never reclaimed are reported as not dropped: a map of the kernel's design has at least 64 in a batch that is
/// never closed.
#[test]
fn what_waits_is_seen_to_wait() {
    let cell = cell("kernel", Workload::W15idle, 40, 1);
    assert_eq!(cell.extra["dropped_at_once_of_reads"], 0.0, "{cell:?}");
    assert_eq!(cell.extra["never_dropped_in_nothing"], 40.0, "{cell:?}");
    assert!(cell.p50_ns as f64 >= cell.extra["window_s"] * 0.99e9, "{cell:?}");
}

#[test]
fn large_values_are_counted_one_by_one() {
    let cell = cell(AT_ONCE, Workload::W15large, 20, 1);
    assert_eq!(
        cell.extra["peak_values_mib"], 2.0,
        "the next one is there when the last one goes"
    );
    assert_eq!(cell.extra["alive_at_the_end"], 1.0);
    let kept = self::cell("kernel", Workload::W15large, 20, 1);
    assert_eq!(kept.extra["peak_values_mib"], 20.0, "{kept:?}");
}

#[test]
fn a_stalled_reader_is_seen_to_hold_back() {
    let cell = cell("papaya", Workload::W15stall, 500, 1);
    assert!(cell.series.len() > 2 && cell.series[0] == (0.0, 0.0), "{cell:?}");
    assert!(cell.series.is_sorted_by(|a, b| a.0 < b.0));
    let last = cell.series[cell.series.len() - 1].1;
    assert_eq!(cell.extra["bytes_held"], last);
    // A key and a value of 64 bytes each, at least.
    assert!(last >= 64.0 * (cell.ops as f64 - 1000.0), "{cell:?}");
}

#[test]
fn destructors_are_paid_for_in_processor_time() {
    for workload in [Workload::W14, Workload::W14F] {
        let cell = cell(AT_ONCE, workload, 20_000, 1);
        assert_eq!(cell.ops, 20_000);
        let seconds = cell.extra["cpu_s"];
        // One thread does all the work, so its processor time is at most the elapsed time, within the clocks' error.
        assert!(
            seconds > 0.0 && seconds <= cell.extra["wall_s"] * 1.01 + 0.01,
            "{cell:?}"
        );
        assert!((cell.mops * seconds * 1e6 / 20_000.0 - 1.0).abs() < 0.01, "{cell:?}");
    }
}
