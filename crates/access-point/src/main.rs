//! Builds an access point with a race in it, its patches and the tool that loads them; runs the service, and patches it
//! while frames flow.
//!
//! [`build`] builds the programs, [`play`] acts as the operator, [`screen`] shows what happens.

use std::process::ExitCode;

use clap::Parser;
use options::Options;
use play::Outcome;

mod build;
mod options;
mod play;
mod screen;

fn main() -> ExitCode {
    let options = Options::parse();
    let played = build::programs(options.quiet).and_then(|programs| play::play(&options, &programs));
    match played {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("access-point: {error:#}");
            ExitCode::FAILURE
        }
    }
}
