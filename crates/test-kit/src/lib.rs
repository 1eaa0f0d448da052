//! What the models of several crates share: running them on a broken protocol.
//!
//! A model that cannot fail proves nothing. A crate names its defects, each of which breaks one rule, and the models that
//! must notice them. Every run is a process of its own, as loom does not survive a failure; an environment variable of
//! the crate names the defect of that process ([`planted`]).

use std::env;
use std::fmt::Debug;
use std::process::Command;
use std::time::Instant;

/// Returns the defect that the environment variable names, one of `all`.
///
/// # Panics
///
/// If it names none of them.
pub fn planted<D: Debug>(variable: &str, all: impl IntoIterator<Item = D>) -> Option<D> {
    let name = env::var(variable).ok()?;
    let found = all.into_iter().find(|defect| format!("{defect:?}") == name);
    Some(found.unwrap_or_else(|| panic!("no defect {name}")))
}

/// Runs models of the calling test program, each with a defect, and requires that they notice it: that they panic. Does
/// nothing in a process that has a defect itself.
///
/// # Panics
///
/// If a model does not notice its defect, or there is no such model.
pub fn expect_noticed<D: Debug>(variable: &str, runs: impl IntoIterator<Item = (D, &'static str)>) {
    // A child that runs all tests, for whatever reason, must not start children in turn.
    if env::var_os(variable).is_some() {
        return;
    }
    let mut missed = Vec::new();
    for (defect, model) in runs {
        let start = Instant::now();
        match run(model, variable, &format!("{defect:?}")) {
            Some(message) => eprintln!("{defect:?}: {model}, {:.1} s: {message}", start.elapsed().as_secs_f64()),
            None => missed.push((defect, model)),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}

/// Runs a model with a defect in a child process. Returns the message of its panic, if it panicked.
fn run(model: &str, variable: &str, defect: &str) -> Option<String> {
    let Ok(tests) = env::current_exe() else {
        panic!("this process has no file")
    };
    let child = Command::new(tests)
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg(format!("tests::loom::{model}"))
        .env(variable, defect)
        .env("LOOM_MAX_PREEMPTIONS", "2")
        .env("RUST_BACKTRACE", "0")
        .output();
    let Ok(child) = child else { panic!("no child process") };
    let (out, err) = (
        String::from_utf8_lossy(&child.stdout),
        String::from_utf8_lossy(&child.stderr),
    );
    assert!(out.contains("running 1 test"), "no model {model}");
    if child.status.success() {
        return None;
    }
    let mut lines = err.lines().skip_while(|line| !line.contains("panicked at"));
    let (place, message) = (lines.next(), lines.next());
    assert!(place.is_some(), "{model} neither passed nor panicked: {err}");
    message.map(str::to_owned)
}
