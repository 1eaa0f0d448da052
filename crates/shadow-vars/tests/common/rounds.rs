//! Short programs that several threads run against one store, and the history of what they saw.
//!
//! Proves, together with `history`: answers are linearizable while constructors run, fail and panic, while sweeps run, and
//! while the table is replaced; two constructors of one variable never run at the same time; values read under a guard stay
//! valid; and in the end every value has been dropped once. Each round has keys of its own, so that all are absent at its
//! beginning, and each step makes the table change by creating and freeing variables that no other thread uses.

use std::hint::spin_loop;
use std::io::{Write, stderr};
use std::panic::{panic_any, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, yield_now};
use std::time::{Duration, Instant};

use shadow_vars::{Reclaim, ShadowStore};

use super::history::{Clock, Violation, check};
use super::op::{Operand, choice};
use super::payload::{Counters, Provoked, abort, hush};
use super::worker::Worker;

/// The variables of one round: two of one parent, and one of another under the first one's id.
pub const KEYS: usize = 3;

/// A step or a round that takes longer than this, under any sanitizer, never ends.
const PATIENCE: Duration = Duration::from_secs(120);

/// The largest number of variables of its own that a thread creates in one step.
pub const MOST_PER_STEP: usize = 7;

/// The bytes of one step.
pub const WIDTH: usize = 2;

choice! {
    /// What a step does.
    Verb {
        Get,
        Contains,
        Alloc,
        /// With a constructor that yields to other threads.
        AllocWith,
        GetOrAlloc,
        GetOrAllocWith,
        /// With a constructor that yields to other threads.
        GetOrAllocSlowly,
        GetOrAllocFails,
        GetOrAllocPanics,
        /// With a constructor that finds or creates the next key.
        GetOrAllocNested,
        Free,
        FreeWith,
        FreeAll,
        FreeAllWith,
        FreeObject,
        /// Reads, and reads again at the end of the round, if the thread holds its guard until then.
        Watch,
        /// Reads all keys of the round, and the thread's own variables, in one batch.
        GetMany,
        /// Looks for all keys of the round, and the thread's own variables, in an iteration over everything.
        Iterate,
        /// Looks for the first two keys among the ids of their parent.
        IdsOf,
        /// Shrinks the table and advances reclamation.
        Tidy,
    }
}

/// One operation on one of the round's keys, and how many variables of its own the thread creates and frees in addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub verb: Verb,
    pub key: usize,
    pub fillers: usize,
}

impl Step {
    /// Returns the step that these bytes name; all bytes name one.
    pub fn decode(bytes: [u8; WIDTH]) -> Self {
        let rest = usize::from(bytes[1]);
        Step {
            verb: Verb::from_byte(bytes[0]),
            key: rest % KEYS,
            fillers: rest / KEYS % (MOST_PER_STEP + 1),
        }
    }

    /// Returns the bytes that name this step.
    pub fn encode(&self) -> [u8; WIDTH] {
        [self.verb.to_byte(), (self.key + KEYS * self.fillers) as u8]
    }
}

/// One program for each thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    pub programs: Vec<Vec<Step>>,
    pub manner: Manner,
}

/// How a round is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// The threads begin each step together.
    pub lockstep: bool,
    /// The threads hold one guard for the whole round.
    pub hold: bool,
    /// The parents' addresses do not fit into a packed word: odd, or wider than 48 bits.
    pub unfit: bool,
    /// All garbage is reclaimed after the round, and living values are counted.
    pub synchronize: bool,
    /// The threads have many variables of their own, so that the table is large; otherwise almost none.
    pub crowd: bool,
}

impl Manner {
    /// Returns the manner with this number, for fuzzers and generators: every bit is one setting.
    pub fn from_bits(bits: u8) -> Self {
        let mut manner = Manner::default();
        for (place, which) in (0..).zip(manner.all()) {
            *which = bits >> place & 1 == 1;
        }
        manner
    }

    /// Returns the number of this manner.
    pub fn to_bits(mut self) -> u8 {
        (0..)
            .zip(self.all())
            .map(|(place, which)| u8::from(*which) << place)
            .sum()
    }

    fn all(&mut self) -> [&mut bool; 5] {
        let Manner {
            lockstep,
            hold,
            unfit,
            synchronize,
            crowd,
        } = self;
        [lockstep, hold, unfit, synchronize, crowd]
    }
}

/// What was run and checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub rounds: usize,
    pub operations: usize,
    pub histories: usize,
    /// Tables that were replaced by larger, smaller or equal ones.
    pub migrations: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.operations += other.operations;
        self.histories += other.histories;
        self.migrations += other.migrations;
    }
}

/// Runs the rounds one after the other on one store, each with as many threads as the first has programs, then drops the
/// store. Returns the histories that no order of instants explains; any other failure panics.
pub fn run<R: Reclaim>(store: ShadowStore<R>, rounds: &[Round]) -> Result<Tally, Violation> {
    hush();
    let threads = rounds.first().map_or(0, |round| round.programs.len());
    let steps: usize = rounds.iter().flat_map(|round| &round.programs).map(Vec::len).sum();
    let kit = Scene {
        clock: Clock::default(),
        counters: Counters::new(16 + 2 * steps),
        building: rounds.iter().map(|_| <[AtomicBool; KEYS]>::default()).collect(),
        meeting: Meeting::new(threads),
    };
    let events = scope(|scope| {
        let spawn = |thread| {
            let worker = Worker::new(&store, &kit, thread);
            scope.spawn(|| worker.run(rounds))
        };
        let workers: Vec<_> = (0..threads).map(spawn).collect();
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        let mut events = Vec::new();
        let mut panics = Vec::new();
        for result in results {
            match result {
                Ok(seen) => events.extend(seen),
                Err(panic) => panics.push(panic),
            }
        }
        // A thread that left because another panicked has no message.
        if let Some(first) = panics.into_iter().min_by_key(|panic| panic.is::<Provoked>()) {
            resume_unwind(first);
        }
        events
    });
    let operations = events.len();
    let histories = check(events)?;
    assert!(store.is_empty(), "{} variables left over", store.len());
    if let Some(var) = store.pin().iter().next() {
        panic!("left over: {:?}", var.obj());
    }
    let stats = store.stats();
    drop(store);
    kit.counters.assert_balanced();
    let migrations = stats.growths + stats.shrinks + stats.rebuilds;
    Ok(Tally {
        rounds: rounds.len(),
        operations,
        histories,
        migrations,
    })
}

/// The state that the threads share besides the store.
pub struct Scene {
    pub clock: Clock,
    pub counters: Arc<Counters>,
    /// For each key of each round: whether a constructor runs.
    pub building: Vec<[AtomicBool; KEYS]>,
    pub meeting: Meeting,
}

/// A point where all threads wait for each other, spinning instead of sleeping, as they must leave at the same time. Unlike
/// std's barrier, it releases all threads when one of them has panicked.
pub struct Meeting {
    threads: usize,
    arrived: AtomicUsize,
    broken: AtomicBool,
}

impl Meeting {
    fn new(threads: usize) -> Self {
        Meeting {
            threads,
            arrived: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// Returns when this many threads have arrived.
    pub fn wait(&self) {
        let before = self.arrived.fetch_add(1, Ordering::AcqRel);
        let target = (before / self.threads + 1) * self.threads;
        let begin = Instant::now();
        let mut turns = 0_u64;
        while self.arrived.load(Ordering::Acquire) < target {
            if self.broken.load(Ordering::Relaxed) {
                panic_any(Provoked);
            }
            turns += 1;
            if cfg!(miri) || turns.is_multiple_of(64) {
                yield_now();
            }
            if turns.is_multiple_of(1 << 16) && begin.elapsed() > PATIENCE {
                // The thread cannot be made to continue, and the test cannot end without it.
                let _ = writeln!(
                    stderr(),
                    "a thread of a round is stuck: {:?} waits",
                    std::thread::current()
                );
                abort();
            }
            spin_loop();
        }
    }

    /// Announces that this thread will not arrive any more.
    pub fn abandon(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}
