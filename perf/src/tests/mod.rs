//! Tests. The sizes are tiny: what is tested is that answers are right and options are understood, not how fast.

mod alone;
mod cli;
pub(crate) mod conformance;
mod freed;
mod gate;
mod keys;
mod pages;
mod quiet;
mod record;
mod report;
mod trace;
mod workloads;

use indicatif::ProgressBar;

use crate::engine::{Plan, Point, Rest};
use crate::keys::{KeyKind, KeySets};
use crate::peers;
use crate::record::{Cell, Failure, Line};
use crate::workloads::Workload;

/// What a test measures: some maps in one workload, in short repetitions.
struct Small<'a> {
    stores: &'a [&'a str],
    workload: Workload,
    entries: usize,
    threads: usize,
    reps: usize,
    seconds: f64,
    cycles: u64,
}

impl Small<'_> {
    /// Each map in a process of its own where memory is measured: what others give back meanwhile is not theirs.
    fn run(&self) -> (Vec<Cell>, Vec<Failure>) {
        let all = peers::all();
        let plan = Plan {
            contenders: all.iter().filter(|one| self.stores.contains(&one.about.name)).collect(),
            points: vec![Point {
                workload: self.workload,
                entries: self.entries,
                threads: self.threads,
            }],
            reps: 0..self.reps,
            until: None,
            seconds: self.seconds,
            cycles: self.cycles,
            apart: true,
            latency: |_| true,
            hasher: Some("foldhash"),
            keep_peers: None,
            named: |_, _| false,
            rest: Rest::NONE,
            known: None,
            wanted: |_, _| true,
        };
        let (mut cells, mut failures) = (Vec::new(), Vec::new());
        plan.run(
            &mut KeySets::new(KeyKind::Heap),
            &ProgressBar::hidden(),
            &mut |line| match line {
                Line::Cell(cell) => cells.push(cell),
                Line::Failure(failure) => failures.push(failure),
                other => panic!("{other:?}"),
            },
        );
        (cells, failures)
    }
}
