//! `gate`: checks every target, and names those that are missed.
//!
//! It takes at most an hour: after a short first look at all maps, only the fastest peers of each point are measured fully. On a
//! machine where this takes longer, the last measurements are repeated three times, not five. Missed targets are measured again,
//! twice at most and while there is time, and all repetitions count together. That favours a target missed by chance; a target
//! missed by more than chance is then missed with more certainty.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::class::{self, Class};
use crate::cli::GateOptions;
use crate::engine::{self, Known, Plan, Point, Spent};
use crate::gate::results::{Results, Verdict};
use crate::gate::targets::{Group, Needs, Target};
use crate::keys::{KeyKind, KeySets};
use crate::limits::loads;
use crate::memory;
use crate::peers::{self, Contender};
pub(crate) use crate::peers::{BY_ID, OURS};
use crate::record::{self, Failures, Line, Sink, rounded};
use crate::store::{About, Kind};
use crate::workloads::Workload;

pub(crate) mod results;
pub(crate) mod targets;

/// The number of peers that are measured fully at each point.
const PEERS_MEASURED: usize = 3;
/// The number of peers whose memory is measured at the larger sizes: those that took least at the smallest.
const PEERS_FOR_MEMORY: usize = 3;
/// The number of entries from which a map takes seconds to build.
const LARGE: usize = 1 << 22;
/// How often missed targets are measured again.
const MAX_REPEATS: usize = 2;

pub(crate) fn gate(options: &GateOptions) -> Result<ExitCode, Box<dyn Error>> {
    let begun = Instant::now();
    let class = Class::of(&class::caches(), "");
    let mut targets = targets::of(class);
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

    let mut work = Work::new(options, begun)?;
    let all: Vec<&Target> = targets.iter().collect();
    work.measure(&all)?;
    for _ in 0..MAX_REPEATS {
        let missed = work.to_repeat(&targets, work.deadline.saturating_duration_since(Instant::now()));
        if missed.is_empty() {
            break;
        }
        work.measure(&missed)?;
    }
    work.bar.finish_and_clear();
    Ok(work.conclude(&targets, begun.elapsed()))
}

/// The measurements of a run, and the means to make more.
struct Work<'o> {
    options: &'o GateOptions,
    contenders: Vec<Contender>,
    sets: KeySets,
    sink: Sink,
    bar: indicatif::ProgressBar,
    /// The time limit.
    deadline: Instant,
    results: Results,
    failures: Failures,
    /// The maps measured at each point, which are those measured again.
    known: Known,
    /// The time that each point took when it was last measured.
    last: Spent,
    /// The time that each workload took, and each measurement that is no workload.
    spent: BTreeMap<&'static str, Duration>,
}

impl<'o> Work<'o> {
    fn new(options: &'o GateOptions, begun: Instant) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            options,
            contenders: peers::all(),
            sets: KeySets::new(KeyKind::Heap),
            sink: Sink::new(&options.out)?,
            bar: engine::progress(),
            deadline: begun + Duration::from_secs(60 * u64::from(options.minutes)),
            results: Results::default(),
            failures: Failures::default(),
            known: Known::new(),
            last: Spent::new(),
            spent: BTreeMap::new(),
        })
    }

    fn verdict(&self, target: &Target) -> Verdict {
        (target.check)(&self.results)
    }

    /// Returns the targets that are missed and may still be met in the time that is left, the quickest first. Targets about
    /// memory are left out: it is the same each time.
    fn to_repeat<'t>(&self, targets: &'t [Target], left: Duration) -> Vec<&'t Target> {
        let cost = |targets: &[&Target]| -> Duration {
            let points = Needs::of(targets).points;
            points.iter().filter_map(|point| self.last.get(point)).sum()
        };
        let mut missed: Vec<&Target> = targets
            .iter()
            .filter(|target| !self.verdict(target).met && !Needs::of(&[target]).points.is_empty())
            .collect();
        missed.sort_by_key(|target| cost(&[target]));
        while cost(&missed) > left {
            missed.pop();
        }
        missed
    }

    /// Measures everything that these targets need, again if it has been measured.
    fn measure(&mut self, targets: &[&Target]) -> Result<(), Box<dyn Error>> {
        let needs = Needs::of(targets);
        self.last.retain(|point, _| !needs.points.contains(point));
        for &entries in &needs.prefetch {
            let start = Instant::now();
            self.measure_prefetch(entries)?;
            *self.spent.entry("prefetch limit").or_default() += start.elapsed();
        }
        for &entries in &needs.memory {
            let start = Instant::now();
            self.measure_memory(entries)?;
            *self.spent.entry("W8").or_default() += start.elapsed();
        }
        // Small sets first, whose results come early.
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
        let reps = usize::from(self.options.reps);
        // Points that are compared with each other are measured alternately.
        let (alternating, rest): (Vec<Point>, Vec<Point>) = points
            .iter()
            .partition(|point| is_compared_across_workloads(point.workload));
        for rep in 0..reps {
            self.measure_reps(&alternating, rep..rep + 1, is_clocked, wanted)?;
        }
        // A run of a given number of life cycles is one repetition, however many repetitions the others have.
        let (counted, rest): (Vec<Point>, Vec<Point>) =
            rest.into_iter().partition(|point| point.workload == Workload::L4);
        self.measure_reps(&counted, 0..1, is_clocked, wanted)?;
        self.measure_reps(&rest, 0..reps, is_clocked, wanted)?;
        // Clocking each insert would distort the total, so growth is measured twice; the clocked run is for our store only.
        let growth: Vec<Point> = rest
            .into_iter()
            .filter(|point| point.workload == Workload::W6)
            .collect();
        self.measure_reps(&growth, 0..1, |_| true, is_ours)
    }

    fn measure_reps(
        &mut self,
        points: &[Point],
        reps: Range<usize>,
        latency: fn(Point) -> bool,
        wanted: fn(&About, Point) -> bool,
    ) -> Result<(), Box<dyn Error>> {
        let known = self.known.clone();
        let is_known = points.iter().all(|point| known.contains_key(point));
        let plan = Plan {
            contenders: self.contenders.iter().collect(),
            points: points.to_vec(),
            reps,
            deadline: Some(self.deadline),
            seconds: self.options.seconds,
            latency,
            hasher: None,
            own_processes: true,
            cycles: self.options.cycles,
            keep_peers: Some(PEERS_MEASURED),
            always_measured: is_named,
            known: is_known.then_some(&known),
            wanted,
        };
        let mut broken = None;
        let took = plan.run(&mut self.sets, &self.bar, &mut |mut line| {
            match &mut line {
                Line::Cell(cell) => {
                    cell.run.clone_from(&self.sink.run.run);
                    let point = self.results.add(cell.clone());
                    let stores = self.known.entry(point).or_default();
                    stores.insert(cell.store.clone(), cell.hasher.clone());
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
        for (point, took) in took {
            *self.last.entry(point).or_default() += took;
            *self.spent.entry(point.workload.name()).or_default() += took;
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
            limit: loads::LEAST.to_owned(),
            entries,
            rep: 0,
            ns: rounded(ns),
        }))?;
        Ok(())
    }

    fn measure_memory(&mut self, entries: usize) -> Result<(), Box<dyn Error>> {
        let holds = |store: &str| {
            let mut all = self.contenders.iter().map(|contender| &contender.about);
            all.any(|about| about.name == store && entries <= about.max_entries)
        };
        let least = self.results.least_memory(PEERS_FOR_MEMORY, holds);
        for contender in &self.contenders {
            let about = &contender.about;
            let compared = memory::is_compared(contender) && (least.is_empty() || least.contains(about.name));
            if !(compared || about.name == OURS) || entries > about.max_entries {
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

    /// Prints the verdicts. Returns a failure if a target is missed, or our store was wrong.
    fn conclude(&self, targets: &[Target], took: Duration) -> ExitCode {
        let verdicts: Vec<(&Target, Verdict)> = targets.iter().map(|target| (target, self.verdict(target))).collect();
        let missed: Vec<&str> = verdicts
            .iter()
            .filter(|(_, verdict)| !verdict.met)
            .map(|(target, _)| target.name.as_str())
            .collect();
        if !self.options.out.json {
            println!("{}\n", self.sink.run.in_short());
            for (target, verdict) in &verdicts {
                let mark = if verdict.met { "ok  " } else { "MISS" };
                println!("{mark} {:<66} {}", target.name, verdict.found);
            }
            let latencies = self
                .results
                .latencies(&[Workload::W4, Workload::W4N, Workload::L4, Workload::W12]);
            if !latencies.is_empty() {
                println!("\np50 / p99 / p99.9 / p99.99 / max, ns\n{}", latencies.join("\n"));
            }
        }
        self.failures.print();
        if let Some(path) = self.sink.path() {
            eprintln!("recorded in {}", path.display());
        }
        let parts: Vec<String> = self
            .spent
            .iter()
            .map(|(name, &took)| format!("{name} {}", minutes(took)))
            .collect();
        eprintln!("gate: minutes by workload: {}", parts.join(", "));
        eprintln!(
            "gate: {} of {} targets met, {} minutes",
            targets.len() - missed.len(),
            targets.len(),
            minutes(took)
        );
        for group in Group::ALL {
            let of = || verdicts.iter().filter(|(target, _)| target.group == group);
            let met = of().filter(|(_, verdict)| verdict.met).count();
            if of().next().is_some() {
                eprintln!("gate: {group} targets: {met} of {} met", of().count());
            }
        }
        eprintln!("gate: for machines with {}", self.sink.run.class());
        if !missed.is_empty() {
            eprintln!("gate: missed: {}", missed.join("; "));
        }
        if self.failures.are_ours() {
            eprintln!("gate: the store itself was wrong");
            return ExitCode::from(2);
        }
        ExitCode::from(u8::from(!missed.is_empty()))
    }
}

fn minutes(took: Duration) -> String {
    let seconds = took.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Returns whether a target compares this workload with another.
fn is_compared_across_workloads(workload: Workload) -> bool {
    use Workload::{W7, W7P, W9wide, W9x1, W9x4, W9x64};
    matches!(workload, W7 | W7P | W9x1 | W9x4 | W9x64 | W9wide)
}

/// Returns whether latencies are measured: where a target is about them, or the report shows them.
fn is_clocked(point: Point) -> bool {
    use Workload::{W1, W3, W4, W4N, W5, W7, W7P, W12};
    let of_few = matches!(point.workload, W1 | W3 | W4 | W4N | W5 | W7 | W7P);
    of_few && point.entries < LARGE && point.threads <= 2 || point.workload == W12
}

/// Returns whether the targets need a map at a point. They compare with peers and limits, and are about the default store.
fn wanted(about: &About, point: Point) -> bool {
    // Batches are compared with single gets; runs with many ids, and parallel sweeps, with other runs of the same store.
    let without_peers = matches!(
        point.workload,
        Workload::B64
            | Workload::W7P
            | Workload::W9x1
            | Workload::W9x4
            | Workload::W9x64
            | Workload::W9wide
            | Workload::L4
            | Workload::W13
            | Workload::W15idle
            | Workload::W15large
            | Workload::W15stall
    );
    match about.kind {
        Kind::Ours => about.name == OURS || about.name == BY_ID && is_headline(point.workload),
        Kind::Peer => !without_peers && may_be_best(about.name, point),
        Kind::Limit => point.workload == Workload::W1,
        Kind::Design => false,
    }
}

/// Returns whether our store is measured both ways, by `Variable` and by id.
fn is_headline(workload: Workload) -> bool {
    use Workload::{G64, W1, W2, W3, W4, W4N, W5};
    matches!(workload, W1 | G64 | W2 | W3 | W4 | W4N | W5)
}

/// Returns whether a target names this peer.
fn is_named(about: &About, point: Point) -> bool {
    about.name == targets::NAMED && point.workload == Workload::G64 && point.entries < LARGE
}

/// Returns whether a peer is tried. Where a map takes seconds to build, only peers that led in runs of all maps are:
/// METHODOLOGY.md has the figures.
fn may_be_best(name: &str, point: Point) -> bool {
    match point.workload {
        _ if point.entries < LARGE => true,
        Workload::W6 | Workload::W7 => {
            let led: &[&str] = if point.workload == Workload::W6 {
                &["dashmap", "dashmap7", "leapfrog", "scc_map", "scc_index"]
            } else {
                &["scc_index", "leapfrog", "scc_map"]
            };
            // In both forms. The C++ peers were not in those runs.
            led.contains(&name.trim_end_matches("-in-place")) || peers::is_from_cpp(name)
        }
        _ => true,
    }
}

fn is_ours(about: &About, _point: Point) -> bool {
    about.name == OURS
}
