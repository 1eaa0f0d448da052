//! Runs cells: interleaved repetitions, each map with the hasher that is faster for it.
//!
//! Read-only cells share maps that take long to build. In each repetition all maps are measured in turn, and each repetition
//! starts with the map that was second in the one before, so that no map always follows the same other.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::alone::{self, Request};
use crate::driver::Times;
use crate::keys::{KeyKind, KeySet, KeySets, Shape};
use crate::peers::{Contender, Peers};
use crate::record::{self, Failure, Line};
use crate::store::{About, Kind};
use crate::workloads::{Job, Measured, Workload};

/// One point of the study, at which all maps are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) workload: Workload,
    pub(crate) entries: usize,
    pub(crate) threads: usize,
}

/// The points and maps to measure, and how thoroughly.
pub(crate) struct Plan<'c> {
    pub(crate) contenders: Vec<&'c Contender>,
    pub(crate) points: Vec<Point>,
    /// The repetitions, by number; they are numbered on if a point is measured in several runs.
    pub(crate) reps: Range<usize>,
    pub(crate) seconds: f64,
    /// The points at which single steps are clocked, too.
    pub(crate) latency: fn(Point) -> bool,
    /// The hasher to use, if not the better one.
    pub(crate) hasher: Option<&'c str>,
    /// The number of peers of each form that are measured at each point: the fastest at a first look. `None`: all.
    pub(crate) keep_peers: Option<usize>,
    /// The peers that are measured whatever their rate, because a target names them.
    pub(crate) always_measured: fn(&About, Point) -> bool,
    /// The maps and hashers that an earlier run chose, which replace a first look.
    pub(crate) known: Option<&'c Known>,
    /// The life cycles of a run that counts them.
    pub(crate) cycles: u64,
    /// Whether maps are measured in their own processes where memory matters; otherwise all run in this process.
    pub(crate) own_processes: bool,
    /// After this time, no more repetitions of a group than [`LEAST_REPS`] are begun.
    pub(crate) deadline: Option<Instant>,
    /// The maps of interest at a point.
    pub(crate) wanted: fn(&About, Point) -> bool,
}

/// The maps measured at each point, with their hashers.
pub(crate) type Known = BTreeMap<Point, BTreeMap<String, String>>;

/// The time spent on each point, with its share of what was done for several points.
pub(crate) type Spent = BTreeMap<Point, Duration>;

/// Below this number of entries, a map is built for each measurement: that takes less time than the measurement.
const SHARED_FROM: usize = 1 << 18;
/// The repetitions of a group that are measured even after the deadline: enough for a median and a spread.
const LEAST_REPS: usize = 3;
/// The score, on a logarithmic scale, of a hasher with which a map gives wrong answers.
const WRONG: f64 = -100.0;
/// The most entries that a first look at a one-shot workload has.
const FIRST_LOOK: usize = 1 << 18;

impl Plan<'_> {
    /// Measures everything, and passes each cell and each failure to `put` as it comes.
    pub(crate) fn run(&self, sets: &mut KeySets, bar: &ProgressBar, put: &mut dyn FnMut(Line)) -> Spent {
        let mut spent = Spent::new();
        let groups = self.groups();
        bar.inc_length(groups.iter().map(|group| self.steps(group)).sum());
        for group in &groups {
            let start = Instant::now();
            let kind = sets.kind();
            let (entries, shape) = (group[0].entries, group[0].workload.shape());
            // Workloads with keys of their own get a minimal key set.
            let brings_own_keys =
                group[0].workload.brings_keys() || self.own_processes && group[0].workload.runs_in_own_process();
            let entries = if brings_own_keys { 1 } else { entries };
            let keys = sets.get(entries, shape);
            let mut run = GroupRun {
                plan: self,
                group,
                keys,
                kind,
                bar,
                is_first_look: false,
                failures: Vec::new(),
                spent: Spent::new(),
            };
            let chosen = match self.known {
                Some(known) => run.choose_known(known),
                None => run.choose(),
            };
            run.report_failures(put);
            for (done, rep) in self.reps.clone().enumerate() {
                if done >= LEAST_REPS && self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    let points: usize = chosen.iter().map(|choice| choice.points.len()).sum();
                    bar.inc(((self.reps.len() - done) * points) as u64);
                    break;
                }
                for place in 0..chosen.len() {
                    let choice = &chosen[(place + rep) % chosen.len()];
                    run.measure(choice, self.seconds, Some(self.latency), &mut |point, measured| {
                        let mut cell = self.cell(choice, point, rep, kind.to_string());
                        cell.set(measured);
                        put(Line::Cell(cell));
                    });
                    run.report_failures(put);
                }
            }
            // The time of keys, maps and first looks is shared by all points of a group.
            let own: Duration = run.spent.values().sum();
            let shared = start.elapsed().saturating_sub(own) / group.len() as u32;
            for &point in group {
                let own = run.spent.get(&point).copied().unwrap_or_default();
                *spent.entry(point).or_default() += own + shared;
            }
        }
        spent
    }

    /// Returns groups of points that can share maps.
    fn groups(&self) -> Vec<Vec<Point>> {
        let mut groups: BTreeMap<(usize, Shape, usize), Vec<Point>> = BTreeMap::new();
        for (number, &point) in self.points.iter().enumerate() {
            let shares = point.workload.only_reads() && point.entries >= SHARED_FROM;
            let own = if shares { 0 } else { number + 1 };
            let group = groups.entry((point.entries, point.workload.shape(), own)).or_default();
            group.push(point);
        }
        groups.into_values().collect()
    }

    /// Returns whether there is nothing to measure.
    pub(crate) fn is_empty(&self) -> bool {
        let suits = |&point: &Point| self.contenders.iter().any(|contender| self.suits(contender, point));
        !self.points.iter().any(suits)
    }

    fn suits(&self, contender: &Contender, point: Point) -> bool {
        let about = &contender.about;
        point.workload.suits(about, point.entries, point.threads) && (self.wanted)(about, point)
    }

    /// Returns the number of measurements in a group, for the progress bar.
    fn steps(&self, group: &[Point]) -> u64 {
        let pairs = |contender: &&Contender| group.iter().filter(|point| self.suits(contender, **point)).count();
        self.contenders
            .iter()
            .map(|contender| pairs(contender) * (self.reps.len() + contender.variants.len()))
            .sum::<usize>() as u64
    }

    fn cell(&self, choice: &Choice<'_>, point: Point, rep: usize, keys: String) -> record::Cell {
        record::Cell {
            workload: point.workload.name().to_owned(),
            store: choice.contender.about.name.to_owned(),
            hasher: choice.contender.variants[choice.variant].hasher.to_owned(),
            keys,
            entries: point.entries,
            threads: point.threads,
            rep,
            seconds: self.seconds,
            latency_of: point.workload.step().to_owned(),
            ..record::Cell::default()
        }
    }
}

/// A map with a hasher, and the points at which it is measured.
struct Choice<'c> {
    contender: &'c Contender,
    variant: usize,
    points: Vec<Point>,
}

/// The state of the work on one group.
struct GroupRun<'t> {
    plan: &'t Plan<'t>,
    group: &'t [Point],
    keys: &'t KeySet,
    kind: KeyKind,
    bar: &'t ProgressBar,
    is_first_look: bool,
    failures: Vec<Failure>,
    spent: Spent,
}

impl<'t> GroupRun<'t> {
    fn report_failures(&mut self, put: &mut dyn FnMut(Line)) {
        self.failures.drain(..).for_each(|failure| put(Line::Failure(failure)));
    }

    /// Returns the maps and hashers that were chosen before.
    fn choose_known(&self, known: &Known) -> Vec<Choice<'t>> {
        let plan = self.plan;
        let mut chosen = Vec::new();
        for &contender in &plan.contenders {
            for (number, variant) in contender.variants.iter().enumerate() {
                let is_known = |point: &Point| {
                    let hasher = known.get(point).and_then(|stores| stores.get(contender.about.name));
                    plan.suits(contender, *point) && hasher.is_some_and(|hasher| hasher == variant.hasher)
                };
                let points: Vec<Point> = self.group.iter().copied().filter(is_known).collect();
                if !points.is_empty() {
                    chosen.push(Choice {
                        contender,
                        variant: number,
                        points,
                    });
                }
            }
        }
        chosen
    }

    /// Chooses the hasher of each map, and the maps to measure, by a short first look at each.
    fn choose(&mut self) -> Vec<Choice<'t>> {
        let plan = self.plan;
        let seconds = (plan.seconds / 4.0).clamp(0.005, 0.1);
        let mut chosen = Vec::new();
        let mut rates: Vec<BTreeMap<Point, f64>> = Vec::new();
        for &contender in &plan.contenders {
            let points: Vec<Point> = self
                .group
                .iter()
                .copied()
                .filter(|&point| plan.suits(contender, point))
                .collect();
            if points.is_empty() {
                continue;
            }
            let ranked = plan.keep_peers.is_some() && contender.about.kind == Kind::Peer;
            let fixed = contender
                .variants
                .iter()
                .position(|variant| Some(variant.hasher) == plan.hasher);
            let candidates: Vec<usize> = match fixed {
                Some(variant) => vec![variant],
                None => (0..contender.variants.len()).collect(),
            };
            let mut best: Option<(f64, usize, BTreeMap<Point, f64>)> = None;
            for &variant in &candidates {
                if candidates.len() == 1 && !ranked {
                    best = Some((0.0, variant, BTreeMap::new()));
                    break;
                }
                let choice = Choice {
                    contender,
                    variant,
                    points: points.clone(),
                };
                let mut seen = BTreeMap::new();
                self.first_look(&choice, seconds, &mut |point, measured| {
                    seen.insert(point, measured.mops);
                });
                let score: f64 = points
                    .iter()
                    .map(|point| seen.get(point).map_or(WRONG, |rate| rate.max(1e-9).ln()))
                    .sum();
                if best.as_ref().is_none_or(|(other, ..)| score > *other) {
                    best = Some((score, variant, seen));
                }
            }
            self.bar
                .inc(((contender.variants.len() - candidates.len()) * points.len()) as u64);
            let Some((_, variant, seen)) = best else { continue };
            let mut points = points;
            if !seen.is_empty() {
                // Points that failed at first look are not tried again.
                points.retain(|point| seen.contains_key(point));
            }
            rates.push(seen);
            chosen.push(Choice {
                contender,
                variant,
                points,
            });
        }
        if let Some(keep) = plan.keep_peers {
            self.retain_fastest(&mut chosen, &rates, keep);
        }
        chosen
    }

    /// Retains at each point the `keep` fastest peers of each form, and half as many lock-free ones, by their rates at first
    /// look.
    fn retain_fastest(&self, chosen: &mut Vec<Choice<'t>>, rates: &[BTreeMap<Point, f64>], keep: usize) {
        for &point in self.group {
            let least = |peers: Peers, keep: usize| {
                let mut rates: Vec<f64> = chosen
                    .iter()
                    .zip(rates)
                    .filter(|(choice, _)| peers.have(&choice.contender.about))
                    .filter_map(|(_, seen)| seen.get(&point).copied())
                    .collect();
                rates.sort_by(|a, b| b.total_cmp(a));
                rates.get(keep.max(1) - 1).copied().unwrap_or(0.0)
            };
            let cuts = [
                (Peers::Boxed, keep),
                (Peers::InPlace, keep),
                (Peers::LockFree, keep / 2),
            ];
            let cuts = cuts.map(|(peers, keep)| (peers, least(peers, keep)));
            for (choice, seen) in chosen.iter_mut().zip(rates) {
                let about = &choice.contender.about;
                let Some(&rate) = seen.get(&point).filter(|_| about.kind == Kind::Peer) else {
                    continue;
                };
                let always = (self.plan.always_measured)(about, point);
                if !always && !cuts.iter().any(|&(peers, least)| peers.have(about) && rate >= least) {
                    choice.points.retain(|&other| other != point);
                    self.bar.inc(self.plan.reps.len() as u64);
                }
            }
        }
        chosen.retain(|choice| !choice.points.is_empty());
    }

    /// Like [`measure`](Self::measure), but with smaller sets for workloads that take long.
    fn first_look(&mut self, choice: &Choice<'t>, seconds: f64, put: &mut dyn FnMut(Point, Measured)) {
        let one_shot = self.group[0].workload.is_one_shot() && self.keys.present.len() > FIRST_LOOK;
        let sample = one_shot.then(|| self.keys.sample(FIRST_LOOK));
        let mut run = GroupRun {
            plan: self.plan,
            group: self.group,
            keys: sample.as_ref().unwrap_or(self.keys),
            kind: self.kind,
            bar: self.bar,
            is_first_look: true,
            failures: Vec::new(),
            spent: Spent::new(),
        };
        run.measure(choice, seconds, None, put);
        let GroupRun { failures, spent, .. } = run;
        self.failures.extend(failures);
        for (point, took) in spent {
            *self.spent.entry(point).or_default() += took;
        }
    }

    /// Measures one map at its points of the group; single steps, too, where `latency` says so.
    fn measure(
        &mut self,
        choice: &Choice<'t>,
        seconds: f64,
        latency: Option<fn(Point) -> bool>,
        put: &mut dyn FnMut(Point, Measured),
    ) {
        let about = &choice.contender.about;
        let variant = &choice.contender.variants[choice.variant];
        let bench = variant.bench;
        let mut built = None;
        for &point in &choice.points {
            let Point {
                workload,
                entries,
                threads,
            } = point;
            self.bar.set_message(format!(
                "{workload}, {entries} entries, {threads} threads: {}",
                about.name
            ));
            let times = Times::of(seconds);
            let latency = latency.is_some_and(|latency| latency(point));
            let job = Job {
                workload,
                entries,
                threads,
                cycles: if self.is_first_look {
                    self.plan.cycles.min(FIRST_LOOK as u64)
                } else {
                    self.plan.cycles
                },
                times: if latency { times } else { times.unclocked() },
                keys: self.keys,
            };
            let mut start = Instant::now();
            if self.plan.own_processes && workload.runs_in_own_process() {
                let limit = if self.is_first_look { FIRST_LOOK } else { usize::MAX };
                let request = Request {
                    store: about.name,
                    hasher: variant.hasher,
                    keys: self.kind,
                    seconds,
                    clocked: latency,
                    job,
                    entries: entries.min(limit),
                };
                let result = alone::measure(&request);
                self.conclude(choice, point, start, result, put);
                continue;
            }
            let result = catch_unwind(AssertUnwindSafe(|| {
                if workload.is_prebuilt() {
                    let built = built.get_or_insert_with(|| bench.build(self.keys));
                    start = Instant::now();
                    built.run(&job)
                } else {
                    bench.run_from_empty(&job)
                }
            }));
            self.conclude(
                choice,
                point,
                start,
                result.map_err(|panic| alone::message(&*panic)),
                put,
            );
        }
    }

    fn conclude(
        &mut self,
        choice: &Choice<'t>,
        point: Point,
        start: Instant,
        result: Result<Measured, String>,
        put: &mut dyn FnMut(Point, Measured),
    ) {
        *self.spent.entry(point).or_default() += start.elapsed();
        match result {
            Ok(measured) => put(point, measured),
            Err(message) => self.failures.push(Failure {
                run: String::new(),
                workload: point.workload.name().to_owned(),
                store: choice.contender.about.name.to_owned(),
                hasher: choice.contender.variants[choice.variant].hasher.to_owned(),
                entries: point.entries,
                threads: point.threads,
                message,
            }),
        }
        self.bar.inc(1);
    }
}

/// Returns a progress bar, which is shown if standard error is a terminal.
pub(crate) fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed}, {eta} left  {wide_msg}");
    ProgressBar::new(0).with_style(style.expect("the template is legal"))
}
