//! An access point whose stations sleep and wake, with a race in it, and the world around it, as one service.
//!
//! Clients send frames over loopback sockets; the access point queues those for sleeping stations and delivers them when
//! a station wakes up. A frame that is queued just as the wake-up empties the queue is lost or overtaken: the race that
//! Linux fixed in commit 1d147bfa6429 with a new lock in the station's structure. The service has no such field. It has a
//! control socket, through which patches are loaded while it runs.
//!
//! - [`ap`] is the access point, [`net`] its network; its types and patchable functions are in the crate
//!   `access-point-interface`;
//! - [`clients`], [`sleepers`] and [`radios`] are the world around it;
//! - [`manager`] and [`run`] control the run; [`phase`], [`live`], [`count`] and [`report`] account for the frames.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use access_point_interface::INTERFACE;
use anyhow::{Context, Result};
use clap::Parser;
use livepatch::control::Control;
use livepatch::{Event, registry};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

mod ap;
mod clients;
mod count;
mod live;
mod manager;
mod net;
mod phase;
mod radios;
mod report;
mod run;
mod sleepers;

use report::Report;

/// Runs an access point with a power-save race until its standard input ends or it is interrupted (ctrl-C), then prints
/// the outcome of every frame.
///
/// Patches are loaded through the control socket. The exit status is 0 if no frame was lost or overtaken while patched
/// and every shadow variable made was dropped exactly once; 1 otherwise; 2 for wrong options.
#[derive(Clone, Debug, Parser)]
#[command(version)]
struct Options {
    /// Path of the control socket
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,

    /// Stations at a time
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=400))]
    stations: u32,

    /// Clients that send frames, with one worker for each; half as many threads handle wake-ups
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = threads)]
    threads: usize,

    /// Seed for the choice of senders, naps, and departures
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Print the counters of each phase while they change, separated by tabs: the phase's number and name, whether it is
    /// patched, frames handled, lost, and overtaken
    #[arg(long)]
    live: bool,

    /// Print the verdict only
    #[arg(long, short)]
    quiet: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let printed = serve(&options).and_then(|report| {
        let mut out = io::stdout().lock();
        report.print(&options, &mut out)?;
        out.flush()?;
        Ok(report.faults().is_empty())
    });
    match printed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("access-point-service: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until standard input ends, or a signal asks for the end.
fn serve(options: &Options) -> Result<Report> {
    static FREED: AtomicUsize = AtomicUsize::new(0);
    let clock = Arc::new(phase::Clock::new());
    let noting = Arc::clone(&clock);
    let _noting = registry().observe(move |event| {
        noting.note(event);
        if let Event::Freed { variables, .. } = event {
            FREED.fetch_add(*variables, Ordering::Relaxed);
        }
    });
    let _control = Control::builder(&options.socket)
        .loader(|path| {
            // SAFETY: a user of the socket could as well have started another program in place of this one; whether the
            // library is a patch, built against this interface, is checked before its code runs.
            let patch = unsafe { registry().load_patch(path, &INTERFACE) }?;
            registry().enable(&patch)?;
            Ok(patch.name().to_owned())
        })
        .bind()
        .with_context(|| format!("making the control socket {}", options.socket.display()))?;
    let enough = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        // The second one ends the process at once.
        flag::register_conditional_default(signal, Arc::clone(&enough))?;
        flag::register(signal, Arc::clone(&enough))?;
    }
    let ended = Arc::clone(&enough);
    thread::spawn(move || {
        // An error ends the service too.
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        ended.store(true, Ordering::Relaxed);
    });
    let mut report = run::run(options, clock, &enough)?;
    report.freed_by_state = FREED.load(Ordering::Relaxed);
    Ok(report)
}

/// Reads a number of threads.
fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=32) => Ok(n),
        Ok(n) => Err(format!("{n} is not in 1..=32")),
        Err(e) => Err(format!("{e}")),
    }
}
