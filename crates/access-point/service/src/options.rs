//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Runs an access point with a power-save race until its standard input ends or it is interrupted (ctrl-C), then prints
/// the outcome of every frame.
///
/// Patches are loaded through the control socket. The exit status is 0 if no frame was lost or overtaken while patched
/// and every shadow variable made was dropped exactly once; 1 otherwise; 2 for wrong options.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// Path of the control socket
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: PathBuf,

    /// Stations at a time
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=400))]
    pub(crate) stations: u32,

    /// Clients that send frames, with one worker for each; half as many threads handle wake-ups
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = threads)]
    pub(crate) threads: usize,

    /// Seed for the choice of senders, naps, and departures
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Print the counters of each phase while they change, separated by tabs: the phase's number and name, whether it is
    /// patched, frames handled, lost, and overtaken
    #[arg(long)]
    pub(crate) live: bool,

    /// Print the verdict only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Reads a number of threads.
fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=32) => Ok(n),
        Ok(n) => Err(format!("{n} is not in 1..=32")),
        Err(e) => Err(format!("{e}")),
    }
}
