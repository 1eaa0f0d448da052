//! The headline cells both ways, by `Variable` and by id, and with two allocators.

use std::fmt::Write;

use crate::gate::{BY_ID, OURS};
use crate::report::overview::{self, Ratio};
use crate::report::{Data, tables};
use crate::summary::{At, Stores, count, figures};
use crate::workloads::Workload;

/// What is shown, at which size.
const WORKLOADS: [Workload; 6] = [
    Workload::W1,
    Workload::G64,
    Workload::W3,
    Workload::W4,
    Workload::W4N,
    Workload::W5,
];
const ENTRIES: usize = 1 << 16;

/// A row for each point and form of the peers; for each allocator the best peer, and our rates and ratios.
pub(crate) fn table(data: &Data) -> String {
    let system = Side::of(data);
    let mimalloc = data.mimalloc.as_deref().map(Side::of);
    let sides: Vec<&Side<'_>> = [Some(&system), mimalloc.as_ref()].into_iter().flatten().collect();
    let mut keys: Vec<(usize, &At, &str)> = Vec::new();
    for ratio in sides.iter().flat_map(|side| &side.by_variable) {
        let place = WORKLOADS.iter().position(|&workload| workload.name() == ratio.name);
        let key = (place.unwrap_or(WORKLOADS.len()), &ratio.at, ratio.form.values());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return String::new();
    }
    keys.sort();
    let mut text = format!(
        "\nAt {}: our rate in Mop/s, by `Variable` (`{OURS}`) and by id (`{BY_ID}`), and in brackets how many times the best \
         peer's that is.\n\n| | threads | peers' values |",
        count(ENTRIES)
    );
    for side in &sides {
        let _ = write!(text, " {}: by `Variable` | by id | best peer |", side.allocator);
    }
    let _ = writeln!(text, "\n|{}", "---|".repeat(3 + 3 * sides.len()));
    for (_, at, values) in keys {
        let _ = write!(text, "| {} | {} | {values} |", at.workload, at.threads);
        for side in &sides {
            let find = |ratios: &[Ratio<'_>]| {
                let found = ratios
                    .iter()
                    .find(|ratio| ratio.at == *at && ratio.form.values() == values);
                found.map(|ratio| (figures(ratio.times), ratio.peer.to_owned()))
            };
            let stores = side.data.points.get(at);
            let show = |name: &str, ratio: Option<(String, String)>| {
                let rate = stores.map(|stores| tables::rate(stores, name));
                match (rate, ratio) {
                    (Some(rate), Some((times, _))) => format!("{rate} ({times})"),
                    _ => "–".to_owned(),
                }
            };
            let peer = find(&side.by_variable).map_or_else(|| "–".to_owned(), |(_, peer)| peer);
            let _ = write!(
                text,
                " {} | {} | {peer} |",
                show(OURS, find(&side.by_variable)),
                show(BY_ID, find(&side.by_id))
            );
        }
        text.push('\n');
    }
    if mimalloc.is_none() {
        text.push_str("\nNot measured with another allocator yet.\n");
    }
    let shown: Vec<&Stores> = sides
        .iter()
        .flat_map(|side| {
            side.by_variable
                .iter()
                .filter_map(|ratio| side.data.points.get(&ratio.at))
        })
        .collect();
    text + &tables::sources(data, shown.into_iter())
}

/// What was measured with one allocator.
struct Side<'d> {
    data: &'d Data,
    allocator: String,
    by_variable: Vec<Ratio<'d>>,
    by_id: Vec<Ratio<'d>>,
}

impl<'d> Side<'d> {
    fn of(data: &'d Data) -> Self {
        let headline = |ours: &str| {
            let mut ratios = overview::ratios(data, ours);
            ratios.retain(|ratio| {
                let is_shown = WORKLOADS.iter().any(|workload| workload.name() == ratio.name);
                is_shown && ratio.at.entries == ENTRIES
            });
            ratios
        };
        let by_variable = headline(OURS);
        let run = by_variable.first().and_then(|ratio| {
            let stores = data.points.get(&ratio.at)?;
            data.run(&stores.values().flatten().next()?.run)
        });
        Self {
            data,
            allocator: run.map_or_else(|| "the system's malloc".to_owned(), |run| run.allocator.clone()),
            by_id: headline(BY_ID),
            by_variable,
        }
    }
}
