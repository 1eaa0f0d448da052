//! Random sequences of operations give the same answers as a plain map, on every configuration and backend.

mod common;

use std::panic::catch_unwind;

use common::configs::Config;
use common::model::{Lie, check_backends, check_everywhere, check_store};
use common::op::{Ctor, Dtor, Key, Op, RawCtorKind, Shape, Slot, Via, decode_all, encode_all};
use common::strategy;
use proptest::prelude::{ProptestConfig, any};
use proptest::{prop_assert_eq, proptest};

/// Sequences per configuration and backend; an interpreter of every access has time for a few.
const CASES: u32 = if cfg!(miri) { 4 } else { 800 };

/// Operations in a sequence.
const LONGEST: usize = if cfg!(miri) { 30 } else { 200 };

fn cases(number: u32) -> ProptestConfig {
    ProptestConfig {
        cases: number,
        // A failure becomes a fixed sequence in this file.
        failure_persistence: None,
        max_shrink_iters: 4096,
        ..ProptestConfig::default()
    }
}

/// One test per configuration, so that they run in parallel and a failure names its own.
macro_rules! random_sequences {
    ($($name:ident: $config:literal;)*) => {
        const NAMED: &[&str] = &[$($config),*];

        proptest! {
            #![proptest_config(cases(CASES))]
            $(
                #[test]
                fn $name(ops in strategy::ops(LONGEST)) {
                    check_backends(&Config::named($config), &ops);
                }
            )*
        }
    };
}

random_sequences! {
    random_default: "default";
    random_smallest_table: "smallest-table";
    random_smallest_block: "smallest-block";
    random_equal_hashes: "equal-hashes";
    random_batch_of_one: "batch-of-one";
    random_ids_apart: "ids-apart";
    random_all_provoked: "all-provoked";
}

#[test]
fn every_configuration_has_random_sequences() {
    assert_eq!(Config::all().map(|config| config.name), NAMED);
}

proptest! {
    #![proptest_config(cases(256))]

    /// The fuzzers' seeds are written with one and read with the other.
    #[test]
    fn encoding_comes_back(bytes in any::<[u8; 4]>()) {
        let op = Op::decode(bytes);
        prop_assert_eq!(Op::decode(op.encode()), op);
    }
}

const KEY: Key = Key::new(1, Slot::Node);

fn alloc(key: Key) -> Op {
    Op::Alloc { key, via: Via::Pin }
}

fn construct(key: Key, how: Ctor) -> Op {
    Op::GetOrTryAllocWith {
        key,
        how,
        via: Via::Variable,
    }
}

fn destroy(key: Key, how: Dtor) -> Op {
    Op::FreeWith {
        key,
        how,
        via: Via::Pin,
    }
}

#[test]
fn nothing_at_all() {
    check_everywhere(&[]);
}

#[test]
fn every_key_at_once() {
    let keys: Vec<Key> = Key::all().collect();
    let mut ops: Vec<Op> = keys.iter().copied().map(alloc).collect();
    ops.extend(keys.iter().copied().map(alloc));
    ops.push(Op::Iterate { via: Via::Variable });
    ops.extend(keys.iter().map(|&key| Op::Free {
        key,
        via: Via::Variable,
    }));
    ops.extend(keys.iter().copied().map(alloc));
    check_everywhere(&ops);
}

#[test]
fn every_constructor_on_every_kind_of_key() {
    for key in Key::all() {
        let mut ops = Vec::new();
        for &how in Ctor::ALL {
            ops.extend([
                construct(key, how),
                construct(key, how),
                Op::Free { key, via: Via::Pin },
            ]);
            ops.extend([
                Op::AllocWith {
                    key,
                    how,
                    via: Via::Held,
                },
                Op::Free { key, via: Via::Pin },
            ]);
        }
        check_everywhere(&ops);
    }
}

#[test]
fn every_destructor_on_every_kind_of_key() {
    for key in Key::all() {
        let ops: Vec<Op> = Dtor::ALL
            .iter()
            .flat_map(|&how| [alloc(key), destroy(key, how), destroy(key, how)])
            .collect();
        check_everywhere(&ops);
    }
}

/// The address of a freed object soon becomes the address of the next one: the same key is used repeatedly in the same table.
#[test]
fn one_key_for_ever() {
    let mut ops = vec![Op::Fill { count: 40 }];
    for n in 0..300_u32 {
        ops.extend([
            alloc(KEY),
            if n % 2 == 0 {
                Op::Free {
                    key: KEY,
                    via: Via::Pin,
                }
            } else {
                destroy(KEY, Dtor::Looks)
            },
        ]);
    }
    check_everywhere(&ops);
}

/// Dead keys fill the table, so that it is rebuilt repeatedly at its size.
#[test]
fn fresh_keys_for_ever() {
    let ops: Vec<Op> = (0..20)
        .flat_map(|_| {
            [
                Op::Churn { count: 47 },
                alloc(KEY),
                Op::Get {
                    key: KEY,
                    via: Via::Pin,
                },
            ]
        })
        .collect();
    check_everywhere(&ops);
}

#[test]
fn grow_and_shrink() {
    let mut ops: Vec<Op> = Key::all().map(alloc).collect();
    for _ in 0..3 {
        ops.extend([Op::Fill { count: 47 }; 12]);
        ops.extend([
            Op::Synchronize {},
            Op::Lengths {},
            Op::Drain { count: 255 },
            Op::ShrinkToFit {},
            Op::Drain { count: 255 },
        ]);
        ops.extend([
            Op::Drain { count: 255 },
            Op::ShrinkToFit {},
            Op::Flush {},
            Op::Iterate { via: Via::Pin },
            Op::Stats {},
        ]);
    }
    check_everywhere(&ops);
}

#[test]
fn freed_values_outlive_their_readers() {
    for owned in [false, true] {
        let mut ops = vec![
            alloc(KEY),
            alloc(KEY.next()),
            Op::Hold { owned },
            Op::Get {
                key: KEY,
                via: Via::Held,
            },
        ];
        ops.extend([
            Op::Get {
                key: KEY.next(),
                via: Via::Held,
            },
            Op::Free {
                key: KEY,
                via: Via::Variable,
            },
        ]);
        ops.extend([
            Op::FreeAll {
                slot: Slot::Node,
                via: Via::Held,
            },
            Op::Churn { count: 47 },
            Op::Flush {},
        ]);
        ops.extend([
            Op::Synchronize {},
            alloc(KEY),
            Op::Release {},
            Op::Synchronize {},
            Op::Stats {},
        ]);
        check_everywhere(&ops);
    }
}

#[test]
fn bare_memory() {
    let mut ops = Vec::new();
    for key in Key::all().filter(|key| key.slot == Slot::Node) {
        for &shape in Shape::ALL {
            for &how in RawCtorKind::ALL {
                ops.push(Op::RawAlloc { key, shape, how });
                ops.extend(Shape::ALL.iter().map(|&shape| Op::RawGet { key, shape }));
                ops.extend(Shape::ALL.iter().map(|&shape| Op::RawGetOrAlloc { key, shape, how }));
                ops.extend([
                    Op::RawOnTyped { key },
                    Op::RawFree {
                        key,
                        dtor: shape == Shape::Page,
                    },
                ]);
            }
        }
        ops.extend([
            alloc(key),
            Op::RawAlloc {
                key,
                shape: Shape::Byte,
                how: RawCtorKind::Fills,
            },
            Op::RawOnTyped { key },
        ]);
        ops.push(Op::FreeObject { key, via: Via::Pin });
    }
    check_everywhere(&ops);
}

/// A comparison that cannot fail proves nothing: with a model that is wrong in one way, it must fail.
#[test]
fn a_wrong_answer_is_noticed() {
    for lie in [
        Lie::KeepsFreed,
        Lie::ForgetsCreated,
        Lie::ChangesValues,
        Lie::ExpectsLeak,
    ] {
        let ops = [
            alloc(KEY),
            Op::Free {
                key: KEY,
                via: Via::Pin,
            },
        ];
        let config = Config::provoked();
        let run = |lie| check_store(config.name, || config.build::<shadow_vars::Asymmetric>(), &ops, lie);
        run(Lie::None);
        assert!(catch_unwind(|| run(lie)).is_err(), "{lie:?} was believed");
    }
}

/// The fuzzers also store sequences as bytes.
#[test]
fn sequences_come_back_from_bytes() {
    let ops = [
        alloc(KEY),
        construct(KEY, Ctor::Nests),
        destroy(KEY, Dtor::Revives),
        Op::Lengths {},
    ];
    assert_eq!(decode_all(&encode_all(&ops)), ops);
}
