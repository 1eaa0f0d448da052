//! The pages about time and about what waits: latencies, stalled readers, and when values are dropped.

use crate::report::text::{self, Text, extra, mib, point, quantiles, rates};
use crate::workloads::Workload;

pub(super) fn latency(text: &mut Text<'_>) {
    text.paragraph(
        "Times of single operations, in nanoseconds unless a unit is given: one in eight is clocked, between fences that keep \
         operations from overlapping. Maxima are mostly the machine's.",
    );
    for workload in [Workload::W1, Workload::W3, Workload::W4, Workload::W4N, Workload::W5] {
        let least = if matches!(workload, Workload::W4 | Workload::W4N) {
            1 << 10
        } else {
            1 << 16
        };
        let data = text.data;
        for at in data.of_workload(workload.name()) {
            let is_clocked = at.1.values().flatten().any(|cell| cell.p50_ns > 0);
            if at.0.threads <= 2 && (least..=1 << 20).contains(&at.0.entries) && is_clocked {
                text.heading(&format!("{workload}, {}: one {}", point(at.0), workload.step()));
                text.by_figure(at, &quantiles());
            }
        }
        if workload == Workload::W3 {
            text.chart("latency-w3.svg", "latencies of W3");
        }
    }
}

pub(super) fn stalled_reader(text: &mut Text<'_>) {
    for at in text.data.of_workload(Workload::W10.name()) {
        text.heading(&format!("W10, {}: {}", point(at.0), Workload::W10.about()));
        text.paragraph("A reader holds what it found. Maps whose writers would wait for it are not in this workload.");
        text.by_figure(
            at,
            &[
                extra("Mop/s before", "mops_without_stall"),
                ("meanwhile", rates().1),
                extra("after", "mops_after_stall"),
                extra("bytes held, per operation", "bytes_held_per_op"),
                mib("MiB held", "bytes_held_by_stall"),
                mib("MiB left after", "bytes_left_after_stall"),
            ],
        );
    }
    for at in text.data.of_workload(Workload::W15stall.name()) {
        text.heading(&format!("W15stall, {}: {}", point(at.0), Workload::W15stall.about()));
        text.by_figure(
            at,
            &[
                rates(),
                mib("MiB held", "bytes_held"),
                extra("bytes per replacement", "bytes_held_per_op"),
                extra("after, s", "ended_at_s"),
                mib("MiB left when it has gone", "bytes_left_after"),
            ],
        );
    }
    text.chart("stall.svg", "bytes that wait for a stalled reader, over time");
}

pub(super) fn dropping(text: &mut Text<'_>) {
    text.paragraph(
        "Readers without locks have a price: a value that has been freed is dropped when no reader can hold it any more. Maps behind \
         locks drop at once.",
    );
    for at in text.data.of_workload(Workload::W15idle.name()) {
        text.heading(&format!("W15idle, {}: how many values have been dropped", point(at.0)));
        text.paragraph(
            "Values with destructors are freed; then there are only reads, or nothing at all (*idle*). Counts of values.",
        );
        text.by_figure(
            at,
            &[
                extra("at once", "dropped_at_once_of_reads"),
                extra("in 10 ms", "dropped_10ms_of_reads"),
                extra("in 100 ms", "dropped_100ms_of_reads"),
                extra("not at all", "never_dropped_in_reads"),
                extra("idle: in 100 ms", "dropped_100ms_of_nothing"),
                extra("idle: not at all", "never_dropped_in_nothing"),
            ],
        );
    }
    for at in text.data.of_workload(Workload::W15large.name()) {
        text.heading(&format!("W15large, {}: {}", point(at.0), Workload::W15large.about()));
        text.by_figure(
            at,
            &[
                text::rates(),
                extra("peak, MiB resident", "peak_resident_mib"),
                extra("MiB of values", "peak_values_mib"),
                extra("values at the end", "alive_at_the_end"),
            ],
        );
    }
}
