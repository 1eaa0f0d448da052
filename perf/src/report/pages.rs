//! The pages, one for each question.

use std::collections::BTreeMap;

use crate::report::data::Data;
use crate::report::text::Text;
use crate::report::{bulk, machine, rates, targets, waits};

/// A page of `perf/results`.
pub(crate) struct Page {
    /// The name of its file, without `.md`.
    pub(crate) name: &'static str,
    /// Its title, a question.
    pub(crate) title: &'static str,
    write: fn(&mut Text<'_>),
}

/// All pages, in the order in which they are listed.
pub(crate) const ALL: [Page; 19] = [
    page("get", "How fast is a look-up?", rates::get),
    page("miss", "How fast is a look-up of an absent key?", rates::miss),
    page("mixed", "How fast are look-ups among changes?", rates::mixed),
    page("life-cycle", "How fast do objects come and go?", rates::life_cycle),
    page(
        "threads",
        "What if there are more threads than cores?",
        rates::more_threads,
    ),
    page("latency", "How long does one operation take?", waits::latency),
    page("growth", "How does it grow and shrink?", bulk::growth),
    page("bulk-free", "How fast are many entries freed at once?", bulk::bulk_free),
    page("memory", "How much memory does it take?", bulk::memory),
    page("many-ids", "What do many ids on one parent cost?", bulk::many_ids),
    page("small-stores", "What do small stores cost?", bulk::small_stores),
    page(
        "stalled-reader",
        "What does a stalled reader cost?",
        waits::stalled_reader,
    ),
    page("dropping", "When are freed values dropped?", waits::dropping),
    page("allocators", "Do the id and the allocator matter?", rates::allocators),
    page(
        "instructions",
        "How many instructions does an operation take?",
        machine::instructions,
    ),
    page("calls", "What do other calls cost?", machine::calls),
    page("limits", "What can the machine do?", machine::limits),
    page("targets", "Which targets are met?", targets::targets),
    page("runs", "What was run, and on which machine?", machine::runs),
];

const fn page(name: &'static str, title: &'static str, write: fn(&mut Text<'_>)) -> Page {
    Page { name, title, write }
}

impl Page {
    /// Writes the page. `index` is the way to the page that lists this one.
    pub(crate) fn text(
        &self,
        data: &Data,
        charts: &BTreeMap<&'static str, String>,
        counts: Option<&str>,
        index: &str,
    ) -> String {
        let mut text = Text::new(data, charts, counts);
        (self.write)(&mut text);
        format!(
            "<!-- Written by `perf report` from the records: changes by hand are lost. -->\n\n# {}\n\n[Benchmarks]({index}) on machines \
             with {}. [What the workloads and the maps are](../../METHODOLOGY.md).\n{}",
            self.title,
            data.class,
            text.finish()
        )
    }
}
