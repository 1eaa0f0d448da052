//! The pages about whole maps: growth, freeing many entries at once, memory, many ids, small stores.

use std::collections::BTreeSet;

use crate::memory;
use crate::peers;
use crate::record::Cell;
use crate::report::text::{self, Points, Text, clocked, extra, median, mib, name, nanos, point, rates, threads};
use crate::summary::{count, figures};
use crate::workloads::Workload;

pub(super) fn growth(text: &mut Text<'_>) {
    text.paragraph(
        "A map grows from empty; then all but one entry in 64 are freed, and it may give memory back. The memory that is left is a \
         multiple of what the live entries take: by itself, and after it was told to shrink where it can be told.",
    );
    for point in text.data.of_workload(Workload::W6.name()) {
        let (at, _) = point;
        text.heading(&format!("W6, {} entries, {}", count(at.entries), threads(at.threads)));
        let time = |head: &'static str, figure: fn(&Cell) -> u64| -> text::Column<'static> {
            (head, Box::new(move |cells| Some(nanos(clocked(cells, figure)?))))
        };
        text.by_figure(
            point,
            &[
                extra("total, s", "total_s"),
                time("insert p99.99, ns", |cell| cell.p9999_ns),
                time("worst insert", |cell| cell.max_ns),
                extra("memory left", "shrunk_ratio"),
                extra("after shrinking", "shrunk_when_asked_ratio"),
                extra("resident", "shrunk_resident_ratio"),
            ],
        );
    }
    text.chart("growth.svg", "worst insert while growing");
}

pub(super) fn bulk_free(text: &mut Text<'_>) {
    let data = text.data;
    for workload in [Workload::W7, Workload::W7P] {
        let points: Points<'_> = data.of_workload(workload.name()).collect();
        if let Some((at, _)) = points.first() {
            text.heading(&format!("{workload}, {}: {}, seconds", point(at), workload.about()));
            text.by_point(&points, |cells| Some(figures(median(cells, "seconds_taken")?)));
        }
    }
    for workload in [Workload::W14, Workload::W14F] {
        for at in data.of_workload(workload.name()) {
            text.heading(&format!("{workload}, {}: {}", point(at.0), workload.about()));
            text.by_figure(
                at,
                &[
                    rates(),
                    extra("processor time, s", "cpu_s"),
                    extra("time, s", "wall_s"),
                    mib("MiB left", "bytes_left"),
                ],
            );
        }
    }
}

pub(super) fn memory(text: &mut Text<'_>) {
    let data = text.data;
    text.paragraph(
        "Bytes per entry beside the 16-byte value: resident, and in brackets what the allocator has handed out. Each map and size \
         has a process of its own; *with capacity* is a map that was made with room for all entries.",
    );
    // The other sizes of the curve are in its chart.
    let curve = memory::curve();
    let is_shown = |entries: usize| !curve.contains(&entries) || entries == 1 << 20 || entries == 1 << 23;
    let columns: BTreeSet<(usize, &str)> = data
        .memory
        .iter()
        .filter(|line| is_shown(line.entries))
        .map(|line| {
            (
                line.entries,
                if line.made == "grown" { "grown" } else { "with capacity" },
            )
        })
        .collect();
    if columns.is_empty() {
        return;
    }
    text.note_runs(data.memory.iter().map(|line| line.run.as_str()));
    text.heading("W8: bytes per entry");
    let heads: Vec<String> = columns
        .iter()
        .map(|&(entries, made)| format!("{}, {made}", count(entries)))
        .collect();
    let heads: Vec<&str> = std::iter::once("map").chain(heads.iter().map(String::as_str)).collect();
    let (mut rows, mut absent) = (Vec::new(), Vec::new());
    // To which operations the id is given makes no difference to memory.
    for about in peers::known().into_iter().filter(|about| !about.is_by_id()) {
        let of = |&(entries, made): &(usize, &str)| {
            let is = |line: &&crate::record::Memory| {
                line.store == about.name && line.entries == entries && (line.made == "grown") == (made == "grown")
            };
            let line = data.memory.iter().find(is)?;
            Some(format!(
                "{:.1} ({:.1})",
                line.bytes_per_entry, line.heap_bytes_per_entry
            ))
        };
        let cells: Vec<Option<String>> = columns.iter().map(of).collect();
        if cells.iter().all(Option::is_none) {
            absent.push(about.name);
            continue;
        }
        let cells = columns.iter().zip(cells).map(|(&(entries, _), cell)| {
            let why = if entries > about.max_entries {
                "n/a"
            } else {
                "not measured"
            };
            cell.unwrap_or_else(|| why.to_owned())
        });
        rows.push(std::iter::once(name(&about)).chain(cells).collect::<Vec<String>>());
    }
    text.table(&heads, rows);
    text.absent(&absent);
    text.chart("memory.svg", "bytes per entry beside the value");
    curve_of_memory(text);
    text.chart("memory-curve.svg", "bytes per entry at 32 sizes");
}

/// The most and the least of each map, over the sizes of the curve.
fn curve_of_memory(text: &mut Text<'_>) {
    let data = text.data;
    let sizes = memory::curve();
    let mut rows = Vec::new();
    for about in peers::known() {
        let of = data
            .memory
            .iter()
            .filter(|line| line.store == about.name && line.made == "grown" && sizes.contains(&line.entries));
        let all: Vec<(usize, f64)> = of.map(|line| (line.entries, line.bytes_per_entry)).collect();
        // The sizes of the table are of the curve, too.
        if all.len() <= 3 {
            continue;
        }
        let by = |a: &&(usize, f64), b: &&(usize, f64)| a.1.total_cmp(&b.1);
        if let (Some(most), Some(least)) = (all.iter().max_by(by), all.iter().min_by(by)) {
            let show = |of: &(usize, f64)| format!("{:.1} at {}", of.1, count(of.0));
            rows.push([name(&about), all.len().to_string(), show(most), show(least)]);
        }
    }
    if !rows.is_empty() {
        text.heading("W8 at 32 sizes");
        text.paragraph(
            "How full a table is makes all the difference: 16 sizes up to 1 M and 16 from 4 M to 8 M, grown. To measure all maps at \
             all of them would take half an hour, so it is those that take least, and papaya.",
        );
        text.table(&["map", "sizes", "most", "least"], rows);
    }
}

pub(super) fn many_ids(text: &mut Text<'_>) {
    text.paragraph(
        "Look-ups, a guard each, in Mop/s: with 1, 4 and 64 ids on each parent (W9x1, W9x4, W9x64); with 1 id, beside a parent with \
         10,000 (W9wide); and on that parent (W9own).",
    );
    let data = text.data;
    let names = [
        Workload::W9x1,
        Workload::W9x4,
        Workload::W9x64,
        Workload::W9wide,
        Workload::W9own,
    ];
    let mut sizes: BTreeSet<(usize, usize)> = BTreeSet::new();
    for workload in names {
        sizes.extend(
            data.of_workload(workload.name())
                .map(|(at, _)| (at.entries, at.threads)),
        );
    }
    for (entries, number) in sizes {
        let points: Points<'_> = names
            .iter()
            .flat_map(|workload| data.of_workload(workload.name()))
            .filter(|(at, _)| (at.entries, at.threads) == (entries, number))
            .collect();
        let workload = match points[..] {
            [(only, _)] => format!("{}, ", only.workload),
            _ => String::new(),
        };
        text.heading(&format!("{workload}{} entries, {}", count(entries), threads(number)));
        text.rates(&points);
    }
}

pub(super) fn small_stores(text: &mut Text<'_>) {
    for at in text.data.of_workload(Workload::W13.name()) {
        text.heading(&format!("W13, {}: {}", point(at.0), Workload::W13.about()));
        text.by_figure(
            at,
            &[
                rates(),
                text::time("make, ns", "make_ns"),
                text::time("fill, ns", "fill_ns"),
                text::time("drop, ns", "drop_ns"),
                extra("bytes, empty", "bytes_each_empty"),
                extra("bytes, filled", "bytes_each_filled"),
            ],
        );
        text.paragraph("One store alone:");
        text.by_figure(
            at,
            &[
                text::time("make, ns", "empty_make_ns"),
                text::time("drop, ns", "empty_drop_ns"),
                extra("bytes, empty", "empty_bytes"),
                extra("bytes, one entry", "of_one_bytes"),
            ],
        );
    }
}
