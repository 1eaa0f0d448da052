//! The tables of life cycles at their worst, of small stores, and of what becomes of freed values. And the one of memory at
//! many sizes.

use std::fmt::Write;

use crate::memory;
use crate::peers;
use crate::record::Cell;
use crate::report::Data;
use crate::report::tables::{extra, nanos, point, quantiles, rate, sources, stores};
use crate::summary::{Spread, count};

/// What a column shows of the repetitions of one store.
type Column<'c> = (&'c str, Box<dyn Fn(&Vec<Cell>) -> String>);

/// Those of L4 and of W12 to W15.
pub(crate) fn all(data: &Data) -> String {
    let mut text = String::new();
    let about = "the longest of a run of life cycles, each alloc and free of it clocked, beside the longest pause of a thread \
                 that only reads the clock";
    table(&mut text, data, "L4", about, || {
        vec![
            named("life cycles", "cycles"),
            time("longest alloc", "longest_alloc_ns"),
            time("longest free", "longest_free_ns"),
            time("longest pause", "longest_pause_ns"),
            named("the longest / the pause", "longest_over_pause"),
        ]
    });
    let about = "one thread frees the hottest keys and makes them again, the others read; times of one such pair: p50 / p99 / \
                 p99.9 / p99.99 / max, ns";
    table(&mut text, data, "W12", about, || {
        vec![
            named("readers, Mop/s", "readers_mops"),
            ("writer", Box::new(|cells: &Vec<Cell>| quantiles(Some(cells)))),
        ]
    });
    table(
        &mut text,
        data,
        "W13",
        "small stores of 16 entries; and one alone",
        || {
            vec![
                time("make", "make_ns"),
                time("fill", "fill_ns"),
                time("drop", "drop_ns"),
                named("bytes, empty", "bytes_each_empty"),
                named("bytes, filled", "bytes_each_filled"),
                time("alone: make", "empty_make_ns"),
                time("alone: drop", "empty_drop_ns"),
                named("alone: bytes", "empty_bytes"),
                named("with one entry: bytes", "of_one_bytes"),
            ]
        },
    );
    for (workload, about) in [
        ("W14", "a map of values with destructors is dropped"),
        ("W14F", "all of them are freed, and then the map goes"),
    ] {
        table(&mut text, data, workload, about, || {
            vec![
                named("processor time, s", "cpu_s"),
                named("time, s", "wall_s"),
                mib("MiB left", "bytes_left"),
            ]
        });
    }
    let about = "values with destructors are freed, then there are only reads, or nothing: how many have been dropped";
    table(&mut text, data, "W15idle", about, || {
        vec![
            named("at once", "dropped_at_once_of_reads"),
            named("in 10 ms", "dropped_10ms_of_reads"),
            named("in 100 ms", "dropped_100ms_of_reads"),
            named("not at all", "never_dropped_in_reads"),
            named("of nothing: in 100 ms", "dropped_100ms_of_nothing"),
            named("not at all", "never_dropped_in_nothing"),
        ]
    });
    table(
        &mut text,
        data,
        "W15large",
        "values of 1 MiB, one alive at a time",
        || {
            vec![
                named("peak, MiB resident", "peak_resident_mib"),
                named("MiB of values", "peak_values_mib"),
                named("values at the end", "alive_at_the_end"),
            ]
        },
    );
    let about = "values of 64 bytes are replaced beside a stalled reader";
    table(&mut text, data, "W15stall", about, || {
        vec![
            mib("MiB held", "bytes_held"),
            named("bytes a replacement", "bytes_held_per_op"),
            named("after, s", "ended_at_s"),
            mib("MiB left when it is gone", "bytes_left_after"),
        ]
    });
    text
}

fn named(head: &'static str, name: &'static str) -> Column<'static> {
    (head, Box::new(move |cells| extra(cells, name)))
}

fn median(cells: &[Cell], name: &str) -> Option<f64> {
    let values = cells.iter().filter_map(|cell| cell.extra.get(name).copied());
    Some(Spread::of(values)?.median)
}

fn time(head: &'static str, name: &'static str) -> Column<'static> {
    let show = move |cells: &Vec<Cell>| median(cells, name).map_or_else(|| "–".to_owned(), nanos);
    (head, Box::new(show))
}

fn mib(head: &'static str, name: &'static str) -> Column<'static> {
    let show = move |cells: &Vec<Cell>| {
        let bytes = median(cells, name);
        bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{:.1}", bytes / f64::from(1 << 20)))
    };
    (head, Box::new(show))
}

/// A table for each point of a workload.
fn table<'c>(text: &mut String, data: &Data, workload: &str, about: &str, columns: impl Fn() -> Vec<Column<'c>>) {
    for (at, of_point) in data.of_workload(workload) {
        let columns = columns();
        let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
        let _ = writeln!(
            text,
            "\n**{workload}**, {}: {about}.\n\n| store | Mop/s | {} |\n|{}",
            point(at),
            heads.join(" | "),
            "---|".repeat(heads.len() + 2)
        );
        for name in stores([of_point].into_iter()) {
            let cells: Vec<String> = columns.iter().map(|(_, show)| show(&of_point[name])).collect();
            let _ = writeln!(text, "| {name} | {} | {} |", rate(of_point, name), cells.join(" | "));
        }
        text.push_str(&sources(data, [of_point].into_iter()));
    }
}

/// The worst and the least of each store, over the sizes of the curve.
pub(crate) fn memory_curve(data: &Data) -> String {
    let sizes = memory::curve();
    let mut rows = String::new();
    for contender in peers::all() {
        let name = contender.about.name;
        let of = data
            .memory
            .iter()
            .filter(|line| line.store == name && line.made == "grown" && sizes.contains(&line.entries));
        let all: Vec<(usize, f64)> = of.map(|line| (line.entries, line.bytes_per_entry)).collect();
        // The sizes of the table are of the curve, too.
        if all.len() <= 2 {
            continue;
        }
        let by = |a: &&(usize, f64), b: &&(usize, f64)| a.1.total_cmp(&b.1);
        if let (Some(worst), Some(least)) = (all.iter().max_by(by), all.iter().min_by(by)) {
            let show = |of: &(usize, f64)| format!("{:.1} at {}", of.1, count(of.0));
            let _ = writeln!(rows, "| {name} | {} | {} | {} |", all.len(), show(worst), show(least));
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "\nAt {} sizes, 16 up to 1 M and 16 from 4 M to 8 M, grown:\n\n| store | sizes | worst | least |\n|---|---|---|---|\n{rows}",
        sizes.len()
    )
}
