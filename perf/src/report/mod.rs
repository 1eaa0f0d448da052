//! `report`: writes the tables and charts of `BENCHMARKS.md` from recorded runs.
//!
//! A document has parts between `<!-- perf:NAME -->` and `<!-- /perf:NAME -->`; only these are written. Each point is
//! taken from one run, never from several: the one with the most maps, and of those the latest.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::Path;

use crate::cli::ReportOptions;
use crate::env::{self, Run};
use crate::record::{self, Failure, Limit, Line, Memory};
use crate::summary::{At, Stores};

pub(crate) mod charts;
pub(crate) mod document;
pub(crate) mod tables;

pub(crate) fn report(options: &ReportOptions) -> Result<(), Box<dyn Error>> {
    let root = env::package().parent().unwrap_or(env::package());
    let document = options.document.clone().unwrap_or_else(|| root.join("BENCHMARKS.md"));
    let records = options.records.clone().unwrap_or_else(|| env::package().join("record"));
    let charts = options.charts.clone().unwrap_or_else(|| env::package().join("charts"));

    let lines = record::read_all(&records).map_err(|error| format!("the records cannot be read: {error}"))?;
    let data = Data::of(lines);
    if data.used.is_empty() {
        return Err("there is no record yet: run `compare`, `memory`, `limits` or `scale` with --record".into());
    }
    let drawn = charts::all(&data)?;
    let prefix = relative(&charts, document.parent().unwrap_or(Path::new("")));
    let parts = tables::all(&data, &drawn, &prefix);
    let old = fs::read_to_string(&document).unwrap_or_default();
    let new = document::fill(&old, &parts)?;

    let mut changed = Vec::new();
    let mut put = |path: &Path, text: &str| -> Result<(), Box<dyn Error>> {
        if fs::read_to_string(path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        changed.push(path.display().to_string());
        if !options.check {
            fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    };
    if !options.check {
        fs::create_dir_all(&charts)?;
    }
    put(&document, &new)?;
    for (name, svg) in &drawn {
        put(&charts.join(name), svg)?;
    }
    match (options.check, changed.is_empty()) {
        (true, false) => Err(format!("not up to date: {}", changed.join(", ")).into()),
        (_, true) => {
            println!("nothing has changed");
            Ok(())
        }
        (false, false) => {
            println!("written: {}", changed.join(", "));
            Ok(())
        }
    }
}

/// The way from one folder to another below it, for links; as it is if it is not below.
fn relative(to: &Path, from: &Path) -> String {
    to.strip_prefix(from)
        .unwrap_or(to)
        .display()
        .to_string()
        .replace('\\', "/")
}

/// What the records say, each point from one run.
#[derive(Default)]
pub(crate) struct Data {
    pub(crate) points: BTreeMap<At, Stores>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) limits: Vec<Limit>,
    /// Maps that were wrong, in the runs that are used.
    pub(crate) failures: Vec<Failure>,
    /// The runs that any of it comes from, oldest first.
    pub(crate) used: Vec<Run>,
}

impl Data {
    pub(crate) fn of(lines: Vec<Line>) -> Self {
        let mut runs: BTreeMap<String, Run> = BTreeMap::new();
        let mut points: BTreeMap<At, BTreeMap<String, Stores>> = BTreeMap::new();
        let mut memory: BTreeMap<usize, BTreeMap<String, Vec<Memory>>> = BTreeMap::new();
        let mut limits: BTreeMap<String, Vec<Limit>> = BTreeMap::new();
        let mut failures: Vec<Failure> = Vec::new();
        for line in lines {
            match line {
                Line::Run(run) => {
                    runs.insert(run.run.clone(), run);
                }
                Line::Cell(cell) => {
                    let of_run = points
                        .entry(At::of(&cell))
                        .or_default()
                        .entry(cell.run.clone())
                        .or_default();
                    of_run.entry(cell.store.clone()).or_default().push(cell);
                }
                Line::Memory(line) => {
                    let of_run = memory.entry(line.entries).or_default();
                    of_run.entry(line.run.clone()).or_default().push(line);
                }
                Line::Failure(failure) => failures.push(failure),
                Line::Limit(limit) => limits.entry(limit.run.clone()).or_default().push(limit),
            }
        }

        let mut data = Self::default();
        let mut used = BTreeSet::new();
        for (at, of_runs) in points {
            // Runs are named by their time, so the last of equals is the latest.
            let best = of_runs
                .into_iter()
                .max_by_key(|(run, stores)| (stores.len(), run.clone()));
            if let Some((run, stores)) = best {
                used.insert(run);
                data.points.insert(at, stores);
            }
        }
        for (_, of_runs) in memory {
            let best = of_runs
                .into_iter()
                .max_by_key(|(run, lines)| (lines.len(), run.clone()));
            if let Some((run, lines)) = best {
                used.insert(run);
                data.memory.extend(lines);
            }
        }
        let best = limits.into_iter().max_by_key(|(run, lines)| (lines.len(), run.clone()));
        if let Some((run, lines)) = best {
            used.insert(run);
            data.limits = lines;
        }
        failures.retain(|failure| used.contains(&failure.run));
        data.failures = failures;
        data.used = used.iter().filter_map(|run| runs.remove(run)).collect();
        data
    }

    /// The points of one workload.
    pub(crate) fn of_workload<'d>(&'d self, workload: &'d str) -> impl Iterator<Item = (&'d At, &'d Stores)> {
        self.points.iter().filter(move |(at, _)| at.workload == workload)
    }
}
