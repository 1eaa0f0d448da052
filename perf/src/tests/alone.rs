//! Measurements in child processes. The child process of a test is this same test binary.

use clap::Parser;

use super::Small;
use crate::alone;
use crate::cli::{Cli, Command};
use crate::record::{Cell, Failure};
use crate::workloads::Workload;

/// The child process that `alone::command` starts in tests.
#[test]
#[ignore = "it is not a test, but the other process of some"]
fn the_other_process() {
    let words = std::env::var(alone::ARGUMENTS).expect("another test begins this one");
    let Ok(Cli {
        command: Command::Alone(options),
    }) = Cli::try_parse_from(words.split(' '))
    else {
        panic!("{words}")
    };
    println!();
    if let Err(error) = alone::alone(&options) {
        eprintln!("perf: {error}");
        std::process::exit(2);
    }
}

fn run(workload: Workload, entries: usize) -> (Vec<Cell>, Vec<Failure>) {
    Small {
        stores: &["shadow", "dashmap-in-place"],
        workload,
        entries,
        threads: 1,
        reps: 2,
        seconds: 0.01,
        cycles: 1000,
    }
    .run()
}

#[test]
fn what_another_process_measured_comes_back_whole() {
    let (cells, failures) = run(Workload::W6, 2000);
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(cells.len(), 2 * 2, "maps, repetitions");
    assert_eq!(alone::STARTED.get(), 2 * 2, "each in a process of its own");
    for cell in &cells {
        assert_eq!((cell.ops, cell.entries), (2000, 2000));
        assert!(
            cell.mops > 0.0 && cell.max_ns > 0 && cell.extra["shrunk_ratio"] > 0.0,
            "{cell:?}"
        );
    }
}

/// Memory that one map retains does not count for the next: each has its own peak of resident memory.
#[test]
fn each_map_begins_with_the_same_memory() {
    let (cells, failures) = run(Workload::W15large, 200);
    assert!(failures.is_empty(), "{failures:?}");
    for cell in cells.iter().filter(|cell| cell.store == "dashmap-in-place") {
        assert_eq!(cell.extra["peak_values_mib"], 2.0);
        assert!((1.0..20.0).contains(&cell.extra["peak_resident_mib"]), "{cell:?}");
    }
}

#[test]
fn what_fails_in_another_process_is_told_in_its_words() {
    let error = alone::run(&["alone", "--workload", "W6"].map(str::to_owned)).unwrap_err();
    assert!(!error.is_empty(), "a process that cannot begin is an error");
    let arguments =
        "alone --workload W1 --store shadow --hasher own --keys heap --entries 9 --threads 1 --cycles 1 --seconds 1";
    let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    let error = alone::run(&arguments).unwrap_err();
    assert_eq!(error, "W1 does not run in a process of its own");
}
