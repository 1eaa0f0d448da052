//! Lines of JSON: printed by `--json`, written by `--record`, and read by `report`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::Output;
use crate::env::{self, Run};
use crate::keys::count;
use crate::peers;
use crate::quiet;
use crate::store::Kind;
use crate::workloads::{Latency, Measured};

/// One line of a record.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Line {
    Run(Run),
    Cell(Cell),
    Limit(Limit),
    Memory(Memory),
    Failure(Failure),
}

impl Line {
    /// Returns the name of the line's run.
    pub(crate) fn run(&self) -> &str {
        match self {
            Self::Run(line) => &line.run,
            Self::Cell(line) => &line.run,
            Self::Limit(line) => &line.run,
            Self::Memory(line) => &line.run,
            Self::Failure(line) => &line.run,
        }
    }
}

/// One repetition of one workload with one map.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) run: String,
    pub(crate) workload: String,
    pub(crate) store: String,
    pub(crate) hasher: String,
    pub(crate) keys: String,
    pub(crate) entries: usize,
    pub(crate) threads: usize,
    pub(crate) rep: usize,
    pub(crate) seconds: f64,
    pub(crate) ops: u64,
    /// Millions of operations per second, by all threads together.
    pub(crate) mops: f64,
    /// The operation whose latency was measured.
    pub(crate) latency_of: String,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p999_ns: u64,
    pub(crate) p9999_ns: u64,
    pub(crate) max_ns: u64,
    /// Heap memory in addition to the value itself; 0 for workloads without a fixed number of entries.
    pub(crate) bytes_per_entry: f64,
    /// Figures that only this workload has.
    #[serde(flatten)]
    pub(crate) extra: BTreeMap<String, f64>,
    /// A figure over time, if the workload has one: seconds, and the figure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) series: Vec<(f64, f64)>,
}

impl Cell {
    /// Fills in the result of a measurement.
    pub(crate) fn set(&mut self, measured: Measured) {
        let latency: Latency = measured.latency.unwrap_or_default();
        self.ops = measured.ops;
        self.mops = rounded(measured.mops);
        self.p50_ns = latency.p50;
        self.p99_ns = latency.p99;
        self.p999_ns = latency.p999;
        self.p9999_ns = latency.p9999;
        self.max_ns = latency.max;
        self.bytes_per_entry = rounded(measured.bytes_per_entry);
        self.extra = measured
            .extra
            .into_iter()
            .map(|(name, value)| (name, rounded(value)))
            .collect();
        let series = measured.series.into_iter();
        self.series = series.map(|(at, value)| (rounded(at), rounded(value))).collect();
    }
}

/// One repetition of one physical limit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Limit {
    pub(crate) run: String,
    pub(crate) limit: String,
    /// Entries of the data that is read; 0 if no data is read.
    pub(crate) entries: usize,
    pub(crate) rep: usize,
    pub(crate) ns: f64,
}

/// The memory of a map at one size, from its own process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) run: String,
    pub(crate) store: String,
    pub(crate) hasher: String,
    pub(crate) entries: usize,
    /// `grown` from empty, or made with `capacity` for all entries.
    pub(crate) made: String,
    /// Growth of the resident bytes, without the values.
    pub(crate) bytes_per_entry: f64,
    /// The bytes allocated, with the allocator's headers, without the values.
    pub(crate) heap_bytes_per_entry: f64,
}

/// A map that gave wrong answers, or panicked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) run: String,
    pub(crate) workload: String,
    pub(crate) store: String,
    pub(crate) hasher: String,
    pub(crate) entries: usize,
    pub(crate) threads: usize,
    pub(crate) message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.threads == 1 { "" } else { "s" };
        write!(
            f,
            "{} ({}) in {}, {} entries, {} thread{plural}: {}",
            self.store,
            self.hasher,
            self.workload,
            count(self.entries),
            self.threads,
            self.message
        )
    }
}

/// The failures of a run, each kind once.
#[derive(Debug, Default)]
pub(crate) struct Failures(Vec<Failure>);

impl Failures {
    pub(crate) fn add(&mut self, failure: &Failure) {
        let text = failure.to_string();
        if !self.0.iter().any(|known| known.to_string() == text) {
            self.0.push(failure.clone());
        }
    }

    /// Returns whether a store of ours failed. That fails the run; a failure of a peer does not.
    pub(crate) fn are_ours(&self) -> bool {
        let ours = peers::all()
            .into_iter()
            .filter(|contender| contender.about.kind == Kind::Ours);
        let names: Vec<&str> = ours.map(|contender| contender.about.name).collect();
        self.0.iter().any(|failure| names.contains(&failure.store.as_str()))
    }

    /// Prints the failures to standard error.
    pub(crate) fn print(&self) {
        for failure in &self.0 {
            eprintln!("failed: {failure}");
        }
    }
}

/// Rounds to six digits: more would be noise.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powi(5 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

/// The destination of lines, which are written as they come.
pub(crate) struct Sink {
    pub(crate) run: Run,
    to_stdout: bool,
    file: Option<(PathBuf, File)>,
}

impl Sink {
    /// Waits for a quiet machine, and describes the run: the first line of a record.
    pub(crate) fn new(output: &Output) -> Result<Self, Box<dyn Error>> {
        if cfg!(debug_assertions) {
            eprintln!("perf: built without optimisation: these figures say nothing; use `cargo run --release`");
        }
        if peers::MISSING != "none" {
            eprintln!(
                "perf: C++ peers that this program was built without: {}",
                peers::MISSING
            );
        }
        let run = Run::describe(quiet::wait(&output.patience)?);
        let mut sink = Self {
            run,
            to_stdout: output.json,
            file: None,
        };
        if output.record {
            let folder = output.records.clone().unwrap_or_else(env::records);
            let path = folder.join(format!("{}-{}.jsonl", sink.run.date, sink.run.commit));
            let open = || {
                fs::create_dir_all(&folder)?;
                OpenOptions::new().create(true).append(true).open(&path)
            };
            let file = open().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
            sink.file = Some((path, file));
            let line = Line::Run(sink.run.clone());
            sink.keep(&line)?;
        }
        Ok(sink)
    }

    /// Prints and records a line. Failures are printed at the end of the run: on standard output, lines of JSON are measurements.
    pub(crate) fn put(&mut self, line: &Line) -> io::Result<()> {
        if self.to_stdout && !matches!(line, Line::Failure(_)) {
            let mut out = io::stdout().lock();
            serde_json::to_writer(&mut out, line)?;
            writeln!(out)?;
            // Flushed after each line, so that the reader of a pipe can follow.
            out.flush()?;
        }
        self.keep(line)
    }

    /// Returns the path of the record, if there is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| path.as_path())
    }

    fn keep(&mut self, line: &Line) -> io::Result<()> {
        let Some((_, file)) = &mut self.file else { return Ok(()) };
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        file.write_all(text.as_bytes())
    }
}

/// Returns the latest instruction counts that `ci/record.sh` wrote beside the records, of a commit that `is_wanted` accepts. The
/// files are named after date and commit.
pub(crate) fn newest_counts(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> io::Result<Option<String>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let commit = name.rsplit('-').next().unwrap_or_default();
        path.extension().is_some_and(|extension| extension == "icount") && is_wanted(commit)
    });
    files.sort();
    files.pop().map(fs::read_to_string).transpose()
}

/// Returns all lines of all records in a folder, oldest file first.
pub(crate) fn read_all(folder: &Path) -> io::Result<Vec<Line>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let mut lines = Vec::new();
    for path in files {
        for (number, text) in fs::read_to_string(&path)?.lines().enumerate() {
            let line = serde_json::from_str(text).map_err(|error| {
                let name = path.file_name().unwrap_or_default().display();
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{name}, line {}: {error}", number + 1),
                )
            })?;
            lines.push(line);
        }
    }
    Ok(lines)
}
