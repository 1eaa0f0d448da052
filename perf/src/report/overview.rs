//! The one screen: a summary, the losses, three charts, and the list of pages.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::gate::OURS;
use crate::peers::Peers;
use crate::record::Cell;
use crate::report::data::Data;
use crate::report::pages;
use crate::report::rates::{by_id_costs, has_form};
use crate::report::ratios::{self, Ratio, least_memory, ratios};
use crate::report::targets::Verdicts;
use crate::report::text::{clocked, point, rate};
use crate::summary::{Spread, Stores, count, figures};
use crate::workloads::Workload;

/// The chart of ratios, which the README has, too.
pub(crate) const CHART: &str = "ratios.svg";
/// The charts of the one screen, and what they show.
const CHARTS: [(&str, &str); 3] = [
    (
        CHART,
        "The store's rate as a multiple of the best peer's, for each workload, size and number of threads",
    ),
    (
        "get-by-size.svg",
        "Look-ups by number of entries, with one and two threads",
    ),
    ("memory.svg", "Bytes per entry of each map"),
];

/// What a line of the summary compares.
#[derive(Clone, Copy)]
enum Figure {
    /// Millions of operations per second: more is better.
    Rate(Workload),
    /// The 99.9th percentile of an operation's time: less is better.
    Tail(Workload),
    /// Bytes per entry beside the value: less is better.
    Memory,
}

/// The questions of the summary, the page that answers each, and the point that stands for it.
const QUESTIONS: [(&str, &str, Figure, usize); 15] = [
    ("look-up, a guard each (W1)", "get", Figure::Rate(Workload::W1), 1 << 16),
    (
        "look-up, 64 under a guard (G64)",
        "get",
        Figure::Rate(Workload::G64),
        1 << 16,
    ),
    (
        "look-up of an absent key (W2)",
        "miss",
        Figure::Rate(Workload::W2),
        1 << 16,
    ),
    (
        "90 % look-ups, 10 % changes (W3)",
        "mixed",
        Figure::Rate(Workload::W3),
        1 << 16,
    ),
    ("get-or-alloc (W5)", "mixed", Figure::Rate(Workload::W5), 1 << 16),
    (
        "hottest keys made again (W12)",
        "mixed",
        Figure::Rate(Workload::W12),
        1 << 16,
    ),
    (
        "life cycle of an object (W4)",
        "life-cycle",
        Figure::Rate(Workload::W4),
        1 << 16,
    ),
    (
        "life cycle, new addresses (W4N)",
        "life-cycle",
        Figure::Rate(Workload::W4N),
        1 << 16,
    ),
    (
        "a program's trace (W11)",
        "life-cycle",
        Figure::Rate(Workload::W11),
        15_404,
    ),
    (
        "life cycle, p99.9 in ns",
        "latency",
        Figure::Tail(Workload::W4),
        1 << 16,
    ),
    ("growth from empty (W6)", "growth", Figure::Rate(Workload::W6), 1 << 23),
    (
        "free all of an id (W7)",
        "bulk-free",
        Figure::Rate(Workload::W7),
        1 << 22,
    ),
    (
        "drop, with destructors (W14)",
        "bulk-free",
        Figure::Rate(Workload::W14),
        1 << 22,
    ),
    (
        "small stores (W13)",
        "small-stores",
        Figure::Rate(Workload::W13),
        10_000,
    ),
    ("bytes per entry (W8)", "memory", Figure::Memory, 1 << 23),
];

/// Writes the machine that the figures of a page are of.
pub(crate) fn machine(data: &Data) -> String {
    format!(
        "Measured on {}. This page is of machines with {}.",
        data.source(),
        data.class
    )
}

/// Writes the table of questions, and what is to be known beside it. `results` is the way to the pages.
pub(crate) fn summary(data: &Data, results: &str) -> String {
    let mut rows = String::new();
    for (question, page, figure, entries) in QUESTIONS {
        let compared = compare(data, figure, entries);
        if compared.is_empty() {
            continue;
        }
        let join = |show: &dyn Fn(&Compared) -> String| Vec::from_iter(compared.iter().map(show)).join(", ");
        let threads = join(&|one| one.threads.to_string());
        let _ = write!(
            rows,
            "| [{question}]({results}/{page}.md) | {}, {threads} | {} |",
            count(entries),
            join(&|one| figures(one.ours))
        );
        for form in 0..Peers::FORMS.len() {
            let best = |one: &Compared| one.best[form].as_ref().map_or("–".to_owned(), |best| best.0.clone());
            let times = |one: &Compared| match one.best[form].as_ref().map(|best| best.1) {
                Some(times) if times < 1.0 => format!("**{}**", figures(times)),
                Some(times) => figures(times),
                None => "–".to_owned(),
            };
            let _ = write!(rows, " {} | {} |", join(&best), join(&times));
        }
        rows.push('\n');
    }
    if rows.is_empty() {
        return "Not recorded yet.".to_owned();
    }
    let mut text = format!(
        "| question | entries, threads | `{OURS}` | best peer, boxed | ratio | best peer, in place | ratio |\n\
         |---|---|---|---|---|---|---|\n{rows}\n\
         Mop/s unless a unit is given; above 1, `{OURS}` is better; below 1 is **bold**. References to shadow variables stay good while \
         the store changes, so peers that move their entries have their values *boxed*, or else *in place*, as programs have them \
         that copy values out. Ratios are medians over turns, and not the quotients of the two rates."
    );
    let ratios = ratios(data, OURS);
    let percents = || {
        ratios
            .iter()
            .filter(|ratio| ratio.percent > 0.0)
            .map(|ratio| ratio.percent)
    };
    if let Some(spread) = Spread::of(percents()) {
        let _ = write!(
            text,
            " The repetitions of a rate spread by ± {:.0} % in the middle, ± {:.0} % at the most.",
            spread.median, spread.most
        );
    }
    text + &by_id(data, results)
}

/// Says what the figures of `Variable` are without it.
fn by_id(data: &Data, results: &str) -> String {
    let costs = |workload: Workload| {
        let (least, most) = by_id_costs(data, workload)?;
        Some(format!("{least:.0} to {most:.0} % less in {workload}"))
    };
    let costs: Vec<String> = [Workload::W1, Workload::G64].into_iter().filter_map(costs).collect();
    if costs.is_empty() {
        return String::new();
    }
    format!(
        " `{OURS}` is the store by `Variable`; by id, as in the README's examples, it does {} ([by id](\
         {results}/allocators.md)).",
        costs.join(", ")
    )
}

/// One line of the summary with one number of threads.
struct Compared {
    threads: usize,
    ours: f64,
    /// For each form, the best peer with its figure, and what multiple of it ours is, or it is of ours where less is better.
    best: Vec<Option<(String, f64)>>,
}

fn compare(data: &Data, figure: Figure, entries: usize) -> Vec<Compared> {
    let show = |peer: &str, value: f64| format!("{peer} {}", figures(value));
    match figure {
        Figure::Memory => {
            let Some(ours) = data.bytes(OURS, entries) else {
                return Vec::new();
            };
            let best = Peers::FORMS.map(|form| {
                let (peer, bytes) = least_memory(data, entries, form)?;
                Some((show(peer, bytes), bytes / ours))
            });
            vec![Compared {
                threads: 1,
                ours,
                best: best.into(),
            }]
        }
        Figure::Rate(workload) => {
            let all = ratios(data, OURS);
            let points = data
                .of_workload(workload.name())
                .filter(|(at, _)| at.entries == entries);
            let compared = points.filter_map(|(at, stores)| {
                let best = Peers::FORMS.map(|form| {
                    let ratio = all.iter().find(|ratio| ratio.at == *at && ratio.form == form)?;
                    Some((show(ratio.peer, rate(stores, ratio.peer)?), ratio.times))
                });
                best.iter().any(Option::is_some).then_some(Compared {
                    threads: at.threads,
                    ours: rate(stores, OURS)?,
                    best: best.into(),
                })
            });
            compared.collect()
        }
        Figure::Tail(workload) => {
            let points = data
                .of_workload(workload.name())
                .filter(|(at, _)| at.entries == entries && at.threads <= 2);
            let compared = points.filter_map(|(at, stores)| {
                let ours = tail(stores, OURS)?;
                let best = Peers::FORMS.map(|form| {
                    if !data.forms(stores).any(|other| other == form) {
                        return None;
                    }
                    let peers = stores.keys().filter(|peer| has_form(peer, form));
                    let tails = peers.filter_map(|peer| Some((peer, tail(stores, peer)?)));
                    let (peer, least) = tails.min_by(|a, b| a.1.total_cmp(&b.1))?;
                    Some((show(peer, least), least / ours))
                });
                Some(Compared {
                    threads: at.threads,
                    ours,
                    best: best.into(),
                })
            });
            compared.collect()
        }
    }
}

fn tail(stores: &Stores, name: &str) -> Option<f64> {
    clocked(stores.get(name)?, |cell: &Cell| cell.p999_ns)
}

/// Writes, for each workload with a loss, at how many points it loses, and where the most. `results` is the way to the pages.
pub(crate) fn losses(data: &Data, results: &str) -> String {
    let all = ratios(data, OURS);
    let mut rows = String::new();
    for (name, about) in ratios::names() {
        let of_form = |form: Peers| {
            let of: Vec<&Ratio<'_>> = all
                .iter()
                .filter(|ratio| ratio.name == name && ratio.form == form)
                .collect();
            let lost: Vec<&&Ratio<'_>> = of.iter().filter(|ratio| ratio.times < 1.0).collect();
            let worst = lost.iter().min_by(|a, b| a.times.total_cmp(&b.times))?;
            Some(format!(
                "{} of {}, {} × {} at {}",
                lost.len(),
                of.len(),
                figures(worst.times),
                worst.peer,
                point(&worst.at)
            ))
        };
        let cells = Peers::FORMS.map(of_form);
        if cells.iter().any(Option::is_some) {
            let cells = cells.map(|cell| cell.unwrap_or_else(|| "none".to_owned()));
            let _ = writeln!(rows, "| {name} {about} | {} |", cells.join(" | "));
        }
    }
    if rows.is_empty() {
        return "None among the points that are compared.".to_owned();
    }
    let mut text =
        format!("| | points lost to boxed values, the worst | to values in place, the worst |\n|---|---|---|\n{rows}");
    if let Some(in_short) = Verdicts::of(data).in_short() {
        let _ = write!(text, "\n[{in_short}]({results}/targets.md).");
    }
    text
}

/// Shows the three charts, as far as they were drawn.
pub(crate) fn charts(drawn: &BTreeMap<&'static str, String>, results: &str) -> String {
    let shown = CHARTS.iter().filter(|(name, _)| drawn.contains_key(name));
    let images = shown.map(|(name, about)| format!("![{about}]({results}/{name})"));
    Vec::from_iter(images).join("\n\n")
}

/// Shows the chart of ratios, if it was drawn.
pub(crate) fn chart(drawn: &BTreeMap<&'static str, String>, results: &str) -> String {
    let (name, about) = CHARTS[0];
    drawn
        .get(name)
        .map_or_else(String::new, |_| format!("\n![{about}]({results}/{name})\n"))
}

/// Lists the pages.
pub(crate) fn list(results: &str) -> String {
    let links = pages::ALL
        .iter()
        .map(|page| format!("[{}]({results}/{}.md)", page.title, page.name));
    Vec::from_iter(links).join(" · ")
}
