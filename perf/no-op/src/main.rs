//! The cost of tracing, type checks and statistics together, as a share of W1: two stores in one program are measured
//! alternately, a few milliseconds each, so that a disturbance of a shared machine affects both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rng::Rng;

#[path = "../../src/rng.rs"]
mod rng;

/// The value of the study: a hit reads the first half.
struct Value {
    first: u64,
    _second: u64,
}

/// The operations measured on both stores.
trait Store {
    fn filled(keys: &[usize]) -> Self;
    /// W1 of the study: look-ups of one variable, with a guard for each. Returns the sum of the values read.
    fn get_all(&self, keys: &[usize]) -> u64;
    /// Like [`get_all`](Self::get_all), through the store, which looks up the id each time.
    fn get_all_by_id(&self, keys: &[usize]) -> u64;
}

macro_rules! store {
    ($name:ident, $library:ident) => {
        struct $name {
            store: Arc<$library::ShadowStore>,
            values: $library::Variable<Value, Arc<$library::ShadowStore>>,
        }

        impl Store for $name {
            fn filled(keys: &[usize]) -> Self {
                let store = Arc::new($library::ShadowStore::with_capacity(keys.len()));
                let id = std::hint::black_box($library::ShadowId::new(1));
                let Ok(values) = $library::Variable::new_in(id, store.clone()) else {
                    panic!("a first id")
                };
                for &key in keys {
                    let value = Value {
                        first: !key as u64,
                        _second: 0,
                    };
                    assert!(values.alloc(key, value).is_ok());
                }
                Self { store, values }
            }

            #[inline(never)]
            fn get_all(&self, keys: &[usize]) -> u64 {
                let read = |&key: &usize| self.values.get_with(key, |value| value.first).unwrap_or(0);
                keys.iter().map(read).fold(0, u64::wrapping_add)
            }

            #[inline(never)]
            fn get_all_by_id(&self, keys: &[usize]) -> u64 {
                let id = std::hint::black_box($library::ShadowId::<Value>::new(1));
                let read = |&key: &usize| self.store.pin().get(key, id).map(|value| value.first).unwrap_or(0);
                keys.iter().map(read).fold(0, u64::wrapping_add)
            }
        }
    };
}

store!(All, shadow_vars);
store!(Without, without);

/// The length of one turn.
const TURN: Duration = Duration::from_millis(4);
const TURNS: usize = 400;
/// The look-ups between two checks of the time.
const CHUNK: usize = 256;

fn main() {
    println!(
        "W1 with all of it, as a part of W1 without; {TURNS} turns of {} ms each",
        TURN.as_millis()
    );
    println!(
        "{:>9} {:>9} {:>14} {:>14} {:>8}   half of the turns within",
        "entries", "by", "with, ns", "without, ns", "ratio"
    );
    for entries in [1 << 10, 1 << 16, 1 << 20] {
        measure(entries);
    }
}

fn measure(entries: usize) {
    let objects: Vec<Box<[u64; 8]>> = (0..entries).map(|_| Box::new([0; 8])).collect();
    let mut keys: Vec<usize> = objects
        .iter()
        .map(|object| std::ptr::from_ref(&**object).addr())
        .collect();
    let mut rng = Rng::new(entries as u64);
    rng.shuffle(&mut keys);
    let (all, without) = (All::filled(&keys), Without::filled(&keys));
    rng.shuffle(&mut keys);
    let by_variable = (All::get_all as Look<All>, Without::get_all as Look<Without>);
    let by_id = (All::get_all_by_id as Look<All>, Without::get_all_by_id as Look<Without>);
    for (by, look) in [("variable", by_variable), ("id", by_id)] {
        compare(by, &keys, (&all, look.0), (&without, look.1));
    }
}

type Look<S> = fn(&S, &[usize]) -> u64;

fn compare(by: &str, keys: &[usize], all: (&All, Look<All>), without: (&Without, Look<Without>)) {
    let entries = keys.len();
    let (mut at, mut ratios, mut sums) = ([0; 2], Vec::new(), [0.0; 2]);
    for turn in 0..TURNS {
        // The order of the stores changes with each turn.
        let mut ns = [0.0; 2];
        for which in [turn % 2, 1 - turn % 2] {
            ns[which] = match which {
                0 => take_turn(all, keys, &mut at[0]),
                _ => take_turn(without, keys, &mut at[1]),
            };
        }
        // The first turns are the warm-up.
        if turn >= TURNS / 10 {
            ratios.push(ns[1] / ns[0]);
            sums = [sums[0] + ns[0], sums[1] + ns[1]];
        }
    }
    ratios.sort_by(f64::total_cmp);
    let count = ratios.len();
    println!(
        "{entries:>9} {by:>9} {:>14.2} {:>14.2} {:>8.3}   {:.3} to {:.3}",
        sums[0] / count as f64,
        sums[1] / count as f64,
        ratios[count / 2],
        ratios[count / 4],
        ratios[count * 3 / 4]
    );
}

/// Returns the nanoseconds per look-up, over one turn.
fn take_turn<S>((store, look): (&S, Look<S>), keys: &[usize], at: &mut usize) -> f64 {
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < TURN {
        for _ in 0..8 {
            let chunk = &keys[*at..*at + CHUNK];
            let want = chunk.iter().map(|&key| !key as u64).fold(0, u64::wrapping_add);
            assert_eq!(look(store, chunk), want, "a look-up gave a wrong answer");
            *at = (*at + CHUNK) % keys.len();
            done += CHUNK;
        }
    }
    start.elapsed().as_nanos() as f64 / done as f64
}
