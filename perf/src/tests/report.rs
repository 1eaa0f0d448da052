//! Tables and charts from records.

use std::collections::BTreeMap;

use crate::class::Class;
use crate::env::Run;
use crate::memory;
use crate::peers;
use crate::quiet::Quiet;
use crate::record::{Failure, Limit, Line, Memory};
use crate::report::{Data, charts, document, tables};
use crate::tests::record::cell;

/// A record in which every part has something.
fn lines() -> Vec<Line> {
    let mut lines = Vec::new();
    for workload in ["W1", "W3", "W4", "W6", "W7", "W9x1", "W9x4", "W10"] {
        for (threads, entries) in [(1, 1 << 16), (2, 1 << 16), (4, 1 << 16), (8, 1 << 16), (1, 1 << 20)] {
            for (store, mops) in [("shadow", 12.0), ("papaya", 8.0), ("kernel", 3.0)] {
                for rep in 0..3 {
                    let mut cell = cell(store, mops + f64::from(rep));
                    workload.clone_into(&mut cell.workload);
                    (cell.threads, cell.entries, cell.rep) = (threads, entries, rep as usize);
                    lines.push(Line::Cell(cell));
                }
            }
        }
    }
    for workload in ["L4", "W12", "W13", "W14", "W14F", "W15idle", "W15large", "W15stall"] {
        for (store, mops) in [("shadow", 12.0), ("papaya", 8.0), ("dashmap-in-place", 24.0)] {
            let mut cell = cell(store, mops);
            workload.clone_into(&mut cell.workload);
            for name in [
                "peak_resident_mib",
                "cpu_s",
                "longest_over_pause",
                "readers_mops",
                "bytes_each_empty",
            ] {
                cell.extra.insert(name.to_owned(), 7.5);
            }
            if workload == "W15stall" {
                cell.series = (0..=8)
                    .map(|look| (f64::from(look) / 2.0, f64::from(look << 20)))
                    .collect();
                cell.extra.insert("bytes_held".to_owned(), f64::from(8 << 20));
            }
            lines.push(Line::Cell(cell));
        }
    }
    for entries in memory::curve().into_iter().filter(|&entries| entries < 1 << 20) {
        lines.push(Line::Memory(Memory {
            run: "2026-01-02T030405-1-abc".to_owned(),
            store: "shadow".to_owned(),
            hasher: "own".to_owned(),
            entries,
            made: "grown".to_owned(),
            bytes_per_entry: 48.0 - entries as f64 / f64::from(1 << 20),
            heap_bytes_per_entry: 40.0,
        }));
    }
    for (store, bytes) in [("shadow", 48.0), ("papaya", 68.0)] {
        lines.push(Line::Memory(Memory {
            run: "2026-01-02T030405-1-abc".to_owned(),
            store: store.to_owned(),
            hasher: "own".to_owned(),
            entries: 1 << 20,
            made: "grown".to_owned(),
            bytes_per_entry: bytes,
            heap_bytes_per_entry: bytes - 2.0,
        }));
    }
    for (limit, entries) in [("one load", 1 << 16), ("guard: seize", 0)] {
        lines.push(Line::Limit(Limit {
            run: "2026-01-02T030405-1-abc".to_owned(),
            limit: limit.to_owned(),
            entries,
            rep: 0,
            ns: 5.2,
        }));
    }
    lines
}

fn parts() -> BTreeMap<&'static str, String> {
    let data = Data::of(lines(), None);
    tables::all(&data, &charts::all(&data).unwrap(), "perf/charts")
}

#[test]
fn every_part_is_written() {
    let parts = parts();
    assert_eq!(parts.len(), document::ORDER.len());
    assert!(
        parts["reads"].contains("| 64 k | 1 | heap | 13.0 |"),
        "{}",
        parts["reads"]
    );
    assert!(parts["reads"].contains("1.44 × papaya"), "{}", parts["reads"]);
    assert!(
        parts["summary"].contains("| W1 get, a guard each | boxed | 1.44, 1.44 |"),
        "{}",
        parts["summary"]
    );
    assert!(parts["summary"].contains("perf/charts/ratios.svg"));
    assert!(
        parts["targets"].contains("W1, 64 k, 1 thread: >= 1.2x best"),
        "{}",
        parts["targets"]
    );
    assert!(parts["latency"].contains("10 / 20 / 30 / 40 / 50"));
    assert!(parts["memory"].contains("48.0 (46.0)"));
    assert!(
        parts["memory"].contains("| shadow | 16 | 48.0 at 1 M | 47.0 at 992 k |"),
        "{}",
        parts["memory"]
    );
    assert!(
        !parts["memory"].contains("| 544 k, grown"),
        "sizes of the curve are no columns"
    );
    for text in [
        "**L4**, 64 k, 1 thread",
        "**W15stall**, 64 k, 1 thread",
        "| shadow | 12.0 | 8.0 | – | – | – |",
        "perf/charts/stall.svg",
    ] {
        assert!(parts["freed"].contains(text), "{text}: {}", parts["freed"]);
    }
    assert!(
        parts["summary"].contains("| W14 drop, with destructors | in place | **0.500** |"),
        "{}",
        parts["summary"]
    );
    assert!(parts["limits"].contains("| guard: seize | 5.20 |"));
    for name in ["scale", "growth", "ids", "stall"] {
        assert!(parts[name].contains("| shadow |"), "{name}: {}", parts[name]);
    }
    for (name, part) in &parts {
        for table in part.split("\n\n").filter(|block| block.starts_with('|')) {
            let columns: Vec<usize> = table.lines().map(|row| row.matches('|').count()).collect();
            assert!(columns.iter().all(|&count| count == columns[0]), "{name}: {table}");
        }
    }
}

#[test]
fn a_document_keeps_what_is_not_marked() {
    let parts = parts();
    let old = "# Title\n\nText.\n\n<!-- perf:memory -->\nold\n<!-- /perf:memory -->\n\nMore.\n";
    let new = document::fill(old, &parts).unwrap();
    assert!(new.starts_with("# Title\n\nText.\n") && new.ends_with("\nMore.\n"));
    assert!(new.contains("48.0 (46.0)") && !new.contains("\nold\n") && !new.contains("perf:limits"));
    assert_eq!(document::fill(&new, &parts).unwrap(), new, "twice is once");
    assert!(document::fill("<!-- perf:memory -->", &parts).is_err());
}

#[test]
fn a_document_without_marks_gets_all_parts() {
    let new = document::fill("# Title\n", &parts()).unwrap();
    for name in document::ORDER {
        assert!(new.contains(&format!("<!-- perf:{name} -->")));
    }
    assert_eq!(document::fill(&new, &parts()).unwrap(), new);
}

#[test]
fn charts_are_readable_on_light_and_dark_pages() {
    assert!(charts::COLOURS.len() >= peers::all().len());
    let charts = charts::all(&Data::of(lines(), None)).unwrap();
    assert_eq!(charts.len(), 9, "{:?}", charts.keys());
    for (name, svg) in &charts {
        assert!(
            svg.contains("prefers-color-scheme:dark") && svg.contains("currentColor"),
            "{name}"
        );
        assert!(
            !svg.contains("#010203") && svg.contains("shadow") && svg.trim_end().ends_with("</svg>"),
            "{name}"
        );
    }
}

#[test]
fn maps_that_were_wrong_are_named() {
    let mut all = lines();
    for run in ["2026-01-02T030405-1-abc", "a run of which nothing is used"] {
        all.push(Line::Failure(Failure {
            run: run.to_owned(),
            workload: "W4N".to_owned(),
            store: "leapfrog".to_owned(),
            hasher: "ahash".to_owned(),
            entries: 1024,
            threads: 1,
            message: "lost one".to_owned(),
        }));
    }
    let data = Data::of(all, None);
    let parts = tables::all(&data, &charts::all(&data).unwrap(), "");
    assert_eq!(
        parts["runs"]
            .matches("- leapfrog (ahash) in W4N, 1 k entries, 1 thread: lost one")
            .count(),
        1
    );
}

#[test]
fn a_point_is_taken_from_the_latest_run_that_compares() {
    let mut all = lines();
    // A later run of one map alone does not replace the comparison; a later run of ours and a peer does.
    for (run, stores) in [("2026-02-01T000000-1-abc", 1), ("2026-01-03T000000-1-def", 2)] {
        for store in ["shadow", "papaya"].into_iter().take(stores) {
            let mut cell = cell(store, 50.0);
            run.clone_into(&mut cell.run);
            all.push(Line::Cell(cell));
        }
    }
    let data = Data::of(all, None);
    let mut points = data.of_workload("W1");
    let (_, stores) = points.next().unwrap();
    assert_eq!(stores.len(), 2, "not mixed with the older run's");
    assert!(
        stores
            .values()
            .flatten()
            .all(|cell| cell.mops == 50.0 && cell.run.starts_with("2026-01-03"))
    );
    assert!(points.all(|(_, stores)| stores.len() == 3), "other points stay");
}

#[test]
fn memory_and_limits_are_the_latest_of_each() {
    let mut all = lines();
    let newer = "2026-02-01T000000-1-def";
    for line in lines() {
        match line {
            Line::Memory(mut line) if line.store == "shadow" => {
                (line.run, line.bytes_per_entry) = (newer.to_owned(), 40.0);
                all.push(Line::Memory(line));
            }
            Line::Limit(mut limit) if limit.entries == 0 => {
                (limit.run, limit.ns) = (newer.to_owned(), 1.0);
                all.push(Line::Limit(limit));
            }
            _ => {}
        }
    }
    let data = Data::of(all, None);
    let of_table = data.memory.iter().filter(|line| line.entries == 1 << 20);
    let memory: Vec<f64> = of_table.map(|line| line.bytes_per_entry).collect();
    assert_eq!(memory, [68.0, 40.0]);
    let limits: Vec<f64> = data.limits.iter().map(|limit| limit.ns).collect();
    assert_eq!(limits, [5.2, 1.0]);
}

#[test]
fn missing_cells_leave_gaps_and_nothing_else() {
    for keep in 0..8 {
        let mut number = 0;
        let some = lines().into_iter().filter(|_| {
            number += 1;
            number % 8 == keep
        });
        let data = Data::of(some.collect(), None);
        let parts = tables::all(&data, &charts::all(&data).unwrap(), "");
        assert!(
            parts
                .values()
                .all(|part| !part.contains("NaN") && !part.contains("inf"))
        );
    }
    let data = Data::of(Vec::new(), None);
    let parts = tables::all(&data, &charts::all(&data).unwrap(), "");
    assert_eq!(parts["summary"], "Not recorded yet.");
}

#[test]
fn instruction_counts_become_a_table() {
    let table = tables::instructions(
        "heading\nasymmetric::get_hit_guard_each   79.0   0.0  2.0  0.0   2.5 %\n\
         65536   variable   9.90   9.80   0.985   0.970 to 1.010\nfrom `command`, commit abc\n",
    );
    assert!(
        table.contains("| get hit guard each | 79.0 | 0.0 | 2.0 | 0.0 | 2.5 % |"),
        "{table}"
    );
    assert!(
        table.contains("\n| 64 k | variable | 9.90 | 9.80 | 0.985 | 0.970 to 1.010 |\n"),
        "{table}"
    );
    assert!(table.ends_with("From `command`, commit abc.\n"));
}

#[test]
fn what_was_not_measured_in_place_is_not_compared_so() {
    let mut all = lines();
    all.retain(|line| !matches!(line, Line::Cell(cell) if cell.store == "dashmap-in-place"));
    let data = Data::of(all, None);
    let parts = tables::all(&data, &charts::all(&data).unwrap(), "");
    assert!(parts["summary"].contains("| boxed |") && !parts["summary"].contains("| in place |"));
    assert!(parts["reads"].contains("| 1.44 × papaya | – |"), "{}", parts["reads"]);
}

/// Of one page, all machines are of one class: that of the latest run, unless it is told.
#[test]
fn a_page_is_of_one_class_of_machines() {
    let mut all = Vec::new();
    for (date, l3, mops) in [("2026-01-02", 260 << 10, 12.0), ("2026-01-03", 32 << 10, 50.0)] {
        let mut run = Run::describe(Quiet {
            busiest: None,
            waited: 0,
            anyway: false,
        });
        run.run = format!("{date}T000000-1-abc");
        run.caches = [("L2".to_owned(), 512), ("L3".to_owned(), l3)].into();
        for store in ["shadow", "papaya"] {
            let mut cell = cell(store, mops);
            cell.run.clone_from(&run.run);
            all.push(Line::Cell(cell));
        }
        all.push(Line::Run(run));
    }
    for (class, mops, used) in [
        (None, 50.0, Class::SmallCache),
        (Some(Class::LargeCache), 12.0, Class::LargeCache),
    ] {
        let data = Data::of(all.clone(), class);
        let cells: Vec<_> = data
            .points
            .values()
            .flat_map(|stores| stores.values().flatten())
            .collect();
        assert_eq!(cells.len(), 2);
        assert!(cells.iter().all(|cell| cell.mops == mops));
        assert!(data.class == used && data.used.len() == 1);
    }
    let data = Data::of(all, None);
    let parts = tables::all(&data, &charts::all(&data).unwrap(), "");
    assert!(
        parts["targets"].contains("For machines with a last cache below 64 MiB."),
        "{}",
        parts["targets"]
    );
    assert!(parts["runs"].contains("(L2 512 KiB, L3 32 MiB)"), "{}", parts["runs"]);
}
