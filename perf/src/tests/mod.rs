//! Tests. The sizes are tiny: the tests check answers and options, not speed.

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

use crate::engine::{Plan, Point};
use crate::keys::{KeyKind, KeySets};
use crate::peers;
use crate::record::{Cell, Failure, Line};
use crate::workloads::Workload;

/// A small measurement: some maps in one workload, in short repetitions.
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
    /// Runs it. If memory is measured, each map has its own process, where other maps free nothing.
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
            deadline: None,
            seconds: self.seconds,
            cycles: self.cycles,
            own_processes: true,
            latency: |_| true,
            hasher: Some("foldhash"),
            keep_peers: None,
            always_measured: |_, _| false,
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
