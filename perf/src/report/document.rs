//! The marked parts of a document.

use std::collections::BTreeMap;

/// What is written below everything if a document has no marks yet.
const HEADING: &str = "## The peer study\n\nHow it was measured, and where it is unfair: \
                       [perf/METHODOLOGY.md](perf/METHODOLOGY.md).\n";

/// Puts each part between its marks. A document without any mark gets all of them at its end.
pub(crate) fn fill(document: &str, parts: &BTreeMap<&'static str, String>) -> Result<String, String> {
    let mut text = document.to_owned();
    if !text.contains("<!-- perf:") {
        if !text.is_empty() {
            text = format!("{}\n\n", text.trim_end());
        }
        text.push_str(HEADING);
        for name in ORDER {
            text.push_str(&format!("\n{}\n{}\n", opening(name), closing(name)));
        }
    }
    for (name, part) in parts {
        let Some(start) = text.find(&opening(name)) else {
            continue;
        };
        let start = start + opening(name).len();
        let Some(length) = text[start..].find(&closing(name)) else {
            return Err(format!("{} has no {}", opening(name), closing(name)));
        };
        text.replace_range(start..start + length, &format!("\n{}\n", part.trim_end()));
    }
    Ok(text)
}

/// The parts there are, in the order in which a new document has them.
pub(crate) const ORDER: [&str; 17] = [
    "classes",
    "summary",
    "allocators",
    "targets",
    "instructions",
    "reads",
    "changes",
    "latency",
    "scale",
    "growth",
    "memory",
    "ids",
    "stall",
    "freed",
    "calls",
    "limits",
    "runs",
];

fn opening(name: &str) -> String {
    format!("<!-- perf:{name} -->")
}

fn closing(name: &str) -> String {
    format!("<!-- /perf:{name} -->")
}
