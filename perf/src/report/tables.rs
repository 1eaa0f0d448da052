//! The tables, in Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::memory;
use crate::peers::{self, Peers};
use crate::record::{Cell, Limit, Memory};
use crate::report::{Data, allocators, calls, freed, overview};
use crate::summary::{self, At, Spread, Stores, Summary, count, figures};
use crate::workloads::Workload;

/// Every part by name. Parts without data say so.
pub(crate) fn all(
    data: &Data,
    charts: &BTreeMap<&'static str, String>,
    prefix: &str,
) -> BTreeMap<&'static str, String> {
    let image = |name: &'static str, about: &str| match charts.get(name) {
        Some(_) => format!("\n![{about}]({prefix}/{name})\n"),
        None => String::new(),
    };
    use Workload::{B64, G64, W1, W2, W3, W4, W4N, W5, W11};
    let mut parts = BTreeMap::from([
        ("summary", overview::chart(charts, prefix) + &overview::table(data)),
        ("targets", overview::targets(data)),
        ("runs", runs(data)),
        (
            "reads",
            throughput(data, &[W1, G64, B64, W2]) + &image("get-by-size.svg", "W1 by number of entries, one thread"),
        ),
        ("changes", throughput(data, &[W3, W4, W4N, W5, W11])),
        ("latency", latency(data) + &image("latency-w3.svg", "latencies of W3")),
        (
            "scale",
            scale(data)
                + &image("scale-w1.svg", "W1 from 1 to 64 threads")
                + &image("scale-w3.svg", "W3 from 1 to 64 threads"),
        ),
        (
            "growth",
            growth(data) + &image("growth.svg", "worst insert while growing"),
        ),
        (
            "memory",
            memory(data)
                + &image("memory.svg", "bytes per entry beside the value")
                + &image("memory-curve.svg", "bytes per entry at 32 sizes"),
        ),
        ("ids", ids(data)),
        ("stall", stall(data)),
        (
            "freed",
            freed::all(data) + &image("stall.svg", "bytes that wait for a stalled reader, over time"),
        ),
        ("calls", calls::table(data)),
        ("limits", limits(data)),
        ("allocators", allocators::table(data)),
        // Those two are not of the records: whoever writes a page has them.
        ("classes", String::new()),
        ("instructions", String::new()),
    ]);
    for part in parts.values_mut().filter(|part| part.trim().is_empty()) {
        "Not recorded yet.".clone_into(part);
    }
    parts
}

fn runs(data: &Data) -> String {
    let mut text = String::new();
    for run in &data.used {
        let _ = writeln!(text, "- `{}`: {}.", run.command, run.in_short());
    }
    let mut wrong: Vec<String> = data.failures.iter().map(ToString::to_string).collect();
    wrong.sort();
    wrong.dedup();
    if !wrong.is_empty() {
        text.push_str("\nNot measured, as the map gave a wrong answer or panicked:\n\n");
    }
    for failure in wrong {
        let _ = writeln!(text, "- {failure}");
    }
    text
}

/// The names of stores that some points have, in the order of the program.
pub(crate) fn stores<'d>(points: impl Iterator<Item = &'d Stores>) -> Vec<&'static str> {
    let there: BTreeSet<&String> = points.flat_map(BTreeMap::keys).collect();
    let all = peers::all().into_iter().map(|contender| contender.about.name);
    all.filter(|name| there.iter().any(|there| there == name)).collect()
}

/// The commands and commits that some points come from.
pub(crate) fn sources<'d>(data: &Data, points: impl Iterator<Item = &'d Stores>) -> String {
    let runs = points
        .flat_map(BTreeMap::values)
        .flatten()
        .map(|cell| cell.run.as_str());
    sources_of(data, runs)
}

pub(crate) fn sources_of<'d>(data: &Data, runs: impl Iterator<Item = &'d str>) -> String {
    let names: BTreeSet<&str> = runs.collect();
    let runs = names.into_iter().filter_map(|name| data.run(name));
    let runs: BTreeSet<String> = runs
        .map(|run| format!("`{}`, commit {}", run.command, run.commit))
        .collect();
    if runs.is_empty() {
        return String::new();
    }
    format!("\nFrom {}.\n", Vec::from_iter(runs).join("; "))
}

fn throughput(data: &Data, workloads: &[Workload]) -> String {
    let mut text = String::new();
    for workload in workloads {
        let points: Vec<_> = data
            .of_workload(workload.name())
            .filter(|(at, _)| at.threads <= 8)
            .collect();
        if points.is_empty() {
            continue;
        }
        let names = stores(points.iter().map(|(_, stores)| *stores));
        let _ = writeln!(text, "\n**{workload}**: {}. Mop/s.\n", workload.about());
        let _ = writeln!(
            text,
            "| entries | threads | keys | {} | against the best, boxed | in place | ± % |",
            names.join(" | ")
        );
        let _ = writeln!(text, "|{}", "---|".repeat(names.len() + 6));
        for (at, stores) in points {
            let rates: Vec<Option<Spread>> = names
                .iter()
                .map(|name| Summary::spread(stores.get(*name)?, |cell| cell.mops))
                .collect();
            let cells: Vec<String> = rates
                .iter()
                .map(|rate| rate.map_or_else(|| "–".to_owned(), |rate| figures(rate.median)))
                .collect();
            let widest = rates.iter().flatten().map(|rate| rate.percent()).fold(0.0, f64::max);
            let forms: Vec<Peers> = data.forms(stores).collect();
            let against = Peers::FORMS.map(|form| {
                let best = summary::against_best(stores, form).filter(|_| forms.contains(&form));
                best.map_or_else(
                    || "–".to_owned(),
                    |(name, times)| format!("{} × {name}", figures(times)),
                )
            });
            let against = against.join(" | ");
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {against} | {widest:.0} |",
                count(at.entries),
                at.threads,
                at.keys,
                cells.join(" | ")
            );
        }
    }
    if !text.is_empty() {
        text.push_str(
            "\n± is half the distance between the slowest and the fastest repetition, of the map where it is widest; – is a \
             map that was not among the fastest at a first look, or cannot do it.\n",
        );
        let is_here = |at: &At| workloads.iter().any(|workload| workload.name() == at.workload);
        text += &sources(
            data,
            data.points
                .iter()
                .filter(|(at, _)| is_here(at))
                .map(|(_, stores)| stores),
        );
    }
    text
}

fn latency(data: &Data) -> String {
    let mut text = String::new();
    for workload in [Workload::W1, Workload::W3, Workload::W4, Workload::W4N, Workload::W5] {
        let least = if matches!(workload, Workload::W4 | Workload::W4N) {
            1 << 10
        } else {
            1 << 16
        };
        let points: Vec<_> = data
            .of_workload(workload.name())
            .filter(|(at, _)| at.threads <= 2 && (least..=1 << 20).contains(&at.entries))
            .filter(|(_, stores)| stores.values().flatten().any(|cell| cell.p50_ns > 0))
            .collect();
        if points.is_empty() {
            continue;
        }
        let names = stores(points.iter().map(|(_, stores)| *stores));
        let heads: Vec<String> = points.iter().map(|(at, _)| point(at)).collect();
        let _ = writeln!(
            text,
            "\n**{workload}**, one {}: p50 / p99 / p99.9 / p99.99 / max, ns.\n\n| store | {} |",
            workload.step(),
            heads.join(" | ")
        );
        let _ = writeln!(text, "|{}", "---|".repeat(heads.len() + 1));
        for name in names {
            let cells: Vec<String> = points.iter().map(|(_, stores)| quantiles(stores.get(name))).collect();
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        }
        text += &sources(data, points.iter().map(|(_, stores)| *stores));
    }
    text
}

pub(crate) fn quantiles(cells: Option<&Vec<Cell>>) -> String {
    let Some(cells) = cells.filter(|cells| cells.iter().any(|cell| cell.p50_ns > 0)) else {
        return "–".to_owned();
    };
    let median = |figure: fn(&Cell) -> u64| {
        Summary::spread(cells, |cell| figure(cell) as f64).map_or_else(String::new, |spread| nanos(spread.median))
    };
    [
        median(|cell| cell.p50_ns),
        median(|cell| cell.p99_ns),
        median(|cell| cell.p999_ns),
        median(|cell| cell.p9999_ns),
        median(|cell| cell.max_ns),
    ]
    .join(" / ")
}

pub(crate) fn nanos(ns: f64) -> String {
    match ns {
        _ if ns >= 1e6 => format!("{:.1} ms", ns / 1e6),
        _ if ns >= 1e4 => format!("{:.0} µs", ns / 1e3),
        _ => format!("{ns:.0}"),
    }
}

pub(crate) fn point(at: &At) -> String {
    format!(
        "{}, {} thread{}",
        count(at.entries),
        at.threads,
        if at.threads == 1 { "" } else { "s" }
    )
}

fn scale(data: &Data) -> String {
    let mut text = String::new();
    for workload in ["W1", "W3"] {
        let mut by_size: BTreeMap<usize, Vec<(&At, &Stores)>> = BTreeMap::new();
        for (at, stores) in data.of_workload(workload) {
            by_size.entry(at.entries).or_default().push((at, stores));
        }
        for (entries, points) in by_size.into_iter().filter(|(_, points)| points.len() > 2) {
            let threads: Vec<String> = points.iter().map(|(at, _)| at.threads.to_string()).collect();
            let _ = writeln!(
                text,
                "\n**{workload}**, {} entries, by threads. Mop/s.\n",
                count(entries)
            );
            let _ = writeln!(
                text,
                "| store | {} |\n|{}",
                threads.join(" | "),
                "---|".repeat(threads.len() + 1)
            );
            for name in stores(points.iter().map(|(_, stores)| *stores)) {
                let cells: Vec<String> = points.iter().map(|(_, stores)| rate(stores, name)).collect();
                let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
            }
            text += &sources(data, points.iter().map(|(_, stores)| *stores));
        }
    }
    text
}

pub(crate) fn rate(stores: &Stores, name: &str) -> String {
    let spread = stores
        .get(name)
        .and_then(|cells| Summary::spread(cells, |cell| cell.mops));
    spread.map_or_else(|| "–".to_owned(), |spread| figures(spread.median))
}

pub(crate) fn extra(cells: &[Cell], name: &str) -> String {
    let values = cells.iter().filter_map(|cell| cell.extra.get(name).copied());
    Spread::of(values).map_or_else(|| "–".to_owned(), |spread| figures(spread.median))
}

fn growth(data: &Data) -> String {
    let mut text = String::new();
    for (at, stores) in data.of_workload("W6") {
        let _ = writeln!(
            text,
            "\n**W6**: from empty to {} entries, {} thread{}; then all but one in 64 go.\n",
            count(at.entries),
            at.threads,
            if at.threads == 1 { "" } else { "s" }
        );
        text.push_str("| store | total, s | p99.99 | worst insert | memory left, of the live size | the same when asked to shrink | resident |\n");
        let _ = writeln!(text, "|{}", "---|".repeat(7));
        for name in self::stores([stores].into_iter()) {
            let cells = &stores[name];
            // A repetition for the total alone has no times of single inserts.
            let time = |figure: fn(&Cell) -> u64| {
                let clocked = cells.iter().map(|cell| figure(cell) as f64).filter(|&ns| ns > 0.0);
                Spread::of(clocked).map_or_else(|| "–".to_owned(), |spread| nanos(spread.median))
            };
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {} | {} |",
                extra(cells, "total_s"),
                time(|cell| cell.p9999_ns),
                time(|cell| cell.max_ns),
                extra(cells, "shrunk_ratio"),
                extra(cells, "shrunk_when_asked_ratio"),
                extra(cells, "shrunk_resident_ratio"),
            );
        }
        text += &sources(data, [stores].into_iter());
    }
    let sweeps: Vec<_> = data.of_workload("W7").chain(data.of_workload("W7P")).collect();
    if !sweeps.is_empty() {
        text.push_str("\n**W7**: all of one id go, a quarter of all entries. Seconds.\n\n| | entries | threads |");
        let names = stores(sweeps.iter().map(|(_, stores)| *stores));
        let _ = writeln!(text, " {} |\n|{}", names.join(" | "), "---|".repeat(names.len() + 3));
        for (at, stores) in &sweeps {
            let cells: Vec<String> = names
                .iter()
                .map(|name| {
                    stores
                        .get(*name)
                        .map_or_else(|| "–".to_owned(), |cells| extra(cells, "seconds_taken"))
                })
                .collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                at.workload,
                count(at.entries),
                at.threads,
                cells.join(" | ")
            );
        }
        text += &sources(data, sweeps.iter().map(|(_, stores)| *stores));
    }
    text
}

fn memory(data: &Data) -> String {
    if data.memory.is_empty() {
        return String::new();
    }
    // The sizes of the curve are in its chart.
    let curve = memory::curve();
    let is_shown = |entries: usize| !curve.contains(&entries) || entries == 1 << 20 || entries == 1 << 23;
    let sizes: BTreeSet<usize> = data
        .memory
        .iter()
        .map(|line| line.entries)
        .filter(|&entries| is_shown(entries))
        .collect();
    let heads: Vec<String> = sizes.iter().map(|&entries| count(entries)).collect();
    let mut text = format!(
        "\n**W8**: bytes per entry beside the 16-byte value: resident, and in brackets what the allocator has handed out.\n\n\
         | store | {} |\n|{}\n",
        heads
            .iter()
            .map(|size| format!("{size}, grown | {size}, with capacity"))
            .collect::<Vec<_>>()
            .join(" | "),
        "---|".repeat(heads.len() * 2 + 1)
    );
    for contender in peers::all() {
        let name = contender.about.name;
        if !data.memory.iter().any(|line| line.store == name) {
            continue;
        }
        let mut cells = Vec::new();
        for &entries in &sizes {
            for made in ["grown", "capacity"] {
                let line = data
                    .memory
                    .iter()
                    .find(|line| line.store == name && line.entries == entries && line.made == made);
                cells.push(line.map_or_else(
                    || "–".to_owned(),
                    |line| format!("{:.1} ({:.1})", line.bytes_per_entry, line.heap_bytes_per_entry),
                ));
            }
        }
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text += &freed::memory_curve(data);
    text + &sources_of(data, data.memory.iter().map(|Memory { run, .. }| run.as_str()))
}

fn ids(data: &Data) -> String {
    let mut text = String::new();
    let names = ["W9x1", "W9x4", "W9x64", "W9wide", "W9own"];
    let sizes: BTreeSet<(usize, usize)> = data
        .of_workload("W9x1")
        .map(|(at, _)| (at.entries, at.threads))
        .collect();
    for (entries, threads) in sizes {
        let of = |workload: &'static str| {
            let mut points = data.of_workload(workload);
            points
                .find(|(at, _)| (at.entries, at.threads) == (entries, threads))
                .map(|(_, stores)| stores)
        };
        let _ = writeln!(
            text,
            "\n**W9**: {} entries, {threads} thread{}. Mop/s of get: 1, 4 and 64 ids on each parent; 1 id beside a parent \
             with 10,000; on that parent.\n\n| store | {} |\n|{}",
            count(entries),
            if threads == 1 { "" } else { "s" },
            names.join(" | "),
            "---|".repeat(names.len() + 1)
        );
        for store in stores(names.iter().filter_map(|name| of(name))) {
            let cells: Vec<String> = names
                .iter()
                .map(|name| of(name).map_or_else(|| "–".to_owned(), |stores| rate(stores, store)))
                .collect();
            let _ = writeln!(text, "| {store} | {} |", cells.join(" | "));
        }
        text += &sources(data, names.iter().filter_map(|name| of(name)));
    }
    text
}

fn stall(data: &Data) -> String {
    let mut text = String::new();
    for (at, stores) in data.of_workload("W10") {
        let _ = writeln!(
            text,
            "\n**W10**: W3 at {} beside a reader that holds what it found. Maps that are not here make writers wait for \
             it.\n\n| store | Mop/s before | meanwhile | after | bytes held, per operation | MiB held | MiB left after |\n|{}",
            point(at),
            "---|".repeat(7)
        );
        let mib = |cells: &[Cell], name: &str| {
            let values = cells.iter().filter_map(|cell| cell.extra.get(name).copied());
            Spread::of(values).map_or_else(|| "–".to_owned(), |spread| figures(spread.median / f64::from(1 << 20)))
        };
        for name in self::stores([stores].into_iter()) {
            let cells = &stores[name];
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {} | {} |",
                extra(cells, "mops_without_stall"),
                rate(stores, name),
                extra(cells, "mops_after_stall"),
                extra(cells, "bytes_held_per_op"),
                mib(cells, "bytes_held_by_stall"),
                mib(cells, "bytes_left_after_stall"),
            );
        }
        text += &sources(data, [stores].into_iter());
    }
    text
}

fn limits(data: &Data) -> String {
    let limits: Vec<&Limit> = data.limits.iter().filter(|limit| !calls::is_call(limit)).collect();
    if limits.is_empty() {
        return String::new();
    }
    let mut names: Vec<&str> = Vec::new();
    for limit in &limits {
        if !names.contains(&limit.limit.as_str()) {
            names.push(&limit.limit);
        }
    }
    let sizes: BTreeSet<usize> = limits
        .iter()
        .map(|limit| limit.entries)
        .filter(|&entries| entries > 0)
        .collect();
    let heads: Vec<String> = sizes.iter().map(|&entries| count(entries)).collect();
    let mut text = format!(
        "\nNanoseconds an operation, one thread.\n\n| limit | {} |\n|{}\n",
        heads.join(" | "),
        "---|".repeat(heads.len() + 1)
    );
    let value = |name: &str, entries: usize| {
        let of = limits
            .iter()
            .filter(|limit| limit.limit == name && limit.entries == entries);
        Spread::of(of.map(|limit| limit.ns)).map(|spread| figures(spread.median))
    };
    for name in names {
        let cells: Vec<String> = match value(name, 0) {
            Some(ns) => vec![ns; 1]
                .into_iter()
                .chain(vec![String::new(); heads.len().saturating_sub(1)])
                .collect(),
            None => sizes
                .iter()
                .map(|&entries| value(name, entries).unwrap_or_else(|| "–".to_owned()))
                .collect(),
        };
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text + &sources_of(data, limits.iter().map(|limit| limit.run.as_str()))
}

/// Counts as `ci/icount.sh --no-op` prints them, times as `ci/no-op.sh` does, and a line that says where both are from.
pub(crate) fn instructions(counts: &str) -> String {
    let mut text = String::from(
        "\n| operation | instructions | of that tracing | type checks | statistics | together |\n|---|---|---|---|---|---|\n",
    );
    let (mut from, mut times) = ("", String::new());
    for line in counts.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [name, all, tracing, types, statistics, part, "%"] => {
                let name = name.rsplit("::").next().unwrap_or(name).replace('_', " ");
                let _ = writeln!(
                    text,
                    "| {name} | {all} | {tracing} | {types} | {statistics} | {part} % |"
                );
            }
            [entries, by, with, without, ratio, least, "to", most] if entries.parse::<usize>().is_ok() => {
                let entries = entries.parse().map_or_else(|_| entries.to_owned(), count);
                let _ = writeln!(
                    times,
                    "| {entries} | {by} | {with} | {without} | {ratio} | {least} to {most} |"
                );
            }
            ["from", ..] => from = line,
            _ => {}
        }
    }
    if !times.is_empty() {
        text += "\n| entries | W1 by | with all of it, ns | without, ns | rate, of that without | half of the turns within |\n";
        let _ = write!(text, "|---|---|---|---|---|---|\n{times}");
    }
    if !from.is_empty() {
        let _ = writeln!(text, "\nF{}.", &from[1..]);
    }
    text
}
