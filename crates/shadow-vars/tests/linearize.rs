//! Answers to real threads are linearizable while the table is replaced under them: on every configuration and backend, for a
//! limited time.
//!
//! `SHADOW_STRESS_SECONDS` sets the total time. A failure prints the seed of its batch; `SHADOW_STRESS_SEED` starts with that
//! one.

mod common;

use std::any::type_name;
use std::env::var;
use std::time::{Duration, Instant};

use common::configs::Config;
use common::history::{Call, Event, is_linearizable};
use common::random::Random;
use common::rounds::{Round, Tally, run};
use shadow_vars::Reclaim;

/// Rounds on one store, before the next store starts small again.
const ROUNDS: usize = if cfg!(miri) { 3 } else { 40 };

const SECONDS: u64 = 10;

#[test]
fn histories_are_linearizable() {
    check_for(SECONDS);
}

/// As long as requested, for rare schedules.
#[test]
#[ignore = "takes as long as it is given"]
fn torture_histories() {
    check_for(60);
}

fn check_for(seconds: u64) {
    let seconds = var("SHADOW_STRESS_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(seconds);
    let stores = Config::every();
    let backends = if cfg!(feature = "seize") { 4 } else { 3 };
    // Under an interpreter of every access, there is time for one batch of each.
    let slice = if cfg!(miri) {
        Duration::ZERO
    } else {
        Duration::from_secs(seconds) / (stores.len() as u32 * backends)
    };
    let mut total = Tally::default();
    for config in &stores {
        total += stress::<shadow_vars::Asymmetric>(config, slice);
        total += stress::<shadow_vars::Epoch>(config, slice);
        total += stress::<shadow_vars::Eras>(config, slice);
        #[cfg(feature = "seize")]
        {
            total += stress::<shadow_vars::Seize>(config, slice);
        }
    }
    println!("altogether: {total:?}");
    assert!(total.histories >= stores.len(), "hardly anything checked");
    assert!(total.migrations as usize >= total.rounds / 4, "the table hardly moved");
}

/// Runs batches of random rounds on stores of this configuration, until the time is over; at least one.
fn stress<R: Reclaim>(config: &Config, time: Duration) -> Tally {
    let begin = Instant::now();
    let mut total = Tally::default();
    let mut seed = var("SHADOW_STRESS_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    loop {
        let mut random = Random::new(seed);
        let threads = 2 + random.below(3);
        let rounds: Vec<Round> = (0..ROUNDS).map(|_| random.round(threads)).collect();
        let place = Batch {
            config: config.name,
            backend: type_name::<R>(),
            seed,
        };
        match run(config.build::<R>(), &rounds) {
            Ok(tally) => total += tally,
            Err(violation) => panic!("{violation:?}"),
        }
        drop(place);
        seed += 1;
        if begin.elapsed() >= time {
            break;
        }
    }
    println!("{} with {}: {total:?}", config.name, type_name::<R>());
    total
}

/// Prints which batch failed.
struct Batch {
    config: &'static str,
    backend: &'static str,
    seed: u64,
}

impl Drop for Batch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "SHADOW_STRESS_SEED={} on {} with {}",
                self.seed, self.config, self.backend
            );
        }
    }
}

/// An operation of one thread, with the numbers of its call and its return.
fn event(called: u64, returned: u64, call: Call) -> Event {
    Event {
        key: 0,
        thread: 0,
        called,
        returned,
        call,
    }
}

#[test]
fn the_checker_accepts_what_one_order_explains() {
    let good: &[&[Event]] = &[
        &[],
        // One after the other.
        &[
            event(0, 1, Call::Get(None)),
            event(2, 3, Call::Alloc(1, true)),
            event(4, 5, Call::Alloc(2, false)),
            event(6, 7, Call::GetOrAlloc(3, 1)),
            event(8, 9, Call::FreeWith(Some(1))),
            event(10, 11, Call::Free(false)),
            event(12, 13, Call::CtorFailed),
            event(14, 15, Call::GetOrAlloc(4, 4)),
            event(16, 17, Call::Contains(true)),
        ],
        // The read is explained by the creation that it overlaps, whichever was called first.
        &[event(0, 2, Call::Get(Some(1))), event(1, 3, Call::Alloc(1, true))],
        &[event(0, 3, Call::Alloc(1, true)), event(1, 2, Call::Get(None))],
        // A sweep may come before or after the operations that it overlaps, or both.
        &[
            event(0, 1, Call::Alloc(1, true)),
            event(2, 7, Call::Swept),
            event(3, 4, Call::Alloc(2, true)),
            event(5, 6, Call::Get(None)),
        ],
        &[
            event(0, 5, Call::Swept),
            event(1, 2, Call::Alloc(1, true)),
            event(6, 7, Call::Get(Some(1))),
        ],
        &[
            event(0, 5, Call::Swept),
            event(1, 2, Call::Alloc(1, true)),
            event(6, 7, Call::Get(None)),
        ],
    ];
    for history in good {
        assert!(is_linearizable(history), "{history:#?}");
    }
}

#[test]
fn the_checker_rejects_what_no_order_explains() {
    let bad: &[(&str, &[Event])] = &[
        (
            "lost variable",
            &[event(0, 1, Call::Alloc(1, true)), event(2, 3, Call::Get(None))],
        ),
        ("variable from nowhere", &[event(0, 1, Call::Get(Some(1)))]),
        (
            "read before its creation",
            &[event(0, 1, Call::Get(Some(1))), event(2, 3, Call::Alloc(1, true))],
        ),
        (
            "stale read",
            &[
                event(0, 1, Call::Alloc(1, true)),
                event(2, 3, Call::Free(true)),
                event(4, 5, Call::Get(Some(1))),
            ],
        ),
        (
            "new value, then old value",
            &[
                event(0, 1, Call::Alloc(1, true)),
                event(2, 9, Call::Free(true)),
                event(3, 8, Call::Alloc(2, true)),
                event(4, 5, Call::Get(Some(2))),
                event(6, 7, Call::Get(Some(1))),
            ],
        ),
        (
            "two creations",
            &[event(0, 2, Call::Alloc(1, true)), event(1, 3, Call::Alloc(2, true))],
        ),
        (
            "two constructors",
            &[event(0, 2, Call::GetOrAlloc(1, 1)), event(1, 3, Call::GetOrAlloc(2, 2))],
        ),
        (
            "two removals of one",
            &[
                event(0, 1, Call::Alloc(1, true)),
                event(2, 4, Call::FreeWith(Some(1))),
                event(3, 5, Call::FreeWith(Some(1))),
            ],
        ),
        (
            "resurrected",
            &[
                event(0, 1, Call::Alloc(1, true)),
                event(2, 3, Call::FreeWith(Some(1))),
                event(4, 5, Call::Get(None)),
                event(6, 7, Call::Get(Some(1))),
            ],
        ),
        ("refused for nothing", &[event(0, 1, Call::Alloc(1, false))]),
        (
            "constructor ran though it existed",
            &[event(0, 1, Call::Alloc(1, true)), event(2, 3, Call::CtorFailed)],
        ),
        (
            "failed and created",
            &[event(0, 1, Call::CtorFailed), event(2, 3, Call::Contains(true))],
        ),
        (
            "sweep passed over it",
            &[
                event(0, 1, Call::Alloc(1, true)),
                event(2, 3, Call::Swept),
                event(4, 5, Call::Get(Some(1))),
            ],
        ),
        (
            "sweep freed another",
            &[
                event(0, 1, Call::Alloc(1, true)),
                event(2, 3, Call::FreeWith(Some(2))),
                event(4, 5, Call::Get(None)),
            ],
        ),
    ];
    for (story, history) in bad {
        assert!(!is_linearizable(history), "accepted: {story}");
    }
}
