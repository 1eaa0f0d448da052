//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::class::Class;
use crate::keys::KeyKind;
use crate::peers::{self, Contender};
use crate::quiet::Patience;
use crate::workloads::Workload;

const EXIT_CODES: &str = "Exit codes: 0 done, and for `gate` all targets met; 1 a target is missed; 2 it could not be done, \
                          the options make no sense, or the store gave a wrong answer; 3 the machine did not become quiet, and \
                          nothing was measured.";

/// The performance study of the shadow store: see METHODOLOGY.md.
#[derive(Debug, Parser)]
#[command(name = "perf", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Throughput and latency of every map, on each workload.
    Compare(Compare),
    /// Memory per entry of every map, each measured in its own process (W8).
    Memory(MemoryOptions),
    /// The physical limits: loads, guards, locked instructions, allocation.
    Limits(LimitOptions),
    /// Throughput from 1 to 64 threads.
    Scale(Compare),
    /// Checks the targets; fails, and names those that are missed.
    Gate(GateOptions),
    /// Writes the tables and charts of BENCHMARKS.md from recorded runs.
    Report(ReportOptions),
    /// One measurement of `memory`, in a process of its own.
    #[command(hide = true)]
    Hold(HoldOptions),
    /// One measurement in a process of its own.
    #[command(hide = true)]
    Alone(AloneOptions),
}

/// The cells to measure, and how thoroughly.
#[derive(Clone, Debug, Args)]
pub(crate) struct Compare {
    /// Workloads, such as `W1,W3`; `W4`, `W7`, `W9`, `W14` and `W15` mean all of their forms. Default: W1 to W5 (for `scale`, W1
    /// and W3).
    #[arg(long, value_delimiter = ',', value_parser = workloads)]
    workload: Vec<Workloads>,
    /// Entries, such as `64k,1M`. Default: the sizes that suit each workload.
    #[arg(long, value_delimiter = ',', value_parser = entries)]
    pub(crate) entries: Vec<usize>,
    /// Threads, such as `1,2,8`. Default: 1 and the number of cores (for `scale`, 1 to 64).
    #[arg(long, value_delimiter = ',', value_parser = threads)]
    pub(crate) threads: Vec<usize>,
    /// Maps by name. Default: all.
    #[arg(long, value_delimiter = ',', value_parser = store)]
    pub(crate) stores: Vec<String>,
    /// Repetitions, interleaved between the maps.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) reps: u16,
    /// Seconds of each measurement, without the warm-up.
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Life cycles of L4, such as `100M` (here, `M` is a million).
    #[arg(long, default_value = "100M", value_parser = cycles)]
    pub(crate) cycles: u64,
    /// The kind of addresses.
    #[arg(long, default_value_t)]
    pub(crate) keys: KeyKind,
    /// The hasher of the maps.
    #[arg(long, default_value = "best")]
    pub(crate) hasher: Hasher,
    #[command(flatten)]
    pub(crate) out: Output,
}

impl Compare {
    /// Returns the workloads named, in their order.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        let mut all: Vec<Workload> = self.workload.iter().flat_map(|named| named.0.clone()).collect();
        let mut seen = Vec::new();
        all.retain(|workload| {
            !seen.contains(workload) && {
                seen.push(*workload);
                true
            }
        });
        all
    }
}

/// Where the results go.
#[derive(Clone, Debug, Args)]
pub(crate) struct Output {
    /// Prints one line of JSON for each measurement, and no tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Writes the lines to a file named after date and commit, which begins with a description of the run.
    #[arg(long)]
    pub(crate) record: bool,
    /// The folder of records. Default: perf/record.
    #[arg(long, requires = "record", value_name = "FOLDER")]
    pub(crate) records: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct MemoryOptions {
    /// Entries, such as `1M,8M`.
    #[arg(long, value_delimiter = ',', value_parser = entries, default_value = "1M,1310720,1572864,1835008,8M")]
    pub(crate) entries: Vec<usize>,
    /// Measures at 32 sizes, 16 up to 1 M and 16 from 4 M to 8 M, grown from empty: memory depends most on how full a table is.
    #[arg(long, conflicts_with = "entries")]
    pub(crate) curve: bool,
    /// Maps by name. Default: all.
    #[arg(long, value_delimiter = ',', value_parser = store)]
    pub(crate) stores: Vec<String>,
    #[command(flatten)]
    pub(crate) out: Output,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LimitOptions {
    /// Entries of the data that is read, such as `1k,64k,1M,8M`.
    #[arg(long, value_delimiter = ',', value_parser = entries, default_value = "1k,64k,1M,8M")]
    pub(crate) entries: Vec<usize>,
    /// Repetitions, interleaved.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) reps: u16,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 0.2, value_parser = seconds)]
    pub(crate) seconds: f64,
    #[command(flatten)]
    pub(crate) out: Output,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct GateOptions {
    /// Only the targets whose names begin like this, such as `W1` or `W6, 8 M`; may be given more than once.
    #[arg(long)]
    pub(crate) only: Vec<String>,
    /// Seconds of each measurement, without the warm-up.
    #[arg(long, default_value_t = 0.2, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Repetitions. Missed targets are measured again up to twice, each time with as many.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) reps: u16,
    /// Life cycles of L4, such as `100M` (here, `M` is a million).
    #[arg(long, default_value = "100M", value_parser = cycles)]
    pub(crate) cycles: u64,
    /// The time limit in minutes: missed targets are measured again only while there is time, and late measurements are repeated
    /// three times at most.
    #[arg(long, default_value_t = 45)]
    pub(crate) minutes: u32,
    /// Lists the targets, and measures nothing.
    #[arg(long)]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) out: Output,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ReportOptions {
    /// The document whose marked parts are written. Default: BENCHMARKS.md.
    #[arg(long)]
    pub(crate) document: Option<PathBuf>,
    /// The folder of records. Default: perf/record.
    #[arg(long)]
    pub(crate) records: Option<PathBuf>,
    /// The folder of charts. Default: perf/charts.
    #[arg(long)]
    pub(crate) charts: Option<PathBuf>,
    /// The folder of the other classes' pages and their charts. Default: perf/pages.
    #[arg(long)]
    pub(crate) pages: Option<PathBuf>,
    /// Reports only machines of this class. Default: the document and the README's chart show the class of the latest run, and
    /// each other class has a page of its own.
    #[arg(long)]
    pub(crate) class: Option<Class>,
    /// Writes nothing; fails if a file would change.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct HoldOptions {
    #[arg(long, value_parser = store)]
    pub(crate) store: String,
    #[arg(long)]
    pub(crate) hasher: String,
    #[arg(long, value_parser = entries)]
    pub(crate) entries: usize,
    #[arg(long)]
    pub(crate) with_capacity: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AloneOptions {
    #[arg(long, value_parser = workload)]
    pub(crate) workload: Workload,
    #[arg(long, value_parser = store)]
    pub(crate) store: String,
    #[arg(long)]
    pub(crate) hasher: String,
    #[arg(long)]
    pub(crate) keys: KeyKind,
    #[arg(long, value_parser = entries)]
    pub(crate) entries: usize,
    #[arg(long, value_parser = threads)]
    pub(crate) threads: usize,
    #[arg(long, value_parser = cycles)]
    pub(crate) cycles: u64,
    #[arg(long, value_parser = seconds)]
    pub(crate) seconds: f64,
    #[arg(long)]
    pub(crate) clocked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hasher {
    /// The hasher with which a first look at the cell is faster.
    Best,
    Foldhash,
    Ahash,
}

impl Hasher {
    pub(crate) fn fixed(self) -> Option<&'static str> {
        match self {
            Self::Best => None,
            Self::Foldhash => Some("foldhash"),
            Self::Ahash => Some("ahash"),
        }
    }
}

/// Returns the contenders that were named, or all.
pub(crate) fn select<'c>(all: &'c [Contender], named: &[String]) -> Vec<&'c Contender> {
    let is_named = |contender: &&Contender| named.is_empty() || named.iter().any(|name| name == contender.about.name);
    all.iter().filter(is_named).collect()
}

#[derive(Clone, Debug)]
struct Workloads(Vec<Workload>);

fn workloads(text: &str) -> Result<Workloads, String> {
    let is = |workload: &&Workload| workload.name().eq_ignore_ascii_case(text);
    // A family is a W and a number, and contains all workloads whose names continue with a letter.
    let is_family = text.len() >= 2 && text[1..].bytes().all(|byte| byte.is_ascii_digit());
    let of = |workload: &&Workload| {
        let (head, rest) = workload.name().split_at_checked(text.len()).unwrap_or(("", ""));
        head.eq_ignore_ascii_case(text) && !rest.starts_with(|first: char| first.is_ascii_digit())
    };
    let found: Vec<Workload> = if is_family {
        Workload::ALL.iter().filter(of).copied().collect()
    } else {
        Workload::ALL.iter().filter(is).copied().collect()
    };
    if !found.is_empty() {
        return Ok(Workloads(found));
    }
    if text.eq_ignore_ascii_case("W8") {
        return Err("W8 is `perf memory`".to_owned());
    }
    let names: Vec<_> = Workload::ALL.iter().map(|workload| workload.name()).collect();
    Err(format!("there are {}", names.join(", ")))
}

/// Parses one workload, by its exact name.
fn workload(text: &str) -> Result<Workload, String> {
    let found = Workload::ALL.into_iter().find(|workload| workload.name() == text);
    found.ok_or_else(|| "there is no such workload".to_owned())
}

fn store(text: &str) -> Result<String, String> {
    let all = peers::all();
    if all.iter().any(|contender| contender.about.name == text) {
        return Ok(text.to_owned());
    }
    let names: Vec<_> = all.iter().map(|contender| contender.about.name).collect();
    Err(format!("there are {}", names.join(", ")))
}

/// Parses a number of entries; `k` and `M` stand for 2^10 and 2^20.
fn entries(text: &str) -> Result<usize, String> {
    const MOST: usize = 1 << 26;
    let (digits, scale) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let number: usize = digits
        .parse()
        .map_err(|_| "a number such as 65536, 64k or 1M is needed".to_owned())?;
    match number.checked_mul(scale) {
        Some(entries @ 1..=MOST) => Ok(entries),
        _ => Err(format!("between 1 and {MOST} entries are possible")),
    }
}

/// Parses a number of cycles; `k` and `M` stand for 10^3 and 10^6.
fn cycles(text: &str) -> Result<u64, String> {
    let (digits, scale) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let number: Option<u64> = digits.parse().ok();
    match number.and_then(|number| number.checked_mul(scale)) {
        Some(cycles @ 1..=1_000_000_000_000) => Ok(cycles),
        _ => Err("a number of cycles such as 1000000 or 100M is needed".to_owned()),
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=1024) => Ok(threads),
        _ => Err("a number between 1 and 1024 is needed".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.001..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds between 0.001 and 3600 is needed".to_owned()),
    }
}
