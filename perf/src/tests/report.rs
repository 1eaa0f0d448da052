//! Pages and charts from records.

use std::collections::{BTreeMap, BTreeSet};

use crate::class::Class;
use crate::env::Run;
use crate::memory;
use crate::peers;
use crate::quiet::Quiet;
use crate::record::{Failure, Limit, Line, Memory};
use crate::report::data::Data;
use crate::report::{charts, document, overview, pages};
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

/// All pages, by name.
fn pages_of(lines: Vec<Line>) -> BTreeMap<&'static str, String> {
    let data = Data::of(lines, None);
    let charts = charts::all(&data).unwrap();
    let pages = pages::ALL
        .iter()
        .map(|page| (page.name, page.text(&data, &charts, None, "index.md")));
    pages.collect()
}

fn summary_of(lines: Vec<Line>) -> String {
    overview::summary(&Data::of(lines, None), "results")
}

/// Each table has as many cells in every row, and no more columns than a page has room for.
fn check_tables(name: &str, text: &str) {
    for table in text.split("\n\n").filter(|block| block.starts_with('|')) {
        let columns: Vec<usize> = table.lines().map(|row| row.matches('|').count()).collect();
        assert!(columns.iter().all(|&count| count == columns[0]), "{name}: {table}");
        assert!(columns[0] <= 9, "{name}: {table}");
    }
}

#[test]
fn every_page_is_written() {
    let pages = pages_of(lines());
    for (page, text) in [
        ("get", "| **shadow** | 13.0 ± 8 % | 13.0 ± 8 % |"),
        ("get", "| boxed | 1.44 × papaya | 1.44 × papaya |"),
        (
            "get",
            "![W1 by number of entries, get hit, a guard per operation](get-by-size.svg)",
        ),
        ("targets", "W1, 64 k, 1 thread: >= 1.2x best"),
        ("latency", "| **shadow** | 10 | 20 | 30 | 40 | 50 |"),
        ("memory", "48.0 (46.0)"),
        ("memory", "| **shadow** | 16 | 48.0 at 1 M | 47.0 at 992 k |"),
        ("life-cycle", "L4, 64 k, 1 thread"),
        ("stalled-reader", "W15stall, 64 k, 1 thread"),
        ("stalled-reader", "| **shadow** | 12.0 | 8.0 | – | – | – |"),
        ("stalled-reader", "(stall.svg)"),
        ("bulk-free", "| dashmap-in-place | 24.0 | 7.50 | – | – |"),
        ("limits", "| guard: seize | 5.20 |"),
        ("threads", "| **shadow** |"),
        ("growth", "| **shadow** |"),
        ("many-ids", "| map | W9x1 | W9x4 |"),
    ] {
        assert!(pages[page].contains(text), "{page}: {text}: {}", pages[page]);
    }
    assert!(
        !pages["memory"].contains("| 544 k, grown"),
        "sizes of the curve are no columns"
    );
    for (name, text) in &pages {
        check_tables(name, text);
        assert!(
            text.contains("](index.md)") && text.starts_with("<!-- Written by"),
            "{name}"
        );
    }
    let summary = summary_of(lines());
    assert!(
        summary.contains("| [look-up, a guard each (W1)](results/get.md) | 64 k, 1, 2 | 13.0, 13.0 | papaya 9.00, papaya 9.00 | 1.44, 1.44 |"),
        "{summary}"
    );
    assert!(summary.contains("dashmap-in-place 24.0 | **0.500** |"), "{summary}");
    check_tables("summary", &summary);
}

/// No map is left out of a table without a word: it has a figure, or the page says that it was not measured or cannot be.
#[test]
fn every_map_is_named_in_every_table() {
    let pages = pages_of(lines());
    for about in peers::known() {
        for page in ["get", "mixed", "life-cycle", "growth", "memory"] {
            let text = &pages[page];
            let (row, bold) = (format!("\n| {} |", about.name), format!("\n| **{}** |", about.name));
            let is_there = text.contains(&row) || text.contains(&bold) || text.contains(&format!("`{}`", about.name));
            let cannot = matches!(page, "growth" | "memory") && about.is_by_id();
            assert!(is_there || cannot, "{} in {page}: {text}", about.name);
        }
    }
    let mut all = lines();
    all.retain(|line| !matches!(line, Line::Cell(cell) if cell.store == "papaya" && cell.entries == 1 << 20));
    assert!(pages_of(all)["get"].contains("| papaya | 9.00 ± 11 % | 9.00 ± 11 % | not measured |"));
}

#[test]
fn a_document_keeps_what_is_not_marked() {
    let parts = BTreeMap::from([("losses", "new".to_owned())]);
    let old = "# Title\n\nText.\n\n<!-- perf:losses -->\nold\n<!-- /perf:losses -->\n\nMore.\n";
    let new = document::fill(old, &parts).unwrap();
    assert!(new.starts_with("# Title\n\nText.\n") && new.ends_with("\nMore.\n"));
    assert!(new.contains("\nnew\n") && !new.contains("\nold\n"));
    assert_eq!(document::fill(&new, &parts).unwrap(), new, "twice is once");
    assert!(document::fill("<!-- perf:losses -->", &parts).is_err());
    assert!(
        document::fill("<!-- perf:charts -->\n<!-- /perf:charts -->", &parts).is_err(),
        "a part without a place"
    );
}

#[test]
fn a_document_without_marks_gets_all_parts() {
    let parts: BTreeMap<&str, String> = document::ORDER
        .into_iter()
        .map(|name| (name, format!("the {name}")))
        .collect();
    let new = document::fill("# Title\n", &parts).unwrap();
    for name in document::ORDER {
        assert!(new.contains(&format!("<!-- perf:{name} -->\n\nthe {name}\n\n<!-- /perf:{name} -->")));
    }
    assert_eq!(document::fill(&new, &parts).unwrap(), new);
}

#[test]
fn charts_are_readable_on_light_and_dark_pages() {
    let data = Data::of(lines(), None);
    let charts = charts::all(&data).unwrap();
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
        let unit = ["Mop/s", "ns", "ms", "bytes", "MiB", "multiple"]
            .iter()
            .any(|unit| svg.contains(unit));
        assert!(unit, "{name} has no unit");
    }
}

#[test]
fn a_map_has_one_colour_of_its_own() {
    let all = peers::known();
    let colours: BTreeSet<_> = all.iter().map(|about| charts::colour_of(about.name)).collect();
    assert_eq!(colours.len(), all.len());
    assert!(!colours.contains(&charts::colour_of("no map of the study")));
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
    assert_eq!(
        pages_of(all)["runs"]
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
        let some: Vec<Line> = some.collect();
        let mut texts: Vec<String> = pages_of(some.clone()).into_values().collect();
        texts.push(summary_of(some));
        assert!(texts.iter().all(|text| !text.contains("NaN") && !text.contains("inf")));
    }
    assert_eq!(summary_of(Vec::new()), "Not recorded yet.");
    assert!(
        pages_of(Vec::new())
            .values()
            .filter(|page| page.contains("Not recorded yet."))
            .count()
            > 15
    );
}

#[test]
fn instruction_counts_become_a_table() {
    let data = Data::of(lines(), None);
    let page = pages::ALL.iter().find(|page| page.name == "instructions").unwrap();
    let counts = "heading\nasymmetric::get_hit_guard_each   79.0   0.0  2.0  0.0   2.5 %\n\
                  65536   variable   9.90   9.80   0.985   0.970 to 1.010\nfrom `command`, commit abc\n";
    let text = page.text(&data, &BTreeMap::new(), Some(counts), "");
    for row in [
        "| get hit guard each | 79.0 | 0.0 | 2.0 | 0.0 | 2.5 % |",
        "\n| 64 k | variable | 9.90 | 9.80 | 0.985 | 0.970 to 1.010 |\n",
        "From `command`, commit abc.\n",
    ] {
        assert!(text.contains(row), "{row}: {text}");
    }
}

#[test]
fn what_was_not_measured_in_place_is_not_compared_so() {
    let mut all = lines();
    all.retain(|line| !matches!(line, Line::Cell(cell) if cell.store == "dashmap-in-place"));
    let summary = summary_of(all.clone());
    assert!(summary.contains("| 1.44, 1.44 | –, – | –, – |"), "{summary}");
    let get = &pages_of(all)["get"];
    assert!(
        get.contains("| boxed | 1.44 × papaya") && !get.contains("| in place |"),
        "{get}"
    );
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
    let pages = pages_of(all);
    assert!(
        pages["targets"].contains("For machines with a last cache below 64 MiB."),
        "{}",
        pages["targets"]
    );
    assert!(pages["runs"].contains("(L2 512 KiB, L3 32 MiB)"), "{}", pages["runs"]);
}
