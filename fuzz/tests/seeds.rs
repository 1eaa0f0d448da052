//! The committed seeds run without a fuzzer, on any toolchain: `cargo test` in `fuzz/`.

use std::fs::{read, read_dir};
use std::path::Path;

use shadow_vars_fuzz::{LifeCycle, Sequence, Threads};

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let entries = read_dir(folder).expect("the target has seeds");
    entries
        .map(|entry| {
            let path = entry.expect("a readable folder").path();
            (path.display().to_string(), read(&path).expect("a readable seed"))
        })
        .collect()
}

#[test]
fn sequences() {
    for (name, bytes) in seeds("ops") {
        println!("{name}");
        Sequence::decode(&bytes).expect("a heading").run();
    }
}

#[test]
fn threads() {
    for (name, bytes) in seeds("threads") {
        println!("{name}");
        Threads::decode(&bytes).expect("a heading").run();
    }
}

#[test]
fn life_cycles() {
    for (name, bytes) in seeds("life_cycle") {
        println!("{name}");
        LifeCycle::decode(&bytes).run();
    }
}
