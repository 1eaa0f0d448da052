//! Checks the sources against the layers in ARCHITECTURE.md ("Import rules"): nothing in the language keeps modules of one crate
//! from using each other.
//!
//! - `arch`: checks the repository in whose root it is started.
//! - `arch --uses FOLDER`: prints what the files of a crate use of each other and of other crates, one use per line.
//! - `arch --self-test`: breaks each rule in a copy, and requires that the violation is found.

use std::env;
use std::process::ExitCode;

use repository::{Cache, Report, check_all};
use tree::Tree;

mod check;
mod circles;
mod facts;
mod list;
mod modules;
mod packages;
mod repository;
mod self_test;
mod tree;

/// Prints one line for each use: from, to, line, `test` or `-`, and the use as written.
fn print_uses(tree: &Tree, folder: &str) -> Result<(), String> {
    let krate = repository::load(tree, folder)?;
    let print = |from: usize, to: &str, line, test, what: &str| {
        let test = if test { "test" } else { "-" };
        println!("{}\t{to}\t{line}\t{test}\t{what}", krate.files[from].label);
    };
    for (&(from, to), uses) in &krate.own {
        uses.iter()
            .for_each(|at| print(from, &krate.files[to].label, at.line, at.test, &at.what));
    }
    krate
        .foreign
        .iter()
        .for_each(|(at, path)| print(at.from, "::", at.line, at.test, path));
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let tree = match Tree::read() {
        Ok(tree) => tree,
        Err(error) => {
            eprintln!("arch: {error}: it is started in the repository's folder");
            return ExitCode::from(2);
        }
    };
    let good = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let report = check_all(&tree, &mut Cache::default());
            report.findings.iter().for_each(|finding| println!("{finding}"));
            report.circles.iter().for_each(|circle| println!("{circle}"));
            let Report {
                findings,
                files,
                uses,
                circles,
            } = &report;
            let (findings, circles) = (findings.len(), circles.len());
            println!(
                "arch: {files} files, {uses} uses between modules and of crates, {circles} known circles, {findings} violations"
            );
            findings == 0
        }
        ["--self-test"] => self_test::run(&tree),
        ["--uses", folder] => print_uses(&tree, folder)
            .inspect_err(|error| eprintln!("arch: {error}"))
            .is_ok(),
        _ => {
            eprintln!("usage: ci/arch.sh [--self-test | --uses FOLDER]");
            return ExitCode::from(2);
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
