//! The common part of the fuzz targets: inputs, and how they run.
//!
//! The operations, the model and the history checker are the library's own test kit, included by path: every finding of a fuzzer
//! is a sequence that a test can contain, and vice versa. An input is a few bytes of heading (configuration, backend, and so on),
//! then operations of a fixed width; every string of bytes is an input. Inputs for patches have no heading.

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

/// The kit for the life cycle of patches.
#[allow(clippy::new_without_default, reason = "private to the tests that it is made for")]
#[path = "../../crates/livepatch/tests/common/mod.rs"]
pub mod life;

#[cfg(feature = "seize")]
pub mod seeds;

use libfuzzer_sys::arbitrary::{Arbitrary, Error, Result, Unstructured};
use shadow_vars::{Asymmetric, Epoch, Eras, Reclaim};

use crate::configs::Config;
use crate::op::Op;
use crate::rounds::{Manner, Round, Step};

/// The most operations of one sequence, and rounds of one input of `threads`: more only costs time.
const MOST_OPS: usize = 400;
const MOST_STEPS: usize = 8;
const ROUNDS: usize = 4;
const MOST_LIFE_CYCLE_OPS: usize = 80;

/// The input of a target.
pub trait Input: Sized {
    /// Decodes an input. Returns `None` if the bytes are too short for the heading.
    fn decode(bytes: &[u8]) -> Option<Self>;

    /// Encodes the input.
    fn encode(&self) -> Vec<u8>;

    /// Runs the input, and panics if it finds a fault.
    fn run(&self);
}

/// Runs an input of a fuzz target; every unintended panic ends the process.
pub fn hunt(run: impl FnOnce()) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // Below the hook that lets intended panics pass, which the runs set themselves, and above the fuzzer's, which aborts.
    ONCE.call_once(|| {
        let abort = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            payload::first_only();
            abort(info);
        }));
    });
    run();
}

/// The store that the first two bytes of an input choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    pub config: Config,
    pub backend: Backend,
}

/// A reclamation backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Asymmetric,
    Epoch,
    Eras,
    #[cfg(feature = "seize")]
    Seize,
}

impl Backend {
    pub const ALL: &[Self] = &[
        Self::Asymmetric,
        Self::Epoch,
        Self::Eras,
        #[cfg(feature = "seize")]
        Self::Seize,
    ];
}

impl Choice {
    pub const WIDTH: usize = 2;

    /// Returns the configuration of this name, with this backend.
    pub fn of(config: &str, backend: Backend) -> Self {
        Choice {
            config: Config::named(config),
            backend,
        }
    }

    fn decode(bytes: &[u8]) -> Self {
        let configs = Config::every();
        Choice {
            config: configs[usize::from(bytes[0]) % configs.len()],
            backend: Backend::ALL[usize::from(bytes[1]) % Backend::ALL.len()],
        }
    }

    fn encode(self) -> [u8; Self::WIDTH] {
        let config = Config::every().iter().position(|one| one.name == self.config.name);
        let backend = Backend::ALL.iter().position(|&one| one == self.backend);
        [config, backend].map(|place| place.expect("one of them") as u8)
    }
}

/// The operations of one thread, to be compared with the model.
#[derive(Debug, PartialEq)]
pub struct Sequence {
    pub choice: Choice,
    pub ops: Vec<Op>,
}

impl Input for Sequence {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (heading, rest) = bytes.split_at_checked(Choice::WIDTH)?;
        let mut ops = op::decode_all(rest);
        ops.truncate(MOST_OPS);
        Some(Sequence {
            choice: Choice::decode(heading),
            ops,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.choice.encode().to_vec();
        bytes.extend(op::encode_all(&self.ops));
        bytes
    }

    fn run(&self) {
        match self.choice.backend {
            Backend::Asymmetric => model::check::<Asymmetric>(&self.choice.config, &self.ops),
            Backend::Epoch => model::check::<Epoch>(&self.choice.config, &self.ops),
            Backend::Eras => model::check::<Eras>(&self.choice.config, &self.ops),
            #[cfg(feature = "seize")]
            Backend::Seize => model::check::<shadow_vars::Seize>(&self.choice.config, &self.ops),
        }
    }
}

/// Programs for two to four threads, which run together a few times.
#[derive(Debug, PartialEq)]
pub struct Threads {
    pub choice: Choice,
    pub round: Round,
}

impl Threads {
    pub const HEADING: usize = Choice::WIDTH + 2;

    const FEWEST: usize = 2;

    fn run_on<R: Reclaim>(&self) {
        let rounds = vec![self.round.clone(); ROUNDS];
        if let Err(violation) = rounds::run(self.choice.config.build::<R>(), &rounds) {
            panic!("{violation:?}");
        }
    }
}

impl Input for Threads {
    /// The threads' steps alternate in the bytes.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (heading, rest) = bytes.split_at_checked(Self::HEADING)?;
        let threads = Self::FEWEST + usize::from(heading[2]) % 3;
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

    fn encode(&self) -> Vec<u8> {
        let Round { programs, manner } = &self.round;
        let mut bytes = self.choice.encode().to_vec();
        bytes.extend([(programs.len() - Self::FEWEST) as u8, manner.to_bits()]);
        let longest = programs.iter().map(Vec::len).max().unwrap_or(0);
        let steps = (0..longest).flat_map(|step| programs.iter().filter_map(move |program| program.get(step)));
        bytes.extend(steps.flat_map(Step::encode));
        bytes
    }

    fn run(&self) {
        match self.choice.backend {
            Backend::Asymmetric => self.run_on::<Asymmetric>(),
            Backend::Epoch => self.run_on::<Epoch>(),
            Backend::Eras => self.run_on::<Eras>(),
            #[cfg(feature = "seize")]
            Backend::Seize => self.run_on::<shadow_vars::Seize>(),
        }
    }
}

/// Operations on the registry of patches, to be compared with the rules. Has no heading.
#[derive(Debug, PartialEq)]
pub struct LifeCycle {
    pub ops: Vec<life::op::Op>,
}

impl Input for LifeCycle {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut ops = life::op::decode_all(bytes);
        ops.truncate(MOST_LIFE_CYCLE_OPS);
        Some(LifeCycle { ops })
    }

    fn encode(&self) -> Vec<u8> {
        life::op::encode_all(&self.ops)
    }

    fn run(&self) {
        life::driver::check(&self.ops);
    }
}

/// Implements the traits for `cargo fuzz fmt` and crash reports.
macro_rules! arbitrary {
    ($($input:ident)*) => {$(
        impl<'a> Arbitrary<'a> for $input {
            fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
                Self::decode(input.bytes(input.len())?).ok_or(Error::NotEnoughData)
            }
        }
    )*};
}
arbitrary! { Sequence Threads LifeCycle }
