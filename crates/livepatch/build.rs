//! Records for the feature `library` which compiler builds it: Rust has no stable ABI, so a library's compiler must be
//! the same.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_LIBRARY").is_none() {
        return;
    }
    // Cargo sets both, and reruns this when the compiler changes.
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let told = Command::new(&rustc).arg("-vV").output();
    let told = told.unwrap_or_else(|error| panic!("{} -vV: {error}", rustc.to_string_lossy()));
    let told = String::from_utf8_lossy(&told.stdout);
    let mut lines = told.lines();
    let mut compiler = lines.next().unwrap_or("an unknown compiler").to_owned();
    for line in lines {
        if line.starts_with("commit-hash: ") || line.starts_with("LLVM version: ") {
            compiler.push_str(", ");
            compiler.push_str(line);
        }
    }
    println!("cargo::rustc-env=LIVEPATCH_COMPILER={compiler}");
    println!("cargo::rustc-env=LIVEPATCH_TARGET={target}");
}
