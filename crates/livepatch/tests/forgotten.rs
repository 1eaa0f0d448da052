//! A forgotten guard is a unit that never ends: it holds up every later transition of its process, so this test has a
//! separate one.

use std::mem;
use std::thread;

use livepatch::{Direction, ObjectPatch, Patch, TaskKind, patchable, registry, unit};

#[patchable]
fn first() -> u32 {
    0
}
#[patchable]
fn second() -> u32 {
    0
}

#[test]
fn a_forgotten_guard_holds_transitions_up_until_they_are_forced() {
    let one = Patch::builder("one")
        .object(ObjectPatch::program().function::<first>(|| 1).function::<second>(|| 1))
        .build()
        .unwrap();
    thread::Builder::new()
        .name("forgetful".to_owned())
        .spawn(|| {
            mem::forget(unit());
            assert_eq!(first(), 0);
        })
        .unwrap()
        .join()
        .unwrap();
    registry().enable(&one).unwrap();
    registry().poll().unwrap();
    let status = registry().status();
    let transition = status.transition.expect("the unit never ends");
    assert_eq!(transition.direction, Direction::Patching);
    let holders: Vec<_> = status
        .tasks
        .iter()
        .filter(|task| matches!(&task.inside, Some(inside) if !inside.switched))
        .map(|task| (task.name.as_str(), task.kind))
        .collect();
    assert_eq!(holders, [("forgetful", TaskKind::Thread)]);
    assert_eq!((first(), second()), (1, 1), "units that begin are of the new version");
    registry().force("one").unwrap();
    assert!(registry().status().transition.is_none());
    // The unit is on the side of the new version now, and holds up the next transition as well.
    registry().disable("one").unwrap();
    registry().poll().unwrap();
    assert!(registry().status().transition.is_some());
    assert!(!one.is_forced());
    registry().force("one").unwrap();
    assert!(registry().status().transition.is_none());
    assert!(one.is_forced(), "a unit may still be in its code");
    assert_eq!((first(), second()), (0, 0));
}
