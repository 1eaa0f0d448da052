//! Our rate as a multiple of the best peer's, at each point that is compared.

use crate::gate::OURS;
use crate::peers::{self, Peers};
use crate::report::data::Data;
use crate::store::Form;
use crate::summary::{self, At, Summary};
use crate::workloads::Workload;

/// The workloads that are compared, and what they are called.
const COMPARED: [(Workload, &str); 17] = [
    (Workload::W1, "look-up, a guard each"),
    (Workload::G64, "look-up, 64 under a guard"),
    (Workload::B64, "look-up, in batches of 64"),
    (Workload::W2, "look-up of an absent key"),
    (Workload::W3, "90 % look-ups"),
    (Workload::W4, "life cycle"),
    (Workload::W4N, "life cycle, new addresses"),
    (Workload::W5, "get-or-alloc"),
    (Workload::W6, "growth from empty"),
    (Workload::W7, "free all of an id"),
    (Workload::W9own, "look-up, 10,000 ids on the parent"),
    (Workload::W10, "90 % look-ups, a reader stalls"),
    (Workload::W11, "a program's trace"),
    (Workload::W12, "hottest keys made again"),
    (Workload::W13, "small stores"),
    (Workload::W14, "drop, with destructors"),
    (Workload::W14F, "free all, with destructors"),
];

/// Memory, of which less is better: the best peer's bytes per entry as a multiple of ours.
pub(super) const MEMORY: (&str, &str) = ("W8", "bytes per entry");
/// Its sizes; all others are in a chart of their own.
const MEMORY_ENTRIES: [usize; 2] = [1 << 20, 1 << 23];

/// Our rate at a point as a multiple of the rate of the best peer of a form.
pub(crate) struct Ratio<'d> {
    /// The name of the workload.
    pub(crate) name: &'static str,
    /// What the workload is called.
    pub(crate) about: &'static str,
    pub(crate) form: Peers,
    pub(crate) at: At,
    pub(crate) peer: &'d str,
    pub(crate) times: f64,
    /// The wider of the two spreads, in percent of the median.
    pub(crate) percent: f64,
}

/// Returns the names of what is compared, in the order in which it is shown.
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let compared = COMPARED.map(|(workload, about)| (workload.name(), about));
    compared.into_iter().chain([MEMORY])
}

/// Returns the ratios of one of our stores at all points with one or two threads, or with as many as the workload is about.
/// Batches are compared with what peers have instead: single look-ups under one guard.
pub(crate) fn ratios<'d>(data: &'d Data, ours: &str) -> Vec<Ratio<'d>> {
    let mut ratios = Vec::new();
    for (workload, about) in COMPARED {
        let has_own_threads = matches!(workload, Workload::W12 | Workload::W13);
        let points = data
            .of_workload(workload.name())
            .filter(|(at, _)| at.threads <= 2 || has_own_threads);
        for (at, stores) in points {
            let theirs = if workload == Workload::B64 {
                data.point(Workload::G64.name(), at.entries, at.threads)
            } else {
                Some(stores)
            };
            let (Some(own), Some(theirs)) = (stores.get(ours), theirs) else {
                continue;
            };
            for form in data.forms(theirs) {
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

/// Returns those of memory, to which it makes no difference whether operations are given the id.
fn memory(data: &Data) -> Vec<Ratio<'_>> {
    let mut ratios = Vec::new();
    for entries in MEMORY_ENTRIES {
        let Some(own) = data.bytes(OURS, entries) else {
            continue;
        };
        for form in Peers::FORMS {
            let Some((peer, bytes)) = least_memory(data, entries, form) else {
                continue;
            };
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
                peer,
                times: bytes / own,
                percent: 0.0,
            });
        }
    }
    ratios
}

/// Returns the peer of a form that takes the least memory at a size, if peers of that form were measured, and its bytes per entry.
pub(super) fn least_memory(data: &Data, entries: usize, form: Peers) -> Option<(&str, f64)> {
    let grown = || {
        let lines = data.memory.iter();
        lines.filter(move |line| line.entries == entries && line.made == "grown")
    };
    // In records from before there were two forms, all were boxed.
    let is_in_place = |store: &str| peers::about(store).is_some_and(|about| about.form == Form::InPlace);
    if form == Peers::InPlace && !grown().any(|line| is_in_place(&line.store)) {
        return None;
    }
    let of_form = |store: &str| peers::about(store).is_some_and(|about| form.have(&about));
    grown()
        .filter(|line| of_form(&line.store))
        .map(|line| (line.store.as_str(), line.bytes_per_entry))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}
