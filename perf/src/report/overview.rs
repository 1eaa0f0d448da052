//! What comes first: the store against the best peer, in one chart and one table. And what comes of the targets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::gate::OURS;
use crate::gate::results::Results;
use crate::gate::targets::{self, Target};
use crate::limits::loads;
use crate::peers;
use crate::record::Cell;
use crate::report::{Data, tables};
use crate::summary::{self, At, Spread, Stores, Summary, count, figures};
use crate::workloads::Workload;

/// The chart of ratios.
pub(crate) const CHART: &str = "ratios.svg";

/// What is compared at a glance, and as what.
const COMPARED: [(Workload, &str); 10] = [
    (Workload::W1, "get, a guard each"),
    (Workload::G64, "get, guard reused"),
    (Workload::B64, "get, in batches"),
    (Workload::W2, "get, absent"),
    (Workload::W3, "90 % get"),
    (Workload::W4, "life cycle"),
    (Workload::W4N, "life cycle, new addresses"),
    (Workload::W5, "get-or-alloc"),
    (Workload::W6, "growth from empty"),
    (Workload::W7, "free all of an id"),
];

/// Our rate at a point, in rates of the best peer.
pub(crate) struct Ratio<'d> {
    pub(crate) workload: Workload,
    pub(crate) about: &'static str,
    pub(crate) at: &'d At,
    pub(crate) peer: &'d str,
    pub(crate) times: f64,
    /// Of both, the wider one.
    pub(crate) percent: f64,
}

/// The best peer of a point.
pub(crate) fn best_peer(stores: &Stores) -> Option<(&str, Spread)> {
    stores
        .iter()
        .filter(|(name, _)| peers::is_peer(name))
        .filter_map(|(name, cells)| Some((name.as_str(), rate(cells)?)))
        .max_by(|a, b| a.1.median.total_cmp(&b.1.median))
}

fn rate(cells: &[Cell]) -> Option<Spread> {
    Summary::spread(cells, |cell| cell.mops)
}

/// All of them. Batches are compared with what peers have instead: single gets under one guard.
pub(crate) fn ratios(data: &Data) -> Vec<Ratio<'_>> {
    let mut ratios = Vec::new();
    for (workload, about) in COMPARED {
        for (at, stores) in data.points.iter().filter(|(at, _)| at.workload == workload.name()) {
            let single = At {
                workload: Workload::G64.name().to_owned(),
                ..at.clone()
            };
            let theirs = if workload == Workload::B64 {
                data.points.get(&single)
            } else {
                Some(stores)
            };
            let (Some(own), Some(theirs), "heap") = (stores.get(OURS), theirs, at.keys.as_str()) else {
                continue;
            };
            let (Some(ours), Some((peer, best))) = (rate(own), best_peer(theirs)) else {
                continue;
            };
            let Some(times) = summary::times(own, &theirs[peer]) else {
                continue;
            };
            ratios.push(Ratio {
                workload,
                about,
                at,
                peer,
                times,
                percent: ours.percent().max(best.percent()),
            });
        }
    }
    ratios
}

/// The chart, if it was drawn.
pub(crate) fn chart(drawn: &BTreeMap<&'static str, String>, prefix: &str) -> String {
    let about = "The store's rate as multiples of the best peer's, for each workload and size";
    drawn
        .get(CHART)
        .map_or_else(String::new, |_| format!("\n![{about}]({prefix}/{CHART})\n"))
}

/// A row for each workload, a column for each size; with one thread and with two.
pub(crate) fn table(data: &Data) -> String {
    let ratios = ratios(data);
    if ratios.is_empty() {
        return String::new();
    }
    let sizes: BTreeSet<usize> = ratios.iter().map(|ratio| ratio.at.entries).collect();
    let heads: Vec<String> = sizes.iter().map(|&entries| count(entries)).collect();
    let mut text = format!(
        "\n| our rate / the best peer's, with 1 and 2 threads | {} |\n|{}\n",
        heads.join(" | "),
        "---|".repeat(heads.len() + 1)
    );
    for (workload, about) in COMPARED {
        let cell = |entries: usize| {
            let at = |threads| {
                let mut found = ratios.iter().filter(|ratio| ratio.workload == workload);
                let found = found.find(|ratio| (ratio.at.entries, ratio.at.threads) == (entries, threads));
                found.map(|ratio| {
                    let times = figures(ratio.times);
                    if ratio.times < 1.0 {
                        format!("**{times}**")
                    } else {
                        times
                    }
                })
            };
            let cells: Vec<String> = [1, 2].into_iter().filter_map(at).collect();
            if cells.is_empty() {
                String::new()
            } else {
                cells.join(", ")
            }
        };
        if ratios.iter().any(|ratio| ratio.workload == workload) {
            let cells: Vec<String> = sizes.iter().map(|&entries| cell(entries)).collect();
            let _ = writeln!(text, "| {workload} {about} | {} |", cells.join(" | "));
        }
    }
    let widest = ratios.iter().map(|ratio| ratio.percent).fold(0.0, f64::max);
    let median = Spread::of(ratios.iter().map(|ratio| ratio.percent)).map_or(0.0, |spread| spread.median);
    let _ = writeln!(
        text,
        "\nMedians; what is below 1 is **bold**. B64 is compared with the best peer's G64. Spread of the repetitions: \
         ± {median:.0} % in the middle, ± {widest:.0} % at the widest; each point's own is below."
    );
    text += &tables::sources(data, data.points.values());
    text
}

/// Every target, those that are missed first.
pub(crate) fn targets(data: &Data) -> String {
    let mut results = Results::default();
    for cell in data.points.values().flat_map(BTreeMap::values).flatten() {
        if cell.keys == "heap" && Workload::ALL.iter().any(|workload| workload.name() == cell.workload) {
            results.add(cell.clone());
        }
    }
    for line in data.memory.iter().filter(|line| line.made == "grown") {
        results.add_memory(line.clone());
    }
    for limit in data.limits.iter().filter(|limit| limit.limit == loads::LEAST) {
        results.add_prefetch(limit.entries, limit.ns);
    }
    let all = targets::all();
    let (mut met, mut missed) = (Vec::new(), Vec::new());
    for Target { name, check, .. } in &all {
        let verdict = check(&results);
        if verdict.measured {
            let rows = if verdict.met { &mut met } else { &mut missed };
            rows.push(format!("| {name} | {} |", verdict.found));
        }
    }
    let measured = met.len() + missed.len();
    if measured == 0 {
        return String::new();
    }
    let head = "| target | measured |\n|---|---|";
    let mut text = format!("\n{} of {} targets are met", met.len(), all.len());
    if measured < all.len() {
        let _ = write!(text, ", {} were not measured", all.len() - measured);
    }
    text.push_str(".\n");
    if !missed.is_empty() {
        let _ = writeln!(text, "Missed:\n\n{head}\n{}", missed.join("\n"));
    }
    if !met.is_empty() {
        let _ = writeln!(
            text,
            "\n<details><summary>Met</summary>\n\n{head}\n{}\n\n</details>",
            met.join("\n")
        );
    }
    text
}
