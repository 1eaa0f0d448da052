//! The page about the gate's targets.

use std::collections::BTreeMap;

use crate::gate::results::Results;
use crate::gate::targets::{self, Target};
use crate::limits::loads;
use crate::report::data::Data;
use crate::report::text::Text;
use crate::workloads::Workload;

/// The verdicts on the targets of a class of machines.
pub(super) struct Verdicts {
    pub(super) met: Vec<[String; 2]>,
    pub(super) missed: Vec<[String; 2]>,
    /// Targets that the record has no figures for.
    pub(super) not_measured: usize,
}

impl Verdicts {
    pub(super) fn of(data: &Data) -> Self {
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
        let mut verdicts = Self {
            met: Vec::new(),
            missed: Vec::new(),
            not_measured: 0,
        };
        for Target { name, check, .. } in &targets::of(data.class) {
            let verdict = check(&results);
            let rows = match (verdict.measured, verdict.met) {
                (false, _) => {
                    verdicts.not_measured += 1;
                    continue;
                }
                (_, true) => &mut verdicts.met,
                (_, false) => &mut verdicts.missed,
            };
            rows.push([name.clone(), verdict.found]);
        }
        verdicts
    }

    /// Says how many are met; nothing if none was measured.
    pub(super) fn in_short(&self) -> Option<String> {
        let measured = self.met.len() + self.missed.len();
        let rest = match self.not_measured {
            0 => String::new(),
            number => format!(", {number} were not measured"),
        };
        let all = measured + self.not_measured;
        (measured > 0).then(|| format!("{} of {all} targets are met{rest}", self.met.len()))
    }
}

pub(super) fn targets(text: &mut Text<'_>) {
    let verdicts = Verdicts::of(text.data);
    let Some(in_short) = verdicts.in_short() else { return };
    text.paragraph(&format!(
        "For machines with {}. {in_short}. `perf gate` checks them and fails if one is missed.",
        text.data.class
    ));
    for (heading, rows) in [("Missed", verdicts.missed), ("Met", verdicts.met)] {
        if !rows.is_empty() {
            text.heading(heading);
            text.table(&["target", "measured"], rows);
        }
    }
}
