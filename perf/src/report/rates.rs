//! The pages about rates: look-ups, changes, threads, allocators.

use crate::gate::{BY_ID, OURS};
use crate::peers::{self, Peers};
use crate::report::data::Data;
use crate::report::ratios::{self, Ratio};
use crate::report::text::{self, Points, Text, extra, point, quantiles, rate, threads};
use crate::summary::{At, Stores, count, figures};
use crate::workloads::Workload;

/// More threads than this are on a page of their own.
const FEW_THREADS: usize = 2;
/// Points that a table has room for.
const COLUMNS: usize = 5;

pub(super) fn get(text: &mut Text<'_>) {
    text.paragraph(
        "Every look-up finds its key. `shadow` looks up by `Variable`, which has found the slot of its id once; `shadow-by-id` is \
         given the id at each operation, as the examples of the README do.",
    );
    for (workload, chart) in [
        (Workload::W1, "get-by-size.svg"),
        (Workload::G64, "get-by-size-g64.svg"),
    ] {
        of_workload(text, workload);
        text.chart(
            chart,
            &format!("{} by number of entries, {}", workload, workload.about()),
        );
    }
    text.paragraph(
        "In **B64**, 64 keys are handed over at once, so that the store can prefetch. Peers have no such call; what they have \
         instead is G64.",
    );
    of_workload(text, Workload::B64);
}

pub(super) fn miss(text: &mut Text<'_>) {
    text.paragraph("No look-up finds its key: the addresses are of the same kind, but have no entry.");
    of_workload(text, Workload::W2);
}

pub(super) fn mixed(text: &mut Text<'_>) {
    for workload in [Workload::W3, Workload::W5] {
        of_workload(text, workload);
    }
    for point in text.data.of_workload(Workload::W12.name()) {
        text.heading(&format!("W12, {}: {}", self::point(point.0), Workload::W12.about()));
        text.paragraph("Times are of the writer, of freeing one key and making it again, in nanoseconds.");
        let mut columns = vec![text::rates(), extra("readers, Mop/s", "readers_mops")];
        columns.extend(quantiles());
        text.by_figure(point, &columns);
    }
}

pub(super) fn life_cycle(text: &mut Text<'_>) {
    for workload in [Workload::W4, Workload::W4N, Workload::W11] {
        of_workload(text, workload);
    }
    for point in text.data.of_workload(Workload::L4.name()) {
        text.heading(&format!("L4, {}: {}", self::point(point.0), Workload::L4.about()));
        text.by_figure(
            point,
            &[
                text::rates(),
                extra("life cycles", "cycles"),
                text::time("longest alloc, ns", "longest_alloc_ns"),
                text::time("longest free, ns", "longest_free_ns"),
                text::time("longest pause, ns", "longest_pause_ns"),
                extra("longest / pause", "longest_over_pause"),
            ],
        );
    }
}

/// A table of the points with few threads; one for each number of threads, if there are many points.
fn of_workload(text: &mut Text<'_>, workload: Workload) {
    let data = text.data;
    let points: Points<'_> = data
        .of_workload(workload.name())
        .filter(|(at, _)| at.threads <= FEW_THREADS)
        .collect();
    if points.is_empty() {
        return;
    }
    let heading = |more: &str| format!("{workload}{more}: {}, Mop/s", workload.about());
    if points.len() <= COLUMNS {
        let shared = match points[..] {
            [(only, _)] => format!(", {}", point(only)),
            _ => String::new(),
        };
        text.heading(&heading(&shared));
        text.rates(&points);
        return;
    }
    for number in 1..=FEW_THREADS {
        let points: Points<'_> = points.iter().copied().filter(|(at, _)| at.threads == number).collect();
        if !points.is_empty() {
            text.heading(&heading(&format!(", {}", threads(number))));
            text.rates(&points);
        }
    }
}

pub(super) fn more_threads(text: &mut Text<'_>) {
    text.paragraph(
        "From 1 thread to more threads than cores, each pinned to core *i* modulo the cores; Mop/s of all threads together. Where \
         there are more threads than cores, a thread that holds a lock may be waiting for a core.",
    );
    for (workload, entries, chart) in [
        (Workload::W1, 1 << 16, "threads-w1.svg"),
        (Workload::W3, 1 << 16, "threads-w3.svg"),
        (Workload::W3, 1 << 20, ""),
        (Workload::W5, 1 << 16, ""),
    ] {
        let data = text.data;
        let points: Points<'_> = data
            .of_workload(workload.name())
            .filter(|(at, _)| at.entries == entries)
            .collect();
        if points.len() <= 2 {
            continue;
        }
        text.heading(&format!("{workload}, {} entries: {}", count(entries), workload.about()));
        text.by_point(&points, |cells| {
            let rate = crate::summary::Summary::spread(cells, |cell| cell.mops)?;
            Some(figures(rate.median))
        });
        text.chart(chart, &format!("{workload} by number of threads"));
    }
}

/// What is compared with two allocators, at which size.
const HEADLINE: [Workload; 6] = [
    Workload::W1,
    Workload::G64,
    Workload::W3,
    Workload::W4,
    Workload::W4N,
    Workload::W5,
];
const HEADLINE_ENTRIES: usize = 1 << 16;

pub(super) fn allocators(text: &mut Text<'_>) {
    let data = text.data;
    let system = data.used.iter().find(|run| !run.is_with_mimalloc());
    let system = system.map_or("the system's malloc", |run| run.allocator.as_str());
    text.paragraph(&format!(
        "A `Variable` (`{OURS}`) has found the slot of its id once; by id (`{BY_ID}`), each operation looks the id up and compares \
         its type. Half of a life cycle's time is the allocator's, so a faster allocator brings the ratios nearer to what the maps \
         alone do. The two are two programs, measured one after the other: compare within a column. At {} entries; rates in Mop/s; \
         in brackets, our rate as a multiple of the best peer's.",
        count(HEADLINE_ENTRIES)
    ));
    let mimalloc = data.mimalloc.as_deref();
    for (about, side) in [(system, Some(data)), ("mimalloc", mimalloc)] {
        let Some(side) = side else {
            text.paragraph(&format!("With {about}: not recorded yet."));
            continue;
        };
        let (by_variable, by_id) = (headline(side, OURS), headline(side, BY_ID));
        text.heading(&format!("With {about}"));
        let rows = by_variable.iter().filter_map(|ratio| {
            let stores = side.points.get(&ratio.at)?;
            text.note_runs(stores.values().flatten().map(|cell| cell.run.as_str()));
            let same = |other: &&Ratio<'_>| other.at == ratio.at && other.form == ratio.form;
            let with =
                |store: &str, times: f64| Some(format!("{} ({})", figures(rate(stores, store)?), figures(times)));
            let by_id = by_id.iter().find(same).and_then(|ratio| with(BY_ID, ratio.times));
            Some(vec![
                ratio.name.to_owned(),
                ratio.at.threads.to_string(),
                ratio.form.values().to_owned(),
                with(OURS, ratio.times)?,
                by_id.unwrap_or_else(|| "–".to_owned()),
                format!("{} {}", ratio.peer, figures(rate(stores, ratio.peer)?)),
            ])
        });
        let rows: Vec<Vec<String>> = rows.collect();
        text.table(
            &[
                "workload",
                "threads",
                "peers' values",
                "by `Variable`",
                "by id",
                "best peer",
            ],
            rows,
        );
    }
    if let Some(mimalloc) = mimalloc {
        text.heading("With mimalloc: every map");
        for workload in HEADLINE {
            let points: Points<'_> = mimalloc
                .of_workload(workload.name())
                .filter(|(at, _)| at.entries == HEADLINE_ENTRIES)
                .collect();
            if !points.is_empty() {
                text.paragraph(&format!("**{workload}**: {}, Mop/s.", workload.about()));
                text.rates(&points);
            }
        }
    }
}

fn headline<'d>(data: &'d Data, ours: &str) -> Vec<Ratio<'d>> {
    let mut ratios = ratios::ratios(data, ours);
    ratios.retain(|ratio| {
        let is_headline = HEADLINE.iter().any(|workload| workload.name() == ratio.name);
        is_headline && ratio.at.entries == HEADLINE_ENTRIES
    });
    ratios
}

/// By how many percent our rate by id is lower than by `Variable`, at the least and at the most, over the points of a workload.
pub(super) fn by_id_costs(data: &Data, workload: Workload) -> Option<(f64, f64)> {
    let costs = data
        .of_workload(workload.name())
        .filter_map(|(_, stores): (&At, &Stores)| {
            let times = crate::summary::times(stores.get(BY_ID)?, stores.get(OURS)?)?;
            Some((1.0 - times) * 100.0)
        });
    let costs: Vec<f64> = costs.collect();
    let least = costs.iter().copied().min_by(f64::total_cmp)?;
    let most = costs.iter().copied().max_by(f64::total_cmp)?;
    Some((least, most))
}

/// Whether a peer has a form, by name.
pub(super) fn has_form(peer: &str, form: Peers) -> bool {
    peers::about(peer).is_some_and(|about| form.have(&about))
}
