//! The targets. All compare figures of one run; "best" is the best of all concurrent peers at that point. The original targets
//! compare with peers with boxed values, the others say with which.

use std::collections::BTreeSet;
use std::fmt;

use crate::class::Class;
use crate::engine::Point;
use crate::gate::results::{Results, Verdict};
use crate::keys::count;
use crate::peers::Peers;
use crate::record::Cell;
use crate::workloads::Workload;

mod life_cycle;

const K1: usize = 1 << 10;
const K64: usize = 1 << 16;
const M1: usize = 1 << 20;
const M4: usize = 1 << 22;
const M8: usize = 1 << 23;

/// The peer that targets of G64 name, which is measured there whatever its rate.
pub(crate) const NAMED: &str = "papaya";

/// A figure to be reached.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) group: Group,
    /// The machines that it is for; `None`: all.
    pub(crate) class: Option<Class>,
    needs: Needs,
    pub(crate) check: Box<dyn Fn(&Results) -> Verdict>,
}

/// The origin of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// The original targets.
    Standing,
    /// Targets about life cycles, small stores, and the memory of freed values.
    LifeCycle,
}

impl Group {
    pub(crate) const ALL: [Self; 2] = [Self::Standing, Self::LifeCycle];
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standing => "standing",
            Self::LifeCycle => "life cycle",
        })
    }
}

/// The measurements that targets need.
#[derive(Default)]
pub(crate) struct Needs {
    pub(crate) points: BTreeSet<Point>,
    pub(crate) prefetch: BTreeSet<usize>,
    pub(crate) memory: BTreeSet<usize>,
}

impl Needs {
    pub(crate) fn of(targets: &[&Target]) -> Self {
        let mut all = Self::default();
        for target in targets {
            all.points.extend(&target.needs.points);
            all.prefetch.extend(&target.needs.prefetch);
            all.memory.extend(&target.needs.memory);
        }
        all
    }
}

/// Returns all targets.
pub(crate) fn all() -> Vec<Target> {
    let mut list = List(Vec::new());
    reads(&mut list);
    changes(&mut list);
    whole_maps(&mut list);
    many_ids(&mut list);
    let standing = list.0.len();
    life_cycle::add(&mut list);
    for target in &mut list.0[standing..] {
        target.group = Group::LifeCycle;
    }
    list.0
}

/// Returns the targets for machines of a class.
pub(crate) fn of(class: Class) -> Vec<Target> {
    let mut targets = all();
    targets.retain(|target| target.class.is_none_or(|own| own == class));
    targets
}

fn reads(list: &mut List) {
    use Workload::{B64, G64, W1, W2};
    list.best(W1, K64, &[1], 1.2);
    list.best(W1, K64, &[2, 8, 32], 1.5);
    list.best(W1, M1, &[1, 2], 1.5);
    list.best(W1, M8, &[1, 2], 1.5);
    for (entries, at_least) in [(K64, 0.75), (M1, 0.9)] {
        for threads in [1, 2] {
            let point = at(W1, entries, threads);
            let name = named(point, &format!(">= {at_least}x unsynchronised"));
            list.add(name, [point], move |results| results.against(point, "nosync", at_least));
        }
    }
    for (entries, at_least) in [(K64, 1.2), (M1, 1.4), (M8, 1.3)] {
        for threads in [1, 2] {
            let point = at(G64, entries, threads);
            let name = named(point, &format!(">= {at_least}x best lock-free"));
            list.add(name, [point], move |results| {
                results.against_best(point, point, Peers::LockFree, at_least)
            });
        }
    }
    for entries in [M1, M8] {
        for threads in [1, 2] {
            let (ours, theirs) = (at(B64, entries, threads), at(G64, entries, threads));
            let name = named(ours, ">= 3x best peer's G64");
            list.add(name, [ours, theirs], move |results| {
                results.against_best(ours, theirs, Peers::Boxed, 3.0)
            });
        }
        let point = at(B64, entries, 1);
        let name = named(point, "<= 1.5x prefetch limit");
        list.add(name, [point], move |results| results.near_prefetch(point, 1.5));
        list.last().needs.prefetch.insert(entries);
    }
    list.best(W2, K64, &[1, 2], 1.0);
    list.best(W2, M1, &[1], 0.8);
    list.best(W2, M1, &[2], 1.0);
    list.best(W2, M8, &[1, 2], 1.2);
}

fn changes(list: &mut List) {
    use Workload::{W3, W4, W4N, W5};
    list.best(W3, K64, &[1, 2, 8], 1.1);
    list.best(W3, M1, &[1, 2, 8], 1.3);
    for entries in [K64, M1] {
        // With more threads than cores, threads wait for a core, which is not the map's cost.
        for threads in [1, 2] {
            list.at_most(
                at(W3, entries, threads),
                "p99.9",
                |cell| Some(cell.p999_ns as f64),
                1000.0,
                " ns",
            );
        }
    }
    for workload in [W4, W4N] {
        list.best(workload, K1, &[1, 2], 1.0);
        list.best(workload, K64, &[1, 2], 1.0);
    }
    list.best(W5, K64, &[1, 2, 8], 1.3);
}

fn whole_maps(list: &mut List) {
    use Workload::{W6, W7, W7P};
    list.best(W6, M8, &[1], 1.0);
    let growth = at(W6, M8, 1);
    let clocked = |nanos: u64| (nanos > 0).then_some(nanos as f64 / 1e3);
    list.at_most(growth, "p99.99", move |cell| clocked(cell.p9999_ns), 25.0, " us");
    list.at_most(growth, "worst insert", move |cell| clocked(cell.max_ns), 2000.0, " us");
    list.at_most(
        growth,
        "shrinks back",
        |cell| cell.extra.get("shrunk_ratio").copied(),
        2.0,
        "x of the live size",
    );

    list.best(W7, M4, &[1], 1.0);
    let (parallel, alone) = (at(W7P, M4, 2), at(W7, M4, 1));
    let name = named(parallel, "<= 0.6x of W7's time");
    list.add(name, [parallel, alone], move |results| {
        results.slower(parallel, alone, 0.6)
    });

    for entries in [M1, M8] {
        list.add(
            format!("W8, {}: <= 50 bytes an entry", count(entries)),
            [],
            move |results| results.memory_at_most(entries, 50.0),
        );
        list.last().needs.memory.insert(entries);
        list.add(
            format!("W8, {}: below every peer", count(entries)),
            [],
            move |results| results.memory_below_peers(entries),
        );
        list.last().needs.memory.insert(entries);
    }
}

fn many_ids(list: &mut List) {
    use Workload::{W9wide, W9x1, W9x4, W9x64};
    for (workload, at_most) in [(W9x4, 1.3), (W9x64, 2.0), (W9wide, 1.1)] {
        for entries in [K64, M1] {
            let (many, one) = (at(workload, entries, 1), at(W9x1, entries, 1));
            let name = named(many, &format!("<= {at_most}x the time of one id"));
            list.add(name, [many, one], move |results| results.slower(many, one, at_most));
        }
    }
}

struct List(Vec<Target>);

impl List {
    fn add<const N: usize>(&mut self, name: String, points: [Point; N], check: impl Fn(&Results) -> Verdict + 'static) {
        self.0.push(Target {
            name,
            group: Group::Standing,
            class: None,
            needs: Needs {
                points: points.into(),
                ..Needs::default()
            },
            check: Box::new(check),
        });
    }

    /// Adds a target: at least `at_least` times the rate of the best of such peers.
    fn best_of(&mut self, point: Point, peers: Peers, at_least: f64) {
        let name = named(point, &format!(">= {at_least}x best, values {}", peers.values()));
        self.add(name, [point], move |results| {
            results.against_best(point, point, peers, at_least)
        });
    }

    fn last(&mut self) -> &mut Target {
        self.0.last_mut().expect("one was just added")
    }

    /// Adds targets: at least `at_least` times the rate of the best peer.
    fn best(&mut self, workload: Workload, entries: usize, threads: &[usize], at_least: f64) {
        for &threads in threads {
            let point = at(workload, entries, threads);
            let name = named(point, &format!(">= {at_least}x best"));
            self.add(name, [point], move |results| {
                results.against_best(point, point, Peers::Boxed, at_least)
            });
        }
    }

    fn at_most(
        &mut self,
        point: Point,
        what: &str,
        figure: impl Fn(&Cell) -> Option<f64> + Copy + 'static,
        limit: f64,
        unit: &'static str,
    ) {
        let name = named(point, &format!("{what} <= {limit}{unit}"));
        self.add(name, [point], move |results| {
            results.at_most(point, figure, limit, unit)
        });
    }
}

fn at(workload: Workload, entries: usize, threads: usize) -> Point {
    Point {
        workload,
        entries,
        threads,
    }
}

fn named(point: Point, what: &str) -> String {
    let plural = if point.threads == 1 { "" } else { "s" };
    format!(
        "{}, {}, {} thread{plural}: {what}",
        point.workload,
        count(point.entries),
        point.threads
    )
}
