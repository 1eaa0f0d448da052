//! The table of single calls, which are recorded as limits are.

use std::fmt::Write;

use crate::limits::calls::CALL;
use crate::record::Limit;
use crate::report::Data;
use crate::report::tables::{nanos, sources_of};
use crate::summary::{Spread, count};

/// Whether it is a call of a map, and no limit.
pub(crate) fn is_call(limit: &Limit) -> bool {
    limit.limit.starts_with(CALL)
}

/// A row for each call and each number of what is there.
pub(crate) fn table(data: &Data) -> String {
    let calls: Vec<&Limit> = data.limits.iter().filter(|limit| is_call(limit)).collect();
    let mut rows: Vec<(&str, usize)> = Vec::new();
    for call in &calls {
        let row = (call.limit.as_str(), call.entries);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n| call | so many | time, ns unless it says | ± % |\n|---|---|---|---|\n");
    for (name, entries) in rows {
        let repetitions = calls
            .iter()
            .filter(|call| (call.limit.as_str(), call.entries) == (name, entries));
        if let Some(spread) = Spread::of(repetitions.map(|call| call.ns)) {
            let name = name.trim_start_matches(CALL);
            let (time, percent) = (nanos(spread.median), spread.percent());
            let _ = writeln!(text, "| {name} | {} | {time} | {percent:.0} |", count(entries));
        }
    }
    text + &sources_of(data, calls.iter().map(|call| call.run.as_str()))
}
