//! Breaks each rule in a copy of the files, and requires that the violation is found; and that code which breaks none passes.

use crate::check::PAGE;
use crate::facts;
use crate::packages::MAX_LINES;
use crate::repository::{self, Cache, check_all};
use crate::tree::Tree;

/// A change of the copy.
enum Plant {
    /// Appends lines to a file, or creates it.
    Add(&'static str, &'static str),
    /// Replaces a text in ARCHITECTURE.md.
    Page(&'static str, &'static str),
    /// Creates a file that is too long.
    Long(&'static str),
}

use Plant::{Add, Long, Page};

/// The rule whose violation must be found (none if empty), the file in which it must be found, and the changes.
type Case = (&'static str, &'static str, &'static [Plant]);

macro_rules! core {
    ($file:literal) => {
        concat!("crates/shadow-vars/src/", $file)
    };
}
macro_rules! patches {
    ($file:literal) => {
        concat!("crates/livepatch/src/", $file)
    };
}

/// Each case changes the file in which the violation must be found.
macro_rules! cases {
    ($($rule:literal $file:expr, $text:literal;)*) => {
        &[$(($rule, $file, &[Add($file, $text)])),*]
    };
}

const SOURCES: &[Case] = cases! {
    // Atomics and models.
    "use" core!("store.rs"), "use std::{fmt, sync::{Arc, atomic::{AtomicUsize as N, Ordering}}};";
    "use" core!("ctor.rs"), "use std::sync; fn f() { sync::atomic::fence(O); }";
    "use" core!("object.rs"), "fn f() { sync::atomic::fence(O); }";
    "use" core!("wait.rs"), "fn f() { loom::thread::yield_now() }";
    "use" core!("reclaim/epoch.rs"), "use ::core::sync::atomic;";
    "glob" core!("stats.rs"), "use std::sync::*;";
    "use" core!("reclaim/pace.rs"), "#[cfg(test)] mod unit { use std::sync::atomic::AtomicU64; }";
    "use" patches!("task/world.rs"), "use std::sync::atomic::AtomicUsize;";
    // Modules of the crate, in all ways in which they can be named.
    "use" core!("table/find.rs"), "use crate::{iter::Iter, typed::Typed, variable::Variable, wait};";
    "use" core!("table/find.rs"), "use crate::{key, error::StoreError};";
    "use" core!("table/find.rs"), "use super::{node, insert::claim};";
    "use" core!("table/mod.rs"), "use super::reclaim::epoch::Epoch;";
    "use" core!("reclaim/list.rs"), "use crate::table::node::Node;";
    "use" core!("reclaim/pace.rs"), "fn f(_: &crate::registry::Registry) {}";
    "use" core!("table/node.rs"), "use crate::ShadowStore;";
    "use" core!("table/word.rs"), "#[cfg(test)] mod unit { use crate::reclaim::asymmetric::Asymmetric; }";
    "use" core!("table/word.rs"), "mod inner { use super::super::super::store as other; fn f() { other::global() } }";
    "use" core!("table/sweep.rs"), "use crate::stats::Stats;";
    "use" core!("table/hash.rs"), "fn f() { assert!(crate::table::sweep::all()) }";
    "use" core!("table/hash.rs"), "macro_rules! m { () => { $crate::store::global() } }";
    "use" core!("mem.rs"), "fn f() -> Vec<<crate::table::Core as X>::Y> {}";
    "use" core!("table/migrate.rs"), "use crate::table; fn f() { table::sweep::all() }";
    "glob" core!("table/probe.rs"), "use super::*;";
    "use" patches!("task/record.rs"), "use crate::{point::RawPoint, sync::stat};";
    "use" patches!("point.rs"), "fn f() { crate::registry::registry() }";
    "use" patches!("patch/object.rs"), "use crate::registry::Registry;";
    "use" patches!("registry/enable.rs"), "use crate::library::loaded::open;";
    "use" patches!("task/waiter.rs"), "use crate::{Patch, error};";
    // Methods.
    "use" core!("table/probe.rs"),
        "impl<R: Reclaim> Core<R> { fn bad(&self, s: Shield<'_>) { let _ = self.help(s); self.shrink_if_empty(self.root(s)); } }";
    "use" core!("table/find.rs"),
        "fn f<R: Fn() -> u8>(core: &Core<R>, s: Shield<'_>) { let _ = core.successor(core.root(s)); }";
    "use" core!("table/word.rs"), "impl<R> Drop for Seen<R> { fn drop(&mut self) { self.core.help(self.shield); } }";
    "use" core!("table/group.rs"), "fn f<R>(c: &Core<R>, s: Shield<'_>) { c.larger_successor(c.root(s)); }";
    "use" core!("table/array.rs"), "use super::Core; fn f<R>(c: &Core<R>, s: Shield<'_>) { Core::help(c, s); }";
    "use" core!("table/find.rs"), "fn f<R>(c: &Core<R>) { debug_assert!(c.larger_successor(c.root(s)).is_some()); }";
    "use" core!("table/insert.rs"), "impl<R: Reclaim> Core<R> { fn bad(&self) { self.alloc_constructed(1) } }";
    "use" patches!("registry/states.rs"), "impl Registry { fn f(&self) { let _ = self.wait_unloaded(\"p\", LONG); } }";
    // Other crates.
    "use" core!("reclaim/mod.rs"), "use crossbeam_epoch as epoch;";
    "use" core!("reclaim/epoch.rs"), "fn f(g: &::seize::Guard) {}";
    "use" core!("stats.rs"), "use surprise::Thing;";
    "use" core!("key.rs"), "#[derive(serde::Serialize)] struct S;";
    "use" patches!("registry/mod.rs"), "use libloading::Library;";
    "use" patches!("registry/worker.rs"),
        "use std::panic::{self, Location}; fn f() { let _ = panic::catch_unwind(g); }";
    "use" patches!("library/loaded.rs"), "fn f() { let _ = ::std::panic::catch_unwind(g); }";
    "use" patches!("patch/state.rs"), "use parking_lot::Mutex;";
    // Packages.
    "package" "crates/access-point/src/x.rs", "#[path = \"../../shadow-vars/src/table/mod.rs\"] mod table;";
    "package" "crates/shadow-vars/tests/x.rs", "#[path = \"../../../fuzz/src/ops.rs\"] mod ops;";
    "package" "crates/shadow-vars/tests/x.rs", "use perf::trace;";
    "package" "crates/shadow-vars/Cargo.toml", "shadow-benches = { path = \"../../benches\" }";
    "package" "crates/livepatch/Cargo.toml", "perf.workspace = true";
    // The list.
    "unlisted" core!("table/unheard.rs"), "use super::word::Word;";
    "syntax" core!("mem.rs"), "fn f( {";
    // Allowed.
    "" patches!("task/unit.rs"), "use std::panic::Location; use crate::task::record;";
    "" patches!("registry/worker.rs"), "use crate::task::waiter; use crate::callout;";
    "" core!("sync.rs"), "pub(crate) use std::sync::atomic::AtomicUsize; use loom::thread;";
    "" core!("tests/loom_find.rs"), "use loom::thread; use crate::store::ShadowStore; use std::sync::atomic::fence;";
    "" core!("table/insert.rs"), "use super::{find::Scan, migrate, word::{self, Word}}; use crate::sync::AtomicU64;";
    "" core!("table/word.rs"),
        "/* use super::insert; /* */ loom::x */ fn f<'a>(_: &'a str) { g(\"use loom::x; /*\", '\"', r#\"crate::store::\"#) } // crate::store::x";
    "" core!("lib.rs"), "pub use reclaim::Seize;";
    "" core!("reclaim/mod.rs"), "pub use self::seize::Seize;";
    "" core!("table/remove.rs"),
        "impl<R: Reclaim> Core<R> { fn remove(&self, s: Shield<'_>) { self.help(s); [1].iter().find(|_| true); } }";
    "" core!("table/remove.rs"), "mod inner { use super::super::find::Scan; fn f() -> impl Sized + use<> {} }";
    "" core!("table/hash.rs"), "mod unit { use super::*; fn f() { super::super::hash::home() } }";
};

const LISTS: &[Case] = &[
    ("length", core!("docs/long.rs"), &[Long(core!("docs/long.rs"))]),
    ("length", "fuzz/src/long.rs", &[Long("fuzz/src/long.rs")]),
    ("unused", PAGE, &[Page("\nmapping:", "\nmapping: error,")]),
    ("unused", PAGE, &[Page("\nmapping:", "\nmapping: tracing,")]),
    ("unused", PAGE, &[Page("\nmapping:", "\nmapping: std::mem,")]),
    ("unknown", PAGE, &[Page("\nmapping:", "\nmapping: unheard,")]),
    ("unknown", PAGE, &[Page("\nmapping:", "\nunheard: sync\nmapping:")]),
    ("unknown", PAGE, &[Page("\n```layers perf\n", "\n```layers unheard\n")]),
    (
        "unlisted",
        "perf/Cargo.toml",
        &[Page("\n```layers perf\n", "\n```text\n")],
    ),
    (
        "unlisted",
        "crates/unheard/Cargo.toml",
        &[
            Add("crates/unheard/Cargo.toml", "[package]"),
            Add("crates/unheard/src/lib.rs", ""),
            Add("crates/unheard/src/a.rs", ""),
        ],
    ),
    ("unlisted", core!("mapping.rs"), &[Page("\nmapping:", "\n# mapping:")]),
    ("syntax", PAGE, &[Page("\nmapping:", "\nmapping")]),
    // Allowed as uses, but they close a circle; and a known circle that no longer exists.
    (
        "circle",
        core!("mem.rs"),
        &[
            Page("\nmem:", "\nmem: shard"),
            Add(core!("mem.rs"), "use crate::shard::Shard;"),
        ],
    ),
    (
        "circle",
        core!("error.rs"),
        &[
            Page("\nkey:", "\nkey: error,"),
            Add(core!("key.rs"), "use crate::error::StoreError;"),
        ],
    ),
    (
        "circle",
        PAGE,
        &[Page(
            "\ncircle:",
            "\ncircle: mapping, mem\nbecause: of nothing\ncircle:",
        )],
    ),
    ("circle", PAGE, &[Page("\nbecause:", "\n# because:")]),
    // Allowed as uses, but of a module that stands below.
    (
        "order",
        core!("mapping.rs"),
        &[
            Page("\nmapping:", "\nmapping: stats,"),
            Add(core!("mapping.rs"), "use crate::stats::Stats;"),
        ],
    ),
    (
        "",
        core!("stats.rs"),
        &[
            Page("\nstats:", "\nstats: mapping,"),
            Add(core!("stats.rs"), "use crate::mapping;"),
        ],
    ),
];

/// Names that do not exist. A case that expects no violation must have none, or it would pass whatever it names.
const UNKNOWN: &[(&str, &str)] = &[
    (core!("table/insert.rs"), "use super::unheard;"),
    (core!("table/insert.rs"), "use super::find::{Scan, Unheard};"),
    (core!("table/insert.rs"), "fn f() { crate::table::find::unheard() }"),
    (core!("table/insert.rs"), "use unheard::Thing;"),
    (core!("table/insert.rs"), "mod inner { use super::super::unheard; }"),
    (core!("tests/unheard.rs"), "use crate::store::Unheard;"),
    (
        core!("table/remove.rs"),
        "impl<R: Reclaim> Core<R> { fn f(&self) { self.unheard(); } }",
    ),
];

impl Plant {
    fn apply(&self, tree: &mut Tree) -> Result<(), String> {
        let (file, text) = match self {
            Add(file, text) => (
                *file,
                format!("{}\n{text}\n", tree.0.get(*file).map_or("", |text| text)),
            ),
            Long(file) => (*file, "//\n".repeat(MAX_LINES + 1)),
            Page(from, to) => {
                let page = &tree.0[PAGE];
                if !page.contains(*from) {
                    return Err(format!("{PAGE} has no {from:?}"));
                }
                (PAGE, page.replacen(from, to, 1))
            }
        };
        tree.0.insert(file.to_owned(), text.into());
        Ok(())
    }
}

/// Returns those names in the source that do not exist, if it is added to a file of a crate.
fn unknown_names(tree: &Tree, file: &str, text: &str) -> Result<Vec<String>, String> {
    let (folder, _) = file.split_once("/src/").ok_or("not a file of a crate")?;
    let krate = repository::load(tree, folder)?;
    let facts = facts::read(text).map_err(|(line, message)| format!("{line}: {message}"))?;
    Ok(krate.unknown_names(file, &facts))
}

/// Checks that each of a case's names exists.
fn names_exist(tree: &Tree, plants: &[Plant]) -> Result<(), String> {
    for plant in plants {
        if let Add(file, text) = plant {
            let unknown = unknown_names(tree, file, text)?;
            if !unknown.is_empty() {
                return Err(format!("there is no {}", unknown.join(", ")));
            }
        }
    }
    Ok(())
}

/// Runs all cases, prints those that fail, and returns whether all pass.
pub(crate) fn run(tree: &Tree) -> bool {
    let mut cache = Cache::default();
    let (mut cases, mut failed) = (0, 0);
    let before = check_all(tree, &mut cache).findings;
    for (rule, file, plants) in SOURCES.iter().chain(LISTS) {
        cases += 1;
        let mut copy = tree.clone();
        let mut applied = plants.iter().try_for_each(|plant| plant.apply(&mut copy));
        if rule.is_empty() {
            applied = applied.and_then(|()| names_exist(&copy, plants));
        }
        let found = check_all(&copy, &mut cache).findings;
        let there: Vec<_> = found.iter().filter(|finding| finding.file == *file).collect();
        let good = if rule.is_empty() {
            there.is_empty()
        } else {
            there.iter().any(|finding| finding.rule == *rule)
                && !before
                    .iter()
                    .any(|finding| finding.file == *file && finding.rule == *rule)
        };
        if let (true, Ok(())) = (good, &applied) {
            continue;
        }
        failed += 1;
        let planted = plants.iter().map(|plant| match plant {
            Add(_, text) | Page(_, text) => *text,
            Long(_) => "a long file",
        });
        println!(
            "self-test: in {file}, not {rule:?} after {:?}: {applied:?}",
            planted.collect::<Vec<_>>()
        );
        there.iter().for_each(|finding| println!("  {finding}"));
    }
    for (file, text) in UNKNOWN {
        cases += 1;
        let mut copy = tree.clone();
        let found = Add(file, text).apply(&mut copy);
        let found = found.and_then(|()| unknown_names(&copy, file, text));
        if found.as_ref().map_or(true, Vec::is_empty) {
            failed += 1;
            println!("self-test: in {file}, no unknown name in {text:?}: {found:?}");
        }
    }
    println!("arch: self-test: {cases} cases, {failed} failed");
    failed == 0
}
