//! Counts are never outside the range that was true during the call, except for concurrent operations: while threads create
//! and free, free variables of other threads, and several threads count at once.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shadow_vars::{Reclaim, ShadowId, ShadowStore, Variable};
use support::configs::Config;
use support::{Random, within};

/// Variables of each id that exist throughout, and variables that are created and freed.
const STAY: usize = 40;
const PASS: usize = 24;
const IDS: [ShadowId<u64>; 3] = [ShadowId::new(1), ShadowId::new(2), ShadowId::new(3)];

const WORKERS: usize = 4;
const COUNTERS: usize = 3;

/// Operations that may be in progress during a count: one of each worker when a side was read, and there are two sides.
const SLACK: usize = 2 * WORKERS;

fn parent(n: usize) -> usize {
    0x10_000 + n * 64
}

/// Creates and frees variables, alone or with their parent's others, in no particular order.
fn work<R: Reclaim>(store: &ShadowStore<R>, number: usize, stop: &AtomicBool) {
    let mut random = Random(number as u64 + 1);
    while !stop.load(Ordering::Relaxed) {
        let (obj, id) = (parent(STAY + random.below(PASS)), IDS[random.below(IDS.len())]);
        match random.below(8) {
            0..3 => drop(store.pin().alloc(obj, id, 1).map(drop)),
            3 => drop(store.pin().get_or_alloc_with(obj, id, || 2).map(|_| ())),
            4..7 => drop(store.pin().free(obj, id)),
            _ => drop(store.pin().free_object(obj)),
        }
    }
}

/// Counts in every way. Returns how often.
fn count<R: Reclaim>(store: &ShadowStore<R>, stop: &AtomicBool) -> u64 {
    let (all, of_one) = (IDS.len() * STAY, STAY);
    let check = |what: &str, count: usize, least: usize, most: usize| {
        assert!(
            (least - SLACK.min(least)..=most + SLACK).contains(&count),
            "{what}: {count}, and there were {least} to {most} at any time"
        );
    };
    let variable = Variable::new_in(IDS[0], store).unwrap();
    let mut before = store.stats();
    let mut looks = 0;
    while !stop.load(Ordering::Relaxed) {
        check("len", store.len(), all, all + IDS.len() * PASS);
        check("len_of", store.len_of(IDS[1]), of_one, of_one + PASS);
        check("len_of a Variable", store.len_of(&variable), of_one, of_one + PASS);
        let stats = store.stats();
        check("live", stats.live as usize, all, all + IDS.len() * PASS);
        let sum = |of: fn(&shadow_vars::IdStats) -> u64| stats.ids.iter().map(of).sum::<u64>();
        assert_eq!(
            (stats.created, stats.freed, stats.live),
            (sum(|id| id.created), sum(|id| id.freed), sum(|id| id.live)),
            "the whole is its parts"
        );
        assert_eq!(stats.live, stats.created - stats.freed);
        for (id, before) in stats.ids.iter().zip(&before.ids) {
            check("an id's live", id.live as usize, of_one, of_one + PASS);
            assert!(
                id.created >= before.created && id.freed >= before.freed,
                "{before:?}, then {id:?}"
            );
        }
        assert!(stats.packed_free_bytes <= stats.packed_bytes && stats.tombs <= stats.claimed);
        before = stats;
        looks += 1;
    }
    looks
}

fn run<R: Reclaim>(config: &Config, time: Duration) -> u64 {
    let store = config.build::<R>();
    for id in IDS {
        (0..STAY).for_each(|n| store.pin().alloc(parent(n), id, 0).map(drop).unwrap());
    }
    let (stop, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    within(Duration::from_secs(120), config.name, || {
        thread::scope(|scope| {
            for number in 0..WORKERS {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || work(store, number, stop));
            }
            for _ in 0..COUNTERS {
                scope.spawn(|| {
                    let count = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| count(&store, &stop)));
                    // So that the workers end, even if an assertion fails.
                    stop.fetch_or(count.is_err(), Ordering::Relaxed);
                    looks.fetch_add(count.unwrap(), Ordering::Relaxed);
                });
            }
            let begin = Instant::now();
            while begin.elapsed() < time && !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(5));
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
    // No operation is in progress: exact.
    let there = store.pin().iter().count();
    assert_eq!((store.len(), store.stats().live as usize), (there, there));
    for id in IDS {
        let of_one = store.pin().iter().filter(|var| var.get(id).is_some()).count();
        assert_eq!(store.len_of(id), of_one);
        assert_eq!(store.pin().free_all(id), of_one);
        assert_eq!(store.len_of(id), 0);
    }
    assert!(store.is_empty());
    looks.into_inner()
}

#[test]
fn counts_were_true_while_all_changes() {
    let mut looks = 0;
    for config in [
        Config::named("default"),
        Config::named("smallest-table"),
        Config::provoked(),
    ] {
        looks += run::<shadow_vars::Asymmetric>(&config, Duration::from_millis(1500));
        looks += run::<shadow_vars::Epoch>(&config, Duration::from_millis(300));
        looks += run::<shadow_vars::Eras>(&config, Duration::from_millis(300));
        #[cfg(feature = "seize")]
        let _ = run::<shadow_vars::Seize>(&config, Duration::from_millis(300));
    }
    println!("{looks} looks");
    assert!(looks > 20, "hardly anything counted");
}

/// Ids that are first used during a count are counted like the others.
#[test]
fn ids_that_are_new_are_counted() {
    const NEW: u64 = 2000;
    let store = ShadowStore::new();
    thread::scope(|scope| {
        let maker = scope.spawn(|| {
            for n in 0..NEW {
                // The variable of each id is created before that of the previous id is freed.
                store.pin().alloc(8_usize, ShadowId::<u64>::new(n), n).unwrap();
                if n > 0 {
                    assert!(store.pin().free(8_usize, ShadowId::<u64>::new(n - 1)));
                }
            }
        });
        while !maker.is_finished() {
            // One or two, plus the operations in progress on either side.
            let live = store.len();
            assert!(live <= 4, "{live} of two variables");
            let stats = store.stats();
            assert!(stats.live <= 4, "{stats:?}");
        }
    });
    assert_eq!((store.len(), store.stats().created), (1, NEW));
}
