//! Measures a map in a child process: each measurement begins with the same memory, and leaves nothing to the next.

use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use crate::cli::AloneOptions;
use crate::driver::Times;
use crate::keys::{KeyKind, KeySet};
use crate::peers;
use crate::workloads::{Job, Measured};

/// A request to the child process: a job without its keys.
pub(crate) struct Request<'a> {
    pub(crate) store: &'a str,
    pub(crate) hasher: &'a str,
    pub(crate) keys: KeyKind,
    pub(crate) seconds: f64,
    pub(crate) clocked: bool,
    pub(crate) job: Job<'a>,
    /// Not the job's number: a first look has fewer entries.
    pub(crate) entries: usize,
}

/// Runs a measurement in a new process.
pub(crate) fn measure(request: &Request<'_>) -> Result<Measured, String> {
    let Request { job, .. } = request;
    let mut arguments = vec!["alone".to_owned()];
    for (name, value) in [
        ("--workload", job.workload.to_string()),
        ("--store", request.store.to_owned()),
        ("--hasher", request.hasher.to_owned()),
        ("--keys", request.keys.to_string()),
        ("--entries", request.entries.to_string()),
        ("--threads", job.threads.to_string()),
        ("--cycles", job.cycles.to_string()),
        ("--seconds", request.seconds.to_string()),
    ] {
        arguments.extend([name.to_owned(), value]);
    }
    arguments.extend(request.clocked.then(|| "--clocked".to_owned()));
    run(&arguments)
}

/// Runs a process with these arguments, and returns its measurement, or its error message.
pub(crate) fn run(arguments: &[String]) -> Result<Measured, String> {
    let out = command(arguments).and_then(|mut command| command.output());
    let out = out.map_err(|error| error.to_string())?;
    if !out.status.success() {
        let output = String::from_utf8_lossy(&out.stderr);
        let output = output.trim();
        let output = output.strip_prefix("perf: ").unwrap_or(output);
        // A killed process has printed nothing.
        return Err(if output.is_empty() {
            out.status.to_string()
        } else {
            output.to_owned()
        });
    }
    let output = String::from_utf8_lossy(&out.stdout);
    let line = output.lines().find(|line| line.starts_with('{'));
    serde_json::from_str(line.unwrap_or_default()).map_err(|error| error.to_string())
}

#[cfg(not(test))]
fn command(arguments: &[String]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments);
    Ok(command)
}

#[cfg(test)]
thread_local! {
    /// The number of processes that this thread has started.
    pub(crate) static STARTED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The environment variable with the arguments of the tests' child process.
#[cfg(test)]
pub(crate) const ARGUMENTS: &str = "PERF_ALONE";

/// A test binary takes other arguments: it is told which test to run.
#[cfg(test)]
fn command(arguments: &[String]) -> io::Result<Command> {
    STARTED.set(STARTED.get() + 1);
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--exact", "tests::alone::the_other_process", "--ignored", "--nocapture"])
        .env(ARGUMENTS, format!("perf {}", arguments.join(" ")));
    Ok(command)
}

/// The main function of the child process: measures, and prints the result.
pub(crate) fn alone(options: &AloneOptions) -> Result<(), Box<dyn Error>> {
    let workload = options.workload;
    if !workload.runs_in_own_process() {
        return Err(format!("{workload} does not run in a process of its own").into());
    }
    let all = peers::all();
    let contender = all.iter().find(|contender| contender.about.name == options.store);
    let variant = contender.and_then(|contender| {
        let mut variants = contender.variants.iter();
        variants.find(|variant| variant.hasher == options.hasher)
    });
    let variant = variant.ok_or("no such store and hasher")?;
    let entries = if workload.brings_keys() { 1 } else { options.entries };
    let keys = KeySet::new(options.keys, entries, workload.shape());
    let times = Times::of(options.seconds);
    let job = Job {
        workload,
        entries: options.entries,
        threads: options.threads,
        times: if options.clocked { times } else { times.unclocked() },
        cycles: options.cycles,
        keys: &keys,
    };
    // The panic's message is printed once, as the error.
    std::panic::set_hook(Box::new(|_| {}));
    let measured = catch_unwind(AssertUnwindSafe(|| variant.bench.run_from_empty(&job)));
    let measured = measured.map_err(|panic| message(&*panic))?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// Returns the first line of a panic's message.
pub(crate) fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("a panic without a message");
    text.lines().next().unwrap_or(text).to_owned()
}
