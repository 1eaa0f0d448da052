//! Comparisons of repetitions, and tables of them.

use std::collections::BTreeMap;
use std::fmt::Write;

pub(crate) use crate::keys::count;
use crate::peers::{self, OURS, Peers};
use crate::record::Cell;
pub(crate) use crate::spread::Spread;

/// Returns the ratio of our rate to theirs: the median over the repetitions, which were measured beside each other, because a
/// disturbance of a shared machine mostly affects both. If a repetition is missing, the ratio of the medians.
pub(crate) fn times(ours: &[Cell], theirs: &[Cell]) -> Option<f64> {
    let median = |values: Vec<f64>| Spread::of(values).map(|spread| spread.median);
    if ours.len() == theirs.len() {
        return median(
            ours.iter()
                .zip(theirs)
                .map(|(ours, theirs)| ours.mops / theirs.mops)
                .collect(),
        );
    }
    let rate = |cells: &[Cell]| median(cells.iter().map(|cell| cell.mops).collect());
    Some(rate(ours)? / rate(theirs)?)
}

/// Returns the fastest of such peers at a point.
pub(crate) fn best_peer(stores: &Stores, peers: Peers) -> Option<(&str, Spread)> {
    stores
        .iter()
        .filter(|(name, _)| peers::about(name).is_some_and(|about| peers.have(&about)))
        .filter_map(|(name, cells)| Some((name.as_str(), Summary::spread(cells, |cell| cell.mops)?)))
        .max_by(|a, b| a.1.median.total_cmp(&b.1.median))
}

/// Returns the best of such peers, and the ratio of our rate to its rate.
pub(crate) fn against_best(stores: &Stores, peers: Peers) -> Option<(&str, f64)> {
    let (name, _) = best_peer(stores, peers)?;
    Some((name, times(stores.get(OURS)?, &stores[name])?))
}

/// The properties that distinguish cells, apart from the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) workload: String,
    pub(crate) keys: String,
    pub(crate) entries: usize,
    pub(crate) threads: usize,
}

impl At {
    pub(crate) fn of(cell: &Cell) -> Self {
        Self {
            workload: cell.workload.clone(),
            keys: cell.keys.clone(),
            entries: cell.entries,
            threads: cell.threads,
        }
    }
}

/// The repetitions of each store at one point.
pub(crate) type Stores = BTreeMap<String, Vec<Cell>>;

/// The repetitions of each store at each point.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) points: BTreeMap<At, Stores>,
}

impl Summary {
    pub(crate) fn add(&mut self, cell: Cell) {
        let stores = self.points.entry(At::of(&cell)).or_default();
        stores.entry(cell.store.clone()).or_default().push(cell);
    }

    /// Returns the spread of one figure over a store's repetitions.
    pub(crate) fn spread(cells: &[Cell], figure: impl Fn(&Cell) -> f64) -> Option<Spread> {
        Spread::of(cells.iter().map(figure))
    }

    /// Returns a plain table of one point, the fastest store first.
    pub(crate) fn table(at: &At, stores: &Stores) -> String {
        let mut text = String::new();
        let first = stores.values().flatten().next();
        let step = first.map_or("", |cell| cell.latency_of.as_str());
        let plural = if at.threads == 1 { "" } else { "s" };
        let _ = writeln!(
            text,
            "\n{}: {} entries, {} thread{plural}, {} keys; latencies of one {step}",
            at.workload, at.entries, at.threads, at.keys
        );
        let _ = writeln!(
            text,
            "  {:<18} {:<9} {:>9} {:>5} {:>9} {:>9} {:>10} {:>10} {:>11} {:>8}",
            "store", "hasher", "Mop/s", "± %", "p50 ns", "p99 ns", "p99.9 ns", "p99.99 ns", "max ns", "B/entry"
        );
        let mut rows: Vec<(&String, &Vec<Cell>, Spread)> = stores
            .iter()
            .filter_map(|(store, cells)| Some((store, cells, Self::spread(cells, |cell| cell.mops)?)))
            .collect();
        rows.sort_by(|a, b| b.2.median.total_cmp(&a.2.median));
        for (store, cells, mops) in rows {
            let median = |figure: fn(&Cell) -> f64| Self::spread(cells, figure).map_or(0.0, |spread| spread.median);
            let _ = writeln!(
                text,
                "  {:<18} {:<9} {:>9} {:>5.1} {:>9.0} {:>9.0} {:>10.0} {:>10.0} {:>11.0} {:>8.1}",
                store,
                cells[0].hasher,
                figures(mops.median),
                mops.percent(),
                median(|cell| cell.p50_ns as f64),
                median(|cell| cell.p99_ns as f64),
                median(|cell| cell.p999_ns as f64),
                median(|cell| cell.p9999_ns as f64),
                median(|cell| cell.max_ns as f64),
                median(|cell| cell.bytes_per_entry),
            );
            let extra: Vec<String> = cells[0]
                .extra
                .keys()
                .filter_map(|name| {
                    let spread = Self::spread(cells, |cell| cell.extra.get(name).copied().unwrap_or(0.0))?;
                    Some(format!("{name} {}", figures(spread.median)))
                })
                .collect();
            if !extra.is_empty() {
                let _ = writeln!(text, "  {:<18} {}", "", extra.join(", "));
            }
        }
        let against: Vec<String> = Peers::FORMS
            .into_iter()
            .filter_map(|form| Some((form, against_best(stores, form)?)))
            .map(|(form, (peer, times))| format!("{} x {peer} (values {})", figures(times), form.values()))
            .collect();
        if !against.is_empty() {
            let _ = writeln!(text, "  {OURS} to the best peers: {}", against.join(", "));
        }
        text
    }
}

/// Formats a number with three significant digits, without an exponent.
pub(crate) fn figures(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        0.0 => 0,
        _ => (2 - size.log10().floor() as i32).clamp(0, 6) as usize,
    };
    format!("{value:.decimals$}")
}
