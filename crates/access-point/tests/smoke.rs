//! Runs the program as a user would.

use std::process::{Command, Output};

fn access_point(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_access-point"))
        .args(arguments)
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("plain text")
}

/// The columns of one line of the phase table.
fn row(stdout: &str, phase: &str) -> Vec<f64> {
    let line = stdout
        .lines()
        .find(|line| line.starts_with(phase))
        .expect("the phase has a line");
    line[phase.len()..]
        .split_whitespace()
        .map(|cell| cell.parse().expect("a number"))
        .collect()
}

#[test]
fn a_short_run_passes() {
    let run = access_point(&["--seconds", "1", "--stations", "8", "--threads", "2"]);
    let (stdout, stderr) = (text(&run.stdout), text(&run.stderr));
    assert_eq!(run.status.code(), Some(0), "{stdout}{stderr}");

    let after = row(&stdout, "after");
    let [_seconds, sent, delivered, lost, overtaken, ..] = after[..] else {
        panic!("too few columns: {stdout}");
    };
    assert!(sent > 0.0, "{stdout}");
    assert_eq!((delivered, lost, overtaken), (sent, 0.0, 0.0), "{stdout}");
    assert!(
        stdout.lines().last().is_some_and(|line| line.starts_with("PASS")),
        "{stdout}"
    );
}

#[test]
fn quiet_prints_one_line() {
    let run = access_point(&["--quiet", "--seconds", "1", "--stations", "1", "--threads", "1"]);
    let stdout = text(&run.stdout);
    assert_eq!(run.status.code(), Some(0), "{stdout}{}", text(&run.stderr));
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
}

#[test]
fn wrong_options_are_refused() {
    for (arguments, message) in [
        (["--stations", "0"], "1..=400"),
        (["--threads", "0"], "1..=32"),
        (["--seconds", "0"], "1..=60"),
        (["--seconds", "soon"], "soon"),
        (["--seed", "-1"], "-1"),
    ] {
        let run = access_point(&arguments);
        assert_eq!(run.status.code(), Some(2), "{arguments:?}");
        let stderr = text(&run.stderr);
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
}
