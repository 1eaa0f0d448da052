//! `compare` and `scale`: every map on each workload.

use std::error::Error;
use std::io::{self, Write};

use crate::cli::{self, Compare};
use crate::engine::{self, Plan, Point};
use crate::keys::KeySets;
use crate::record::{Failures, Line, Sink};
use crate::summary::Summary;
use crate::workloads::Workload;
use crate::{driver, peers};

/// The workloads that `compare` runs by default.
const COMPARED: [Workload; 8] = [
    Workload::W1,
    Workload::G64,
    Workload::B64,
    Workload::W2,
    Workload::W3,
    Workload::W4,
    Workload::W4N,
    Workload::W5,
];

pub(crate) fn compare(options: &Compare) -> Result<(), Box<dyn Error>> {
    run(options, &COMPARED, &[], &two(1, driver::cores()))
}

/// Like [`compare`], with 1 to 64 threads, for the workloads in which threads contend.
pub(crate) fn scale(options: &Compare) -> Result<(), Box<dyn Error>> {
    run(
        options,
        &[Workload::W1, Workload::W3],
        &[1 << 16, 1 << 20],
        &[1, 2, 4, 8, 16, 32, 64],
    )
}

fn two(first: usize, second: usize) -> Vec<usize> {
    if first == second {
        vec![first]
    } else {
        vec![first, second]
    }
}

fn run(options: &Compare, workloads: &[Workload], entries: &[usize], threads: &[usize]) -> Result<(), Box<dyn Error>> {
    let all = peers::all();
    let contenders = cli::select(&all, &options.stores);
    let named = options.workloads();
    let workloads = if named.is_empty() { workloads.to_vec() } else { named };
    let entries = if options.entries.is_empty() {
        entries
    } else {
        &options.entries
    };
    let threads = if options.threads.is_empty() {
        threads
    } else {
        &options.threads
    };
    let plan = Plan {
        points: points(&workloads, entries, threads, options.threads.is_empty()),
        contenders,
        reps: 0..options.reps.into(),
        deadline: None,
        seconds: options.seconds,
        latency: |_| true,
        hasher: options.hasher.fixed(),
        own_processes: true,
        cycles: options.cycles,
        keep_peers: None,
        always_measured: |_, _| false,
        known: None,
        wanted: |_, _| true,
    };
    if plan.is_empty() {
        return Err("none of these maps can run any of these workloads at these sizes and threads".into());
    }
    let mut sink = Sink::new(&options.out)?;
    let mut sets = KeySets::new(options.keys);
    let mut summary = Summary::default();
    let mut broken = None;
    let bar = engine::progress();
    let mut failures = Failures::default();
    plan.run(&mut sets, &bar, &mut |mut line| {
        match &mut line {
            Line::Cell(cell) => {
                cell.run.clone_from(&sink.run.run);
                summary.add(cell.clone());
            }
            Line::Failure(failure) => {
                failure.run.clone_from(&sink.run.run);
                failures.add(failure);
            }
            _ => {}
        }
        if let Err(error) = sink.put(&line) {
            broken.get_or_insert(error);
        }
    });
    bar.finish_and_clear();
    if let Some(error) = broken {
        return Err(error.into());
    }
    if !options.out.json {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", sink.run.in_short())?;
        for (at, stores) in &summary.points {
            write!(out, "{}", Summary::table(at, stores))?;
        }
    }
    if let Some(path) = sink.path() {
        eprintln!("recorded in {}", path.display());
    }
    failures.print();
    if failures.are_ours() {
        return Err("the store itself was wrong".into());
    }
    Ok(())
}

/// Returns each workload at each size that was given, or its default sizes, with each number of threads.
fn points(workloads: &[Workload], entries: &[usize], threads: &[usize], threads_are_default: bool) -> Vec<Point> {
    let mut points = Vec::new();
    for &workload in workloads {
        if let (Some(own), [], true) = (workload.default_points(), entries, threads_are_default) {
            points.extend(own.into_iter().map(|(entries, threads)| Point {
                workload,
                entries,
                threads,
            }));
            continue;
        }
        let own = workload.default_entries();
        let entries = if entries.is_empty() || workload == Workload::W11 {
            &own
        } else {
            entries
        };
        for &entries in entries {
            points.extend(threads.iter().map(|&threads| Point {
                workload,
                entries,
                threads,
            }));
        }
    }
    points
}
