//! The description of a run: what a reader needs to repeat it, or to doubt it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::class::{self, Class};
use crate::clock::Clock;
use crate::quiet::Quiet;
use crate::{driver, heap, peers};

/// The first line of each recorded run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The run's name, which its other lines refer to.
    pub(crate) run: String,
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) machine: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) compiler: String,
    pub(crate) target: String,
    pub(crate) optimisation: String,
    pub(crate) allocator: String,
    pub(crate) huge_pages: String,
    /// One-minute load average at the start: above 0, other programs were running, too.
    pub(crate) load: f64,
    /// What is subtracted from each latency.
    pub(crate) clock_overhead_ns: f64,
    pub(crate) command: String,
    /// Sizes in KiB, by name.
    #[serde(default)]
    pub(crate) caches: BTreeMap<String, u64>,
    /// The versions of the peers.
    #[serde(default)]
    pub(crate) peers: String,
    /// The peers that the program was built without.
    #[serde(default)]
    pub(crate) missing_peers: String,
    /// A hash of `Cargo.lock`: two records with the same hash used the same versions of all packages.
    #[serde(default)]
    pub(crate) lock: String,
    /// The share of the cores that was busy in the busiest of the ten seconds before the run.
    #[serde(default)]
    pub(crate) busy_before: Option<f64>,
    /// How long the run waited for quiet seconds.
    #[serde(default)]
    pub(crate) waited_s: usize,
    /// Whether it was told not to wait for them.
    #[serde(default)]
    pub(crate) anyway: bool,
}

impl Run {
    pub(crate) fn describe(quiet: Quiet) -> Self {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let (date, time) = date_and_time(seconds);
        let commit = commit();
        Self {
            run: format!("{date}T{time}-{}-{commit}", std::process::id()),
            date,
            commit,
            machine: machine(),
            cores: driver::cores(),
            memory_gib: memory_gib(),
            kernel: read("/proc/sys/kernel/osrelease"),
            compiler: env!("PERF_COMPILER").to_owned(),
            target: env!("PERF_TARGET").to_owned(),
            optimisation: format!(
                "opt-level {}{}",
                env!("PERF_OPT_LEVEL"),
                if cfg!(debug_assertions) {
                    ", debug assertions"
                } else {
                    ""
                }
            ),
            allocator: heap::allocator(),
            huge_pages: chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
            clock_overhead_ns: (Clock::get().overhead_ns() * 10.0).round() / 10.0,
            command: command(),
            caches: class::caches(),
            peers: peers::versions(),
            missing_peers: peers::MISSING.to_owned(),
            lock: env!("PERF_LOCK").to_owned(),
            busy_before: quiet.busiest.map(|busiest| (busiest * 100.0).round() / 100.0),
            waited_s: quiet.waited,
            anyway: quiet.anyway,
        }
    }

    /// Returns the class of the machine.
    pub(crate) fn class(&self) -> Class {
        Class::of(&self.caches, &self.machine)
    }

    /// Returns whether the program was built with mimalloc instead of the system's allocator.
    pub(crate) fn is_with_mimalloc(&self) -> bool {
        self.allocator.starts_with("mimalloc")
    }

    /// Returns whether the sources were at that commit, with or without changes.
    pub(crate) fn is_of(&self, commit: &str) -> bool {
        self.commit.trim_end_matches("-dirty") == commit
    }

    /// Returns the sizes of the machine's caches, if they were recorded.
    fn caches_in_short(&self) -> String {
        let size = |kib: u64| match kib {
            _ if kib >= 1024 && kib.is_multiple_of(1024) => format!("{} MiB", kib >> 10),
            _ => format!("{kib} KiB"),
        };
        let caches: Vec<String> = self
            .caches
            .iter()
            .map(|(name, &kib)| format!("{name} {}", size(kib)))
            .collect();
        if caches.is_empty() {
            return String::new();
        }
        format!(" ({})", caches.join(", "))
    }

    /// Returns a description in one line, as it stands below a table.
    pub(crate) fn in_short(&self) -> String {
        let busy = match (self.busy_before, self.anyway) {
            (_, true) => ", not waited for a quiet machine".to_owned(),
            (Some(busy), false) => format!(", {busy} of the cores busy before"),
            (None, false) => String::new(),
        };
        format!(
            "{}{}, {} cores, {:.0} GiB, Linux {}, {}, {}, {}; commit {}, {}; load {} at the start{busy}",
            self.machine,
            self.caches_in_short(),
            self.cores,
            self.memory_gib,
            self.kernel,
            self.compiler,
            self.optimisation,
            self.allocator,
            self.commit,
            self.date,
            self.load
        )
    }
}

/// Returns the folder of this package.
pub(crate) fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the default folder of records.
pub(crate) fn records() -> PathBuf {
    package().join("record")
}

/// Returns the command line, without the folder of the program.
fn command() -> String {
    let mut words = vec!["perf".to_owned()];
    words.extend(std::env::args().skip(1));
    words.join(" ")
}

/// Returns the commit of the sources, with a mark if they have changed since.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let out = Command::new("git")
            .arg("-C")
            .arg(package())
            .args(arguments)
            .output()
            .ok()?;
        out.status
            .success()
            .then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=9", "HEAD"]) else {
        return "unknown".to_owned();
    };
    // Changes of records, and of files made from them, do not count.
    let changed = git(&[
        "status",
        "--porcelain",
        "--",
        ":/crates",
        ":/perf/src",
        ":/perf/Cargo.toml",
        ":/perf/cpp",
        ":/perf/build.rs",
        ":/Cargo.toml",
        ":/Cargo.lock",
    ]);
    match changed {
        Some(changed) if changed.is_empty() => commit,
        _ => format!("{commit}-dirty"),
    }
}

fn machine() -> String {
    let info = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cache = field("cache size").map_or_else(String::new, |size| format!(", cache {size}"));
    let guest = field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    format!("{model}{cache}{}", if guest { ", virtual machine" } else { "" })
}

fn memory_gib() -> f64 {
    let info = read("/proc/meminfo");
    let kib = info.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<f64>()
            .ok()
    });
    (kib.unwrap_or(0.0) / f64::from(1 << 20) * 10.0).round() / 10.0
}

/// Returns the choice in brackets.
fn chosen(choices: &str) -> String {
    let word = choices.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    word.map_or_else(|| "unknown".to_owned(), |(word, _)| word.to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

/// Converts seconds since 1970 to a date and a time of day in UTC.
pub(crate) fn date_and_time(seconds: u64) -> (String, String) {
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    // Eras of 400 years begin on 1 March, so that the leap day is the last: Hinnant's `civil_from_days`.
    let day = day + 719_468;
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
    let year = era * 400 + year_of_era + year;
    let time = format!("{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60);
    (format!("{year:04}-{month:02}-{day:02}"), time)
}
