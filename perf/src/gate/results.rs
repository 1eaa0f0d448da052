//! The gate's measurements, and the comparisons of which targets consist.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::Point;
use crate::keys::count;
use crate::memory;
use crate::peers::{self, OURS, Peers};
use crate::record::{Cell, Memory};
use crate::spread::Spread;
use crate::summary::{self, figures};
use crate::workloads::Workload;

/// Whether a target is met, and the figures measured.
pub(crate) struct Verdict {
    pub(crate) met: bool,
    pub(crate) measured: bool,
    pub(crate) found: String,
}

impl Verdict {
    fn of(met: bool, found: String) -> Self {
        Self {
            met,
            measured: true,
            found,
        }
    }

    /// A target that was not measured is not met.
    fn missing(found: String) -> Self {
        Self {
            met: false,
            measured: false,
            found,
        }
    }
}

/// All repetitions, of all rounds.
#[derive(Default)]
pub(crate) struct Results {
    cells: BTreeMap<(Point, String), Vec<Cell>>,
    prefetch: BTreeMap<usize, Vec<f64>>,
    memory: BTreeMap<(usize, String), Vec<f64>>,
}

impl Results {
    /// Adds a cell to its point, and returns the point.
    pub(crate) fn add(&mut self, cell: Cell) -> Point {
        let workload = Workload::ALL.iter().find(|workload| workload.name() == cell.workload);
        let point = Point {
            workload: *workload.expect("the engine names workloads"),
            entries: cell.entries,
            threads: cell.threads,
        };
        self.cells.entry((point, cell.store.clone())).or_default().push(cell);
        point
    }

    pub(crate) fn add_prefetch(&mut self, entries: usize, ns: f64) {
        self.prefetch.entry(entries).or_default().push(ns);
    }

    pub(crate) fn add_memory(&mut self, line: Memory) {
        self.memory
            .entry((line.entries, line.store))
            .or_default()
            .push(line.bytes_per_entry);
    }

    /// Returns the `keep` peers accepted by `may` that take least memory at the smallest size that was measured.
    pub(crate) fn least_memory(&self, keep: usize, may: impl Fn(&str) -> bool) -> BTreeSet<String> {
        let smallest = self.memory.keys().next().map(|(entries, _)| *entries);
        let mut peers: Vec<(&str, f64)> = self
            .memory
            .keys()
            .filter(|(entries, store)| Some(*entries) == smallest && store != OURS && may(store))
            .filter_map(|(entries, store)| Some((store.as_str(), self.memory_of(*entries, store)?)))
            .collect();
        peers.sort_by(|a, b| a.1.total_cmp(&b.1));
        peers
            .into_iter()
            .take(keep)
            .map(|(store, _)| store.to_owned())
            .collect()
    }

    /// Compares our store with the best such peer, at the same point or another: at least `at_least` times its rate. The verdict
    /// also names the ratio to the best peer of each form.
    pub(crate) fn against_best(&self, ours: Point, theirs: Point, peers: Peers, at_least: f64) -> Verdict {
        let Some(best) = self.best(theirs, peers) else {
            return missing(theirs, "every peer");
        };
        let mut verdict = self.ratio((ours, OURS), (theirs, &best), at_least);
        for form in Peers::FORMS {
            let other = self.best(theirs, form).filter(|other| *other != best);
            let times = other.and_then(|other| Some((self.times((ours, OURS), (theirs, &other))?, other)));
            if let Some((times, other)) = times {
                verdict.found += &format!("; values {}: {}x {other}", form.values(), figures(times));
            }
        }
        verdict
    }

    /// Compares our store with one named store: at least `at_least` times its rate.
    pub(crate) fn against(&self, point: Point, store: &str, at_least: f64) -> Verdict {
        self.ratio((point, OURS), (point, store), at_least)
    }

    /// Compares one of our stores, by name, with another store.
    pub(crate) fn one_against(&self, ours: &str, point: Point, store: &str, at_least: f64) -> Verdict {
        self.ratio((point, ours), (point, store), at_least)
    }

    fn ratio(&self, (point, ours_name): (Point, &str), (of, store): (Point, &str), at_least: f64) -> Verdict {
        let Some(ours) = self.rate(point, ours_name) else {
            return missing(point, ours_name);
        };
        let (Some(theirs), Some(times)) = (self.rate(of, store), self.times((point, ours_name), (of, store))) else {
            return missing(of, store);
        };
        let found = format!(
            "{}x {store} ({} and {} Mop/s), at least {at_least}x",
            figures(times),
            figures(ours),
            figures(theirs)
        );
        Verdict::of(times >= at_least, found)
    }

    /// Compares our store at two points: an operation at `slow` takes at most `at_most` times as long as at `fast`.
    pub(crate) fn slower(&self, slow: Point, fast: Point, at_most: f64) -> Verdict {
        let Some(times) = self.times((fast, OURS), (slow, OURS)) else {
            return missing(slow, OURS);
        };
        Verdict::of(times <= at_most, format!("{}x, at most {at_most}x", figures(times)))
    }

    /// Compares a figure of our store with a limit that it may not exceed.
    pub(crate) fn at_most(
        &self,
        point: Point,
        figure: impl Fn(&Cell) -> Option<f64>,
        limit: f64,
        unit: &str,
    ) -> Verdict {
        let cells = self.cells.get(&(point, OURS.to_owned()));
        let median = cells.and_then(|cells| Spread::of(cells.iter().filter_map(figure)));
        match median {
            Some(found) => Verdict::of(
                found.median <= limit,
                format!("{}{unit}, at most {}{unit}", figures(found.median), figures(limit)),
            ),
            None => missing(point, OURS),
        }
    }

    /// Compares the p99.9 of our store with the least of such peers: at most `at_most` times as long.
    pub(crate) fn p999_against_best(&self, point: Point, peers: Peers, at_most: f64) -> Verdict {
        let of = |store: &str| {
            let cells = self.cells.get(&(point, store.to_owned()))?;
            let clocked = cells.iter().filter(|cell| cell.p999_ns > 0);
            Some(Spread::of(clocked.map(|cell| cell.p999_ns as f64))?.median)
        };
        let Some(ours) = of(OURS) else {
            return missing(point, OURS);
        };
        let all = peers::all().into_iter().map(|contender| contender.about);
        let best = all
            .filter(|about| peers.have(about))
            .filter_map(|about| Some((about.name, of(about.name)?)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        let Some((peer, theirs)) = best else {
            return missing(point, "every peer");
        };
        let times = ours / theirs;
        let found = format!(
            "{}x {peer} ({} and {} ns), at most {at_most}x",
            figures(times),
            figures(ours),
            figures(theirs)
        );
        Verdict::of(times <= at_most, found)
    }

    /// Compares a figure of our store, in each repetition, with the larger of a limit and a multiple of another figure of the
    /// same repetition.
    pub(crate) fn at_most_or_times(
        &self,
        point: Point,
        figure: impl Fn(&Cell) -> Option<f64>,
        limit: f64,
        (times, other): (f64, &str),
        unit: &str,
    ) -> Verdict {
        let cells = self.cells.get(&(point, OURS.to_owned()));
        let mut rows = cells.into_iter().flatten().filter_map(|cell| {
            let other = cell.extra.get(other).copied()?;
            Some((figure(cell)?, other))
        });
        let Some(first) = rows.next() else {
            return missing(point, OURS);
        };
        let worst = |(found, other): (f64, f64)| found / limit.max(times * other);
        let row = rows.fold(first, |a, b| if worst(b) > worst(a) { b } else { a });
        let found = format!(
            "{}{unit}, beside a pause of {}{unit}; at most {}{unit}",
            figures(row.0),
            figures(row.1),
            figures(limit.max(times * row.1))
        );
        Verdict::of(worst(row) <= 1.0, found)
    }

    /// Returns the quantiles of each store at the points of these workloads, one line each.
    pub(crate) fn latencies(&self, of: &[Workload]) -> Vec<String> {
        let mut lines = Vec::new();
        for ((point, store), cells) in self.cells.iter().filter(|((point, _), _)| of.contains(&point.workload)) {
            let figure = |figure: fn(&Cell) -> u64| {
                let clocked = cells.iter().map(figure).filter(|&ns| ns > 0);
                Spread::of(clocked.map(|ns| ns as f64)).map(|spread| figures(spread.median))
            };
            let all: Option<Vec<String>> = [
                figure(|cell| cell.p50_ns),
                figure(|cell| cell.p99_ns),
                figure(|cell| cell.p999_ns),
                figure(|cell| cell.p9999_ns),
                figure(|cell| cell.max_ns),
            ]
            .into_iter()
            .collect();
            if let Some(all) = all {
                let Point {
                    workload,
                    entries,
                    threads,
                } = point;
                let plural = if *threads == 1 { "" } else { "s" };
                let name = format!("{workload}, {}, {threads} thread{plural}: {store}", count(*entries));
                lines.push(format!("{name:<44} {}", all.join(" / ")));
            }
        }
        lines
    }

    /// Compares the time of a look-up in a batch with the limit that prefetching sets: at most `at_most` times as long.
    pub(crate) fn near_prefetch(&self, point: Point, at_most: f64) -> Verdict {
        let Some(rate) = self.rate(point, OURS) else {
            return missing(point, OURS);
        };
        let limit = self
            .prefetch
            .get(&point.entries)
            .and_then(|ns| Spread::of(ns.iter().copied()));
        let Some(limit) = limit else {
            return missing(point, "the prefetch limit");
        };
        let ns = 1e3 / rate;
        let times = ns / limit.median;
        let found = format!(
            "{}x of {} ns, at most {at_most}x",
            figures(times),
            figures(limit.median)
        );
        Verdict::of(times <= at_most, found)
    }

    /// Compares the bytes per entry with a limit.
    pub(crate) fn memory_at_most(&self, entries: usize, limit: f64) -> Verdict {
        match self.memory_of(entries, OURS) {
            Some(bytes) => Verdict::of(bytes <= limit, format!("{bytes:.1} bytes, at most {limit}")),
            None => Verdict::missing(format!("W8 was not measured at {}", count(entries))),
        }
    }

    /// Compares the bytes per entry with those of the peers: fewer than every peer.
    pub(crate) fn memory_below_peers(&self, entries: usize) -> Verdict {
        let Some(ours) = self.memory_of(entries, OURS) else {
            return Verdict::missing(format!("W8 was not measured at {}", count(entries)));
        };
        let peers: BTreeSet<&String> = self
            .memory
            .keys()
            .map(|(_, store)| store)
            .filter(|store| *store != OURS)
            .collect();
        let least = peers
            .into_iter()
            .filter_map(|store| Some((store, self.memory_of(entries, store)?)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        match least {
            Some((store, bytes)) => Verdict::of(ours < bytes, format!("{ours:.1} bytes, {store} {bytes:.1}")),
            None => Verdict::missing(format!("no peer was measured at {}", count(entries))),
        }
    }

    /// Compares the bytes per entry with a limit, at every size of the curve.
    pub(crate) fn memory_curve_at_most(&self, limit: f64) -> Verdict {
        let sizes = memory::curve().map(|entries| Some((entries, self.memory_of(entries, OURS)?)));
        let Some(worst) = sizes.into_iter().collect::<Option<Vec<_>>>() else {
            return Verdict::missing("W8 was not measured at all sizes of the curve".to_owned());
        };
        let worst = worst.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let (entries, bytes) = worst.expect("the curve has sizes");
        let found = format!("{bytes:.1} bytes at {}, at most {limit}", count(entries));
        Verdict::of(bytes <= limit, found)
    }

    /// Compares the bytes per entry with those of every peer, at every size of the curve.
    pub(crate) fn memory_curve_below_peers(&self) -> Verdict {
        let sizes = memory::curve().map(|entries| (entries, self.memory_below_peers(entries)));
        if sizes.iter().any(|(_, verdict)| !verdict.measured) {
            return Verdict::missing("W8 was not measured at all sizes of the curve".to_owned());
        }
        let above: Vec<String> = sizes
            .iter()
            .filter(|(_, verdict)| !verdict.met)
            .map(|(entries, verdict)| format!("{} ({})", count(*entries), verdict.found))
            .collect();
        let found = format!("at {} of {} sizes", sizes.len() - above.len(), sizes.len());
        match above.first() {
            None => Verdict::of(true, found),
            Some(first) => Verdict::of(false, format!("{found}; not at {first}")),
        }
    }

    fn memory_of(&self, entries: usize, store: &str) -> Option<f64> {
        let bytes = self.memory.get(&(entries, store.to_owned()))?;
        Some(Spread::of(bytes.iter().copied())?.median)
    }

    /// Returns the ratio of two rates, as the median over repetitions.
    fn times(&self, (point, store): (Point, &str), (of, other): (Point, &str)) -> Option<f64> {
        let cells = |point, store: &str| self.cells.get(&(point, store.to_owned()));
        summary::times(cells(point, store)?, cells(of, other)?)
    }

    /// Returns the median rate, in Mop/s.
    fn rate(&self, point: Point, store: &str) -> Option<f64> {
        let cells = self.cells.get(&(point, store.to_owned()))?;
        Some(Spread::of(cells.iter().map(|cell| cell.mops))?.median)
    }

    /// Returns the peer with the highest median.
    fn best(&self, point: Point, peers: Peers) -> Option<String> {
        let about = peers::all().into_iter().map(|contender| contender.about);
        about
            .filter(|about| peers.have(about))
            .filter_map(|about| Some((about.name.to_owned(), self.rate(point, about.name)?)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(name, _)| name)
    }
}

fn missing(point: Point, what: &str) -> Verdict {
    Verdict::missing(format!("{} was not measured at {}", what, point.workload))
}
