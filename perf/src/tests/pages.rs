//! The pages: that those which are checked in are up to date, and that machines and allocators are not mixed up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::ReportOptions;
use crate::env::{self, Run};
use crate::gate::{BY_ID, OURS};
use crate::limits::calls::{self, Sizes};
use crate::quiet::Quiet;
use crate::record::{Limit, Line, Memory};
use crate::report::data::Data;
use crate::report::{charts, overview, pages, ratios, relative, report};
use crate::tests::record::cell;

/// A run at some date, on a machine with such a last cache, and with such an allocator: of both ways of the store and of peers of
/// both forms, in a few workloads.
fn run(date: &str, l3_mib: u64, allocator: &str, mops: f64) -> Vec<Line> {
    let mut run = Run::describe(Quiet {
        busiest: None,
        waited: 0,
        anyway: false,
    });
    run.run = format!("{date}T000000-1-abc");
    run.caches = [("L3".to_owned(), l3_mib << 10)].into();
    allocator.clone_into(&mut run.allocator);
    let mut lines = Vec::new();
    for (workload, entries, threads) in [
        ("W1", 1 << 16, 1),
        ("W1", 1 << 16, 2),
        ("W4", 1 << 10, 1),
        ("W4", 1 << 16, 1),
        ("W11", 15_404, 2),
        ("W13", 12_000, 12),
    ] {
        for (store, factor) in [(OURS, 1.0), (BY_ID, 0.5), ("dashmap", 0.8), ("dashmap-in-place", 2.0)] {
            if store == BY_ID && workload.len() > 2 {
                continue;
            }
            let mut cell = cell(store, mops * factor);
            cell.run.clone_from(&run.run);
            workload.clone_into(&mut cell.workload);
            (cell.entries, cell.threads) = (entries, threads);
            lines.push(Line::Cell(cell));
        }
    }
    for (store, bytes) in [(OURS, 40.0), ("dashmap", 60.0), ("dashmap-in-place", 30.0)] {
        lines.push(Line::Memory(Memory {
            run: run.run.clone(),
            store: store.to_owned(),
            hasher: "own".to_owned(),
            entries: 1 << 20,
            made: "grown".to_owned(),
            bytes_per_entry: bytes,
            heap_bytes_per_entry: bytes,
        }));
    }
    lines.push(Line::Run(run));
    lines
}

/// The pages that are checked in are those of the records that are checked in, and there are no others.
#[test]
fn the_pages_are_up_to_date() {
    let options = ReportOptions {
        document: None,
        records: None,
        results: None,
        check: true,
    };
    report(&options).unwrap();
}

/// Every link of the documents of the study leads to a file.
#[test]
fn links_lead_somewhere() {
    let root = env::package().parent().unwrap();
    let mut documents = vec![root.join("BENCHMARKS.md"), root.join("README.md")];
    for folder in ["", "results/small-cache", "results/large-cache"] {
        let files = fs::read_dir(env::package().join(folder)).unwrap();
        documents.extend(files.map(|entry| entry.unwrap().path()));
    }
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(documents.len() > 40, "{documents:?}");
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1) {
            let link = link.split([')', '#']).next().unwrap();
            let is_file = !link.is_empty() && !link.contains(':');
            let target = document.parent().unwrap().join(link);
            assert!(!is_file || target.exists(), "{link} in {}", document.display());
        }
    }
}

/// No loss is in a table alone.
#[test]
fn each_ratio_has_its_mark() {
    let data = Data::of(run("2026-01-02", 32, "glibc", 10.0), None);
    let ratios = ratios::ratios(&data, OURS);
    // Six points and memory, each to peers of both forms.
    assert_eq!(ratios.len(), 2 * (6 + 1));
    assert_eq!(ratios::ratios(&data, BY_ID).len(), 2 * 4);
    let drawn = charts::all(&data).unwrap();
    let chart = &drawn[overview::CHART];
    // Marks have the colour of the store; four of them are the legend's.
    assert_eq!(chart.matches("#0969FF").count(), ratios.len() + 4, "{chart}");
    assert!(
        chart.contains("1/2") && chart.contains("W11 a program") && chart.contains("logarithmic"),
        "an axis, and names: {chart}"
    );
    let losses = overview::losses(&data, "results");
    assert!(
        losses.contains("| W13 small stores | none | 1 of 1, 0.500 × dashmap-in-place at 12000, 12 threads |"),
        "{losses}"
    );
}

#[test]
fn what_was_measured_with_mimalloc_is_apart() {
    let mut lines = run("2026-01-02", 32, "glibc 2.36 malloc", 10.0);
    let page = |name: &str, data: &Data| {
        let page = pages::ALL.iter().find(|page| page.name == name).unwrap();
        page.text(data, &BTreeMap::new(), None, "")
    };
    let alone = Data::of(lines.clone(), None);
    assert!(page("allocators", &alone).contains("With mimalloc: not recorded yet."));
    // Later, so it would replace the others.
    lines.extend(run("2026-01-03", 32, "mimalloc", 40.0));
    let data = Data::of(lines, None);
    let rates: BTreeSet<u64> = data.points.values().map(|stores| stores[OURS][0].mops as u64).collect();
    assert_eq!(rates, [10].into());
    assert!(data.memory.iter().all(|line| line.run.starts_with("2026-01-02")));
    for name in ["get", "life-cycle", "targets", "memory"] {
        assert_eq!(page(name, &data), page(name, &alone), "{name}");
    }
    assert_eq!(overview::summary(&data, ""), overview::summary(&alone, ""));
    let text = page("allocators", &data);
    for row in [
        "## With glibc 2.36 malloc",
        "| W1 | 1 | boxed | 10.0 (1.25) | 5.00 (0.625) | dashmap 8.00 |",
        "| W4 | 1 | in place | 10.0 (0.500) | 5.00 (0.250) | dashmap-in-place 20.0 |",
        "| W1 | 1 | boxed | 40.0 (1.25) | 20.0 (0.625) | dashmap 32.0 |",
    ] {
        assert!(text.contains(row), "{row}: {text}");
    }
    let runs = page("runs", &data);
    assert_eq!(runs.matches("| 2026-").count(), 2, "{runs}");
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A page for each class of machines; a record of one class does not change the others' pages.
#[test]
fn each_class_of_machines_keeps_its_page() {
    let folder = Folder(std::env::temp_dir().join(format!("perf-pages-{}", std::process::id())));
    let root = &folder.0;
    let records = root.join("record");
    fs::create_dir_all(&records).unwrap();
    fs::write(root.join("README.md"), "<!-- perf:chart -->\n<!-- /perf:chart -->\n").unwrap();
    let put = |date: &str, lines: Vec<Line>| {
        let lines: Vec<String> = lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        fs::write(records.join(format!("{date}.jsonl")), lines.join("\n")).unwrap();
    };
    let write = |check: bool| {
        report(&ReportOptions {
            document: Some(root.join("BENCHMARKS.md")),
            records: Some(records.clone()),
            results: Some(root.join("perf/results")),
            check,
        })
    };
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();

    put("2026-01-02", run("2026-01-02", 260, "glibc", 10.0));
    write(false).unwrap();
    assert!(read("BENCHMARKS.md").contains("This page is of machines with a last cache of 64 MiB or more."));
    assert!(
        !root.join("perf/results/small-cache").exists(),
        "there is no other class yet"
    );

    put("2026-01-03", run("2026-01-03", 32, "glibc", 50.0));
    assert!(write(true).is_err() && !root.join("perf/results/small-cache").exists());
    write(false).unwrap();
    let new = read("perf/results/small-cache/get.md");
    assert!(
        new.contains("| **shadow** | 50.0 ± 0 % |") && !new.contains("| 10.0 ± 0 %"),
        "{new}"
    );
    assert!(new.contains("](../../../BENCHMARKS.md)"), "{new}");
    assert!(read("BENCHMARKS.md").contains("[large-cache](perf/results/large-cache/README.md)"));
    let old = read("perf/results/large-cache/get.md");
    assert!(
        old.contains("| **shadow** | 10.0 ± 0 % |") && old.contains("](README.md)"),
        "{old}"
    );
    let index = read("perf/results/large-cache/README.md");
    assert!(index.contains("[small-cache](../../../BENCHMARKS.md)"), "{index}");
    assert!(
        index.contains("](./ratios.svg)") && index.contains("](./get.md)"),
        "{index}"
    );
    assert!(root.join("perf/results/large-cache/ratios.svg").exists());
    assert!(read("README.md").contains("(perf/results/small-cache/ratios.svg)"));

    // Text by hand stays in the document, and so do the figures of the other class when the newer class is measured again.
    let with_text = format!("By hand.\n\n{}", read("BENCHMARKS.md"));
    fs::write(root.join("BENCHMARKS.md"), with_text).unwrap();
    put("2026-01-04", run("2026-01-04", 32, "glibc", 60.0));
    write(false).unwrap();
    assert!(read("perf/results/small-cache/get.md").contains("| **shadow** | 60.0 ± 0 % |"));
    assert!(read("BENCHMARKS.md").starts_with("By hand.\n\n"));
    assert_eq!(read("perf/results/large-cache/get.md"), old);

    // A page that is not written any more is found, and removed.
    fs::write(root.join("perf/results/small-cache/old.md"), "old").unwrap();
    assert!(write(true).is_err());
    write(false).unwrap();
    assert!(!root.join("perf/results/small-cache/old.md").exists());
    write(true).unwrap();
}

/// Each answer is checked in the measurement itself; here, that all of them are made, recorded as limits, and shown apart.
#[test]
fn single_calls_are_no_limits() {
    let sizes = Sizes {
        guards: [2, 40],
        ids: 100,
        room: 1 << 12,
        swept: 1 << 10,
    };
    let figures = calls::measure(sizes, 0, Duration::from_micros(50));
    assert!(figures.iter().all(|figure| figure.ns > 0.0 && figure.entries > 0));
    let mut lines = run("2026-01-02", 32, "glibc", 10.0);
    lines.extend(figures.iter().map(|figure| {
        Line::Limit(Limit {
            run: "2026-01-02T000000-1-abc".to_owned(),
            limit: figure.name.to_owned(),
            entries: figure.entries,
            rep: 0,
            ns: figure.ns,
        })
    }));
    let data = Data::of(lines, None);
    let page = |name: &str| {
        let page = pages::ALL.iter().find(|page| page.name == name).unwrap();
        page.text(&data, &BTreeMap::new(), None, "")
    };
    assert!(page("limits").contains("Not recorded yet."));
    let calls = page("calls");
    for row in [
        "| one more owned guard, so many held: shadow | 40 |",
        "| one more owned guard, so many held: papaya | 40 |",
        "| free, alloc and flush: shadow | 1 |",
        "| iteration over one entry, room for so many: dashmap | 4 k |",
        "| len of a store with so many ids: shadow | 100 |",
        "| hit among the rest of so many, after it: shadow | 1 k |",
    ] {
        assert!(calls.contains(row), "{row}: {calls}");
    }
    let rows = calls
        .lines()
        .filter(|line| line.contains("shadow |") || line.contains("papaya |"));
    assert_eq!(rows.count() + 1, figures.len(), "{calls}");
}

#[test]
fn links_lead_from_page_to_page() {
    for (to, from, way) in [
        ("perf/results", "", "perf/results"),
        ("perf/results/a.md", "", "perf/results/a.md"),
        ("BENCHMARKS.md", "perf/results", "../../BENCHMARKS.md"),
        ("perf/results/a", "perf/results", "a"),
        ("/r/BENCHMARKS.md", "/r/perf/results", "../../BENCHMARKS.md"),
        ("/r/charts", "x", "/r/charts"),
    ] {
        assert_eq!(relative(Path::new(to), Path::new(from)), way, "{to} from {from}");
    }
}
