//! `memory` (W8): the memory that a map takes in addition to the values, each map and size in its own process.
//!
//! The resident bytes are what a program pays for. The allocated bytes are shown beside them: the difference is what growth has
//! left behind, and pages that are only partly used.

use std::error::Error;
use std::process::Command;

use crate::cli::{self, HoldOptions, MemoryOptions};
use crate::engine;
use crate::heap;
use crate::keys::{KeyKind, KeySet, Shape, count};
use crate::peers::{self, Contender};
use crate::record::{Line, Memory, Sink, rounded};
use crate::store::Kind;
use crate::workloads::VALUE_BYTES;

pub(crate) fn memory(options: &MemoryOptions) -> Result<(), Box<dyn Error>> {
    let all = peers::all();
    let mut contenders = cli::select(&all, &options.stores);
    // The way in which the id of an entry is given makes no difference to memory.
    contenders.retain(|contender| !contender.about.is_by_id());
    let mut sink = Sink::new(&options.out)?;
    let bar = engine::progress();
    let (sizes, made): (Vec<usize>, &[bool]) = if options.curve {
        (curve().into(), &[false])
    } else {
        (options.entries.clone(), &[false, true])
    };
    bar.inc_length((sizes.len() * contenders.len() * made.len()) as u64);
    let mut rows = Vec::new();
    for &entries in &sizes {
        for contender in &contenders {
            for &with_capacity in made {
                bar.set_message(format!("{}, {entries} entries", contender.about.name));
                bar.inc(1);
                if entries > contender.about.max_entries {
                    continue;
                }
                let mut line = measure(contender, entries, with_capacity)?;
                line.run.clone_from(&sink.run.run);
                sink.put(&Line::Memory(line.clone()))?;
                rows.push(line);
            }
        }
    }
    bar.finish_and_clear();
    if !options.out.json {
        println!("{}\n", sink.run.in_short());
        println!(
            "{:>9} {:<13} {:<9} {:>10} {:>10}",
            "entries", "store", "made", "resident", "allocated"
        );
        rows.sort_by(|a, b| {
            let by = |row: &Memory| (row.entries, row.made.clone());
            by(a).cmp(&by(b)).then(a.bytes_per_entry.total_cmp(&b.bytes_per_entry))
        });
        for row in &rows {
            println!(
                "{:>9} {:<13} {:<9} {:>10.1} {:>10.1}",
                count(row.entries),
                row.store,
                row.made,
                row.bytes_per_entry,
                row.heap_bytes_per_entry
            );
        }
    }
    if let Some(path) = sink.path() {
        eprintln!("recorded in {}", path.display());
    }
    Ok(())
}

/// Returns the sizes at which memory is shown as a curve: 16 above 512 k up to 1 M, 16 above 4 M up to 8 M. From one of its sizes
/// to the next, a doubling table passes through all of its states.
pub(crate) fn curve() -> [usize; 32] {
    std::array::from_fn(|at| {
        let (from, at) = if at < 16 { (1 << 19, at) } else { (1 << 22, at - 16) };
        from + from / 16 * (at + 1)
    })
}

/// Returns whether a map's memory is compared with ours: limits are only shown.
pub(crate) fn is_compared(contender: &Contender) -> bool {
    matches!(contender.about.kind, Kind::Peer | Kind::Design)
}

/// Runs a measurement in a new process. Memory hardly depends on the hasher, so only one is measured.
pub(crate) fn measure(contender: &Contender, entries: usize, with_capacity: bool) -> Result<Memory, Box<dyn Error>> {
    let (store, hasher) = (contender.about.name, contender.variants[0].hasher);
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["hold", "--store", store, "--hasher", hasher, "--entries"])
        .arg(entries.to_string())
        .args(with_capacity.then_some("--with-capacity"));
    let out = command.output()?;
    if !out.status.success() {
        let message = String::from_utf8_lossy(&out.stderr);
        return Err(format!("{store} with {entries} entries: {}", message.trim()).into());
    }
    let (resident, heap): (f64, f64) = serde_json::from_slice(&out.stdout)?;
    let per_entry = |bytes: f64| rounded(bytes / entries as f64 - VALUE_BYTES);
    Ok(Memory {
        run: String::new(),
        store: store.to_owned(),
        hasher: hasher.to_owned(),
        entries,
        made: if with_capacity { "capacity" } else { "grown" }.to_owned(),
        bytes_per_entry: per_entry(resident),
        heap_bytes_per_entry: per_entry(heap),
    })
}

/// The main function of the child process: builds the map, and prints how much the process has grown.
pub(crate) fn hold(options: &HoldOptions) -> Result<(), Box<dyn Error>> {
    let all = peers::all();
    let contender = all.iter().find(|contender| contender.about.name == options.store);
    let variant = contender.and_then(|contender| {
        contender
            .variants
            .iter()
            .find(|variant| variant.hasher == options.hasher)
    });
    let variant = variant.ok_or("no such store and hasher")?;
    let keys = KeySet::new(KeyKind::Heap, options.entries, Shape::Plain);
    let now = || {
        heap::trim();
        (heap::resident(), heap::in_use())
    };
    let before = now();
    let held = variant.bench.hold(&keys, options.with_capacity);
    let after = now();
    println!(
        "[{}, {}]",
        after.0.saturating_sub(before.0),
        after.1.saturating_sub(before.1)
    );
    drop(held);
    Ok(())
}
