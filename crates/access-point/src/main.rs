//! An access point whose stations sleep and wake, with a race in it that is fixed while it runs.
//!
//! Clients send frames over loopback sockets; the access point queues those for sleeping stations
//! and delivers them when a station wakes. A frame that is queued just as the wake-up empties the
//! queue is lost or overtaken: the race that Linux fixed in commit 1d147bfa6429 with a new lock in
//! the station's structure. Here the fix comes in mid-run, and the structures in use have no field
//! for a lock. They get it as a shadow variable.
//!
//! - [`old`] and [`fixed`] are the two versions of the code, [`dispatch`] is the switch;
//! - [`ap`] and [`station`] are the access point, [`net`] is what it talks over;
//! - [`clients`], [`sleepers`] and [`radios`] are the world around it;
//! - [`manager`] and [`run`] let it all happen; [`count`], [`counted`] and [`report`] keep the
//!   books.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

mod ap;
mod clients;
mod count;
mod counted;
mod dispatch;
mod fixed;
mod manager;
mod net;
mod old;
mod radios;
mod report;
mod run;
mod sleepers;
mod station;

/// Runs an access point with a power-save race and fixes it, by shadow variables, while frames
/// flow; counts what is lost before and after.
///
/// The exit status is 0 when no frame is lost or overtaken after the fix and every variable made
/// is dropped exactly once; 1 when not; 2 for wrong options.
#[derive(Clone, Debug, Parser)]
#[command(version)]
struct Options {
    /// Stations at a time
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=400))]
    stations: u32,

    /// Clients that send frames, with one worker for each; half as many threads handle wake-ups
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = threads)]
    threads: usize,

    /// Seconds before the switch, and again after it
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,

    /// Seed for who sends to whom, who naps, and who leaves
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Print the verdict only
    #[arg(long, short)]
    quiet: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let printed = run::run(&options).and_then(|report| {
        let mut out = io::stdout().lock();
        report.print(&options, &mut out)?;
        out.flush()?;
        Ok(report.faults().is_empty())
    });
    match printed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("access-point: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads a number of threads.
fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=32) => Ok(n),
        Ok(n) => Err(format!("{n} is not in 1..=32")),
        Err(e) => Err(format!("{e}")),
    }
}
