//! The charts: SVG that is readable on a light and on a dark page.
//!
//! Text and axes have the page's own colour, by `currentColor` and a style that knows both themes; lines and bars have
//! colours of middle lightness.

use std::collections::BTreeMap;
use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::gate::{BY_ID, OURS};
use crate::memory;
use crate::peers::{self, Peers};
use crate::record::Cell;
use crate::report::overview::Ratio;
use crate::report::{Data, overview};
use crate::summary::{Spread, Stores, Summary, count, figures};

/// Stands for the page's colour until the drawing is done.
const INK: RGBColor = RGBColor(1, 2, 3);
const INK_AS_TEXT: &str = "#010203";

const WIDTH: u32 = 820;
const HEIGHT: u32 = 420;
/// Where the legend begins.
const LEGEND: u32 = 660;

/// One for each store, in the order of the program.
pub(crate) const COLOURS: [RGBColor; 24] = [
    RGBColor(229, 72, 77),
    RGBColor(240, 130, 140),
    RGBColor(62, 123, 250),
    RGBColor(47, 158, 68),
    RGBColor(120, 190, 80),
    RGBColor(232, 137, 12),
    RGBColor(200, 160, 40),
    RGBColor(162, 89, 217),
    RGBColor(18, 165, 165),
    RGBColor(160, 123, 59),
    RGBColor(194, 72, 155),
    RGBColor(110, 130, 160),
    RGBColor(140, 143, 152),
    RGBColor(96, 190, 210),
    RGBColor(70, 90, 200),
    RGBColor(150, 60, 60),
    RGBColor(60, 120, 60),
    RGBColor(190, 110, 60),
    RGBColor(110, 70, 160),
    RGBColor(0, 130, 110),
    RGBColor(170, 170, 60),
    RGBColor(220, 100, 180),
    RGBColor(80, 150, 220),
    RGBColor(130, 110, 90),
];

type Drawn = Result<(), Box<dyn Error>>;

/// One store's values, one for each place on the x axis where it has one.
struct Series {
    store: &'static str,
    colour: RGBColor,
    values: Vec<Option<f64>>,
}

/// All charts that there is data for, by file name.
pub(crate) fn all(data: &Data) -> Result<BTreeMap<&'static str, String>, Box<dyn Error>> {
    let mut charts = BTreeMap::new();
    let mut put = |name, svg: Option<Result<String, Box<dyn Error>>>| -> Drawn {
        if let Some(svg) = svg {
            charts.insert(name, svg?);
        }
        Ok(())
    };
    put(overview::CHART, ratios(data))?;
    put("get-by-size.svg", by_size(data))?;
    put("scale-w1.svg", by_threads(data, "W1"))?;
    put("scale-w3.svg", by_threads(data, "W3"))?;
    put("latency-w3.svg", latencies(data))?;
    put("growth.svg", growth(data))?;
    put("memory.svg", memory(data))?;
    put("memory-curve.svg", memory_curve(data))?;
    put("stall.svg", stall(data))?;
    Ok(charts)
}

/// A row for each workload, size and number of threads: a bar for each cell of the table, from the best peer's rate to ours.
fn ratios(data: &Data) -> Option<Result<String, Box<dyn Error>>> {
    let (by_variable, by_id) = (overview::ratios(data, OURS), overview::ratios(data, BY_ID));
    let mut rows: Vec<Vec<Bar<'_>>> = Vec::new();
    let all = by_variable.iter().map(|ratio| (ratio, false));
    for (ratio, by_id) in all.chain(by_id.iter().map(|ratio| (ratio, true))) {
        match rows.iter_mut().find(|row| row[0].ratio.at == ratio.at) {
            Some(row) => row.push(Bar { ratio, by_id }),
            None => rows.push(vec![Bar { ratio, by_id }]),
        }
    }
    (!rows.is_empty()).then(|| diverging(&rows))
}

/// One cell of the table.
struct Bar<'d> {
    ratio: &'d Ratio<'d>,
    by_id: bool,
}

fn by_size(data: &Data) -> Option<Result<String, Box<dyn Error>>> {
    let points: Vec<_> = data
        .of_workload("W1")
        .filter(|(at, _)| at.threads == 1 && at.keys == "heap")
        .collect();
    let labels: Vec<String> = points.iter().map(|(at, _)| count(at.entries)).collect();
    let series = series(|name| points.iter().map(|(_, stores)| rate(stores.get(name))).collect());
    (points.len() > 1).then(|| {
        lines(
            "W1, one thread: get hit by number of entries",
            "Mop/s",
            &labels,
            &series,
        )
    })
}

fn by_threads(data: &Data, workload: &str) -> Option<Result<String, Box<dyn Error>>> {
    let points: Vec<_> = data
        .of_workload(workload)
        .filter(|(at, _)| at.entries == 1 << 16 && at.keys == "heap")
        .collect();
    let labels: Vec<String> = points.iter().map(|(at, _)| at.threads.to_string()).collect();
    let series = series(|name| points.iter().map(|(_, stores)| rate(stores.get(name))).collect());
    let title = format!("{workload}, 64 k entries, by threads");
    (points.len() > 2).then(|| lines(&title, "Mop/s", &labels, &series))
}

fn latencies(data: &Data) -> Option<Result<String, Box<dyn Error>>> {
    let (_, stores) = data
        .of_workload("W3")
        .find(|(at, _)| at.entries == 1 << 16 && at.threads == 2)?;
    let figures: [fn(&Cell) -> u64; 5] = [
        |cell| cell.p50_ns,
        |cell| cell.p99_ns,
        |cell| cell.p999_ns,
        |cell| cell.p9999_ns,
        |cell| cell.max_ns,
    ];
    let labels = ["p50", "p99", "p99.9", "p99.99", "max"].map(str::to_owned);
    let of = |name: &str| {
        let cells = stores.get(name);
        let median =
            |figure: fn(&Cell) -> u64| Some(Summary::spread(cells?, |cell| figure(cell) as f64)?.median.max(1.0));
        figures.iter().map(|&figure| median(figure)).collect()
    };
    Some(lines(
        "W3, 64 k entries, 2 threads: time of one operation",
        "ns",
        &labels,
        &series(of),
    ))
}

fn growth(data: &Data) -> Option<Result<String, Box<dyn Error>>> {
    // A repetition for the total alone has no times of single inserts.
    let worst = |stores: &Stores, name: &str| {
        let clocked = stores
            .get(name)?
            .iter()
            .map(|cell| cell.max_ns as f64)
            .filter(|&ns| ns > 0.0);
        Some(Spread::of(clocked)?.median / 1e6)
    };
    let of = |stores: &Stores| series(|name| vec![worst(stores, name)]);
    let points = data.of_workload("W6").filter(|(at, _)| at.threads == 1);
    let (at, series) = points
        .map(|(at, stores)| (at, of(stores)))
        .filter(|(_, series)| series.len() > 1)
        .last()?;
    let title = format!(
        "W6: worst insert while growing to {}, ms (logarithmic)",
        count(at.entries)
    );
    Some(bars(&title, &series, true))
}

fn memory(data: &Data) -> Option<Result<String, Box<dyn Error>>> {
    let entries = data
        .memory
        .iter()
        .map(|line| line.entries)
        .filter(|&entries| entries <= 1 << 20)
        .max()?;
    let of = |name: &str| {
        let mut lines = data.memory.iter();
        let line = lines.find(|line| line.store == name && line.entries == entries && line.made == "grown");
        vec![line.map(|line| line.bytes_per_entry)]
    };
    let title = format!("W8: bytes per entry beside the value, grown to {}", count(entries));
    Some(bars(&title, &series(of), false))
}

/// Bytes an entry at the sizes of the curve, for those that were measured at two of them at least.
fn memory_curve(data: &Data) -> Option<Result<String, Box<dyn Error>>> {
    let sizes = memory::curve();
    let of = |name: &str| -> Vec<Option<f64>> {
        let at = |entries: usize| {
            let mut lines = data.memory.iter();
            let line = lines.find(|line| line.store == name && line.entries == entries && line.made == "grown");
            line.map(|line| line.bytes_per_entry.max(1.0))
        };
        let all: Vec<Option<f64>> = sizes.iter().map(|&entries| at(entries)).collect();
        // The sizes of the table are of the curve, too: they alone are none.
        let is_curve = all.iter().flatten().count() > 2;
        if is_curve { all } else { Vec::new() }
    };
    let series = series(of);
    let labels: Vec<String> = (0..sizes.len())
        .map(|at| if at % 4 == 3 { count(sizes[at]) } else { String::new() })
        .collect();
    let title = "W8: bytes per entry beside the value, grown to 32 sizes";
    (!series.is_empty()).then(|| lines(title, "bytes", &labels, &series))
}

/// What waits for a stalled reader, over the time of the longest run.
fn stall(data: &Data) -> Option<Result<String, Box<dyn Error>>> {
    let points = data.of_workload("W15stall").filter(|(at, _)| at.threads == 1);
    let (_, stores) = points.last()?;
    let of_first = |name: &str| Some(&stores.get(name)?.first()?.series);
    let longest = stores.values().flatten().max_by_key(|cell| cell.series.len())?;
    let (looks, seconds) = (longest.series.len(), longest.series.last()?.0);
    let labels: Vec<String> = (0..looks)
        .map(|look| match look % 4 {
            0 => format!("{} s", figures(seconds * look as f64 / (looks - 1).max(1) as f64)),
            _ => String::new(),
        })
        .collect();
    let of = |name: &str| -> Vec<Option<f64>> {
        let mib = |&(_, bytes): &(f64, f64)| Some((bytes / f64::from(1 << 20)).max(0.01));
        of_first(name).map_or_else(Vec::new, |series| series.iter().map(mib).collect())
    };
    let title = "W15stall: MiB more than before, beside a stalled reader";
    Some(lines(title, "MiB", &labels, &series(of)))
}

fn rate(cells: Option<&Vec<Cell>>) -> Option<f64> {
    Some(Summary::spread(cells?, |cell| cell.mops)?.median)
}

/// The series of all stores that have any value.
fn series(values: impl Fn(&'static str) -> Vec<Option<f64>>) -> Vec<Series> {
    let names = peers::all().into_iter().map(|contender| contender.about.name);
    names
        .zip(COLOURS)
        .map(|(store, colour)| Series {
            store,
            colour,
            values: values(store),
        })
        .filter(|series| series.values.iter().any(Option::is_some))
        .collect()
}

/// The default store stands out.
fn width(store: &str) -> u32 {
    if store == "shadow" { 4 } else { 2 }
}

/// Lines over named places, on a logarithmic scale.
fn lines(title: &str, unit: &str, labels: &[String], series: &[Series]) -> Result<String, Box<dyn Error>> {
    draw(HEIGHT, |root| {
        let (left, right) = root.split_horizontally(LEGEND);
        let all = || series.iter().flat_map(|series| series.values.iter().flatten().copied());
        let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
        let last = labels.len() as f64 - 1.0;
        let mut chart = ChartBuilder::on(&left)
            .caption(title, font(16))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(60)
            .build_cartesian_2d(-0.1..last + 0.1, (least * 0.8..most * 1.25).log_scale())?;
        chart
            .configure_mesh()
            .axis_style(INK.mix(0.6))
            .bold_line_style(INK.mix(0.15))
            .light_line_style(INK.mix(0.05))
            .label_style(font(13))
            .y_desc(unit)
            .x_labels(labels.len())
            .x_label_formatter(&|at| place(*at, labels))
            .x_max_light_lines(1)
            .y_label_formatter(&|value| value.to_string())
            .draw()?;
        for series in series {
            let points: Vec<(f64, f64)> = series
                .values
                .iter()
                .enumerate()
                .filter_map(|(at, value)| Some((at as f64, (*value)?)))
                .collect();
            let style = series.colour.stroke_width(width(series.store));
            chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
            chart.draw_series(
                points
                    .iter()
                    .map(|&point| Circle::new(point, 3, series.colour.filled())),
            )?;
        }
        // The legend is in the order in which the lines end.
        let mut order: Vec<&Series> = series.iter().collect();
        order.sort_by(|a, b| end(b).total_cmp(&end(a)));
        for (row, series) in order.into_iter().enumerate() {
            let y = 50 + 22 * row as i32;
            let style = series.colour.stroke_width(width(series.store));
            right.draw(&PathElement::new([(5, y), (30, y)], style))?;
            right.draw(&Text::new(
                series.store,
                (38, y),
                font(13).pos(Pos::new(HPos::Left, VPos::Center)),
            ))?;
        }
        Ok(())
    })
}

fn end(series: &Series) -> f64 {
    series.values.iter().rev().flatten().next().copied().unwrap_or(0.0)
}

/// The label of a place, and none between places.
fn place(at: f64, labels: &[String]) -> String {
    let near = at.round();
    if (at - near).abs() > 0.01 || near < 0.0 {
        return String::new();
    }
    labels.get(near as usize).cloned().unwrap_or_default()
}

/// Bars with names and values, the shortest first.
fn bars(title: &str, series: &[Series], logarithmic: bool) -> Result<String, Box<dyn Error>> {
    let mut rows: Vec<(&Series, f64)> = series
        .iter()
        .filter_map(|series| Some((series, series.values[0]?)))
        .collect();
    rows.sort_by(|a, b| a.1.total_cmp(&b.1));
    let most = rows.last().map_or(1.0, |row| row.1);
    let least = rows.first().map_or(1.0, |row| row.1);
    let length = |value: f64| {
        let part = if logarithmic {
            (value / least * 2.0).ln() / (most / least * 2.0).ln()
        } else {
            value / most
        };
        (part * 560.0) as i32
    };
    draw(60 + 28 * rows.len() as u32, |root| {
        root.draw(&Text::new(title, (12, 14), font(16)))?;
        for (row, (series, value)) in rows.iter().enumerate() {
            let y = 48 + 28 * row as i32;
            let name = font(13).pos(Pos::new(HPos::Right, VPos::Center));
            root.draw(&Text::new(series.store, (120, y + 9), name))?;
            root.draw(&Rectangle::new(
                [(130, y), (130 + length(*value), y + 18)],
                series.colour.filled(),
            ))?;
            let end = font(13).pos(Pos::new(HPos::Left, VPos::Center));
            root.draw(&Text::new(figures(*value), (138 + length(*value), y + 9), end))?;
        }
        Ok(())
    })
}

/// Bars to the right where we are faster, to the left where the peer is; a doubling is as long as a halving.
fn diverging(rows: &[Vec<Bar<'_>>]) -> Result<String, Box<dyn Error>> {
    const ZERO: i32 = 540;
    /// Where the names end.
    const NAMES: i32 = 390;
    /// Between two rows.
    const GAP: i32 = 6;
    const BAR: i32 = 11;
    let logs = || rows.iter().flatten().map(|bar| bar.ratio.times.log2());
    // Whole doublings, one at least to each side.
    let least = logs().fold(-1.0, f64::min).floor() as i32;
    let most = logs().fold(1.0, f64::max).ceil() as i32;
    let scale = (140.0 / f64::from(-least)).min(140.0 / f64::from(most));
    let every = (34.0 / scale).ceil() as i32;
    let place = |log: f64| ZERO + (log * scale).round() as i32;
    let bars: usize = rows.iter().map(Vec::len).sum();
    let (top, height) = (78, 100 + BAR * bars as i32 + GAP * rows.len() as i32);
    draw(height as u32, |root| {
        let title = "The rate of shadow as multiples of the best peer's: by Variable, and paler by id";
        root.draw(&Text::new(title, (12, 14), font(16)))?;
        let right = |size| font(size).pos(Pos::new(HPos::Right, VPos::Center));
        let left = |size| font(size).pos(Pos::new(HPos::Left, VPos::Center));
        let middle = |size| font(size).pos(Pos::new(HPos::Center, VPos::Center));
        for (number, form) in Peers::FORMS.into_iter().enumerate() {
            let x = 20 + 190 * number as i32;
            root.draw(&Rectangle::new([(x, 38), (x + 12, 50)], colour(form, 2.0).filled()))?;
            root.draw(&Rectangle::new(
                [(x + 14, 38), (x + 26, 50)],
                colour(form, 0.5).filled(),
            ))?;
            let about = format!("peers' values {}", form.values());
            root.draw(&Text::new(about, (x + 34, 45), left(13)))?;
        }
        for log in least..=most {
            let x = place(f64::from(log));
            let ink = INK.mix(if log == 0 { 1.0 } else { 0.2 });
            let line = PathElement::new([(x, top - 8), (x, height - 18)], ink.stroke_width(1));
            root.draw(&line)?;
            // As many labels as there is room for, and that of 1.
            let label = if log % every == 0 {
                figures_of_axis(log)
            } else {
                String::new()
            };
            root.draw(&Text::new(label.clone(), (x, top - 16), middle(12)))?;
            root.draw(&Text::new(label, (x, height - 9), middle(12)))?;
        }
        let mut y = top;
        for row in rows {
            let first = row[0].ratio;
            let plural = if first.at.threads == 1 { "" } else { "s" };
            let name = format!(
                "{} {}, {}, {} thread{plural}",
                first.name,
                first.about,
                count(first.at.entries),
                first.at.threads
            );
            let middle_of_row = y + BAR * row.len() as i32 / 2;
            root.draw(&Text::new(name, (NAMES, middle_of_row), right(13)))?;
            for &Bar { ratio, by_id } in row {
                let end = place(ratio.times.log2());
                let colour = colour(ratio.form, ratio.times).mix(if by_id { 0.55 } else { 1.0 });
                root.draw(&Rectangle::new(
                    [(ZERO.min(end), y), (ZERO.max(end), y + BAR - 2)],
                    colour.filled(),
                ))?;
                let value = format!("{} × {}", figures(ratio.times), ratio.peer);
                root.draw(&Text::new(value, (ZERO.max(end) + 6, y + BAR / 2), left(10)))?;
                y += BAR;
            }
            y += GAP;
        }
        Ok(())
    })
}

/// Of a bar: what is lost stands out.
fn colour(form: Peers, times: f64) -> RGBColor {
    match (form, times < 1.0) {
        (Peers::InPlace, false) => RGBColor(18, 165, 165),
        (_, false) => RGBColor(62, 123, 250),
        (Peers::InPlace, true) => RGBColor(229, 72, 77),
        (_, true) => RGBColor(232, 137, 12),
    }
}

/// What stands at a whole power of two.
fn figures_of_axis(log: i32) -> String {
    match log {
        0.. => format!("{}", 1_u64 << log),
        _ => format!("1/{}", 1_u64 << -log),
    }
}

fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// Draws, and lets the page's colour in.
fn draw<'s>(
    height: u32,
    work: impl FnOnce(DrawingArea<SVGBackend<'_>, Shift>) -> Drawn + 's,
) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        work(root.clone())?;
        root.present()?;
    }
    let style = "<style>svg{color:#24292f}@media(prefers-color-scheme:dark){svg{color:#d0d7de}}</style>";
    let svg = svg.replace(INK_AS_TEXT, "currentColor");
    let head = svg.find('>').ok_or("a drawing without a head")?;
    // The first tag may be a declaration; the style goes into the drawing.
    let head = svg
        .find("<svg")
        .and_then(|at| svg[at..].find('>').map(|end| at + end))
        .unwrap_or(head);
    Ok(format!("{}\n{style}{}", &svg[..=head], &svg[head + 1..]))
}
