//! What the fuzz targets share: inputs, and how they are run.
//!
//! The operations, the model and the history checker are the library's own test kit, included by path: whatever a fuzzer
//! finds is a sequence that a test can hold, and the other way round. An input is a few bytes of heading (configuration,
//! backend, and so on), then operations of a fixed width; every string of bytes is an input. Those of patches have no heading.

#[path = "../../crates/shadow-vars/tests/common/configs.rs"]
pub mod configs;
#[path = "../../crates/shadow-vars/tests/common/construct.rs"]
pub mod construct;
#[path = "../../crates/shadow-vars/tests/common/door.rs"]
pub mod door;
#[path = "../../crates/shadow-vars/tests/common/history.rs"]
pub mod history;
#[path = "../../crates/shadow-vars/tests/common/interpret.rs"]
pub mod interpret;
#[path = "../../crates/shadow-vars/tests/common/model.rs"]
pub mod model;
#[path = "../../crates/shadow-vars/tests/common/op.rs"]
pub mod op;
#[path = "../../crates/shadow-vars/tests/common/payload.rs"]
pub mod payload;
#[path = "../../crates/shadow-vars/tests/common/raw.rs"]
pub mod raw;
#[path = "../../crates/shadow-vars/tests/common/remove.rs"]
pub mod remove;
#[path = "../../crates/shadow-vars/tests/common/rounds.rs"]
pub mod rounds;
#[path = "../../crates/shadow-vars/tests/common/table.rs"]
pub mod table;
#[path = "../../crates/shadow-vars/tests/common/worker.rs"]
pub mod worker;

/// The kit of the patches' life cycle.
#[path = "../../crates/livepatch/tests/common/mod.rs"]
pub mod life;

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use shadow_vars::{Asymmetric, Epoch, Reclaim};

use crate::configs::Config;
use crate::op::Op;
use crate::rounds::{Manner, Round, Step};

/// Operations of one sequence, rounds of one threads input: beyond, an input only costs time.
const MOST_OPS: usize = 400;
const MOST_STEPS: usize = 8;
const ROUNDS: usize = 4;
const MOST_LIFE_CYCLE_OPS: usize = 80;

/// The store that an input chooses by its first two bytes.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    pub config: Config,
    pub backend: Backend,
}

/// A reclamation backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Asymmetric,
    Epoch,
    #[cfg(feature = "seize")]
    Seize,
}

impl Choice {
    pub const WIDTH: usize = 2;

    fn decode(bytes: &[u8]) -> Self {
        let mut configs = Config::all().to_vec();
        configs.push(Config::migrating());
        let backends = [
            Backend::Asymmetric,
            Backend::Epoch,
            #[cfg(feature = "seize")]
            Backend::Seize,
        ];
        Choice {
            config: configs[usize::from(bytes[0]) % configs.len()],
            backend: backends[usize::from(bytes[1]) % backends.len()],
        }
    }
}

/// One thread's operations, to be compared with the model.
#[derive(Debug)]
pub struct Sequence {
    pub choice: Choice,
    pub ops: Vec<Op>,
}

impl Sequence {
    /// The sequence that these bytes name. Nothing if they have no heading.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (heading, rest) = bytes.split_at_checked(Choice::WIDTH)?;
        let mut ops = op::decode_all(rest);
        ops.truncate(MOST_OPS);
        Some(Sequence {
            choice: Choice::decode(heading),
            ops,
        })
    }

    pub fn run(&self) {
        match self.choice.backend {
            Backend::Asymmetric => model::check::<Asymmetric>(&self.choice.config, &self.ops),
            Backend::Epoch => model::check::<Epoch>(&self.choice.config, &self.ops),
            #[cfg(feature = "seize")]
            Backend::Seize => model::check::<shadow_vars::Seize>(&self.choice.config, &self.ops),
        }
    }
}

/// Programs for two to four threads, to be run together a few times.
#[derive(Debug)]
pub struct Threads {
    pub choice: Choice,
    pub round: Round,
}

impl Threads {
    pub const HEADING: usize = Choice::WIDTH + 2;

    /// The programs that these bytes name; the threads take turns in having a step. Nothing without a heading.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (heading, rest) = bytes.split_at_checked(Self::HEADING)?;
        let threads = 2 + usize::from(heading[2]) % 3;
        let mut programs = vec![Vec::new(); threads];
        let steps = rest.chunks_exact(rounds::WIDTH).take(threads * MOST_STEPS);
        for (number, step) in steps.enumerate() {
            programs[number % threads].push(Step::decode([step[0], step[1]]));
        }
        let round = Round {
            programs,
            manner: Manner::from_bits(heading[3]),
        };
        Some(Threads {
            choice: Choice::decode(heading),
            round,
        })
    }

    pub fn run(&self) {
        match self.choice.backend {
            Backend::Asymmetric => self.run_on::<Asymmetric>(),
            Backend::Epoch => self.run_on::<Epoch>(),
            #[cfg(feature = "seize")]
            Backend::Seize => self.run_on::<shadow_vars::Seize>(),
        }
    }

    fn run_on<R: Reclaim>(&self) {
        let rounds = vec![self.round.clone(); ROUNDS];
        if let Err(violation) = rounds::run(self.choice.config.build::<R>(), &rounds) {
            panic!("{violation:?}");
        }
    }
}

/// What is done to the registry of patches, to be compared with the rules. Has no heading.
#[derive(Debug)]
pub struct LifeCycle {
    pub ops: Vec<life::op::Op>,
}

impl LifeCycle {
    pub fn decode(bytes: &[u8]) -> Self {
        let mut ops = life::op::decode_all(bytes);
        ops.truncate(MOST_LIFE_CYCLE_OPS);
        LifeCycle { ops }
    }

    pub fn run(&self) {
        life::driver::check(&self.ops);
    }
}

/// What `cargo fuzz fmt` and a crash report show.
impl<'a> Arbitrary<'a> for Sequence {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let bytes = input.bytes(input.len())?;
        Sequence::decode(bytes).ok_or(libfuzzer_sys::arbitrary::Error::NotEnoughData)
    }
}

impl<'a> Arbitrary<'a> for Threads {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let bytes = input.bytes(input.len())?;
        Threads::decode(bytes).ok_or(libfuzzer_sys::arbitrary::Error::NotEnoughData)
    }
}

impl<'a> Arbitrary<'a> for LifeCycle {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        Ok(LifeCycle::decode(input.bytes(input.len())?))
    }
}
