//! `gate`: checks every target, and names what misses.
//!
//! Within 20 minutes: after a short first look at all maps, only the fastest peers of each point are measured well. What
//! misses is measured again, twice at most and while there is time, and counts with all its repetitions together. That
//! favours whoever missed by chance; who misses by more than chance misses three times as surely.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::cli::{GateOptions, Output};
use crate::engine::{self, Plan, Point};
use crate::gate::results::Results;
use crate::gate::targets::{Needs, Target};
use crate::keys::{KeyKind, KeySets};
use crate::limits::loads;
use crate::memory;
use crate::peers::{self, Contender};
use crate::record::{self, Failures, Line, Sink, rounded};
use crate::store::{About, Kind};
use crate::workloads::Workload;

pub(crate) mod results;
pub(crate) mod targets;

/// The store that the targets are about.
const OURS: &str = "shadow";
/// Peers that are measured well at each point.
const KEPT: usize = 3;
/// How often what misses is measured again.
const AGAIN: usize = 2;

pub(crate) fn gate(options: &GateOptions) -> Result<ExitCode, Box<dyn Error>> {
    let begun = Instant::now();
    let mut targets = targets::all();
    targets.retain(|target| options.only.is_empty() || options.only.iter().any(|name| target.name.starts_with(name)));
    if targets.is_empty() {
        return Err("no target has such a name: `perf gate --list` shows all".into());
    }
    if options.list {
        for target in &targets {
            println!("{}", target.name);
        }
        return Ok(ExitCode::SUCCESS);
    }

    let mut work = Work::new(options)?;
    let all: Vec<&Target> = targets.iter().collect();
    work.measure(&all)?;
    let until = Duration::from_secs(60 * u64::from(options.minutes));
    for _ in 0..AGAIN {
        let missed: Vec<&Target> = targets.iter().filter(|target| !work.verdict(target).met).collect();
        if missed.is_empty() || begun.elapsed() > until {
            break;
        }
        work.measure(&missed)?;
    }
    work.bar.finish_and_clear();
    Ok(work.conclude(&targets, begun.elapsed(), options.out))
}

/// What has been measured, and how to measure more.
struct Work<'o> {
    options: &'o GateOptions,
    contenders: Vec<Contender>,
    sets: KeySets,
    sink: Sink,
    bar: indicatif::ProgressBar,
    results: Results,
    failures: Failures,
}

/// Whether a target is met, and what was measured.
pub(crate) struct Verdict {
    pub(crate) met: bool,
    pub(crate) found: String,
}

impl<'o> Work<'o> {
    fn new(options: &'o GateOptions) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            options,
            contenders: peers::all(),
            sets: KeySets::new(KeyKind::Heap),
            sink: Sink::new(options.out.json, options.out.record)?,
            bar: engine::progress(),
            results: Results::default(),
            failures: Failures::default(),
        })
    }

    fn verdict(&self, target: &Target) -> Verdict {
        (target.check)(&self.results)
    }

    /// Measures what these targets need, once more if it has been measured.
    fn measure(&mut self, targets: &[&Target]) -> Result<(), Box<dyn Error>> {
        let needs = Needs::of(targets);
        for &entries in &needs.prefetch {
            self.measure_prefetch(entries)?;
        }
        for &entries in &needs.memory {
            self.measure_memory(entries)?;
        }
        // Small sets first: what they show is known early.
        let mut sizes: Vec<usize> = needs.points.iter().map(|point| point.entries).collect();
        sizes.sort_unstable();
        sizes.dedup();
        for size in sizes {
            let points: Vec<Point> = needs
                .points
                .iter()
                .copied()
                .filter(|point| point.entries == size)
                .collect();
            self.measure_points(points)?;
        }
        Ok(())
    }

    fn measure_points(&mut self, points: Vec<Point>) -> Result<(), Box<dyn Error>> {
        let reps = self.options.reps.into();
        let plan = |points, latency, wanted| Plan {
            contenders: self.contenders.iter().collect(),
            points,
            reps,
            seconds: self.options.seconds,
            latency,
            hasher: None,
            keep_peers: Some(KEPT),
            wanted,
        };
        // Latencies are asked of ours only; growth takes its own time, so a clock in it does not do for the total.
        let (growth, rest): (Vec<_>, Vec<_>) = points.iter().copied().partition(|point| point.workload == Workload::W6);
        let mut plans = vec![plan(rest, true, wanted as fn(&About, Point) -> bool)];
        if !growth.is_empty() {
            plans.push(Plan {
                reps: reps.min(2),
                ..plan(growth.clone(), false, wanted)
            });
            plans.push(Plan {
                reps: 1,
                ..plan(growth, true, is_ours)
            });
        }
        let mut broken = None;
        for plan in plans {
            plan.run(&mut self.sets, &self.bar, &mut |mut line| {
                match &mut line {
                    Line::Cell(cell) => {
                        cell.run.clone_from(&self.sink.run.run);
                        self.results.add(cell.clone());
                    }
                    Line::Failure(failure) => {
                        failure.run.clone_from(&self.sink.run.run);
                        self.failures.add(failure);
                    }
                    _ => {}
                }
                if let Err(error) = self.sink.put(&line) {
                    broken.get_or_insert(error);
                }
            });
        }
        broken.map_or(Ok(()), |error| Err(error.into()))
    }

    fn measure_prefetch(&mut self, entries: usize) -> Result<(), Box<dyn Error>> {
        let time = Duration::from_secs_f64(self.options.seconds);
        let reps = self.options.reps.into();
        let thread = std::thread::scope(|scope| {
            let work = || {
                crate::driver::pin_to_core(0);
                loads::prefetched(entries, reps, time)
            };
            scope
                .spawn(work)
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let Some(ns) = thread else { return Ok(()) };
        self.results.add_prefetch(entries, ns);
        self.sink.put(&Line::Limit(record::Limit {
            run: self.sink.run.run.clone(),
            limit: "least of the prefetched batches".to_owned(),
            entries,
            rep: 0,
            ns: rounded(ns),
        }))?;
        Ok(())
    }

    fn measure_memory(&mut self, entries: usize) -> Result<(), Box<dyn Error>> {
        for contender in &self.contenders {
            let compared = memory::is_compared(contender) || contender.about.name == OURS;
            if !compared || entries > contender.about.max_entries {
                continue;
            }
            self.bar
                .set_message(format!("memory, {entries} entries: {}", contender.about.name));
            let mut line = memory::measure(contender, entries, false)?;
            line.run.clone_from(&self.sink.run.run);
            self.results.add_memory(line.clone());
            self.sink.put(&Line::Memory(line))?;
        }
        Ok(())
    }

    /// Prints the verdicts. Fails if a target is missed, or a map was wrong.
    fn conclude(&self, targets: &[Target], took: Duration, out: Output) -> ExitCode {
        let verdicts: Vec<(&Target, Verdict)> = targets.iter().map(|target| (target, self.verdict(target))).collect();
        let missed: Vec<&str> = verdicts
            .iter()
            .filter(|(_, verdict)| !verdict.met)
            .map(|(target, _)| target.name.as_str())
            .collect();
        if !out.json {
            println!("{}\n", self.sink.run.in_short());
            for (target, verdict) in &verdicts {
                let mark = if verdict.met { "ok  " } else { "MISS" };
                println!("{mark} {:<58} {}", target.name, verdict.found);
            }
        }
        self.failures.print();
        if let Some(path) = self.sink.path() {
            eprintln!("recorded in {}", path.display());
        }
        let seconds = took.as_secs();
        eprintln!(
            "gate: {} of {} targets met, {}:{:02} minutes",
            targets.len() - missed.len(),
            targets.len(),
            seconds / 60,
            seconds % 60
        );
        if !missed.is_empty() {
            eprintln!("gate: missed: {}", missed.join("; "));
        } else if self.failures.are_ours() {
            eprintln!("gate: the store itself was wrong");
        } else {
            return ExitCode::SUCCESS;
        }
        ExitCode::FAILURE
    }
}

/// The targets compare with peers and limits, and are about the default store.
fn wanted(about: &About, point: Point) -> bool {
    // Batches are compared with single gets, and a store with itself when ids are many or threads are given to a sweep.
    let alone = matches!(
        point.workload,
        Workload::B64 | Workload::W7P | Workload::W9x1 | Workload::W9x4 | Workload::W9x64 | Workload::W9wide
    );
    match about.kind {
        Kind::Ours => about.name == OURS,
        Kind::Peer => !alone,
        Kind::Limit => point.workload == Workload::W1,
        Kind::Design => false,
    }
}

fn is_ours(about: &About, _point: Point) -> bool {
    about.name == OURS
}
