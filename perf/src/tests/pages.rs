//! The pages: that what is written has a place in them, and that machines and allocators are not mixed up.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::class::Class;
use crate::cli::ReportOptions;
use crate::env::{self, Run};
use crate::gate::{BY_ID, OURS};
use crate::limits::calls::{self, Sizes};
use crate::quiet::Quiet;
use crate::record::{Limit, Line, Memory};
use crate::report::{Data, charts, document, overview, relative, report, tables};
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

/// What is written to nowhere is not read: a part without its marks is left out without a word.
#[test]
fn every_part_has_its_marks_on_every_page() {
    let root = env::package().parent().unwrap();
    let mut pages = vec![root.join("BENCHMARKS.md")];
    let others = fs::read_dir(env::package().join("pages")).unwrap();
    pages.extend(others.map(|entry| entry.unwrap().path()));
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(pages.len() > 1, "the pages of other classes are looked at, too");

    let data = Data::of(run("2026-01-02", 32, "glibc", 10.0), None);
    let parts = tables::all(&data, &charts::all(&data).unwrap(), "");
    let written: BTreeSet<&str> = parts.keys().copied().collect();
    assert_eq!(written, document::ORDER.into_iter().collect());
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let at = |mark: String| {
            let places: Vec<usize> = text.match_indices(&mark).map(|(place, _)| place).collect();
            assert_eq!(places.len(), 1, "{mark} in {}", page.display());
            places[0]
        };
        for part in &written {
            let (opening, closing) = (format!("<!-- perf:{part} -->"), format!("<!-- /perf:{part} -->"));
            assert!(at(opening) < at(closing), "{part} in {}", page.display());
        }
        let marks = text.matches("<!-- perf:").count();
        assert_eq!(marks, written.len(), "a mark that nothing fills in {}", page.display());
    }
}

/// No loss is in the table alone.
#[test]
fn each_cell_of_the_table_has_its_bar() {
    let data = Data::of(run("2026-01-02", 32, "glibc", 10.0), None);
    let ratios: Vec<_> = [OURS, BY_ID].map(|ours| overview::ratios(&data, ours)).into();
    let cells: usize = ratios.iter().map(Vec::len).sum();
    // Seven points and memory by `Variable`, four by id, each to peers of both forms.
    assert_eq!(cells, 2 * (7 + 4));
    let drawn = charts::all(&data).unwrap();
    let chart = &drawn[overview::CHART];
    assert_eq!(chart.matches(" × dashmap").count(), cells, "{chart}");
    // Of the table, the same number of figures.
    let table = overview::table(&data);
    let rows = table.lines().filter(|line| line.starts_with("| W"));
    let shown: usize = rows
        .flat_map(|row| row.split('|').skip(3))
        .flat_map(|cell| cell.split([',', ';']))
        .filter(|cell| !cell.trim().is_empty())
        .count();
    assert_eq!(shown, cells, "{table}");
    for lost in [
        "0.500 × dashmap-in-place",
        "0.250 × dashmap-in-place",
        "0.750 × dashmap-in-place",
    ] {
        assert!(chart.contains(lost), "{lost}: {chart}");
    }
    assert!(
        chart.contains("1/4") && chart.contains("W11 a program"),
        "an axis, and names: {chart}"
    );
    assert!(table.contains("**0.500** at 12000"), "{table}");
}

#[test]
fn what_was_measured_with_mimalloc_is_apart() {
    let mut lines = run("2026-01-02", 32, "glibc 2.36 malloc", 10.0);
    let alone = tables::all(&Data::of(lines.clone(), None), &[].into(), "");
    assert!(alone["allocators"].contains("Not measured with another allocator yet."));
    // Later, so it would replace the others.
    lines.extend(run("2026-01-03", 32, "mimalloc", 40.0));
    let data = Data::of(lines, None);
    let rates: BTreeSet<u64> = data.points.values().map(|stores| stores[OURS][0].mops as u64).collect();
    assert_eq!(rates, [10].into());
    assert!(data.memory.iter().all(|line| line.run.starts_with("2026-01-02")));
    let parts = tables::all(&data, &[].into(), "");
    for part in ["summary", "reads", "changes", "targets", "memory"] {
        assert_eq!(parts[part], alone[part], "{part}");
    }
    let text = &parts["allocators"];
    for row in [
        "| | threads | peers' values | glibc 2.36 malloc: by `Variable` | by id | best peer | mimalloc: by `Variable` |",
        "| W1 | 1 | boxed | 10.0 (1.25) | 5.00 (0.625) | dashmap | 40.0 (1.25) | 20.0 (0.625) | dashmap |",
        "| W4 | 1 | in place | 10.0 (0.500) | 5.00 (0.250) | dashmap-in-place | 40.0 (0.500) |",
    ] {
        assert!(text.contains(row), "{row}: {text}");
    }
    assert_eq!(parts["runs"].lines().count(), 2, "{}", parts["runs"]);
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
    let write = |class: Option<Class>, document: &Path| {
        report(&ReportOptions {
            document: Some(document.to_owned()),
            records: Some(records.clone()),
            charts: Some(root.join("perf/charts")),
            pages: Some(root.join("perf/pages")),
            class,
            check: false,
        })
        .unwrap();
        fs::read_to_string(document).unwrap()
    };
    let main = root.join("BENCHMARKS.md");
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();

    put("2026-01-02", run("2026-01-02", 260, "glibc", 10.0));
    let old = write(None, &main);
    assert!(old.contains("This page is of machines with a last cache of 64 MiB or more."));
    assert!(!root.join("perf/pages").exists(), "there is no other class yet");

    put("2026-01-03", run("2026-01-03", 32, "glibc", 50.0));
    let new = write(None, &main);
    assert!(new.contains("| 64 k | 1 | heap | 50.0 |") && !new.contains("| 64 k | 1 | heap | 10.0 |"));
    assert!(new.contains("[large-cache](perf/pages/large-cache.md)"), "{new}");
    let kept = read("perf/pages/large-cache.md");
    assert!(
        kept.contains("| 64 k | 1 | heap | 10.0 |") && !kept.contains("50.0"),
        "{kept}"
    );
    assert!(kept.contains("[small-cache](../../BENCHMARKS.md)"), "{kept}");
    assert!(kept.contains("](large-cache/ratios.svg)"), "{kept}");
    assert!(root.join("perf/pages/large-cache/ratios.svg").exists());
    assert!(read("README.md").contains("(perf/charts/ratios.svg)"));

    // Text by hand stays, and so do the figures when the newer class is measured again.
    let with_text = format!("By hand.\n\n{kept}");
    fs::write(root.join("perf/pages/large-cache.md"), &with_text).unwrap();
    put("2026-01-04", run("2026-01-04", 32, "glibc", 60.0));
    assert!(write(None, &main).contains("| 64 k | 1 | heap | 60.0 |"));
    assert_eq!(read("perf/pages/large-cache.md"), with_text);

    // One class alone, and nothing else is touched.
    let before = read("BENCHMARKS.md");
    let alone = write(Some(Class::LargeCache), &root.join("alone.md"));
    assert!(alone.contains("| 64 k | 1 | heap | 10.0 |"));
    assert_eq!(read("BENCHMARKS.md"), before);
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
    let parts = tables::all(&Data::of(lines, None), &[].into(), "");
    assert_eq!(parts["limits"], "Not recorded yet.");
    for row in [
        "| one more owned guard, so many held: shadow | 40 |",
        "| one more owned guard, so many held: papaya | 40 |",
        "| free, alloc and flush: shadow | 1 |",
        "| iteration over one entry, room for so many: dashmap | 4 k |",
        "| len of a store with so many ids: shadow | 100 |",
        "| hit among the rest of so many, after it: shadow | 1 k |",
    ] {
        assert!(parts["calls"].contains(row), "{row}: {}", parts["calls"]);
    }
    let rows = parts["calls"]
        .lines()
        .filter(|line| line.contains("shadow |") || line.contains("papaya |"));
    assert_eq!(rows.count() + 1, figures.len(), "{}", parts["calls"]);
}

#[test]
fn links_lead_from_page_to_page() {
    for (to, from, way) in [
        ("perf/charts", "", "perf/charts"),
        ("perf/pages/a.md", "", "perf/pages/a.md"),
        ("BENCHMARKS.md", "perf/pages", "../../BENCHMARKS.md"),
        ("perf/pages/a", "perf/pages", "a"),
        ("/r/BENCHMARKS.md", "/r/perf/pages", "../../BENCHMARKS.md"),
        ("/r/charts", "x", "/r/charts"),
    ] {
        assert_eq!(relative(Path::new(to), Path::new(from)), way, "{to} from {from}");
    }
}
