//! `limits`: the limits of the machine, measured beside the maps.
//!
//! A look-up in any hash table with stable values reads a slot and then the node to which it leads. The cost of these two loads
//! alone, of a guard alone, and of allocating a node, are lower bounds for every map.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use indicatif::ProgressBar;

use crate::cli::LimitOptions;
use crate::driver::pin_to_core;
use crate::engine;
use crate::keys::count;
use crate::limits::figure::Figure;
use crate::record::{self, Line, Sink, rounded};
use crate::spread::Spread;

pub(crate) mod calls;
mod figure;
pub(crate) mod loads;
pub(crate) mod pauses;
mod primitives;

pub(crate) fn limits(options: &LimitOptions) -> Result<(), Box<dyn Error>> {
    let mut sink = Sink::new(&options.out)?;
    let bar = engine::progress();
    let time = Duration::from_secs_f64(options.seconds);
    let figures = measure(&options.entries, options.reps.into(), time, &bar);
    bar.finish_and_clear();
    let mut table: BTreeMap<(usize, &str, usize), Vec<f64>> = BTreeMap::new();
    for (order, figure) in figures.iter().enumerate() {
        sink.put(&Line::Limit(record::Limit {
            run: sink.run.run.clone(),
            limit: figure.name.to_owned(),
            entries: figure.entries,
            rep: figure.rep,
            ns: rounded(figure.ns),
        }))?;
        let first = figures
            .iter()
            .position(|other| other.name == figure.name)
            .unwrap_or(order);
        table
            .entry((first, figure.name, figure.entries))
            .or_default()
            .push(figure.ns);
    }
    if !options.out.json {
        println!("{}\n", sink.run.in_short());
        for ((_, name, entries), values) in table {
            let Some(spread) = Spread::of(values) else { continue };
            let entries = if entries == 0 { String::new() } else { count(entries) };
            println!(
                "{name:<62} {entries:>6} {:>10.2} ns  ± {:.0} %",
                spread.median,
                spread.percent()
            );
        }
    }
    if let Some(path) = sink.path() {
        eprintln!("recorded in {}", path.display());
    }
    Ok(())
}

/// Measures everything, on a pinned thread of its own.
pub(crate) fn measure(entries: &[usize], reps: usize, time: Duration, bar: &ProgressBar) -> Vec<Figure> {
    let work = || {
        pin_to_core(0);
        let mut figures = Vec::new();
        bar.inc_length((entries.len() * reps + reps) as u64);
        for &entries in entries {
            bar.set_message(format!("loads, {entries} entries"));
            figures.extend(loads::measure(entries, reps, time, || bar.inc(1)));
        }
        for rep in 0..reps {
            bar.set_message("guards, locks, allocation, pauses");
            figures.extend(primitives::measure(rep, time));
            figures.extend(pauses::measure(rep));
            bar.set_message("single calls");
            figures.extend(calls::measure(calls::Sizes::ALL, rep, time));
            bar.inc(1);
        }
        figures
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(work);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
