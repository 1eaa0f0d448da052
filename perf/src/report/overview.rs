//! What comes first: the store against the best peer, in one chart and one table. And what comes of the targets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::gate::results::Results;
use crate::gate::targets::{self, Target};
use crate::gate::{BY_ID, OURS};
use crate::limits::loads;
use crate::peers::{self, Peers};
use crate::report::{Data, tables};
use crate::store::Form;
use crate::summary::{self, At, Spread, Summary, count, figures};
use crate::workloads::Workload;

/// The chart of ratios.
pub(crate) const CHART: &str = "ratios.svg";

/// What is compared at a glance, and as what.
const COMPARED: [(Workload, &str); 17] = [
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
    (Workload::W9own, "get on a parent with 10,000 ids"),
    (Workload::W10, "as W3, beside a stalled reader"),
    (Workload::W11, "a program's trace"),
    (Workload::W12, "hottest keys made again"),
    (Workload::W13, "small stores"),
    (Workload::W14, "drop, with destructors"),
    (Workload::W14F, "free all, with destructors"),
];

/// Memory, of which less is better: how many times ours the best peer takes.
const MEMORY: (&str, &str) = ("W8", "bytes an entry, the peer's / ours");
/// Its sizes; all others are in a chart of their own.
const MEMORY_ENTRIES: [usize; 2] = [1 << 20, 1 << 23];

/// Our rate at a point, in rates of the best peer of a form.
pub(crate) struct Ratio<'d> {
    /// Of the workload.
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) form: Peers,
    pub(crate) at: At,
    pub(crate) peer: &'d str,
    pub(crate) times: f64,
    /// Of both, the wider one.
    pub(crate) percent: f64,
}

/// All of one of ours, with one thread and with two, or with as many as the workload is about. Batches are compared with
/// what peers have instead: single gets under one guard.
pub(crate) fn ratios<'d>(data: &'d Data, ours: &str) -> Vec<Ratio<'d>> {
    let mut ratios = Vec::new();
    for (workload, about) in COMPARED {
        let points = data.points.iter().filter(|(at, _)| {
            let has_own_threads = matches!(workload, Workload::W12 | Workload::W13);
            at.workload == workload.name() && at.keys == "heap" && (at.threads <= 2 || has_own_threads)
        });
        for (at, stores) in points {
            let single = At {
                workload: Workload::G64.name().to_owned(),
                ..at.clone()
            };
            let theirs = if workload == Workload::B64 {
                data.points.get(&single)
            } else {
                Some(stores)
            };
            let (Some(own), Some(theirs)) = (stores.get(ours), theirs) else {
                continue;
            };
            for form in data.forms(stores) {
                let rate = Summary::spread(own, |cell| cell.mops);
                let (Some(rate), Some((peer, best))) = (rate, summary::best_peer(theirs, form)) else {
                    continue;
                };
                let Some(times) = summary::times(own, &theirs[peer]) else {
                    continue;
                };
                ratios.push(Ratio {
                    name: workload.name(),
                    about,
                    form,
                    at: at.clone(),
                    peer,
                    times,
                    percent: rate.percent().max(best.percent()),
                });
            }
        }
    }
    if ours == OURS {
        ratios.extend(memory(data));
    }
    ratios
}

/// Those of memory: by which name an entry is asked for makes no difference to it.
fn memory(data: &Data) -> Vec<Ratio<'_>> {
    let mut ratios = Vec::new();
    for entries in MEMORY_ENTRIES {
        let grown = || {
            let lines = data.memory.iter();
            lines.filter(move |line| line.entries == entries && line.made == "grown")
        };
        let Some(own) = grown().find(|line| line.store == OURS) else {
            continue;
        };
        // In records from before there were two, all were boxed.
        let is_in_place = |store: &str| peers::about(store).is_some_and(|about| about.form == Form::InPlace);
        let both = grown().any(|line| is_in_place(&line.store));
        for form in Peers::FORMS.into_iter().filter(|&form| both || form != Peers::InPlace) {
            let of_form = |store: &str| peers::about(store).is_some_and(|about| form.have(&about));
            let best = grown()
                .filter(|line| of_form(&line.store))
                .min_by(|a, b| a.bytes_per_entry.total_cmp(&b.bytes_per_entry));
            if let Some(best) = best {
                ratios.push(Ratio {
                    name: MEMORY.0,
                    about: MEMORY.1,
                    form,
                    at: At {
                        workload: MEMORY.0.to_owned(),
                        keys: "heap".to_owned(),
                        entries,
                        threads: 1,
                    },
                    peer: &best.store,
                    times: best.bytes_per_entry / own.bytes_per_entry,
                    percent: 0.0,
                });
            }
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

/// A row for each workload and form, a column for each size; with one thread and with two. By `Variable`, and by id.
pub(crate) fn table(data: &Data) -> String {
    let mut text = String::new();
    for (ours, by) in [(OURS, "`Variable`"), (BY_ID, "id")] {
        let ratios = ratios(data, ours);
        if !ratios.is_empty() {
            let _ = writeln!(text, "\nThe store by {by} (`{ours}`):");
            text += &table_of(&ratios);
        }
    }
    if text.is_empty() {
        return text;
    }
    text.push_str(
        "\nMedians; what is below 1 is **bold**. Peers that move their entries have their values boxed, so that references \
         to them stay good, or in place, as most programs do; those that do not move them are of both. B64 is compared \
         with the best peer's G64; W12 has three threads, W13 one and twelve. Each cell has its bar in the chart.",
    );
    let mut ratios = ratios(data, OURS);
    ratios.retain(|ratio| ratio.name != MEMORY.0);
    let widest = ratios.iter().map(|ratio| ratio.percent).fold(0.0, f64::max);
    let median = Spread::of(ratios.iter().map(|ratio| ratio.percent)).map_or(0.0, |spread| spread.median);
    let _ = writeln!(
        text,
        " Spread of the repetitions: ± {median:.0} % in the middle, ± {widest:.0} % at the widest; each point's own is below."
    );
    text + &tables::sources(data, data.points.values())
}

fn table_of(ratios: &[Ratio<'_>]) -> String {
    // Sizes that only one workload has are in a column for all of them.
    let is_round = |entries: usize| entries.is_power_of_two();
    let all: BTreeSet<usize> = ratios.iter().map(|ratio| ratio.at.entries).collect();
    let (sizes, odd): (Vec<usize>, Vec<usize>) = all.iter().partition(|&&entries| is_round(entries));
    let mut heads: Vec<String> = sizes.iter().map(|&entries| count(entries)).collect();
    if !odd.is_empty() {
        heads.push("others".to_owned());
    }
    let mut text = format!(
        "\n| our rate / the best peer's, with 1 and 2 threads | peers' values | {} |\n|{}\n",
        heads.join(" | "),
        "---|".repeat(heads.len() + 2)
    );
    let compared = COMPARED.map(|(workload, about)| (workload.name(), about));
    for (name, about) in compared.into_iter().chain([MEMORY]) {
        for form in Peers::FORMS {
            let row: Vec<&Ratio<'_>> = ratios
                .iter()
                .filter(|ratio| ratio.name == name && ratio.form == form)
                .collect();
            let cell = |entries: usize| {
                // By the number of threads, as the points are.
                let of = row.iter().filter(|ratio| ratio.at.entries == entries);
                let cells: Vec<String> = of
                    .map(|ratio| match figures(ratio.times) {
                        times if ratio.times < 1.0 => format!("**{times}**"),
                        times => times,
                    })
                    .collect();
                cells.join(", ")
            };
            if !row.is_empty() {
                let mut cells: Vec<String> = sizes.iter().map(|&entries| cell(entries)).collect();
                if !odd.is_empty() {
                    let own = odd.iter().map(|&entries| (count(entries), cell(entries)));
                    let own: Vec<String> = own
                        .filter(|(_, cell)| !cell.is_empty())
                        .map(|(entries, cell)| format!("{cell} at {entries}"))
                        .collect();
                    cells.push(own.join("; "));
                }
                let _ = writeln!(text, "| {name} {about} | {} | {} |", form.values(), cells.join(" | "));
            }
        }
    }
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
    let all = targets::of(data.class);
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
    let mut text = format!(
        "\nFor machines with {}. {} of {} targets are met",
        data.class,
        met.len(),
        all.len()
    );
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
