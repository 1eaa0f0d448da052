//! The committed seeds: small programs, each for one property, which its name states.
//!
//! They are written here as operations on named stores. The bytes are generated from this, and a test reads them back.

use crate::life::op as life;
use crate::op::{Ctor, Dtor, Key, Op, RawCtorKind, Shape, Slot, Via};
use crate::rounds::{Manner, Round, Step, Verb};
use crate::{Backend, Choice, LifeCycle, Sequence, Threads};

/// A seed of a target.
pub struct Seed<T> {
    pub name: &'static str,
    pub input: T,
}

fn seed<T>(name: &'static str, input: T) -> Seed<T> {
    Seed { name, input }
}

/// Returns the seeds of the target `ops`.
pub fn of_ops() -> Vec<Seed<Sequence>> {
    let seeds = sequences().into_iter();
    let seeds = seeds.map(|(name, choice, ops)| seed(name, Sequence { choice, ops }));
    seeds.collect()
}

/// Returns the seeds of the target `threads`.
pub fn of_threads() -> Vec<Seed<Threads>> {
    let seeds = programs().into_iter().map(|(name, choice, threads, manner, steps)| {
        // The threads' steps alternate in the bytes.
        let mut programs = vec![Vec::new(); threads];
        for (number, step) in steps.into_iter().enumerate() {
            programs[number % threads].push(step);
        }
        seed(
            name,
            Threads {
                choice,
                round: Round { programs, manner },
            },
        )
    });
    seeds.collect()
}

/// Returns the seeds of the target `life_cycle`.
pub fn of_life_cycle() -> Vec<Seed<LifeCycle>> {
    let seeds = life_cycles().into_iter();
    seeds.map(|(name, ops)| seed(name, LifeCycle { ops })).collect()
}

const ASYMMETRIC: Backend = Backend::Asymmetric;
const EPOCH: Backend = Backend::Epoch;
const ERAS: Backend = Backend::Eras;
const SEIZE: Backend = Backend::Seize;

fn sequences() -> Vec<(&'static str, Choice, Vec<Op>)> {
    let via = Via::Pin;
    let alloc = |key| Op::Alloc { key, via };
    let free = |key| Op::Free { key, via };
    let key = Key::new(1, Slot::Node);
    let odd = Key::new(2, Slot::Wide);
    vec![
        (
            "every_key",
            Choice::of("all-provoked", ASYMMETRIC),
            Key::all().map(alloc).chain(Key::all().map(free)).collect(),
        ),
        (
            "constructors",
            Choice::of("smallest-table", EPOCH),
            Ctor::ALL
                .iter()
                .flat_map(|&how| [Op::GetOrTryAllocWith { key, how, via }, free(key)])
                .collect(),
        ),
        (
            "constructors_of_unfit_keys",
            Choice::of("all-provoked", SEIZE),
            Ctor::ALL
                .iter()
                .flat_map(|&how| [Op::TryAllocWith { key: odd, how, via }, free(odd)])
                .collect(),
        ),
        (
            "destructors",
            Choice::of("migrating", EPOCH),
            Dtor::ALL
                .iter()
                .flat_map(|&how| [alloc(odd), Op::FreeWith { key: odd, how, via }])
                .collect(),
        ),
        (
            "grow_and_shrink",
            Choice::of("migrating", SEIZE),
            vec![
                alloc(key),
                Op::Fill { count: 47 },
                Op::FillWhileIterating { count: 47 },
                Op::Iterate { via },
                Op::Drain { count: 90 },
                Op::ShrinkToFit {},
                Op::Churn { count: 47 },
                Op::GetMany {
                    keys: 40,
                    places: 33,
                    via,
                },
            ],
        ),
        (
            "held_guards",
            Choice::of("batch-of-one", ERAS),
            vec![
                alloc(key),
                Op::Hold { owned: false },
                Op::Get { key, via: Via::Held },
                free(key),
                Op::Churn { count: 20 },
                Op::Synchronize {},
                Op::Release {},
                Op::Synchronize {},
            ],
        ),
        (
            "bare_memory",
            Choice::of("default", ASYMMETRIC),
            vec![
                Op::RawAlloc {
                    key,
                    shape: Shape::Long,
                    how: RawCtorKind::Fills,
                },
                Op::RawGet {
                    key,
                    shape: Shape::Page,
                },
                Op::RawGetOrAlloc {
                    key,
                    shape: Shape::Byte,
                    how: RawCtorKind::Refuses,
                },
                Op::RawOnTyped { key },
                Op::RawFree { key, dtor: true },
            ],
        ),
    ]
}

fn programs() -> Vec<(&'static str, Choice, usize, Manner, Vec<Step>)> {
    let step = |verb, key| Step { verb, key, fillers: 2 };
    let all = |verbs: &[Verb]| -> Vec<Step> { verbs.iter().map(|&verb| step(verb, 0)).collect() };
    vec![
        (
            "one_key",
            Choice::of("smallest-table", ASYMMETRIC),
            2,
            Manner {
                lockstep: true,
                ..Manner::default()
            },
            all(&[
                Verb::Alloc,
                Verb::Get,
                Verb::Free,
                Verb::Alloc,
                Verb::Get,
                Verb::FreeWith,
                Verb::GetOrAlloc,
                Verb::Get,
            ]),
        ),
        (
            "constructors_that_fail",
            Choice::of("migrating", EPOCH),
            3,
            Manner {
                lockstep: true,
                synchronize: true,
                ..Manner::default()
            },
            all(&[
                Verb::GetOrAllocSlowly,
                Verb::GetOrAllocFails,
                Verb::GetOrAllocPanics,
                Verb::GetOrAllocNested,
                Verb::Get,
                Verb::Free,
            ]),
        ),
        (
            "sweeps",
            Choice::of("all-provoked", ASYMMETRIC),
            4,
            Manner {
                unfit: true,
                ..Manner::default()
            },
            all(&[
                Verb::Alloc,
                Verb::FreeAll,
                Verb::GetOrAllocWith,
                Verb::FreeObject,
                Verb::FreeAllWith,
                Verb::Contains,
            ]),
        ),
        (
            "readers",
            Choice::of("batch-of-one", ERAS),
            3,
            Manner {
                hold: true,
                crowd: true,
                ..Manner::default()
            },
            all(&[
                Verb::GetOrAlloc,
                Verb::Watch,
                Verb::Free,
                Verb::Watch,
                Verb::Tidy,
                Verb::Get,
            ]),
        ),
        (
            "nested_on_all_keys",
            Choice::of("migrating", SEIZE),
            4,
            Manner {
                unfit: true,
                crowd: true,
                ..Manner::default()
            },
            (0..12)
                .map(|n| step([Verb::GetOrAllocNested, Verb::FreeWith, Verb::Get][n % 3], n / 3 % 3))
                .collect(),
        ),
    ]
}

/// Returns operations on patches; names, tasks and modules are numbers.
fn life_cycles() -> Vec<(&'static str, Vec<life::Op>)> {
    use life::{Bad, Manner, Object, Op, Spec, StateKind, StateSpec};

    let full = Spec::full;
    let replacing = |name| Spec {
        replace: true,
        ..full(name)
    };
    let with_states = |spec: Spec, versions: [Option<u32>; 3], kind, blocks| Spec {
        states: versions.map(|version| version.map(|version| StateSpec { version, kind, blocks })),
        ..spec
    };
    let behaving = |name, manner| Spec { manner, ..full(name) };
    vec![
        (
            "stacked",
            vec![
                Op::Enable(full(0)),
                Op::Enable(full(1)),
                Op::Disable(0),
                Op::Again(0),
                Op::Disable(1),
            ],
        ),
        (
            "stalled_and_reversed",
            vec![
                Op::Enter(0),
                Op::Enable(full(0)),
                Op::Enter(1),
                Op::Disable(0),
                Op::Leave(1),
                Op::Enable(full(1)),
                Op::Reverse(1),
                Op::Reverse(1),
                Op::Leave(0),
                Op::Disable(1),
            ],
        ),
        (
            "forced",
            vec![
                Op::Enable(full(0)),
                Op::Enter(0),
                Op::Enable(replacing(1)),
                Op::Force(1),
                Op::Disable(1),
                Op::Force(1),
            ],
        ),
        (
            "modules",
            vec![
                Op::Enable(full(0)),
                Op::Coming(Object::M),
                Op::Live(Object::M),
                Op::Enter(0),
                Op::Enable(replacing(1)),
                Op::Coming(Object::N),
                Op::Going(Object::M),
                Op::Coming(Object::M),
                Op::Leave(0),
                Op::Going(Object::N),
            ],
        ),
        (
            "states_taken_over",
            vec![
                Op::Attach(0),
                Op::Attach(3),
                Op::Enable(with_states(full(0), [Some(1), Some(1), None], StateKind::Both, false)),
                Op::Enable(with_states(
                    replacing(1),
                    [Some(2), None, Some(1)],
                    StateKind::Both,
                    false,
                )),
                Op::Enable(with_states(replacing(2), [Some(1), None, None], StateKind::Owns, false)),
                Op::Disable(1),
            ],
        ),
        (
            "states_that_block",
            vec![
                Op::Enable(with_states(full(0), [Some(1), None, Some(3)], StateKind::Told, true)),
                Op::Enable(with_states(full(1), [None, None, Some(3)], StateKind::Note, false)),
                Op::Disable(0),
                Op::Enable(replacing(2)),
            ],
        ),
        (
            "callbacks_that_fail",
            vec![
                Op::Enable(full(0)),
                Op::Enable(behaving(1, Manner::Refuses(0))),
                Op::Enable(behaving(2, Manner::Panics(1))),
                Op::Coming(Object::M),
                Op::Enable(behaving(2, Manner::Trembles)),
                Op::Enable(behaving(3, Manner::Meddles)),
                Op::Going(Object::M),
            ],
        ),
        (
            "points_that_are_not_there",
            vec![
                Op::Enable(Spec {
                    bad: Some(Bad::Signature),
                    ..full(0)
                }),
                Op::Enable(full(1)),
                Op::Enable(Spec {
                    bad: Some(Bad::UnknownPoint),
                    objects: [false, true, false],
                    ..full(2)
                }),
                Op::Coming(Object::M),
            ],
        ),
    ]
}
