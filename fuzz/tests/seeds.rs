//! The committed seeds are what their names say, and run without a fuzzer, on any toolchain: `cargo test` in `fuzz/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs::{read, read_dir};
use std::path::Path;

use shadow_vars_fuzz::configs::Config;
use shadow_vars_fuzz::seeds::{Seed, of_life_cycle, of_ops, of_threads};
use shadow_vars_fuzz::{Backend, Choice, Input};

/// Returns the files of a target.
fn files(target: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let entries = read_dir(folder).expect("the target has seeds");
    let files = entries.map(|entry| {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        (name, read(&path).expect("a readable seed"))
    });
    files.collect()
}

/// Checks that each file decodes to the seed of its name, and runs; and that there is one for each name.
fn check<T: Input + PartialEq + Debug>(target: &str, seeds: Vec<Seed<T>>) {
    let mut files = files(target);
    for Seed { name, input } in seeds {
        let Some(bytes) = files.remove(name) else {
            panic!("no file {target}/{name}: run the example `seeds`")
        };
        let read = T::decode(&bytes).expect("a heading");
        assert_eq!(
            read, input,
            "{target}/{name} is not what it says: run the example `seeds`"
        );
        println!("{target}/{name}");
        read.run();
    }
    assert!(files.is_empty(), "without a name in {target}: {:?}", files.keys());
}

#[test]
fn sequences() {
    check("ops", of_ops());
}

#[test]
fn threads() {
    check("threads", of_threads());
}

#[test]
fn life_cycles() {
    check("life_cycle", of_life_cycle());
}

/// Each target has seeds on every backend, and on the store that migrates most.
#[test]
fn every_target_starts_on_every_backend() {
    let of_ops = of_ops().into_iter().map(|seed| seed.input.choice);
    let of_threads = of_threads().into_iter().map(|seed| seed.input.choice);
    let covers = |choices: Vec<Choice>| {
        let on = |backend| choices.iter().any(|choice| choice.backend == backend);
        let configs: BTreeSet<_> = choices.iter().map(|choice| choice.config.name).collect();
        assert!(Backend::ALL.iter().all(|&backend| on(backend)), "{choices:?}");
        assert!(configs.contains(Config::migrating().name), "{configs:?}");
    };
    covers(of_ops.collect());
    covers(of_threads.collect());
}
