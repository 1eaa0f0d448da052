//! The text of one page while it is written: headings, tables of maps, and at its end what the figures come from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::gate::OURS;
use crate::peers::{self, Peers};
use crate::record::Cell;
use crate::report::data::{Data, command};
use crate::store::{About, Kind};
use crate::summary::{self, At, Spread, Stores, Summary, count, figures};
use crate::workloads::Workload;

/// The cell of a map that is not in the record, though it can be measured there.
const NOT_MEASURED: &str = "not measured";
/// The cell of a map that cannot be measured there.
const NOT_APPLICABLE: &str = "n/a";
/// The cell of a map that gave a wrong answer, or panicked.
const FAILED: &str = "failed";

/// Points of one workload, each with the maps that were measured at it.
pub(super) type Points<'d> = Vec<(&'d At, &'d Stores)>;

/// What a column shows of the repetitions of one map; nothing if they do not have the figure.
pub(super) type Column<'c> = (&'c str, Box<dyn Fn(&[Cell]) -> Option<String>>);

/// One page.
pub(super) struct Text<'d> {
    pub(super) data: &'d Data,
    /// The charts that were drawn, by file name.
    charts: &'d BTreeMap<&'static str, String>,
    /// The recorded instruction counts.
    pub(super) counts: Option<&'d str>,
    text: String,
    runs: BTreeSet<&'d str>,
    has_figures: bool,
}

impl<'d> Text<'d> {
    pub(super) fn new(data: &'d Data, charts: &'d BTreeMap<&'static str, String>, counts: Option<&'d str>) -> Self {
        Self {
            data,
            charts,
            counts,
            text: String::new(),
            runs: BTreeSet::new(),
            has_figures: false,
        }
    }

    pub(super) fn heading(&mut self, heading: &str) {
        let _ = write!(self.text, "\n## {heading}\n");
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        let _ = write!(self.text, "\n{text}\n");
    }

    /// Shows a chart, if it was drawn.
    pub(super) fn chart(&mut self, name: &str, about: &str) {
        if self.charts.contains_key(name) {
            let _ = write!(self.text, "\n![{about}]({name})\n");
        }
    }

    /// Notes the runs that the figures of some points come from.
    fn note(&mut self, points: &[(&'d At, &'d Stores)]) {
        let cells = points.iter().flat_map(|(_, stores)| stores.values().flatten());
        self.note_runs(cells.map(|cell| cell.run.as_str()));
    }

    pub(super) fn note_runs(&mut self, runs: impl Iterator<Item = &'d str>) {
        self.runs.extend(runs);
    }

    /// Writes a table of any figures.
    pub(super) fn table<R: AsRef<[String]>>(&mut self, heads: &[&str], rows: impl IntoIterator<Item = R>) {
        let _ = write!(
            self.text,
            "\n| {} |\n|{}\n",
            heads.join(" | "),
            "---|".repeat(heads.len())
        );
        for row in rows {
            let _ = writeln!(self.text, "| {} |", row.as_ref().join(" | "));
        }
        self.has_figures = true;
    }

    /// Writes a table with a row for each map and a column for each point.
    pub(super) fn by_point(&mut self, points: &[(&'d At, &'d Stores)], show: impl Fn(&[Cell]) -> Option<String>) {
        if points.is_empty() {
            return;
        }
        let heads = heads(points.iter().map(|(at, _)| *at));
        let heads: Vec<&str> = std::iter::once("map").chain(heads.iter().map(String::as_str)).collect();
        let cell = |about: &About, (at, stores): &(&At, &Stores)| match stores.get(about.name).map(|cells| show(cells))
        {
            Some(Some(shown)) => Ok(shown),
            _ => Err(self.missing(at, about)),
        };
        let (rows, absent) = rows(|about| points.iter().map(|point| cell(about, point)).collect());
        self.note(points);
        self.table(&heads, rows);
        self.absent(&absent);
    }

    /// Writes a table of rates, and below it what multiples of the best peers' ours are.
    pub(super) fn rates(&mut self, points: &[(&'d At, &'d Stores)]) {
        self.by_point(points, |cells| {
            let rate = Summary::spread(cells, |cell| cell.mops)?;
            Some(format!("{} ± {:.0} %", figures(rate.median), rate.percent()))
        });
        let multiples: Vec<Vec<String>> = Peers::FORMS
            .into_iter()
            .filter_map(|form| {
                let best = |&(_, stores): &(&At, &Stores)| {
                    let (peer, times) = summary::against_best(stores, form)?;
                    let has_form = self.data.forms(stores).any(|other| other == form);
                    has_form.then(|| format!("{} × {peer}", figures(times)))
                };
                let cells: Vec<Option<String>> = points.iter().map(best).collect();
                cells.iter().any(Option::is_some).then(|| {
                    let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "–".to_owned()));
                    std::iter::once(form.values().to_owned()).chain(cells).collect()
                })
            })
            .collect();
        if !multiples.is_empty() {
            self.paragraph(&format!(
                "`{OURS}` as a multiple of the best peer with values boxed, or in place:"
            ));
            let heads = self::heads(points.iter().map(|(at, _)| *at));
            let heads: Vec<&str> = std::iter::once("peers' values")
                .chain(heads.iter().map(String::as_str))
                .collect();
            self.table(&heads, multiples);
        }
    }

    /// Writes a table of one point, with a row for each map and a column for each figure.
    pub(super) fn by_figure(&mut self, point: (&'d At, &'d Stores), columns: &[Column<'_>]) {
        let (at, stores) = point;
        let heads: Vec<&str> = std::iter::once("map")
            .chain(columns.iter().map(|(head, _)| *head))
            .collect();
        let (rows, absent) = rows(|about| match stores.get(about.name) {
            Some(cells) => columns
                .iter()
                .map(|(_, show)| Ok(show(cells).unwrap_or_else(|| "–".to_owned())))
                .collect(),
            None => vec![Err(self.missing(at, about)); columns.len()],
        });
        self.note(&[point]);
        self.table(&heads, rows);
        self.absent(&absent);
    }

    /// Names the maps that a table has no row for, though they can be measured.
    pub(super) fn absent(&mut self, names: &[&str]) {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            self.paragraph(&format!("Not measured here: {}.", names.join(", ")));
        }
    }

    /// Says why a map has no figure at a point.
    fn missing(&self, at: &At, about: &About) -> &'static str {
        let failed = self.data.failures.iter().any(|failure| {
            (failure.workload.as_str(), failure.store.as_str()) == (&at.workload, about.name)
                && (failure.entries, failure.threads) == (at.entries, at.threads)
        });
        let workload = Workload::ALL
            .into_iter()
            .find(|workload| workload.name() == at.workload);
        match workload {
            _ if failed => FAILED,
            Some(workload) if !workload.suits(about, at.entries, at.threads) => NOT_APPLICABLE,
            _ => NOT_MEASURED,
        }
    }

    /// Ends the page: explains the gaps, and names the runs, once for all tables.
    pub(super) fn finish(mut self) -> String {
        if !self.has_figures {
            self.paragraph("Not recorded yet.");
            return self.text;
        }
        let mut legend = Vec::new();
        for (mark, about) in [
            (
                "± ",
                "**±** is half the distance between the least and the greatest repetition, relative to the median.",
            ),
            (NOT_MEASURED, "**not measured**: the record does not have it."),
            (
                "| n/a |",
                "**n/a**: the map cannot do it, or is not run at this size ([why](../../METHODOLOGY.md)).",
            ),
            ("| failed |", "**failed**: the map gave a wrong answer or panicked."),
        ] {
            if self.text.contains(mark) {
                legend.push(about);
            }
        }
        if !legend.is_empty() {
            self.paragraph(&legend.join(" "));
        }
        let runs: Vec<_> = self.runs.iter().filter_map(|run| self.data.run(run)).collect();
        if !runs.is_empty() {
            self.heading("Where the figures come from");
            let commands: BTreeSet<String> = runs
                .iter()
                .map(|run| format!("- `{}`, commit {}, {}", command(run), run.commit, run.allocator))
                .collect();
            let commands = Vec::from_iter(commands).join("\n");
            self.paragraph(&format!(
                "{commands}\n\nThe machines and all commands: [runs](runs.md)."
            ));
        }
        self.text
    }
}

/// A row of cells for each map that has a figure, and the names of those that could have one and have none.
fn rows(cells: impl Fn(&About) -> Vec<Result<String, &'static str>>) -> (Vec<Vec<String>>, Vec<&'static str>) {
    let (mut rows, mut absent) = (Vec::new(), Vec::new());
    for about in peers::known() {
        let cells = cells(&about);
        if cells.iter().any(|cell| cell.is_ok() || *cell == Err(FAILED)) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(str::to_owned));
            rows.push(std::iter::once(name(&about)).chain(cells).collect());
        } else if cells.contains(&Err(NOT_MEASURED)) {
            absent.push(about.name);
        }
    }
    (rows, absent)
}

/// The name of a map in a table: ours are bold.
pub(super) fn name(about: &About) -> String {
    match about.kind {
        Kind::Ours => format!("**{}**", about.name),
        _ => about.name.to_owned(),
    }
}

/// The heads of columns for some points: the workloads, if there are several; else of entries and threads, what is not the same for
/// all.
fn heads<'d>(points: impl Iterator<Item = &'d At> + Clone) -> Vec<String> {
    let sizes: BTreeSet<usize> = points.clone().map(|at| at.entries).collect();
    let threads: BTreeSet<usize> = points.clone().map(|at| at.threads).collect();
    let workloads: BTreeSet<&str> = points.clone().map(|at| at.workload.as_str()).collect();
    points
        .map(|at| match (sizes.len(), threads.len()) {
            _ if workloads.len() > 1 => at.workload.clone(),
            (1, 2..) => self::threads(at.threads),
            (2.., 1) => count(at.entries),
            _ => point(at),
        })
        .collect()
}

/// Names a point by its entries and threads.
pub(super) fn point(at: &At) -> String {
    format!("{}, {}", count(at.entries), threads(at.threads))
}

pub(super) fn threads(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// The median rate of a map.
pub(super) fn rate(stores: &Stores, name: &str) -> Option<f64> {
    let spread = Summary::spread(stores.get(name)?, |cell| cell.mops)?;
    Some(spread.median)
}

/// The median of a figure that only some workloads have.
pub(super) fn median(cells: &[Cell], name: &str) -> Option<f64> {
    let values = cells.iter().filter_map(|cell| cell.extra.get(name).copied());
    Some(Spread::of(values)?.median)
}

/// The median of a time, of the repetitions that clocked it.
pub(super) fn clocked(cells: &[Cell], figure: fn(&Cell) -> u64) -> Option<f64> {
    let times = cells.iter().map(|cell| figure(cell) as f64).filter(|&ns| ns > 0.0);
    Some(Spread::of(times)?.median)
}

/// A time, with its unit above ten microseconds.
pub(super) fn nanos(ns: f64) -> String {
    match ns {
        _ if ns >= 1e6 => format!("{:.1} ms", ns / 1e6),
        _ if ns >= 1e4 => format!("{:.0} µs", ns / 1e3),
        _ => format!("{ns:.0}"),
    }
}

/// A column of the rate.
pub(super) fn rates() -> Column<'static> {
    let show = |cells: &[Cell]| Some(figures(Summary::spread(cells, |cell| cell.mops)?.median));
    ("Mop/s", Box::new(show))
}

/// A column of a figure that only some workloads have.
pub(super) fn extra(head: &'static str, name: &'static str) -> Column<'static> {
    (head, Box::new(move |cells| Some(figures(median(cells, name)?))))
}

/// A column of such a figure that is a time in nanoseconds.
pub(super) fn time(head: &'static str, name: &'static str) -> Column<'static> {
    (head, Box::new(move |cells| Some(nanos(median(cells, name)?))))
}

/// A column of such a figure in bytes, shown in MiB.
pub(super) fn mib(head: &'static str, name: &'static str) -> Column<'static> {
    let show = move |cells: &[Cell]| Some(format!("{:.1}", median(cells, name)? / f64::from(1 << 20)));
    (head, Box::new(show))
}

/// The columns of a distribution of times.
pub(super) fn quantiles() -> Vec<Column<'static>> {
    let column = |head: &'static str, figure: fn(&Cell) -> u64| -> Column<'static> {
        (head, Box::new(move |cells| Some(nanos(clocked(cells, figure)?))))
    };
    vec![
        column("p50", |cell| cell.p50_ns),
        column("p99", |cell| cell.p99_ns),
        column("p99.9", |cell| cell.p999_ns),
        column("p99.99", |cell| cell.p9999_ns),
        column("max", |cell| cell.max_ns),
    ]
}
