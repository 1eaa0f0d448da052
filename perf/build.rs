//! Remembers which compiler built the program, for the records.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = env::var_os("RUSTC").expect("cargo sets it");
    let version = Command::new(rustc).arg("--version").output().map_or_else(
        |_| "unknown".to_owned(),
        |out| String::from_utf8_lossy(&out.stdout).trim().to_owned(),
    );
    println!("cargo::rustc-env=PERF_COMPILER={version}");
    let target = env::var("TARGET").expect("cargo sets it");
    println!("cargo::rustc-env=PERF_TARGET={target}");
    let level = env::var("OPT_LEVEL").expect("cargo sets it");
    println!("cargo::rustc-env=PERF_OPT_LEVEL={level}");
}
