//! A measurement starts only on a quiet machine: otherwise it shows the other programs rather than the maps.
//!
//! The share of busy cores is checked each second. The load average would do, too, but it includes the last minute, so a run
//! would wait for its own build.

use std::error::Error;
use std::fmt;
use std::thread;
use std::time::Duration;

use clap::Args;

/// The least share of busy cores at which a machine is not quiet.
const BUSY: f64 = 0.5;
/// The number of consecutive quiet seconds that are required.
const SECONDS: usize = 10;

/// How long to wait for a quiet machine, and whether to measure on a busy one.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Patience {
    /// The most seconds to wait for a machine that is quiet for 10 s; after that, the exit code is 3.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub(crate) wait: usize,
    /// Measures even if the machine is busy; the record says so.
    #[arg(long)]
    pub(crate) anyway: bool,
}

/// How quiet the machine was when a run began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quiet {
    /// The busiest of the last seconds, as a share of all cores; `None` if the system does not report it.
    pub(crate) busiest: Option<f64>,
    pub(crate) waited: usize,
    /// Whether the run began although the machine was busy.
    pub(crate) anyway: bool,
}

/// The machine did not become quiet in time.
#[derive(Debug)]
pub(crate) struct Busy {
    waited: usize,
    busiest: f64,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the machine was not quiet for {SECONDS} s within {} s: {:.2} of its cores were busy in the last of them, less \
             than {BUSY} is required; --wait waits longer, --anyway measures at once",
            self.waited, self.busiest
        )
    }
}

impl Error for Busy {}

/// Waits for a quiet machine, and prints a message if it has to wait.
pub(crate) fn wait(patience: &Patience) -> Result<Quiet, Busy> {
    let mut told = false;
    wait_with(patience, busy_second, |busiest| {
        if !told {
            told = true;
            eprintln!(
                "perf: waiting for a quiet machine: {busiest:.2} of its cores are busy, at most {} s",
                patience.wait
            );
        }
    })
}

/// Like [`wait`], with `next` for the share of busy cores in the next second.
pub(crate) fn wait_with(
    patience: &Patience,
    mut second: impl FnMut() -> Option<f64>,
    mut tell: impl FnMut(f64),
) -> Result<Quiet, Busy> {
    let mut seconds: Vec<f64> = Vec::new();
    let anyway = patience.anyway;
    loop {
        let Some(busy) = second() else {
            return Ok(Quiet {
                busiest: None,
                waited: seconds.len(),
                anyway,
            });
        };
        seconds.push(busy);
        let waited = seconds.len();
        let last = &seconds[waited.saturating_sub(SECONDS)..];
        let busiest = last.iter().copied().fold(0.0, f64::max);
        if anyway || last.len() == SECONDS && busiest < BUSY {
            return Ok(Quiet {
                busiest: Some(busiest),
                waited,
                anyway,
            });
        }
        // At least ten seconds are observed.
        if waited >= patience.wait.max(SECONDS) {
            return Err(Busy { waited, busiest: busy });
        }
        if busy >= BUSY {
            tell(busy);
        }
    }
}

/// Waits for a second, and returns the share of the cores that was busy in it, if the system reports it.
fn busy_second() -> Option<f64> {
    let before = ticks(&read()?)?;
    thread::sleep(Duration::from_secs(1));
    let after = ticks(&read()?)?;
    let all = after.1.checked_sub(before.1).filter(|&all| all > 0)?;
    Some(after.0.saturating_sub(before.0) as f64 / all as f64)
}

fn read() -> Option<String> {
    std::fs::read_to_string("/proc/stat").ok()
}

/// Returns the busy ticks of all cores, with those that the host took (steal), and all ticks.
pub(crate) fn ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // User, nice, system, idle, iowait, irq, softirq, steal. Guest time is in user already.
    let eight = ticks.get(..8)?;
    let all = eight.iter().sum();
    Some((all - eight[3] - eight[4], all))
}
