//! The charts: what each of them shows.

use std::collections::BTreeMap;

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::gate::OURS;
use crate::memory;
use crate::peers::{self, Peers};
use crate::record::Cell;
use crate::report::data::Data;
use crate::report::draw::{self, Axis, Caption, Drawn, INK, Panel, Series, Svg, TOP, WIDTH, bars, colour, draw, lines};
use crate::report::overview;
use crate::report::ratios::{Ratio, ratios};
use crate::report::text::{clocked, rate, threads};

use crate::summary::{At, Stores, count, figures};

/// Returns the colour of a map, as red, green and blue.
#[cfg(test)]
pub(crate) fn colour_of(map: &str) -> (u8, u8, u8) {
    let colour = colour(map);
    (colour.0, colour.1, colour.2)
}

/// Draws all charts that there is data for, by file name.
pub(crate) fn all(data: &Data) -> Result<BTreeMap<&'static str, String>, Box<dyn std::error::Error>> {
    let charts = [
        (overview::CHART, multiples(data)),
        (
            "get-by-size.svg",
            by_size(data, "W1", "a look-up with a guard of its own (W1)"),
        ),
        (
            "get-by-size-g64.svg",
            by_size(data, "G64", "look-ups, 64 under a guard (G64)"),
        ),
        ("threads-w1.svg", by_threads(data, "W1", "look-ups (W1)")),
        (
            "threads-w3.svg",
            by_threads(data, "W3", "90 % look-ups, 10 % changes (W3)"),
        ),
        ("latency-w3.svg", latencies(data)),
        ("growth.svg", growth(data)),
        ("memory.svg", memory(data)),
        ("memory-curve.svg", memory_curve(data)),
        ("stall.svg", stall(data)),
    ];
    let drawn = charts.into_iter().filter_map(|(name, svg)| Some((name, svg?)));
    drawn.map(|(name, svg)| Ok((name, svg?))).collect()
}

/// A row for each workload and size, a mark for each number of threads and form of the peers.
fn multiples(data: &Data) -> Option<Svg> {
    let ratios = ratios(data, OURS);
    let mut rows: Vec<Vec<&Ratio<'_>>> = Vec::new();
    for ratio in &ratios {
        let is_of = |row: &&mut Vec<&Ratio<'_>>| row[0].name == ratio.name && row[0].at.entries == ratio.at.entries;
        match rows.iter_mut().find(is_of) {
            Some(row) => row.push(ratio),
            None => rows.push(vec![ratio]),
        }
    }
    (!rows.is_empty()).then(|| dots(&data.source(), &rows))
}

/// Marks to the right of 1 where ours is better, to the left where the peer is; a doubling is as far as a halving.
fn dots(source: &str, rows: &[Vec<&Ratio<'_>>]) -> Svg {
    const NAMES: i32 = 300;
    const ROW: i32 = 19;
    let times = || rows.iter().flatten().map(|ratio| ratio.times);
    // Whole doublings, one at least to each side.
    let least = times().fold(0.5, f64::min).log2().floor();
    let most = times().fold(2.0, f64::max).log2().ceil();
    let axis = Axis::new(least.exp2(), most.exp2(), true, (NAMES + 16, WIDTH as i32 - 24));
    let (top, bottom) = (TOP + 36, TOP + 40 + ROW * rows.len() as i32);
    let caption = Caption {
        title: "Rate of shadow (by Variable) as a multiple of the best peer's rate; right of 1, shadow is faster",
        source,
    };
    draw((bottom + 46) as u32, &caption, |root| {
        let mut x = 24;
        for form in Peers::FORMS {
            for number in [1, 2] {
                mark(root, (x, TOP - 8), form, number)?;
                let about = format!(
                    "peers' values {}, {}",
                    form.values(),
                    if number == 1 { "1 thread" } else { "more" }
                );
                draw::text(root, &about, (x + 12, TOP - 8), 12, HPos::Left)?;
                x += 206;
            }
        }
        let lost = [(axis.place(least.exp2()), top - 6), (axis.place(1.0), bottom)];
        root.draw(&Rectangle::new(lost, INK.mix(0.06).filled()))?;
        for log in least as i32..=most as i32 {
            let at = axis.place(f64::from(log).exp2());
            let ink = INK.mix(if log == 0 { 0.9 } else { 0.2 });
            root.draw(&PathElement::new([(at, top - 6), (at, bottom)], ink.stroke_width(1)))?;
            for y in [top - 14, bottom + 12] {
                draw::text(root, &power_of_two(log), (at, y), 11, HPos::Center)?;
            }
        }
        let middle = (NAMES + WIDTH as i32) / 2;
        draw::text(
            root,
            "multiple of the best peer (logarithmic axis); of W8, the peer's bytes as a multiple of ours",
            (middle, bottom + 31),
            12,
            HPos::Center,
        )?;
        for (number, row) in rows.iter().enumerate() {
            let y = top + ROW * number as i32 + ROW / 2;
            if number % 2 == 1 {
                let band = [(8, y - ROW / 2), (WIDTH as i32 - 24, y + ROW / 2)];
                root.draw(&Rectangle::new(band, INK.mix(0.04).filled()))?;
            }
            let first = row[0];
            let name = format!("{} {}, {}", first.name, first.about, count(first.at.entries));
            draw::text(root, &name, (NAMES, y), 12, HPos::Right)?;
            for ratio in row {
                mark(root, (axis.place(ratio.times), y), ratio.form, ratio.at.threads)?;
            }
        }
        Ok(())
    })
}

/// A circle for one thread, a square for more; filled if peers have their values boxed, as references then stay good.
fn mark(root: &draw::Area<'_>, (x, y): (i32, i32), form: Peers, threads: usize) -> Drawn {
    let style = match form {
        Peers::InPlace => colour(OURS).stroke_width(2),
        _ => colour(OURS).filled(),
    };
    if threads == 1 {
        root.draw(&Circle::new((x, y), 5, style))?;
    } else {
        root.draw(&Rectangle::new([(x - 5, y - 5), (x + 5, y + 5)], style))?;
    }
    Ok(())
}

fn power_of_two(log: i32) -> String {
    match log {
        0.. => format!("{}", 1_u64 << log),
        _ => format!("1/{}", 1_u64 << -log),
    }
}

/// Rates by number of entries, with one thread and with two.
fn by_size(data: &Data, workload: &'static str, about: &str) -> Option<Svg> {
    let panel = |number: usize| {
        let points: Vec<(&At, &Stores)> = data
            .of_workload(workload)
            .filter(|(at, _)| at.threads == number)
            .collect();
        let values = |name: &str| points.iter().map(|(_, stores)| rate(stores, name)).collect();
        Panel {
            title: threads(number),
            labels: points.iter().map(|(at, _)| count(at.entries)).collect(),
            series: joined(values),
        }
    };
    let panels: Vec<Panel> = [1, 2]
        .map(panel)
        .into_iter()
        .filter(|panel| !panel.series.is_empty())
        .collect();
    let title = format!("Rate of {about} by number of entries, all threads together");
    of_panels(data, &title, "entries", "Mop/s", &panels)
}

fn by_threads(data: &Data, workload: &'static str, about: &str) -> Option<Svg> {
    let points: Vec<(&At, &Stores)> = data
        .of_workload(workload)
        .filter(|(at, _)| at.entries == 1 << 16)
        .collect();
    let panel = Panel {
        title: "64 k entries".to_owned(),
        labels: points.iter().map(|(at, _)| at.threads.to_string()).collect(),
        series: joined(|name| points.iter().map(|(_, stores)| rate(stores, name)).collect()),
    };
    let title = format!("Rate of {about} by number of threads, all threads together");
    of_panels(data, &title, "threads", "Mop/s", &[panel]).filter(|_| points.len() > 2)
}

fn latencies(data: &Data) -> Option<Svg> {
    let quantiles: [fn(&Cell) -> u64; 5] = [
        |cell| cell.p50_ns,
        |cell| cell.p99_ns,
        |cell| cell.p999_ns,
        |cell| cell.p9999_ns,
        |cell| cell.max_ns,
    ];
    let panel = |number: usize| {
        let stores = data.point("W3", 1 << 16, number)?;
        let of = |name: &str| {
            let cells = stores.get(name);
            quantiles.iter().map(|&quantile| clocked(cells?, quantile)).collect()
        };
        Some(Panel {
            title: threads(number),
            labels: ["p50", "p99", "p99.9", "p99.99", "max"].map(str::to_owned).into(),
            series: joined(of),
        })
    };
    let panels: Vec<Panel> = [1, 2].into_iter().filter_map(panel).collect();
    of_panels(
        data,
        "Time of one operation of W3, 64 k entries",
        "quantile",
        "ns",
        &panels,
    )
}

fn growth(data: &Data) -> Option<Svg> {
    let worst = |stores: &Stores, name: &str| Some(clocked(stores.get(name)?, |cell| cell.max_ns)? / 1e6);
    let points = data.of_workload("W6").filter(|(at, _)| at.threads == 1);
    let (at, series) = points
        .map(|(at, stores)| (at, series(|name| vec![worst(stores, name)])))
        .filter(|(_, series)| series.len() > 1)
        .last()?;
    let title = format!(
        "Worst insert while a map grows from empty to {} entries (W6), 1 thread",
        count(at.entries)
    );
    let source = data.source();
    let caption = Caption {
        title: &title,
        source: &source,
    };
    Some(bars(&caption, "ms", &series, true))
}

fn memory(data: &Data) -> Option<Svg> {
    let sizes = data.memory.iter().map(|line| line.entries);
    let entries = sizes.filter(|&entries| entries <= 1 << 20).max()?;
    let title = format!(
        "Memory per entry beside the 16-byte value, grown to {} entries (W8)",
        count(entries)
    );
    let source = data.source();
    let caption = Caption {
        title: &title,
        source: &source,
    };
    let series = series(|name| vec![data.bytes(name, entries)]);
    Some(bars(&caption, "bytes", &series, false))
}

/// Bytes per entry at the sizes of the curve, of the maps that were measured at more than a few of them.
fn memory_curve(data: &Data) -> Option<Svg> {
    let sizes = memory::curve();
    let panel = |from: usize, to: usize| {
        let of = |name: &str| -> Vec<Option<f64>> {
            let all: Vec<Option<f64>> = sizes.iter().map(|&entries| data.bytes(name, entries)).collect();
            // The sizes of the table are of the curve, too.
            let is_curve = all.iter().flatten().count() > 3;
            if is_curve {
                all[from..to]
                    .iter()
                    .map(|bytes| bytes.map(|bytes| bytes.max(1.0)))
                    .collect()
            } else {
                Vec::new()
            }
        };
        let label = |(at, &entries): (usize, &usize)| if at % 4 == 3 { count(entries) } else { String::new() };
        Panel {
            title: format!("up to {}", count(sizes[to - 1])),
            labels: sizes[from..to].iter().enumerate().map(label).collect(),
            series: joined(of),
        }
    };
    let half = sizes.len() / 2;
    let panels = [panel(0, half), panel(half, sizes.len())];
    let panels: Vec<Panel> = panels.into_iter().filter(|panel| !panel.series.is_empty()).collect();
    of_panels(
        data,
        "Memory per entry beside the 16-byte value, grown to 32 sizes (W8)",
        "entries",
        "bytes",
        &panels,
    )
}

/// What waits for a stalled reader, over the time of the longest run.
fn stall(data: &Data) -> Option<Svg> {
    let points = data.of_workload("W15stall").filter(|(at, _)| at.threads == 1);
    let (_, stores) = points.last()?;
    let of_first = |name: &str| Some(&stores.get(name)?.first()?.series);
    let longest = stores.values().flatten().max_by_key(|cell| cell.series.len())?;
    let (looks, seconds) = (longest.series.len(), longest.series.last()?.0);
    let label = |look: usize| match look % 4 {
        0 => figures(seconds * look as f64 / (looks - 1).max(1) as f64),
        _ => String::new(),
    };
    let of = |name: &str| -> Vec<Option<f64>> {
        let mib = |&(_, bytes): &(f64, f64)| Some(bytes / f64::from(1 << 20)).filter(|&mib| mib > 0.0);
        of_first(name).map_or_else(Vec::new, |series| series.iter().map(mib).collect())
    };
    let panel = Panel {
        title: "a run ends when a quarter of the memory is used".to_owned(),
        labels: (0..looks).map(label).collect(),
        series: joined(of),
    };
    let title = "Memory that waits while a reader stalls and values of 64 bytes are replaced (W15stall)";
    of_panels(data, title, "seconds", "MiB", &[panel])
}

fn of_panels(data: &Data, title: &str, x: &str, unit: &str, panels: &[Panel]) -> Option<Svg> {
    let source = data.source();
    let caption = Caption { title, source: &source };
    let is_empty = panels.iter().all(|panel| panel.series.is_empty());
    (!is_empty).then(|| lines(&caption, x, unit, panels))
}

/// The series of all maps that have any value.
fn series(values: impl Fn(&str) -> Vec<Option<f64>>) -> Vec<Series> {
    let maps = peers::known().into_iter().map(|about| Series {
        map: about.name,
        values: values(about.name),
    });
    maps.filter(|series| series.values.iter().any(Option::is_some))
        .collect()
}

/// The series of all maps that have two neighbouring values: a single one is in the table.
fn joined(values: impl Fn(&str) -> Vec<Option<f64>>) -> Vec<Series> {
    let mut all = series(values);
    all.retain(|series| series.pieces().iter().any(|piece| piece.len() > 1));
    all
}
