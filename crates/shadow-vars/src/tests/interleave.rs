//! Deterministic interleavings: two threads stopped anywhere, a third that runs freely meanwhile, and an exact check of
//! the results.
//!
//! Each case is a short script for each of three threads on a table that is about to migrate. The first two are stopped
//! before their n-th access to a node or a table, in the middle of an operation; then the third runs its script; then
//! the two continue. All else is sequential, so a case is reproducible, and whether its results are linearizable can be
//! determined by trying every point at which the two stopped operations may have taken effect. What one or two
//! preemptions can break, breaks here.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::stall::support::{Counted, Ledger, Random};
use crate::defect::Defect;
use crate::defect::rig::ON_ACCESS;
use crate::reclaim::checked::Checked;
use crate::table::Core;
use crate::table::group::BUCKET;
use crate::table::hash::{AddrHasher, Places};
use crate::table::sieve::Sieved;
use crate::{CtorError, ShadowId, ShadowStore};

const VALUE: ShadowId<Counted> = ShadowId::new(1);

/// Keys that all threads use; each stopped thread has some of its own for constructors, as no thread may wait for it.
const KEYS: usize = FILL + 8;
const OWN: usize = 2;

/// The load limit of a table of four buckets.
const FILL: usize = 3 * BUCKET;

/// Keys that only serve to fill the table.
const EXTRA: usize = 40;

type Store = ShadowStore<Checked>;

#[derive(Clone, Copy, Debug)]
enum Op {
    Alloc(usize),
    Construct(usize, bool),
    Free(usize),
    Get(usize),
    FreeObject(usize),
    FreeAll,
    Iterate,
    Shrink,
}

/// What an operation returned: the serial numbers of what it made, found or freed.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    Made(Option<usize>),
    Refused,
    Found(Option<usize>),
    Freed(usize),
    All(Vec<(usize, usize)>),
    Nothing,
}

/// Returns the `key`th parent. Some do not fit into a word.
fn obj(key: usize) -> usize {
    key * 16 + usize::from(key % 5 == 3)
}

impl Op {
    fn run(self, store: &Store, ledger: &Arc<Ledger>) -> Outcome {
        let key_of = |addr: crate::ObjAddr| addr.get() / 16;
        match self {
            Op::Alloc(key) => {
                let value = ledger.value();
                let serial = value.serial();
                Outcome::Made(store.pin().alloc(obj(key), VALUE, value).is_ok().then_some(serial))
            }
            Op::Construct(key, fails) => {
                let mut serial = None;
                let construct = || {
                    pause();
                    if fails {
                        return Err(());
                    }
                    let value = ledger.value();
                    serial = Some(value.serial());
                    Ok(value)
                };
                match store.pin().try_alloc_with(obj(key), VALUE, construct).map(drop) {
                    Err(CtorError::Ctor(())) => Outcome::Refused,
                    result => Outcome::Made(serial.filter(|_| result.is_ok())),
                }
            }
            Op::Free(key) => Outcome::Found(store.pin().free_with(obj(key), VALUE, |_, value| value.serial())),
            Op::Get(key) => Outcome::Found(store.pin().get(obj(key), VALUE).map(Counted::serial)),
            Op::FreeObject(key) => Outcome::Freed(store.pin().free_object(obj(key))),
            Op::FreeAll => {
                let mut all = Vec::new();
                store
                    .pin()
                    .free_all_with(VALUE, |addr, value| all.push((key_of(addr), value.serial())));
                all.sort_unstable();
                Outcome::All(all)
            }
            Op::Iterate => {
                let mut all = Vec::new();
                store
                    .pin()
                    .iter()
                    .for_each(|var| all.extend(var.get(VALUE).map(|value| (key_of(var.obj()), value.serial()))));
                all.sort_unstable();
                Outcome::All(all)
            }
            Op::Shrink => {
                store.shrink_to_fit();
                Outcome::Nothing
            }
        }
    }

    /// Applies the operation to a plain map, and returns whether it gives the same result.
    fn explains(self, outcome: &Outcome, map: &mut BTreeMap<usize, usize>) -> bool {
        match (self, outcome) {
            (Op::Alloc(key) | Op::Construct(key, _), &Outcome::Made(Some(serial))) => map.insert(key, serial).is_none(),
            (Op::Alloc(key) | Op::Construct(key, _), Outcome::Made(None)) => map.contains_key(&key),
            (Op::Construct(key, true), Outcome::Refused) => !map.contains_key(&key),
            (Op::Free(key), Outcome::Found(found)) => map.remove(&key) == *found,
            (Op::Get(key), Outcome::Found(found)) => map.get(&key) == found.as_ref(),
            (Op::FreeObject(key), &Outcome::Freed(freed)) => usize::from(map.remove(&key).is_some()) == freed,
            (Op::FreeAll, Outcome::All(all)) => std::mem::take(map).into_iter().eq(all.iter().copied()),
            (Op::Iterate, Outcome::All(all)) => map.iter().map(|(&key, &serial)| (key, serial)).eq(all.iter().copied()),
            (Op::Shrink, Outcome::Nothing) => true,
            _ => false,
        }
    }

    /// Returns an operation for one of the stopped threads, or for the third. Usually on the key that the case is
    /// about.
    fn random(random: &mut Random, focus: usize, own: Option<usize>) -> Self {
        // Keys from `FILL` on are new, so that the table fills.
        let fresh = FILL + random.below(KEYS - FILL);
        let key = random.below(KEYS);
        match (random.below(20), own) {
            (0..5, _) => Op::Alloc(focus),
            (5..9, _) => Op::Free(focus),
            (9, _) => Op::FreeObject(focus),
            (10..14, _) => Op::Alloc(fresh),
            (14, Some(own)) => Op::Construct(KEYS + own * OWN + random.below(OWN), random.below(2) == 0),
            (15, Some(own)) => Op::Free(KEYS + own * OWN + random.below(OWN)),
            (14, None) => Op::Free(KEYS + random.below(2 * OWN)),
            (15, None) => Op::Get(KEYS + random.below(2 * OWN)),
            // These are not atomic, so not for threads that are stopped in them.
            (16, None) if random.below(2) == 0 => Op::FreeAll,
            (16, None) => Op::Iterate,
            (17, _) => Op::Shrink,
            (18, _) => Op::Free(key),
            _ => Op::Get(focus),
        }
    }
}

type History = Vec<(Op, Outcome)>;

/// What a thread had done, and the operation in which it was stopped; or the number of places that it passed, if it was
/// not.
type Stopped = (History, Result<(Op, Outcome), usize>);

/// A store, its contents, and the scripts of three threads.
struct World {
    store: Store,
    ledger: Arc<Ledger>,
    map: BTreeMap<usize, usize>,
    /// The third script is the one that runs while the first two are stopped.
    scripts: [Vec<Op>; 3],
}

/// The initial state of a case, and the scripts.
struct Setup {
    config: crate::table::Config,
    /// The number of keys there at first, without those that were freed again and left a tomb.
    fill: usize,
    tombs: Vec<usize>,
    scripts: [Vec<Op>; 3],
    /// Runs the stopped threads on threads of their own: the first continues before the second.
    threads: bool,
}

impl Setup {
    fn config(buckets: usize, hasher: AddrHasher) -> crate::table::Config {
        let capacity = if buckets == 1 { 0 } else { buckets * BUCKET / 2 };
        crate::table::Config {
            capacity,
            hasher,
            places: Places::USUAL,
            batch: 1,
            block: 1,
            shards: 1,
            packed: true,
            sieved: Sieved::ALL,
        }
    }

    /// Returns a random case: a table below its limit, or just at it, with tombs among the live slots.
    fn random(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..4).for_each(|_| {
            random.next();
        });
        let hasher = if random.below(2) == 0 {
            AddrHasher::new(seed)
        } else {
            AddrHasher::constant()
        };
        let small = random.below(2) == 0;
        // Claims up to the limit, at which a successor is made; usually the next one brings it.
        let fill = if small { 6 } else { FILL } - [1, 1, 1, 0, 0, 2, 3, 4][random.below(8)];
        // Usually a key of the block that migrates first.
        let among = if random.below(4) == 0 { KEYS } else { BUCKET };
        let focus = random.below(among);
        let every = random.below(3);
        let mut script = |own, most| -> Vec<Op> {
            let length = 1 + random.below(most);
            (0..length).map(|_| Op::random(&mut random, focus, own)).collect()
        };
        let mut scripts = [script(Some(0), 3), script(Some(1), 3), script(None, 5)];
        if random.below(5) == 0 {
            // Enough for a migration or two.
            let burst = random.below(EXTRA);
            scripts[2].splice(1..1, (0..burst).map(extra));
        }
        let config = Self::config(if small { 1 } else { 4 }, hasher);
        let tombs = (0..fill).filter(|key| key % 3 == every).collect();
        Self {
            config,
            fill,
            tombs,
            scripts,
            threads: random.below(8) == 0,
        }
    }

    /// Returns a case too rare to be met by chance: its threads must each be at exactly one place.
    fn directed(seed: u64) -> Self {
        let mut random = Random(seed << 8 | 1);
        let hasher = AddrHasher::new(seed);
        let first_bucket = |key: &usize| hasher.hash(obj(*key)).home(2) == 0;
        // A key of the block that migrates first, and one that is new there.
        let k = (0..BUCKET).find(|key| key % 5 != 3 && first_bucket(key)).unwrap_or(0);
        let near = (FILL..KEYS).find(first_bucket).unwrap_or(FILL);
        let new: Vec<Op> = (FILL..KEYS).filter(|&key| key != near).map(Op::Alloc).collect();
        let (alloc, free, get) = (Op::Alloc(k), Op::Free(k), Op::Get(k));
        // With `FILL` keys the table is at its limit, so that the next insert migrates; with one less, the one after.
        let (fill, tomb, scripts, threads) = match seed % 8 {
            // An insert saw a tomb and no successor, and continues when the key has been alive, frozen and freed.
            n @ (0 | 1) => (
                FILL - 1,
                true,
                [vec![alloc], vec![alloc, new[0], new[1]], vec![free]],
                n == 0,
            ),
            // A slot stays frozen until the last reader's guard has been dropped.
            2 => (FILL, false, [vec![new[0]], vec![free, get], vec![]], true),
            // A key is created again while its old node is frozen and dead.
            3 => (FILL, false, [vec![new[0]], vec![free], vec![alloc]], false),
            // A key is created again in a table that migrates, while its old node is dead and linked.
            4 => (FILL - 1, false, [vec![free], vec![new[0]], vec![alloc, get]], false),
            // A late reader has read a word that leads to a node which is being unlinked.
            5 => (FILL - 1, false, [vec![free], vec![get], vec![]], true),
            // An insert saw an empty slot and no successor, and a helper is about to seal it.
            6 => (
                FILL - 1,
                false,
                [vec![Op::Alloc(near)], vec![new[0], new[1]], vec![]],
                true,
            ),
            // A helper sleeps while the table is replaced twice, and the key is freed before, meanwhile or not at all.
            _ => {
                let mut burst: Vec<Op> = (0..20 + random.below(EXTRA - 20)).map(extra).collect();
                let place = random.below(2 * burst.len());
                if place <= burst.len() {
                    burst.insert(place, free);
                }
                (FILL, false, [vec![new[0]], vec![get], burst], false)
            }
        };
        let tombs = if tomb { vec![k] } else { vec![] };
        Self {
            config: Self::config(4, hasher),
            fill,
            tombs,
            scripts,
            threads,
        }
    }
}

fn extra(n: usize) -> Op {
    Op::Alloc(KEYS + 2 * OWN + n)
}

impl World {
    fn new(defect: Option<Defect>, setup: Setup) -> Self {
        let mut core = Core::<Checked>::new(&setup.config).unwrap();
        core.rigging.defect = defect;
        let (store, ledger, map) = (ShadowStore::from_core(core), Ledger::new(200), BTreeMap::new());
        let mut world = Self {
            store,
            ledger,
            map,
            scripts: setup.scripts,
        };
        (0..setup.fill).for_each(|key| world.run_alone(Op::Alloc(key)));
        setup.tombs.into_iter().for_each(|key| world.run_alone(Op::Free(key)));
        world
    }

    fn run(&self, op: Op) -> (Op, Outcome) {
        (op, op.run(&self.store, &self.ledger))
    }

    fn run_alone(&mut self, op: Op) {
        let outcome = op.run(&self.store, &self.ledger);
        assert!(op.explains(&outcome, &mut self.map), "{op:?} gave {outcome:?}, alone");
    }
}

/// The place where a thread stops.
struct Stop {
    /// Places left before it stops.
    countdown: usize,
    /// Runs when it stops.
    call: Box<dyn FnOnce()>,
}

thread_local! {
    static STOP: Cell<Option<Stop>> = const { Cell::new(None) };
}

/// A place where a thread can stop.
fn pause() {
    match STOP.take() {
        Some(Stop { countdown: 0, call }) => call(),
        Some(stop) => STOP.set(Some(Stop {
            countdown: stop.countdown - 1,
            ..stop
        })),
        None => {}
    }
}

/// Runs a script up to the end of the operation in which it is stopped, and runs `meanwhile` at the stop.
fn run_until_stopped(world: &World, script: usize, countdown: usize, meanwhile: impl FnOnce() + 'static) -> Stopped {
    let stopped = Rc::new(Cell::new(false));
    let call = {
        let stopped = stopped.clone();
        Box::new(move || {
            stopped.set(true);
            meanwhile();
        })
    };
    ON_ACCESS.set(Some(pause));
    STOP.set(Some(Stop { countdown, call }));
    let mut done = Vec::new();
    for &op in &world.scripts[script] {
        let outcome = world.run(op);
        if stopped.get() {
            return (done, Ok(outcome));
        }
        done.push(outcome);
    }
    // Not stopped, so `meanwhile` runs now.
    let Some(stop) = STOP.take() else { unreachable!() };
    (stop.call)();
    (done, Err(countdown - stop.countdown))
}

/// Runs all on one thread: what happens while a thread is stopped is called from where it stops.
fn nested(world: World, counts: [usize; 2]) -> (World, [Stopped; 2], History) {
    let world = Rc::new(world);
    let inner = Rc::new(Cell::new(None));
    let first = run_until_stopped(&world, 0, counts[0], {
        let (world, inner) = (world.clone(), inner.clone());
        move || {
            let third = Rc::new(Cell::new(Vec::new()));
            let second = run_until_stopped(&world.clone(), 1, counts[1], {
                let third = third.clone();
                move || third.set(world.scripts[2].iter().map(|&op| world.run(op)).collect())
            });
            inner.set(Some((second, third.take())));
        }
    });
    let (second, third) = inner.take().unwrap();
    (Rc::into_inner(world).unwrap(), [first, second], third)
}

/// Runs each on a thread of its own, so that the first can continue before the second.
fn threaded(world: World, counts: [usize; 2]) -> (World, [Stopped; 2], History) {
    let world = Arc::new(world);
    let start = |script: usize, countdown: usize| {
        let ((stopped, stops), (go_on, goes_on)) = (channel::<()>(), channel::<()>());
        let world = world.clone();
        let thread = thread::spawn(move || {
            run_until_stopped(&world, script, countdown, move || {
                drop(stopped);
                let _ = goes_on.recv();
            })
        });
        let _ = stops.recv();
        (thread, go_on)
    };
    let (first, second) = (start(0, counts[0]), start(1, counts[1]));
    let third = world.scripts[2].iter().map(|&op| world.run(op)).collect();
    let finish = |(thread, go_on): (thread::JoinHandle<Stopped>, Sender<()>)| {
        drop(go_on);
        thread.join().unwrap()
    };
    let stopped = [finish(first), finish(second)];
    (Arc::into_inner(world).unwrap(), stopped, third)
}

/// Runs one case. Returns for each of the two threads that was not stopped how many places there were.
fn case(defect: Option<Defect>, setup: Setup, counts: [usize; 2]) -> [Option<usize>; 2] {
    let run = if setup.threads { threaded } else { nested };
    let (world, stopped, third) = run(World::new(defect, setup), counts);
    judge(world, &stopped[0], &stopped[1], &third);
    stopped.map(|stopped| stopped.1.err())
}

/// Tries every point at which the stopped operations may have taken effect, and then checks the contents of the store.
fn judge(mut world: World, first: &Stopped, second: &Stopped, third: &History) {
    let mut map = std::mem::take(&mut world.map);
    assert!(
        first.0.iter().all(|(op, outcome)| op.explains(outcome, &mut map)),
        "{first:?}"
    );
    let rest: Vec<_> = second.0.iter().chain(third).collect();
    let Outcome::All(left) = world.run(Op::Iterate).1 else {
        unreachable!()
    };
    let fits = |one: usize, other: usize, other_first: bool| {
        let mut map = map.clone();
        let mut stopped = [(one, &first.1), (other, &second.1)];
        if other_first {
            stopped.reverse();
        }
        let fit = (0..=rest.len()).all(|place| {
            let here = stopped.iter().filter(|(at, _)| *at == place);
            here.filter_map(|(_, stopped)| stopped.as_ref().ok())
                .chain(rest.get(place).copied())
                .all(|(op, outcome)| op.explains(outcome, &mut map))
        });
        fit && map.into_iter().eq(left.iter().copied())
    };
    // Not atomic either: it may also free one that was created again meanwhile.
    let twice = |op: &Result<(Op, Outcome), usize>| matches!(op, Ok((_, Outcome::Freed(2..))));
    let linearizable = twice(&first.1)
        || twice(&second.1)
        || (0..=rest.len())
            .any(|one| (second.0.len()..=rest.len()).any(|other| fits(one, other, false) || fits(one, other, true)));
    assert!(
        linearizable,
        "from {map:?}: {first:?}, meanwhile {second:?}, meanwhile {third:?}, left {left:?}"
    );

    // The table moves twice more, so that anything that leads to freed memory is met now.
    world.map = left.into_iter().collect();
    let more = KEYS + 2 * OWN..KEYS + 2 * OWN + EXTRA;
    let mut ops: Vec<Op> = (0..KEYS + 2 * OWN).map(Op::Get).collect();
    ops.extend(more.clone().map(Op::Alloc).chain([Op::Iterate]));
    ops.extend(more.map(Op::FreeObject).chain([Op::Shrink, Op::Iterate]));
    ops.extend([Op::FreeAll, Op::Iterate]);
    ops.into_iter().for_each(|op| world.run_alone(op));
    let stats = world.store.stats();
    assert_eq!(
        (stats.live, stats.retired_objects, world.ledger.alive().len()),
        (0, 0, 0),
        "something is never given back"
    );
}

/// Runs cases, from this seed on, until the time is up; all of them, or those of one directed kind. Returns their
/// number.
pub(super) fn explore(defect: Option<Defect>, directed: Option<u64>, first: u64, time: Duration) -> usize {
    let start = Instant::now();
    let mut cases = 0;
    for seed in first.. {
        let mut random = Random((seed + 1) << 20);
        // No thread is stopped the first time, which counts the places.
        let mut most = [usize::MAX; 2];
        for _ in 0..12 {
            let setup = match directed {
                Some(kind) => Setup::directed(seed * 8 + kind),
                None if seed % 2 == 0 => Setup::random(seed / 2),
                None => Setup::directed(seed / 2),
            };
            // Anywhere, or among the first places, or among the last, where most operations take effect.
            let counts = most.map(|most| match random.below(3) {
                _ if most == usize::MAX => most,
                // What the other threads do may lead it past more places.
                0 => random.below(most + 10),
                1 => random.below(most.min(40)),
                _ => most.saturating_sub(1 + random.below(8)),
            });
            let places = case(defect, setup, counts);
            most = [0, 1].map(|n| places[n].map_or(most[n], |places| places.max(1)));
            cases += 1;
        }
        if start.elapsed() > time {
            break;
        }
    }
    cases
}

#[test]
fn two_preemptions_anywhere() {
    let _alone = super::alone();
    println!("{} cases", explore(None, None, 0, Duration::from_secs(4)));
}

#[test]
#[ignore = "runs for SHADOW_STRESS_SECONDS"]
fn torture_preemptions() {
    let seconds = std::env::var("SHADOW_STRESS_SECONDS").map_or(60.0, |seconds| seconds.parse().unwrap());
    println!(
        "{} cases",
        explore(None, None, 1 << 32, Duration::from_secs_f64(seconds))
    );
}

/// Measures how long it takes to catch one defect: `SHADOW_ONLY_DEFECT=NoSeal cargo test … search -- --ignored`.
#[test]
#[ignore = "runs until it has caught the defect that it is told to plant"]
fn search() {
    let name = std::env::var("SHADOW_ONLY_DEFECT").unwrap();
    let defect = super::defects::by_name(&name);
    println!(
        "{name}: not caught in {} cases",
        explore(defect, super::defects::kind_of(&name), 0, Duration::from_secs(40))
    );
}
