//! Random sequences of all operations on a registry, compared with the rules: after each operation its result, the exact
//! log of events and callbacks, the attributes of patches, modules and tasks, the variables, and what every function
//! returns in every unit and outside.

mod common;

use common::driver::check;
use common::op::{Op, WIDTH, decode_all, encode_all};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::{prop_assert_eq, proptest};

fn cases(number: u32) -> ProptestConfig {
    ProptestConfig {
        cases: number,
        // A failure is to be made a fixed sequence in this file.
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn random_sequences(bytes in vec(any::<[u8; WIDTH]>(), 0..60)) {
        check(&bytes.into_iter().map(Op::decode).collect::<Vec<_>>());
    }

    /// The fuzzer's seeds are written by encoding and read by decoding.
    #[test]
    fn encoding_comes_back(bytes in any::<[u8; WIDTH]>()) {
        let op = Op::decode(bytes);
        prop_assert_eq!(decode_all(&encode_all(&[op])), vec![op]);
    }
}
