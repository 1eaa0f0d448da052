//! The targets about life cycles: the most frequent operations in the life of a shadow variable, and what happens to its memory
//! afterwards. The peers store their values in place, as in most programs, unless stated otherwise.

use crate::class::Class;
use crate::gate::targets::{K1, K64, List, M1, M4, M8, NAMED, at, named};
use crate::memory;
use crate::peers::{BY_ID, Peers};
use crate::record::Cell;
use crate::workloads::Workload;

pub(super) fn add(list: &mut List) {
    cycles(list);
    single_operations(list);
    memory_and_growth(list);
    small_stores(list);
    freed_values(list);
}

fn cycles(list: &mut List) {
    use Workload::{L4, W4, W4N, W5, W12};
    for entries in [K1, K64] {
        for (threads, in_place, boxed) in [(1, 1.0, 1.2), (2, 1.1, 1.5)] {
            let point = at(W4, entries, threads);
            list.best_of(point, Peers::InPlace, in_place);
            list.best_of(point, Peers::Boxed, boxed);
        }
    }
    for threads in [1, 2] {
        list.best_of(at(W4N, K64, threads), Peers::InPlace, 1.0);
    }
    for (workload, entries) in [(W4, K1), (W4, K64), (W4N, K64)] {
        for threads in [1, 2] {
            let point = at(workload, entries, threads);
            let clocked = |cell: &Cell| (cell.p999_ns > 0).then_some(cell.p999_ns as f64);
            list.at_most(point, "p99.9", clocked, 1500.0, " ns");
            list.p999(point, 2.0);
        }
    }
    let of_longest = |cell: &Cell| cell.extra.get("longest_over_pause").copied();
    list.at_most(
        at(L4, K64, 1),
        "longest free or alloc",
        of_longest,
        3.0,
        "x the longest pause",
    );
    // For the other class, the original targets with one thread are higher.
    for (threads, at_least) in [(1, 1.1), (2, 1.5), (8, 1.7)] {
        list.best_of(at(W5, K64, threads), Peers::InPlace, at_least);
        list.last().class = Some(Class::SmallCache);
    }
    let hot = at(W12, K64, 3);
    list.best_of(hot, Peers::InPlace, 1.0);
    list.p999(hot, 2.0);
}

fn single_operations(list: &mut List) {
    use Workload::{G64, W1, W2};
    for threads in [1, 2] {
        let point = at(G64, K64, threads);
        let name = named(point, ">= 1.2x papaya, by Variable");
        list.add(name, [point], move |results| results.against(point, NAMED, 1.2));
        let name = named(point, ">= 1.2x papaya, by id");
        list.add(name, [point], move |results| {
            results.one_against(BY_ID, point, NAMED, 1.2)
        });
        for entries in [K64, M1] {
            list.best_of(at(W2, entries, threads), Peers::All, 1.0);
        }
    }
    list.best_of(at(W1, K64, 1), Peers::InPlace, 1.2);
}

fn memory_and_growth(list: &mut List) {
    let growth = at(Workload::W6, M8, 1);
    list.best_of(growth, Peers::InPlace, 1.0);
    let name = named(growth, "worst insert <= 2000 us or 3x the longest pause");
    list.add(name, [growth], move |results| {
        let clocked = |cell: &Cell| (cell.max_ns > 0).then_some(cell.max_ns as f64);
        results.at_most_or_times(growth, clocked, 2e6, (3.0, "longest_pause_ns"), " ns")
    });
    list.add("W8, 32 sizes: <= 42 bytes an entry".to_owned(), [], |results| {
        results.memory_curve_at_most(42.0)
    });
    list.last().needs.memory.extend(memory::curve());
    list.add("W8, 32 sizes: below every peer".to_owned(), [], |results| {
        results.memory_curve_below_peers()
    });
    list.last().needs.memory.extend(memory::curve());
}

fn small_stores(list: &mut List) {
    let alone = at(Workload::W13, 10_000, 1);
    let extra = |name: &'static str| move |cell: &Cell| cell.extra.get(name).copied();
    let both = |cell: &Cell| Some(cell.extra.get("empty_make_ns")? + cell.extra.get("empty_drop_ns")?);
    list.at_most(alone, "new and drop of an empty store", both, 3000.0, " ns");
    list.at_most(alone, "an empty store", extra("empty_bytes"), 1024.0, " bytes");
    list.at_most(
        alone,
        "a store of one variable",
        extra("of_one_bytes"),
        2048.0,
        " bytes",
    );
    for point in [alone, at(Workload::W13, 12_000, 12)] {
        list.at_most(
            point,
            "each store of many, empty",
            extra("bytes_each_empty"),
            1024.0,
            " bytes",
        );
    }
}

fn freed_values(list: &mut List) {
    use Workload::{W14, W14F, W15idle, W15large};
    for workload in [W14, W14F] {
        list.best_of(at(workload, M4, 1), Peers::InPlace, 1.0);
    }
    let waiting = |cell: &Cell| Some(cell.entries as f64 - cell.extra.get("dropped_at_once_of_reads")?);
    list.at_most(at(W15idle, 2000, 1), "values that wait", waiting, 48.0, "");
    let peak = |cell: &Cell| cell.extra.get("peak_resident_mib").copied();
    list.at_most(at(W15large, 3000, 1), "peak", peak, 64.0, " MiB");
}

impl List {
    /// Adds a target: the p99.9 of our store is at most `at_most` times the least of the peers'.
    fn p999(&mut self, point: crate::engine::Point, at_most: f64) {
        let name = named(point, &format!("p99.9 <= {at_most}x the best peer's"));
        self.add(name, [point], move |results| {
            results.p999_against_best(point, Peers::InPlace, at_most)
        });
    }
}
