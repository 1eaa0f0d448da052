//! The figures of one class of machines, each point taken from one run.

use std::collections::{BTreeMap, BTreeSet};

use crate::class::Class;
use crate::env::Run;
use crate::gate::OURS;
use crate::peers::{self, Peers};
use crate::record::{Failure, Limit, Line, Memory};
use crate::store::Form;
use crate::summary::{At, Stores};

/// The figures of one class of machines.
pub(crate) struct Data {
    pub(crate) class: Class,
    pub(crate) points: BTreeMap<At, Stores>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) limits: Vec<Limit>,
    /// The runs in which maps were measured with their values in place.
    in_place: BTreeSet<String>,
    /// Maps that gave a wrong answer or panicked, in the runs that are used.
    pub(crate) failures: Vec<Failure>,
    /// The runs that any figure comes from, oldest first.
    pub(crate) used: Vec<Run>,
    /// The figures that were measured with mimalloc in place of the system's allocator.
    pub(crate) mimalloc: Option<Box<Self>>,
}

impl Data {
    /// Gathers the lines of `class`, or of the class of the latest run.
    pub(crate) fn of(lines: Vec<Line>, class: Option<Class>) -> Self {
        let runs: BTreeMap<String, (Class, bool)> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Run(run) => Some((run.run.clone(), (run.class(), run.is_with_mimalloc()))),
                _ => None,
            })
            .collect();
        // Runs are named by their time.
        let latest = runs.last_key_value().map(|(_, &(class, _))| class);
        let class = class.or(latest).unwrap_or(Class::Unknown);
        let about = |line: &Line| runs.get(line.run()).copied().unwrap_or((Class::Unknown, false));
        let of_class = lines.into_iter().filter(|line| about(line).0 == class);
        let (with_mimalloc, lines): (Vec<Line>, Vec<Line>) = of_class.partition(|line| about(line).1);
        let mut data = Self::gather(lines, class);
        if !with_mimalloc.is_empty() {
            let apart = Self::gather(with_mimalloc, class);
            data.used.extend(apart.used.iter().cloned());
            data.used.sort_by(|a, b| a.run.cmp(&b.run));
            data.failures.extend(apart.failures.iter().cloned());
            data.mimalloc = Some(Box::new(apart));
        }
        data
    }

    fn gather(lines: Vec<Line>, class: Class) -> Self {
        let mut runs: BTreeMap<String, Run> = BTreeMap::new();
        let mut points: BTreeMap<At, BTreeMap<String, Stores>> = BTreeMap::new();
        let mut memory: BTreeMap<(usize, String, String), Memory> = BTreeMap::new();
        let mut limits: Vec<Limit> = Vec::new();
        let mut latest: BTreeMap<(String, usize), String> = BTreeMap::new();
        let mut failures: Vec<Failure> = Vec::new();
        for line in lines {
            match line {
                Line::Run(run) => {
                    runs.insert(run.run.clone(), run);
                }
                Line::Cell(cell) => {
                    let of_point = points.entry(At::of(&cell)).or_default();
                    let of_run = of_point.entry(cell.run.clone()).or_default();
                    of_run.entry(cell.store.clone()).or_default().push(cell);
                }
                Line::Memory(line) => {
                    let at = (line.entries, line.store.clone(), line.made.clone());
                    if memory.get(&at).is_none_or(|known| known.run <= line.run) {
                        memory.insert(at, line);
                    }
                }
                Line::Failure(failure) => failures.push(failure),
                Line::Limit(limit) => {
                    let run = latest.entry((limit.limit.clone(), limit.entries)).or_default();
                    if *run < limit.run {
                        run.clone_from(&limit.run);
                    }
                    limits.push(limit);
                }
            }
        }

        let mut data = Self {
            class,
            points: BTreeMap::new(),
            memory: Vec::new(),
            limits: Vec::new(),
            in_place: BTreeSet::new(),
            failures: Vec::new(),
            used: Vec::new(),
            mimalloc: None,
        };
        let mut used = BTreeSet::new();
        for (at, of_runs) in points {
            // Runs are named by their time, so the last of equals is the latest.
            let latest = of_runs
                .into_iter()
                .max_by_key(|(run, stores)| (is_comparison(stores), run.clone()));
            if let Some((run, stores)) = latest {
                used.insert(run);
                data.points.insert(at, stores);
            }
        }
        let in_place = peers::known().into_iter().filter(|about| about.form == Form::InPlace);
        let in_place: Vec<&str> = in_place.map(|about| about.name).collect();
        let cells = data.points.values().flat_map(Stores::values).flatten();
        data.in_place = cells
            .filter(|cell| in_place.contains(&cell.store.as_str()))
            .map(|cell| cell.run.clone())
            .collect();
        data.memory = memory.into_values().collect();
        used.extend(data.memory.iter().map(|line| line.run.clone()));
        limits.retain(|limit| latest.get(&(limit.limit.clone(), limit.entries)) == Some(&limit.run));
        used.extend(limits.iter().map(|limit| limit.run.clone()));
        data.limits = limits;
        failures.retain(|failure| used.contains(&failure.run));
        data.failures = failures;
        data.used = used.iter().filter_map(|run| runs.remove(run)).collect();
        data
    }

    /// Returns the run of that name, if its first line was recorded.
    pub(crate) fn run(&self, name: &str) -> Option<&Run> {
        self.used.iter().find(|run| run.run == name)
    }

    /// Returns the forms in which peers were measured at a point. In records from before there were two, all were boxed.
    pub(crate) fn forms(&self, stores: &Stores) -> impl Iterator<Item = Peers> + use<> {
        let mut cells = stores.values().flatten();
        let both = cells.any(|cell| self.in_place.contains(&cell.run));
        Peers::FORMS
            .into_iter()
            .filter(move |&form| both || form != Peers::InPlace)
    }

    /// Returns the points of one workload, with addresses of real objects (`heap`, what `--keys` is unless given).
    pub(crate) fn of_workload<'d>(&'d self, workload: &'d str) -> impl Iterator<Item = (&'d At, &'d Stores)> {
        self.points
            .iter()
            .filter(move |(at, _)| at.workload == workload && at.keys == "heap")
    }

    /// Returns a point of one workload.
    pub(crate) fn point<'d>(&'d self, workload: &'d str, entries: usize, threads: usize) -> Option<&'d Stores> {
        self.of_workload(workload)
            .find(|(at, _)| (at.entries, at.threads) == (entries, threads))
            .map(|(_, stores)| stores)
    }

    /// Returns the bytes per entry of a map that has grown to a size.
    pub(crate) fn bytes(&self, store: &str, entries: usize) -> Option<f64> {
        let mut lines = self.memory.iter();
        let line = lines.find(|line| line.store == store && line.entries == entries && line.made == "grown");
        line.map(|line| line.bytes_per_entry)
    }

    /// Describes the machine, the commit and the day of the latest run, as charts have it below their title.
    pub(crate) fn source(&self) -> String {
        let Some(run) = self.used.last() else {
            return String::new();
        };
        format!("{}; commit {}, {}", machine(run), run.commit, run.date)
    }
}

/// Describes a machine by its processor, last cache and cores.
pub(crate) fn machine(run: &Run) -> String {
    let processor = run.machine.split(", cache ").next().unwrap_or(&run.machine);
    let kind = if run.machine.contains("virtual machine") {
        " (virtual machine)"
    } else {
        ""
    };
    let cache = match run.caches.last_key_value() {
        Some((name, kib)) => format!(", {name} {} MiB", kib >> 10),
        // Older records have it in the processor's description.
        None => match run.machine.split_once(", cache ") {
            Some((_, rest)) => format!(", cache {}", rest.split(',').next().unwrap_or(rest)),
            None => String::new(),
        },
    };
    format!("{processor}{kind}{cache}, {} cores", run.cores)
}

/// The command of a run, without the options that say where it is recorded and how long it may wait.
pub(super) fn command(run: &Run) -> String {
    let mut words = run.command.split(' ');
    let mut command = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "--record" => {}
            "--records" | "--wait" => _ = words.next(),
            _ => command.push(word),
        }
    }
    command.join(" ")
}

/// Whether a run compares at a point: it has ours and a peer.
fn is_comparison(stores: &Stores) -> bool {
    stores.contains_key(OURS) && stores.keys().any(|name| peers::is_peer(name))
}
