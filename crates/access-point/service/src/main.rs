//! An access point whose stations sleep and wake, with a race in it, and the world around it, as one service.
//!
//! Clients send frames over loopback sockets; the access point queues those for sleeping stations and delivers them when
//! a station wakes up. A frame that is queued just as the wake-up empties the queue is lost or overtaken: the race that
//! Linux fixed in commit 1d147bfa6429 with a new lock in the station's structure. The service has no such field. It has a
//! control socket, through which patches are loaded while it runs.
//!
//! - [`ap`] is the access point, [`net`] its network; its types and patchable functions are in the crate
//!   `access-point-interface`;
//! - [`clients`], [`sleepers`] and [`radios`] are the [`world`] around it;
//! - [`manager`] and [`run`] control the run; [`phase`], [`live`], [`count`] and [`report`] account for the frames.

use std::io::{self, Read, Write};
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
mod options;
mod phase;
mod radios;
mod report;
mod run;
mod sleepers;
mod world;

use options::Options;
use report::Report;

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
