//! Tells the feature `library` which compiler builds it: Rust has no stable ABI, so a library's compiler must be the same.
//! And whether a thread's own word can be at a fixed distance from the thread pointer: see `src/task/current.rs`.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    initial_exec();
    if env::var_os("CARGO_FEATURE_LIBRARY").is_none() {
        return;
    }
    // Cargo sets both, and runs this anew when the compiler changes.
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

/// Says `livepatch_initial_exec` where the assembler and the linker are known, and makes the empty library by which the word
/// is exported.
fn initial_exec() {
    println!("cargo::rustc-check-cfg=cfg(livepatch_initial_exec)");
    let cfg = |name: &str| env::var(format!("CARGO_CFG_{name}")).unwrap_or_default();
    let is_known = cfg("TARGET_OS") == "linux"
        && cfg("TARGET_ENV") == "gnu"
        && cfg("TARGET_POINTER_WIDTH") == "64"
        && ["x86_64", "aarch64"].contains(&&*cfg("TARGET_ARCH"))
        && env::var_os("CARGO_CFG_SHADOW_LOOM").is_none();
    if is_known {
        let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        let library = folder.join("liblivepatch_running.a");
        fs::write(&library, "!<arch>\n").unwrap_or_else(|error| panic!("{}: {error}", library.display()));
        println!("cargo::rustc-link-search=native={}", folder.display());
        println!("cargo::rustc-cfg=livepatch_initial_exec");
    }
}
