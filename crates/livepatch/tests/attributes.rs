//! The attributes that an operator sees, as the kernel shows them: its scenarios, and their order in a stalled transition.

mod common;

use std::sync::Arc;

use common::notation::{off, on};
use common::session::Session;
use common::task::Task;
use livepatch::{ObjectPatch, ObjectStatus, Patch, PatchStatus, patchable, registry};

#[patchable]
fn cmdline() -> &'static str {
    "original"
}

fn livepatched() -> &'static str {
    "livepatched"
}

/// A patch of the program, and of a module without functions.
fn demo(session: &Session) -> Arc<Patch> {
    Patch::builder("P1")
        .object(session.log.object(ObjectPatch::program()))
        .object(session.log.object(ObjectPatch::module("m")))
        .build()
        .expect("a valid patch")
}

#[track_caller]
fn one(name: &str) -> PatchStatus {
    let status = registry().status();
    let found = status.patches.into_iter().find(|patch| patch.name == name);
    found.unwrap_or_else(|| panic!("{name} is enabled"))
}

fn patched(name: &str, object: &str) -> bool {
    let objects = one(name).objects;
    let found: Vec<&ObjectStatus> = objects.iter().filter(|one| one.name == object).collect();
    assert_eq!(found.len(), 1);
    found[0].patched
}

fn with(name: &str, replace: bool) -> Arc<Patch> {
    let program = ObjectPatch::program().function::<cmdline>(livepatched);
    let builder = Patch::builder(name).replace(replace).object(program);
    builder.build().expect("a valid patch")
}

#[test]
fn sysfs_test() {
    let session = Session::new();
    session.load(&with("L1", false));
    let status = one("L1");
    assert!(status.enabled && !status.transition && !status.forced && !status.replace);
    assert_eq!(status.stack_order, 1);
    assert_eq!(status.objects.len(), 1);
    assert_eq!(status.objects[0].functions.len(), 1);
    assert!(status.objects[0].functions[0].name.ends_with("cmdline"));
    assert!(patched("L1", livepatch::PROGRAM));
    session.unload("L1");
    session.expect("L1: EN T+ S+ C+ D+ T- S- C- D-");
    assert!(registry().status().patches.is_empty());
}

#[test]
fn sysfs_test_object_patched() {
    let session = Session::new();
    session.load(&demo(&session));
    assert!(!patched("P1", "m") && patched("P1", livepatch::PROGRAM));
    session.load_module("m", &[]);
    assert!(patched("P1", "m"));
    session.unload_module("m");
    assert!(!patched("P1", "m"));
    session.unload("P1");
    session.expect(format!(
        "{} P1: APPLY(m) pre(m COMING) post(m COMING) init(m) exit(m) preU(m GOING) REVERT(m) postU(m GOING) {}",
        on("P1", &["v"]),
        off("P1", &["v"])
    ));
}

#[test]
fn sysfs_test_replace_enabled() {
    let session = Session::new();
    session.load(&with("R", true));
    assert!(one("R").replace);
    session.unload("R");
    session.expect("R: EN T+ S+ C+ D+ T- S- C- D-");
}

#[test]
fn sysfs_test_replace_disabled() {
    let session = Session::new();
    session.load(&with("R", false));
    assert!(!one("R").replace);
    session.unload("R");
    session.expect("R: EN T+ S+ C+ D+ T- S- C- D-");
}

/// 5: patches above move up when one is removed.
#[test]
fn sysfs_test_stack_order_value() {
    let session = Session::new();
    let order = || -> Vec<(String, usize)> {
        let patches = registry().status().patches;
        patches
            .into_iter()
            .map(|patch| (patch.name, patch.stack_order))
            .collect()
    };
    let named = |names: &[&str]| -> Vec<(String, usize)> {
        (1..)
            .zip(names)
            .map(|(order, name)| ((*name).to_owned(), order))
            .collect()
    };
    for name in ["L1", "L2", "L3"] {
        session.load(&with(name, false));
    }
    assert_eq!(order(), named(&["L1", "L2", "L3"]));
    session.unload("L2");
    assert_eq!(order(), named(&["L1", "L3"]));
    session.unload("L1");
    assert_eq!(order(), named(&["L3"]));
    session.unload("L3");
    assert_eq!(order(), []);
}

/// `enabled` changes when a transition starts, `transition` at its start and end; the tasks show which of them hold it up.
#[test]
fn enabled_and_transition_of_a_stalled_patch() {
    let session = Session::new();
    let task = Task::new("stalled");
    task.enter();
    registry().enable(&with("L1", false)).expect("the patch is enabled");
    let status = registry().status();
    assert!(status.patches[0].enabled && status.patches[0].transition);
    let transition = status.transition.expect("a transition");
    assert_eq!(
        (transition.patch.as_str(), transition.direction),
        ("L1", livepatch::Direction::Patching)
    );
    let stalled: Vec<_> = status.tasks.iter().filter(|one| one.name == "stalled").collect();
    assert_eq!(stalled.len(), 1);
    assert_eq!(stalled[0].state, livepatch::TaskState::Unpatched);
    let inside = stalled[0].inside.as_ref().expect("it is in a unit");
    assert!(!inside.switched && inside.entered_at.contains("task.rs"), "{inside:?}");
    registry().disable("L1").expect("it is reversed");
    assert!(registry().status().patches.is_empty());

    // Forced in both directions: only the one away from the patch leaves units in its functions.
    let second = with("L2", false);
    registry().enable(&second).expect("the patch is enabled");
    registry().force("L2").expect("it is in transition");
    assert!(!one("L2").transition && !one("L2").forced);
    registry().disable("L2").expect("the patch is disabled");
    assert!(!one("L2").enabled && one("L2").transition);
    let tasks = registry().status().tasks;
    assert!(
        tasks
            .iter()
            .any(|one| one.name == "stalled" && one.state == livepatch::TaskState::Patched)
    );
    registry().force("L2").expect("it is in transition");
    assert!(registry().status().patches.is_empty() && second.is_forced());
    session.expect("L1: EN T+ S+ REV- S- C- D- L2: EN T+ S+ FORCE(1) C+ D+ T- S- FORCE(1) C- D-");
    task.leave();
}
