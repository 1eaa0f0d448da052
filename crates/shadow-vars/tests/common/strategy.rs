//! Random sequences of operations for proptest: biased towards few keys, so that operations interact.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};

use super::op::Op;

/// Returns sequences of up to `longest` operations. They shrink towards fewer operations and towards the first of every kind.
pub fn ops(longest: usize) -> impl Strategy<Value = Vec<Op>> {
    vec(op(), 1..=longest)
}

fn op() -> impl Strategy<Value = Op> {
    // The low bytes name the parents of the first id, which most operations then use.
    let operand = prop_oneof![3 => 0..4_u8, 2 => 0..24_u8, 1 => any::<u8>()];
    (0..Op::KINDS, operand, any::<u8>(), any::<u8>())
        .prop_map(|(tag, first, second, third)| Op::decode([tag, first, second, third]))
}
