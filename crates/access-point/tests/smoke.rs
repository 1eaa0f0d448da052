//! Runs the program as a user would: it builds a service and its patches, and patches it.

use std::process::{Command, Output};
use std::sync::Mutex;

/// One test at a time: they build the same programs, and two access points would compete for the cores.
static ONE: Mutex<()> = Mutex::new(());

fn access_point(arguments: &[&str]) -> Output {
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    Command::new(env!("CARGO_BIN_EXE_access-point"))
        .args(arguments)
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("plain text")
}

/// Returns the numbers of each line of the phase table, with the phase's name.
fn phases(stdout: &str) -> Vec<(String, Vec<f64>)> {
    let table = stdout.lines().skip_while(|line| !line.starts_with("phase")).skip(1);
    table
        .take_while(|line| !line.is_empty())
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, numbers) = words.split_at(words.len() - 7);
            let numbers = numbers.iter().map(|cell| cell.parse().expect("a number"));
            (name.join(" "), numbers.collect())
        })
        .collect()
}

#[test]
fn a_short_run_passes() {
    let run = access_point(&["--seconds", "1", "--stations", "8", "--threads", "2"]);
    let (stdout, stderr) = (text(&run.stdout), text(&run.stderr));
    assert_eq!(run.status.code(), Some(0), "{stdout}{stderr}");

    let phases = phases(&stdout);
    let names: Vec<&str> = phases.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "unpatched",
        "patching ps-race",
        "ps-race",
        "patching ps-race-2",
        "ps-race-2",
        "unpatching ps-race-2",
        "unpatched",
    ];
    assert_eq!(names, expected, "{stdout}");
    for (name, numbers) in phases.iter().filter(|(name, _)| name.starts_with("ps-race")) {
        let [_seconds, handled, delivered, lost, overtaken, ..] = numbers[..] else {
            panic!("too few columns: {stdout}");
        };
        assert!(handled > 0.0, "{name}: {stdout}");
        assert_eq!((delivered, lost, overtaken), (handled, 0.0, 0.0), "{name}: {stdout}");
    }
    let last = stdout.lines().last();
    assert!(last.is_some_and(|line| line.starts_with("PASS")), "{stdout}");
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
