//! The performance study: the shadow store compared with its peers, and with the limits of the machine.
//!
//! `METHODOLOGY.md` says how it measures, and which comparisons are unfair.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

mod alone;
mod class;
mod cli;
mod clock;
mod compare;
mod driver;
mod engine;
mod env;
mod gate;
mod heap;
mod keys;
mod limits;
mod memory;
mod peers;
mod quiet;
mod record;
mod report;
mod rng;
mod spread;
mod store;
mod summary;
#[cfg(test)]
mod tests;
mod trace;
mod workloads;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("perf: {error}");
            ExitCode::from(code_of(&*error))
        }
    }
}

/// Returns the exit code for an error. Code 1 is a result: a target was missed.
fn code_of(error: &(dyn Error + 'static)) -> u8 {
    if error.is::<quiet::Busy>() {
        3
    } else {
        // The code that clap uses for invalid options.
        2
    }
}

fn run(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Compare(options) => compare::compare(&options)?,
        Command::Scale(options) => compare::scale(&options)?,
        Command::Memory(options) => memory::memory(&options)?,
        Command::Limits(options) => limits::limits(&options)?,
        Command::Gate(options) => return gate::gate(&options),
        Command::Report(options) => report::report(&options)?,
        Command::Hold(options) => memory::hold(&options)?,
        Command::Alone(options) => alone::alone(&options)?,
    }
    Ok(ExitCode::SUCCESS)
}
