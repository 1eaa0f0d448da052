//! The pages about single calls, the machine's limits, instruction counts, and the recorded runs.

use std::collections::BTreeSet;

use crate::limits::calls::CALL;
use crate::record::Limit;
use crate::report::data::command;
use crate::report::text::{Text, nanos};
use crate::summary::{Spread, count, figures};

fn is_call(limit: &Limit) -> bool {
    limit.limit.starts_with(CALL)
}

pub(super) fn calls(text: &mut Text<'_>) {
    text.paragraph(
        "What may grow with how much there is: guards that are held across await points, ids, room in a table of which little is \
         used, and what a large sweep leaves behind. None of it should. *n* is the number that the name of the call means.",
    );
    let data = text.data;
    let calls: Vec<&Limit> = data.limits.iter().filter(|limit| is_call(limit)).collect();
    let mut names: Vec<(&str, usize)> = Vec::new();
    for call in &calls {
        let name = (call.limit.as_str(), call.entries);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return;
    }
    let rows = names.into_iter().filter_map(|(name, entries)| {
        let repetitions = calls
            .iter()
            .filter(|call| (call.limit.as_str(), call.entries) == (name, entries));
        let spread = Spread::of(repetitions.map(|call| call.ns))?;
        let call = name.trim_start_matches(CALL).to_owned();
        Some([
            call,
            count(entries),
            nanos(spread.median),
            format!("{:.0}", spread.percent()),
        ])
    });
    text.table(&["call", "n", "ns, or as it says", "± %"], rows);
    text.note_runs(calls.iter().map(|call| call.run.as_str()));
}

pub(super) fn limits(text: &mut Text<'_>) {
    text.paragraph(
        "A look-up in any table whose values do not move reads a slot, then the node that it leads to. No map can be faster than \
         that. Nanoseconds per operation, one thread.",
    );
    let data = text.data;
    let limits: Vec<&Limit> = data.limits.iter().filter(|limit| !is_call(limit)).collect();
    let mut names: Vec<&str> = Vec::new();
    for limit in &limits {
        if !names.contains(&limit.limit.as_str()) {
            names.push(&limit.limit);
        }
    }
    let sizes: BTreeSet<usize> = limits
        .iter()
        .map(|limit| limit.entries)
        .filter(|&entries| entries > 0)
        .collect();
    let value = |name: &str, entries: usize| {
        let of = limits
            .iter()
            .filter(|limit| limit.limit == name && limit.entries == entries);
        Spread::of(of.map(|limit| limit.ns)).map(|spread| figures(spread.median))
    };
    let by_size: Vec<Vec<String>> = names
        .iter()
        .filter(|name| value(name, 0).is_none())
        .map(|name| {
            let cells = sizes
                .iter()
                .map(|&entries| value(name, entries).unwrap_or_else(|| "–".to_owned()));
            std::iter::once((*name).to_owned()).chain(cells).collect()
        })
        .collect();
    if !by_size.is_empty() {
        text.heading("By the size of the data");
        let heads: Vec<String> = sizes.iter().map(|&entries| count(entries)).collect();
        let heads: Vec<&str> = std::iter::once("limit")
            .chain(heads.iter().map(String::as_str))
            .collect();
        text.table(&heads, by_size);
    }
    let single: Vec<[String; 2]> = names
        .iter()
        .filter_map(|name| Some([(*name).to_owned(), value(name, 0)?]))
        .collect();
    if !single.is_empty() {
        text.heading("Single operations");
        text.table(&["limit", "ns"], single);
    }
    text.note_runs(limits.iter().map(|limit| limit.run.as_str()));
}

/// Writes the counts as `ci/icount.sh --no-op` prints them, and the times as `ci/no-op.sh` does.
pub(super) fn instructions(text: &mut Text<'_>) {
    text.paragraph(
        "1,024 variables, one thread, under callgrind, the loop's own instructions taken off. Two runs give the same counts \
         (`ci/icount.sh --self-test`), and a change that raises one by more than 2 % is refused (`ci/icount.sh`). Targets: 80 for a \
         get that hits with a guard of its own, 60 with the guard reused.",
    );
    text.paragraph(
        "The extras are what a user pays who wants none of them: `tracing` is the feature of that name against none; type checks and \
         statistics are left out in copies of the sources. Reads count nothing, and log only errors, off their path: of the extras a \
         get pays only for comparing the id's type. A get by a `Variable`, as in W1, has none of the three.",
    );
    let (mut counts, mut times) = (Vec::new(), Vec::new());
    let mut from = "";
    for line in text.counts.unwrap_or_default().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [name, all, tracing, types, statistics, part, "%"] => {
                let name = name.rsplit("::").next().unwrap_or(name).replace('_', " ");
                let part = format!("{part} %");
                counts.push([&name, all, tracing, types, statistics, &part].map(str::to_owned));
            }
            [entries, by, with, without, ratio, least, "to", most] if entries.parse::<usize>().is_ok() => {
                let entries = entries.parse().map_or_else(|_| entries.to_owned(), count);
                let within = format!("{least} to {most}");
                times.push([&entries, by, with, without, ratio, &within].map(str::to_owned));
            }
            ["from", ..] => from = line,
            _ => {}
        }
    }
    if counts.is_empty() {
        return;
    }
    text.heading("Instructions");
    text.table(
        &[
            "operation",
            "instructions",
            "of that tracing",
            "type checks",
            "statistics",
            "together",
        ],
        counts,
    );
    if !times.is_empty() {
        text.heading("Time");
        text.paragraph(
            "The target is that the extras take 3 % of W1 at most. Separate runs on a shared machine are too coarse for that, so one \
             program has the store and a copy without the extras, in turns of a few milliseconds. The ratio is the rate with them, as \
             a part of the rate without.",
        );
        text.table(
            &[
                "entries",
                "W1 by",
                "with, ns",
                "without, ns",
                "ratio",
                "half of the turns within",
            ],
            times,
        );
    }
    if !from.is_empty() {
        text.paragraph(&format!("F{}.", &from[1..]));
    }
}

pub(super) fn runs(text: &mut Text<'_>) {
    let data = text.data;
    // Runs on the same machine stand below one line about it.
    let mut machines: Vec<(String, Vec<[String; 5]>)> = Vec::new();
    for run in &data.used {
        let machine = format!(
            "{}{}, {} cores, {:.0} GiB, Linux {}, {}, {}",
            run.machine,
            run.caches_in_short(),
            run.cores,
            run.memory_gib,
            run.kernel,
            run.compiler,
            run.optimisation
        );
        let quiet = match (run.busy_before, run.anyway) {
            (_, true) => "not waited for".to_owned(),
            (Some(busy), false) => format!("{busy} of the cores busy before"),
            (None, false) => format!("load {} at the start", run.load),
        };
        let row = [
            format!("`{}`", command(run)),
            run.commit.clone(),
            run.date.clone(),
            run.allocator.clone(),
            quiet,
        ];
        match machines.iter_mut().find(|(other, _)| *other == machine) {
            Some((_, rows)) => rows.push(row),
            None => machines.push((machine, vec![row])),
        }
    }
    for (machine, rows) in machines {
        text.heading(&machine);
        text.table(&["command", "commit", "date", "allocator", "quiet"], rows);
    }
    let mut wrong: Vec<String> = data.failures.iter().map(|failure| format!("- {failure}")).collect();
    wrong.sort();
    wrong.dedup();
    if !wrong.is_empty() {
        text.heading("Not measured, as the map gave a wrong answer or panicked");
        text.paragraph(&wrong.join("\n"));
    }
}
