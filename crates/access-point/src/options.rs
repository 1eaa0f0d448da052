//! The command line.

use clap::Parser;

/// Runs an access point with a power-save race, patches it twice while frames flow, disables the patches, and shows what
/// was lost when.
///
/// Interrupted (ctrl-C), it ends with a report of what happened until then. The exit status is 0 if no frame is lost or
/// overtaken while patched, and nothing of the patches is left; 1 otherwise; 2 for wrong options; 130 if interrupted.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// Stations at a time
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=400))]
    pub(crate) stations: u32,

    /// Clients that send frames, with one worker for each; half as many threads handle wake-ups
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=32))]
    pub(crate) threads: u32,

    /// Seconds unpatched, with each of the two patches, and unpatched again
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,

    /// Seed for the choice of senders, naps, and departures
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Print the verdict only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
