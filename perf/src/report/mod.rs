//! `report`: writes the tables and charts of `BENCHMARKS.md` from recorded runs.
//!
//! A document has parts between `<!-- perf:NAME -->` and `<!-- /perf:NAME -->`; only these are written. Each point is
//! taken from one run, never from several: the latest that has the store and a peer. What is measured in a process or a
//! loop of its own, memory and limits, is taken from the latest run that has it.
//!
//! Each class of machines has a page of its own: that of the latest run is the document, the others are in a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::ValueEnum;

use crate::class::Class;
use crate::cli::ReportOptions;
use crate::env::{self, Run};
use crate::gate::OURS;
use crate::peers::{self, Peers};
use crate::record::{self, Failure, Limit, Line, Memory};
use crate::store::Form;
use crate::summary::{At, Stores};

mod allocators;
mod calls;
pub(crate) mod charts;
pub(crate) mod document;
mod freed;
pub(crate) mod overview;
pub(crate) mod tables;

pub(crate) fn report(options: &ReportOptions) -> Result<(), Box<dyn Error>> {
    let root = env::package().parent().unwrap_or(env::package());
    let document = options.document.clone().unwrap_or_else(|| root.join("BENCHMARKS.md"));
    let records = options.records.clone().unwrap_or_else(env::records);
    let charts = options.charts.clone().unwrap_or_else(|| env::package().join("charts"));

    let pages = options.pages.clone().unwrap_or_else(|| env::package().join("pages"));

    let none = "run `compare`, `memory`, `limits`, `scale` or `gate` with --record";
    if !records.is_dir() {
        return Err(format!("there is no folder {}: {none}", records.display()).into());
    }
    let lines = record::read_all(&records).map_err(|error| format!("the records cannot be read: {error}"))?;
    let data = Data::of(lines.clone(), options.class);
    if data.used.is_empty() {
        return Err(format!("there is no record in {}: {none}", records.display()).into());
    }
    let mut output = Output {
        check: options.check,
        changed: Vec::new(),
    };
    let mut all = vec![Page {
        data,
        document: document.clone(),
        charts,
    }];
    if options.class.is_none() {
        let own = all[0].data.class;
        for class in classes(&lines).into_iter().filter(|&class| class != own) {
            let data = Data::of(lines.clone(), Some(class));
            if !data.used.is_empty() {
                all.push(Page {
                    data,
                    document: pages.join(format!("{}.md", slug(class))),
                    charts: pages.join(slug(class)),
                });
            }
        }
    }
    for page in &all {
        let drawn = charts::all(&page.data)?;
        let prefix = relative(&page.charts, page.folder());
        let mut parts = tables::all(&page.data, &drawn, &prefix);
        // Counts are of a commit, not of a machine; but beside them are times, which are of both.
        let counts = record::newest_counts(&records, |commit| {
            page.document == document || page.data.used.iter().any(|run| run.is_of(commit))
        })?;
        if let Some(counts) = counts {
            parts.insert("instructions", tables::instructions(&counts));
        }
        parts.insert("classes", links(page, &all));
        output.fill(&page.document, &parts)?;
        // The README has the one chart that matters; a page of another class has none there.
        let readme = document.with_file_name("README.md");
        if page.document == document
            && options.class.is_none()
            && fs::read_to_string(&readme).is_ok_and(|old| old.contains("<!-- perf:"))
        {
            let chart = BTreeMap::from([("chart", overview::chart(&drawn, &prefix))]);
            output.fill(&readme, &chart)?;
        }
        for (name, svg) in &drawn {
            output.put(&page.charts.join(name), svg)?;
        }
    }
    match (options.check, output.changed.is_empty()) {
        (true, false) => Err(format!("not up to date: {}", output.changed.join(", ")).into()),
        (_, true) => {
            println!("nothing has changed");
            Ok(())
        }
        (false, false) => {
            println!("written: {}", output.changed.join(", "));
            Ok(())
        }
    }
}

/// What one class of machines has: a document, and the charts in it.
struct Page {
    data: Data,
    document: PathBuf,
    charts: PathBuf,
}

impl Page {
    fn folder(&self) -> &Path {
        self.document.parent().unwrap_or(Path::new(""))
    }
}

/// Writes what has changed; or only says so.
struct Output {
    check: bool,
    changed: Vec<String>,
}

impl Output {
    /// Fills the marked parts of a document.
    fn fill(&mut self, path: &Path, parts: &BTreeMap<&'static str, String>) -> Result<(), Box<dyn Error>> {
        let old = match fs::read_to_string(path) {
            Ok(old) => old,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("{}: {error}", path.display()).into()),
        };
        let new = document::fill(&old, parts).map_err(|error| format!("{}: {error}", path.display()))?;
        self.put(path, &new)
    }

    fn put(&mut self, path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
        if fs::read_to_string(path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        self.changed.push(path.display().to_string());
        if !self.check {
            let folder = path.parent().unwrap_or(Path::new(""));
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }
}

/// The classes of machines that there are records of.
fn classes(lines: &[Line]) -> BTreeSet<Class> {
    let runs = lines.iter().filter_map(|line| match line {
        Line::Run(run) => Some(run.class()),
        _ => None,
    });
    runs.collect()
}

/// The name of a class as the command line and its page have it.
fn slug(class: Class) -> String {
    class
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Which machines a page is of, and where the others' pages are.
fn links(page: &Page, all: &[Page]) -> String {
    let mut text = format!("\nThis page is of machines with {}.", page.data.class);
    for other in all.iter().filter(|other| other.document != page.document) {
        let way = relative(&other.document, page.folder());
        text += &format!(
            " Of those with {}: [{}]({way}).",
            other.data.class,
            slug(other.data.class)
        );
    }
    text
}

/// The way from one folder to what is below it or beside it, for links; as it is if they have nothing in common.
pub(crate) fn relative(to: &Path, from: &Path) -> String {
    for (up, folder) in from.ancestors().enumerate() {
        // The empty path is where every relative one begins.
        if folder.as_os_str().is_empty() && to.is_absolute() {
            break;
        }
        if let Ok(below) = to.strip_prefix(folder) {
            return "../".repeat(up) + &below.display().to_string().replace('\\', "/");
        }
    }
    to.display().to_string().replace('\\', "/")
}

/// What the records of one class of machines say, each point from one run.
pub(crate) struct Data {
    pub(crate) class: Class,
    pub(crate) points: BTreeMap<At, Stores>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) limits: Vec<Limit>,
    /// The runs in which maps were measured with their values in place.
    in_place: BTreeSet<String>,
    /// Maps that were wrong, in the runs that are used.
    pub(crate) failures: Vec<Failure>,
    /// The runs that any of it comes from, oldest first.
    pub(crate) used: Vec<Run>,
    /// What was measured with mimalloc in place of the system's allocator: apart from all else.
    pub(crate) mimalloc: Option<Box<Self>>,
}

impl Data {
    /// Of that class, or of that of the latest run: machines of different classes do not belong on one page.
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
                    let of_run = points
                        .entry(At::of(&cell))
                        .or_default()
                        .entry(cell.run.clone())
                        .or_default();
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
        let moving = peers::all().into_iter().map(|contender| contender.about);
        let moving: Vec<&str> = moving
            .filter(|about| about.form == Form::InPlace)
            .map(|about| about.name)
            .collect();
        let cells = data.points.values().flat_map(Stores::values).flatten();
        data.in_place = cells
            .filter(|cell| moving.contains(&cell.store.as_str()))
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

    /// The run of that name, if its first line was recorded.
    pub(crate) fn run(&self, name: &str) -> Option<&Run> {
        self.used.iter().find(|run| run.run == name)
    }

    /// The forms in which peers were measured at a point. In records from before there were two, all were boxed.
    pub(crate) fn forms(&self, stores: &Stores) -> impl Iterator<Item = Peers> + use<> {
        let mut cells = stores.values().flatten();
        let both = cells.any(|cell| self.in_place.contains(&cell.run));
        Peers::FORMS
            .into_iter()
            .filter(move |&form| both || form != Peers::InPlace)
    }

    /// The points of one workload.
    pub(crate) fn of_workload<'d>(&'d self, workload: &'d str) -> impl Iterator<Item = (&'d At, &'d Stores)> {
        self.points.iter().filter(move |(at, _)| at.workload == workload)
    }
}

/// Whether there is something to compare: ours, and a peer.
fn is_comparison(stores: &Stores) -> bool {
    stores.contains_key(OURS) && stores.keys().any(|name| peers::is_peer(name))
}
