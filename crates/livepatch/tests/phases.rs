//! All combinations of phases and events, each compared with the rules: every phase of a patch, with and without replace,
//! with a module absent or loaded; then a module that is loaded or unloaded, a failure, a reversal, a force, in every
//! order of two; and then every way to end.

mod common;

use common::driver::Driver;
use common::op::{Bad, Manner, Object, Op, Spec, StateKind, StateSpec};

/// The patch that is enabled before, and the one under test.
const BASE: u8 = 0;
const OWN: u8 = 1;
/// One more patch, which may be enabled in between.
const OTHER: u8 = 2;
/// The tasks: one that holds up transitions, and one that begins a unit in the middle.
const OLD: u8 = 0;
const NEW: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    None,
    Enabling,
    Enabled,
    Disabling,
    /// An enabling that is reversed.
    EnablingReversed,
    /// A disabling that is reversed.
    DisablingReversed,
}

const PHASES: [Phase; 6] = [
    Phase::None,
    Phase::Enabling,
    Phase::Enabled,
    Phase::Disabling,
    Phase::EnablingReversed,
    Phase::DisablingReversed,
];

fn state(version: u32, kind: StateKind) -> Option<StateSpec> {
    Some(StateSpec {
        version,
        kind,
        blocks: false,
    })
}

/// Returns the patch enabled before: it has two states with everything, one of which the other patch has too.
fn base() -> Spec {
    Spec {
        states: [state(1, StateKind::Both), state(1, StateKind::Both), None],
        ..Spec::full(BASE)
    }
}

fn own(replace: bool) -> Spec {
    Spec {
        replace,
        functions: [true, false, true, false, true],
        states: [state(2, StateKind::Both), None, state(1, StateKind::Both)],
        ..Spec::full(OWN)
    }
}

/// Brings a patch to a phase. In those of a transition, two tasks are inside: one on each side.
fn reach(driver: &mut Driver, phase: Phase, spec: Spec) {
    let patch = spec.name;
    let ops: &[Op] = match phase {
        Phase::None => &[],
        Phase::Enabling => &[Op::Enter(OLD), Op::Enable(spec), Op::Enter(NEW)],
        Phase::Enabled => &[Op::Enable(spec)],
        Phase::Disabling => &[Op::Enable(spec), Op::Enter(OLD), Op::Disable(patch), Op::Enter(NEW)],
        Phase::EnablingReversed => &[Op::Enter(OLD), Op::Enable(spec), Op::Enter(NEW), Op::Disable(patch)],
        Phase::DisablingReversed => &[
            Op::Enable(spec),
            Op::Enter(OLD),
            Op::Disable(patch),
            Op::Enter(NEW),
            Op::Reverse(patch),
        ],
    };
    ops.iter().for_each(|op| driver.step(*op));
    let runs = !matches!(phase, Phase::None | Phase::Enabled);
    assert_eq!(driver.rules().is_in_transition(), runs, "{phase:?} of {spec:?}");
}

/// Returns the events that can happen in a phase.
fn happenings() -> Vec<Vec<Op>> {
    let failing = |manner| {
        Op::Enable(Spec {
            manner,
            ..Spec::full(OTHER)
        })
    };
    let bad = |bad| {
        Op::Enable(Spec {
            bad: Some(bad),
            ..Spec::full(OTHER)
        })
    };
    vec![
        vec![Op::Coming(Object::M)],
        vec![Op::Coming(Object::M), Op::Live(Object::M)],
        vec![Op::Going(Object::M)],
        vec![Op::Going(Object::M), Op::Coming(Object::M)],
        vec![Op::Enable(Spec::full(OTHER))],
        vec![Op::Enable(Spec {
            replace: true,
            ..Spec::full(OTHER)
        })],
        vec![failing(Manner::Refuses(1)), failing(Manner::Panics(0))],
        vec![failing(Manner::Meddles)],
        vec![bad(Bad::UnknownPoint), bad(Bad::Signature)],
        vec![Op::Again(OWN), Op::Enable(own(false))],
        vec![Op::Disable(BASE)],
        vec![Op::Disable(OWN)],
        vec![Op::Reverse(OWN)],
        vec![Op::Reverse(OWN), Op::Reverse(OWN)],
        vec![Op::Force(OWN)],
        vec![Op::Leave(OLD)],
        vec![Op::Leave(NEW)],
        vec![Op::Enter(2), Op::Attach(0), Op::Attach(3)],
    ]
}

/// Runs for each phase of the patch: with or without an earlier one, replacing it or not, the module loaded or not.
fn in_each_phase(mut then: impl FnMut(&mut dyn FnMut() -> Driver)) {
    for phase in PHASES {
        for replace in [false, true] {
            for before in [false, true] {
                for module in [false, true] {
                    then(&mut || {
                        let mut driver = Driver::new();
                        if module {
                            driver.step(Op::Coming(Object::M));
                            driver.step(Op::Live(Object::M));
                        }
                        if before {
                            driver.step(Op::Enable(base()));
                        }
                        (0..4).for_each(|shadow| driver.step(Op::Attach(shadow)));
                        reach(&mut driver, phase, own(replace));
                        driver
                    });
                }
            }
        }
    }
}

#[test]
fn two_things_in_every_phase() {
    let happenings = happenings();
    let mut sequences = 0;
    in_each_phase(|arrive| {
        for first in &happenings {
            for second in &happenings {
                let mut driver = arrive();
                first.iter().chain(second).for_each(|op| driver.step(*op));
                driver.finish();
                sequences += 1;
            }
        }
    });
    assert_eq!(sequences, 6 * 8 * 18 * 18);
}

/// Every owner's `pre_patch` fails, or panics, with and without replace: exactly the earlier steps are undone.
#[test]
fn failures_of_every_pre_patch() {
    for failing in [Manner::Refuses, Manner::Panics] {
        for replace in [false, true] {
            for before in [false, true] {
                for modules in [&[][..], &[Object::M], &[Object::N], &[Object::M, Object::N]] {
                    for backwards in [false, true] {
                        // Two states and three objects.
                        for owner in 0..5 {
                            let mut driver = Driver::new();
                            modules.iter().for_each(|&module| driver.step(Op::Coming(module)));
                            if before {
                                driver.step(Op::Enable(base()));
                            }
                            driver.step(Op::Attach(2));
                            let spec = Spec {
                                manner: failing(owner),
                                backwards,
                                ..own(replace)
                            };
                            driver.step(Op::Enable(spec));
                            for object in [Object::M, Object::N] {
                                driver.step(Op::Coming(object));
                            }
                            driver.finish();
                        }
                    }
                }
            }
        }
    }
}

/// A module is loaded with several patches, each of which may be the one that cannot be applied, in every phase of the last.
#[test]
fn modules_that_are_refused() {
    let patch = |name, manner, bad| Spec {
        manner,
        bad,
        backwards: bad.is_some(), // Then the module is its first object.
        objects: [true, true, false],
        ..Spec::full(name)
    };
    let wrongs = [
        // Without states, the module is the second owner.
        (Manner::Refuses(1), None),
        (Manner::Panics(1), None),
        (Manner::Calm, Some(Bad::UnknownPoint)),
        (Manner::Calm, Some(Bad::Signature)),
    ];
    for phase in PHASES {
        for replace in [false, true] {
            for (manner, bad) in wrongs {
                for wrong in [BASE, OWN, OTHER] {
                    let spec = |name, replace| {
                        let (manner, bad) = if name == wrong {
                            (manner, bad)
                        } else {
                            (Manner::Calm, None)
                        };
                        Spec {
                            replace,
                            ..patch(name, manner, bad)
                        }
                    };
                    let mut driver = Driver::new();
                    driver.step(Op::Enable(spec(BASE, false)));
                    driver.step(Op::Enable(spec(OTHER, false)));
                    reach(&mut driver, phase, spec(OWN, replace));
                    for _ in 0..2 {
                        driver.step(Op::Coming(Object::M));
                        driver.step(Op::Going(Object::M));
                    }
                    driver.finish();
                }
            }
        }
    }
}

/// Callbacks that panic, or try to change patches, wherever they are called.
#[test]
fn unruly_callbacks_in_every_phase() {
    for manner in [Manner::Trembles, Manner::Meddles] {
        for phase in PHASES {
            for replace in [false, true] {
                for end in [Op::Leave(OLD), Op::Disable(OWN), Op::Reverse(OWN), Op::Force(OWN)] {
                    let mut driver = Driver::new();
                    driver.step(Op::Coming(Object::M));
                    driver.step(Op::Enable(Spec { manner, ..base() }));
                    reach(&mut driver, phase, Spec { manner, ..own(replace) });
                    driver.step(Op::Going(Object::M));
                    driver.step(Op::Coming(Object::M));
                    driver.step(end);
                    driver.finish();
                }
            }
        }
    }
}

/// Versions, kinds and replace: which states are compatible.
#[test]
fn every_pair_of_states() {
    let kinds = [StateKind::Note, StateKind::Told, StateKind::Owns, StateKind::Both];
    let mut all = vec![None];
    for kind in kinds {
        for version in 1..=3 {
            for blocks in [false, true] {
                all.push(Some(StateSpec { version, kind, blocks }));
            }
        }
    }
    let spec = |name, replace, state| Spec {
        replace,
        states: [state, None, None],
        ..Spec::full(name)
    };
    for &old in &all {
        for &new in &all {
            for replace in [false, true] {
                let mut driver = Driver::new();
                driver.step(Op::Enable(spec(BASE, false, old)));
                driver.step(Op::Attach(0));
                driver.step(Op::Enable(spec(OWN, replace, new)));
                driver.step(Op::Attach(3));
                driver.step(Op::Disable(BASE));
                driver.step(Op::Disable(OWN));
                driver.finish();
            }
        }
    }
}
