//! A gate for a hot path: fails if it executes more instructions than it may, or creates, frees or grows what it must not.
//!
//! Instructions are counted by valgrind's cachegrind, so that the result is the same on every run and on a busy machine: the
//! program runs itself twice, with different numbers of operations, and divides the difference.
//!
//! `cargo run --release --example gate`, or with a budget of instructions for each operation:
//! `cargo run --release --example gate -- --budget 100`. The exit status is 0 if the path is within its budget, 1 if not.

use std::env;
use std::error::Error;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};

use shadow_vars::{ShadowId, ShadowStore};

const HITS: ShadowId<AtomicU64> = ShadowId::new(1);

/// The hot path of the program: finds the counter of an object, and increments it.
#[inline(never)]
fn hit(store: &ShadowStore, object: &u64) {
    if let Some(hits) = store.pin().get(object, HITS) {
        hits.fetch_add(1, Ordering::Relaxed);
    }
}

/// The number of instructions that an operation may execute. Without optimisation it is a hundred times what it should be.
const BUDGET: u64 = if cfg!(debug_assertions) { 4_000 } else { 100 };

/// Runs the path this many times, on objects that are in the caches.
fn run(operations: u64) -> Result<(), Box<dyn Error>> {
    let store = ShadowStore::with_capacity(1_000);
    let objects: Vec<u64> = (0..64).collect();
    let vars = store.pin();
    for object in &objects {
        vars.alloc(object, HITS, AtomicU64::new(0))
            .map_err(|error| error.error)?;
    }
    drop(vars);
    for object in objects.iter().cycle().take(operations as usize) {
        hit(black_box(&store), black_box(object));
    }
    // What the path must not do shows in the statistics: it creates nothing, frees nothing, and replaces no table.
    let stats = store.stats();
    assert_eq!((stats.created, stats.freed, stats.growths), (64, 0, 0));
    Ok(())
}

/// Returns how many instructions this program executes for a number of operations, or `None` without valgrind.
fn instructions(operations: u64) -> Result<Option<u64>, Box<dyn Error>> {
    let counted = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args(["--run", &operations.to_string()])
        .output();
    let Ok(counted) = counted else { return Ok(None) };
    let printed = String::from_utf8_lossy(&counted.stderr);
    let total = printed.lines().find_map(|line| line.split_once("refs:"));
    let (_, total) = total.ok_or_else(|| format!("valgrind counts nothing: {printed}"))?;
    Ok(Some(total.trim().replace(',', "").parse()?))
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let budget = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--run", operations] => {
            run(operations.parse()?)?;
            return Ok(ExitCode::SUCCESS);
        }
        ["--budget", budget] => budget.parse()?,
        [] => BUDGET,
        _ => return Err("usage: gate [--budget INSTRUCTIONS]".into()),
    };
    const FEW: u64 = 10_000;
    const MANY: u64 = 60_000;
    let (Some(few), Some(many)) = (instructions(FEW)?, instructions(MANY)?) else {
        println!("gate: skipped, there is no valgrind");
        return Ok(ExitCode::SUCCESS);
    };
    let each = (many - few) as f64 / (MANY - FEW) as f64;
    println!("gate: {each:.1} instructions for each operation, {budget} are allowed");
    if each > budget as f64 {
        println!("gate: FAILED");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
