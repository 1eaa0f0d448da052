//! `report`: writes `BENCHMARKS.md`, the README's chart, and the pages of `perf/results` from recorded runs.
//!
//! Each point is taken from one run, never from several: the latest that has the store and a peer. What is measured in a process
//! or a loop of its own, memory and limits, is taken from the latest run that has it.
//!
//! Each class of machines has a folder of pages and charts, one page for each question. `BENCHMARKS.md` summarises the class of the
//! latest run: its marked parts are written, the rest is written by hand. The other classes have a summary in their folders.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::ValueEnum;

use crate::class::Class;
use crate::cli::ReportOptions;
use crate::env;
use crate::record::{self, Line};
use crate::report::data::Data;

mod bulk;
pub(crate) mod charts;
pub(crate) mod data;
pub(crate) mod document;
mod draw;
mod machine;
pub(crate) mod overview;
pub(crate) mod pages;
mod rates;
pub(crate) mod ratios;
mod targets;
mod text;
mod waits;

pub(crate) fn report(options: &ReportOptions) -> Result<(), Box<dyn Error>> {
    let root = env::package().parent().unwrap_or(env::package());
    let document = options.document.clone().unwrap_or_else(|| root.join("BENCHMARKS.md"));
    let records = options.records.clone().unwrap_or_else(env::records);
    let results = options
        .results
        .clone()
        .unwrap_or_else(|| env::package().join("results"));

    let none = "run `compare`, `memory`, `limits`, `scale` or `gate` with --record";
    if !records.is_dir() {
        return Err(format!("there is no folder {}: {none}", records.display()).into());
    }
    let lines = record::read_all(&records).map_err(|error| format!("the records cannot be read: {error}"))?;
    let data = Data::of(lines.clone(), None);
    if data.used.is_empty() {
        return Err(format!("there is no record in {}: {none}", records.display()).into());
    }
    let latest = data.class;
    let mut output = Output {
        check: options.check,
        changed: Vec::new(),
    };
    let mut folders = vec![Folder::new(data, document.clone(), &results)];
    for class in classes(&lines).into_iter().filter(|&class| class != latest) {
        let data = Data::of(lines.clone(), Some(class));
        if !data.used.is_empty() {
            let index = results.join(slug(class)).join("README.md");
            folders.push(Folder::new(data, index, &results));
        }
    }
    for folder in &folders {
        // Counts are of a commit, not of a machine; but beside them are times, which are of both.
        let counts = record::newest_counts(&records, |commit| {
            folder.data.class == latest || folder.data.used.iter().any(|run| run.is_of(commit))
        })?;
        folder.write(counts.as_deref(), &folders, &mut output)?;
    }
    // The README has the one chart that matters.
    let readme = document.with_file_name("README.md");
    if fs::read_to_string(&readme).is_ok_and(|old| old.contains("<!-- perf:")) {
        let way = relative(&folders[0].path, readme.parent().unwrap_or(Path::new("")));
        let chart = overview::chart(&charts::all(&folders[0].data)?, &way);
        output.fill(&readme, &BTreeMap::from([("chart", chart)]))?;
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

/// The pages and charts of one class of machines.
struct Folder {
    data: Data,
    /// The document that summarises them.
    index: PathBuf,
    path: PathBuf,
}

impl Folder {
    fn new(data: Data, index: PathBuf, results: &Path) -> Self {
        let path = results.join(slug(data.class));
        Self { data, index, path }
    }

    fn write(&self, counts: Option<&str>, all: &[Self], output: &mut Output) -> Result<(), Box<dyn Error>> {
        let drawn = charts::all(&self.data)?;
        let from_index = relative(&self.path, self.index.parent().unwrap_or(Path::new("")));
        let way = if from_index.is_empty() { "." } else { &from_index };
        let parts = BTreeMap::from([
            ("machine", overview::machine(&self.data)),
            ("summary", overview::summary(&self.data, way)),
            ("losses", overview::losses(&self.data, way)),
            ("charts", overview::charts(&drawn, way)),
            ("pages", overview::list(way)),
            ("classes", self.links(all)),
        ]);
        if self.index.starts_with(&self.path) {
            let title = format!("# Benchmarks on machines with {}\n", self.data.class);
            output.put(&self.index, &document::fill(&title, &parts)?)?;
        } else {
            output.fill(&self.index, &parts)?;
        }
        let mut written = BTreeSet::from([self.index.clone()]);
        let mut put = |name: String, text: &str| {
            let path = self.path.join(name);
            output.put(&path, text)?;
            written.insert(path);
            Ok::<(), Box<dyn Error>>(())
        };
        let to_index = relative(&self.index, &self.path);
        for page in &pages::ALL {
            let text = page.text(&self.data, &drawn, counts, &to_index);
            put(format!("{}.md", page.name), &text)?;
        }
        for (name, svg) in &drawn {
            put((*name).to_owned(), svg)?;
        }
        output.remove_others(&self.path, &written)
    }

    /// Links to the summaries of the other classes.
    fn links(&self, all: &[Self]) -> String {
        let others = all.iter().filter(|other| other.index != self.index);
        let links = others.map(|other| {
            let way = relative(&other.index, self.index.parent().unwrap_or(Path::new("")));
            format!(
                "Machines with {}: [{}]({way}).",
                other.data.class,
                slug(other.data.class)
            )
        });
        Vec::from_iter(links).join(" ")
    }
}

/// Writes the files that have changed, or with `--check` only notes them.
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

    /// Removes the pages and charts of a class that are not written any more.
    fn remove_others(&mut self, folder: &Path, written: &BTreeSet<PathBuf>) -> Result<(), Box<dyn Error>> {
        let Ok(entries) = fs::read_dir(folder) else {
            return Ok(());
        };
        for entry in entries {
            let path = entry?.path();
            let is_ours = path
                .extension()
                .is_some_and(|extension| extension == "md" || extension == "svg");
            if is_ours && !written.contains(&path) {
                self.changed.push(format!("{} (removed)", path.display()));
                if !self.check {
                    fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                }
            }
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

/// The name of a class, as its folder has it.
fn slug(class: Class) -> String {
    class
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The way from one folder to a path below it or beside it, for links; the path itself if they have nothing in common.
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
