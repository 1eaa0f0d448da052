//! Options are parsed, and invalid ones give clear errors.

use clap::{CommandFactory, Parser};

use crate::cli::{Cli, Command, Compare};
use crate::workloads::Workload;

fn compare(options: &[&str]) -> Result<Compare, String> {
    let words = ["perf", "compare"].iter().chain(options);
    match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
        Command::Compare(options) => Ok(options),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn sizes_have_units() {
    let options = compare(&["--entries", "1000,64k,1M"]).unwrap();
    assert_eq!(options.entries, [1000, 1 << 16, 1 << 20]);
}

#[test]
fn a_family_of_workloads_is_all_of_its_forms() {
    let options = compare(&["--workload", "W4,w1,W7,b64,W1"]).unwrap();
    let expected = [
        Workload::W4,
        Workload::W4N,
        Workload::W1,
        Workload::W7,
        Workload::W7P,
        Workload::B64,
    ];
    assert_eq!(options.workloads(), expected);
    assert_eq!(compare(&["--workload", "W9"]).unwrap().workloads().len(), 5);
    assert_eq!(compare(&["--workload", "W9x4"]).unwrap().workloads(), [Workload::W9x4]);
}

#[test]
fn cycles_are_counted_in_thousands() {
    assert_eq!(compare(&[]).unwrap().cycles, 100_000_000);
    assert_eq!(compare(&["--cycles", "2k"]).unwrap().cycles, 2000);
}

#[test]
fn new_families_are_whole() {
    let options = compare(&["--workload", "W14,W15"]).unwrap();
    let names: Vec<_> = options.workloads().into_iter().map(Workload::name).collect();
    assert_eq!(names, ["W14", "W14F", "W15idle", "W15large", "W15stall"]);
}

#[test]
fn bad_options_are_refused_in_words() {
    for (options, words) in [
        (["--workload", "W16"], "there are W1, G64"),
        (["--workload", "W8"], "perf memory"),
        (["--workload", ""], "there are W1, G64"),
        (
            ["--stores", "hashbrown"],
            "there are shadow, shadow-by-id, shadow_epoch, shadow_seize, shadow_eras, papaya",
        ),
        (["--entries", "0"], "between 1 and"),
        (["--entries", "many"], "65536, 64k or 1M"),
        (["--entries", "99999999999M"], "between 1 and"),
        (["--threads", "0"], "between 1 and 1024"),
        (["--threads", "two"], "between 1 and 1024"),
        (["--reps", "0"], "1..=1000"),
        (["--seconds", "0"], "0.001 and 3600"),
        (["--seconds", "NaN"], "0.001 and 3600"),
        (["--cycles", "many"], "1000000 or 100M"),
        (["--cycles", "0"], "1000000 or 100M"),
        (["--keys", "odd"], "heap, sequential, pages, random"),
        (["--hasher", "md5"], "best, foldhash, ahash"),
    ] {
        let error = compare(&options).expect_err("refused");
        assert!(error.contains(words), "{options:?} gave {error}");
    }
}
