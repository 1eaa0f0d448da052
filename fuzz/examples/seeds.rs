//! Writes the seed corpora: `cargo run --example seeds` in `fuzz/`. They are small programs for one property each.

use std::fs::{create_dir_all, write};
use std::io::Result;
use std::path::Path;

use shadow_vars_fuzz::life::op as life;
use shadow_vars_fuzz::op::{Ctor, Dtor, Key, Op, RawCtorKind, Shape, Slot, Via, encode_all};
use shadow_vars_fuzz::rounds::{Step, Verb};

/// The configurations by number, as inputs choose them.
const SMALLEST_TABLE: u8 = 1;
const BATCH_OF_ONE: u8 = 4;
const ALL_PROVOKED: u8 = 5;
const MIGRATING: u8 = 6;

const EPOCH: u8 = 0;
const SEIZE: u8 = 1;

/// Manners of a round, as bits.
const LOCKSTEP: u8 = 1;
const HOLD: u8 = 2;
const UNFIT: u8 = 4;
const SYNCHRONIZE: u8 = 8;
const CROWD: u8 = 16;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (name, [config, backend], ops) in sequences() {
        let mut bytes = vec![config, backend];
        bytes.extend(encode_all(&ops));
        put(&root.join("ops"), name, &bytes)?;
    }
    for (name, heading, steps) in programs() {
        let mut bytes = heading.to_vec();
        bytes.extend(steps.iter().flat_map(Step::encode));
        put(&root.join("threads"), name, &bytes)?;
    }
    for (name, ops) in life_cycles() {
        put(&root.join("life_cycle"), name, &life::encode_all(&ops))?;
    }
    Ok(())
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    create_dir_all(folder)?;
    write(folder.join(name), bytes)
}

fn sequences() -> Vec<(&'static str, [u8; 2], Vec<Op>)> {
    let via = Via::Pin;
    let alloc = |key| Op::Alloc { key, via };
    let free = |key| Op::Free { key, via };
    let key = Key::new(1, Slot::Node);
    let odd = Key::new(2, Slot::Wide);
    vec![
        (
            "every_key",
            [ALL_PROVOKED, EPOCH],
            Key::all().map(alloc).chain(Key::all().map(free)).collect(),
        ),
        (
            "constructors",
            [SMALLEST_TABLE, EPOCH],
            Ctor::ALL
                .iter()
                .flat_map(|&how| [Op::GetOrTryAllocWith { key, how, via }, free(key)])
                .collect(),
        ),
        (
            "constructors_of_unfit_keys",
            [ALL_PROVOKED, SEIZE],
            Ctor::ALL
                .iter()
                .flat_map(|&how| [Op::TryAllocWith { key: odd, how, via }, free(odd)])
                .collect(),
        ),
        (
            "destructors",
            [MIGRATING, EPOCH],
            Dtor::ALL
                .iter()
                .flat_map(|&how| [alloc(odd), Op::FreeWith { key: odd, how, via }])
                .collect(),
        ),
        (
            "grow_and_shrink",
            [MIGRATING, SEIZE],
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
            [BATCH_OF_ONE, EPOCH],
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
            [0, EPOCH],
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

/// The threads take turns in having a step.
fn programs() -> Vec<(&'static str, [u8; 4], Vec<Step>)> {
    let step = |verb, key| Step { verb, key, fillers: 2 };
    let all = |verbs: &[Verb]| -> Vec<Step> { verbs.iter().map(|&verb| step(verb, 0)).collect() };
    vec![
        (
            "one_key",
            [SMALLEST_TABLE, EPOCH, 0, LOCKSTEP],
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
            [MIGRATING, EPOCH, 1, LOCKSTEP | SYNCHRONIZE],
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
            [ALL_PROVOKED, EPOCH, 2, UNFIT],
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
            [BATCH_OF_ONE, SEIZE, 1, HOLD | CROWD],
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
            [MIGRATING, SEIZE, 2, UNFIT | CROWD],
            (0..12)
                .map(|n| step([Verb::GetOrAllocNested, Verb::FreeWith, Verb::Get][n % 3], n / 3 % 3))
                .collect(),
        ),
    ]
}

/// What is done to patches: the names, tasks and modules by number.
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
