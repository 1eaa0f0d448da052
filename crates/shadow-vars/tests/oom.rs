//! Without memory: whichever allocation fails, the operation returns an error and the value, and leaves the store whole.
//!
//! A separate program, as its allocator fails on demand; and one test only, as it also counts leaked memory.

mod support;

use std::alloc::Layout;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shadow_vars::{BuildError, Builder, CtorError, Provoke, Reclaim, ShadowId, ShadowStore, StoreError};
use support::configs::Config;
use support::failing::{FIRED, Failing, HELD, SPARES_SMALL, with_failure};
use support::{Counted, Ledger};

#[global_allocator]
static ALLOCATOR: Failing = Failing;

const VALUE: ShadowId<Counted> = ShadowId::new(0x31);
const ZERO: ShadowId<[u64; 3]> = ShadowId::new(0x32);
const RAW: u64 = 0x33;
const LIVE: usize = 20;

/// The `n`th key's parent; some do not fit into a word.
fn obj(n: usize) -> usize {
    if n % 4 == 3 { n * 16 + 1 } else { n * 16 }
}

/// Creates the `n`th variable, with one of the forms in turn. Returns `Err` if there was no memory, with the value's serial
/// number if it was given back.
fn create<R: Reclaim>(store: &ShadowStore<R>, ledger: &Arc<Ledger>, n: usize) -> Result<(), Option<usize>> {
    let oom = |error: StoreError| assert_eq!(error, StoreError::OutOfMemory);
    match n % 6 {
        0 => store
            .pin()
            .alloc(obj(n), VALUE, ledger.value())
            .map(drop)
            .map_err(|refused| {
                oom(refused.error);
                Some(refused.value.serial())
            }),
        1 => store
            .pin()
            .get_or_alloc(obj(n), VALUE, ledger.value())
            .map(|_| ())
            .map_err(|refused| {
                oom(refused.error);
                Some(refused.value.serial())
            }),
        2 => store
            .pin()
            .alloc_with(obj(n), VALUE, || ledger.value())
            .map(drop)
            .map_err(oom)
            .map_err(|()| None),
        3 => match store
            .pin()
            .get_or_try_alloc_with(obj(n), VALUE, || Ok::<_, ()>(ledger.value()))
            .map(|_| ())
        {
            Err(CtorError::Store(error)) => {
                oom(error);
                Err(None)
            }
            other => other.map_err(|_| unreachable!()),
        },
        4 => store
            .pin()
            .alloc_with(obj(n), ZERO, Default::default)
            .map(drop)
            .map_err(oom)
            .map_err(|()| None),
        _ => {
            let pin = store.pin();
            // SAFETY: no constructor.
            match unsafe { pin.raw_alloc(obj(n), RAW, Layout::new::<u128>(), None, std::ptr::null_mut()) } {
                Ok(_) => Ok(()),
                Err(CtorError::Store(error)) => {
                    oom(error);
                    Err(None)
                }
                Err(CtorError::Ctor(_)) => unreachable!(),
            }
        }
    }
}

fn exists<R: Reclaim>(store: &ShadowStore<R>, n: usize) -> bool {
    match n % 6 {
        0..=3 => store.pin().contains(obj(n), VALUE),
        4 => store.pin().get(obj(n), ZERO).cloned() == Some([0; 3]),
        _ => store
            .pin()
            .raw_get(obj(n), RAW, Layout::new::<u128>())
            .unwrap()
            .is_some(),
    }
}

fn free<R: Reclaim>(store: &ShadowStore<R>, n: usize) -> bool {
    match n % 6 {
        0..=3 => store.pin().free(obj(n), VALUE),
        4 => store.pin().free(obj(n), ZERO),
        // SAFETY: no destructor.
        _ => unsafe { store.pin().raw_free(obj(n), RAW, None, std::ptr::null_mut()) },
    }
}

/// Creates variables until one fails, with the `nth` allocation failing, and, if memory is permanently exhausted, frees some
/// too. Returns whether an allocation failed.
fn creating<R: Reclaim>(config: &Config, nth: usize, for_good: bool, before: usize) -> bool {
    const MOST: usize = 120;
    let ledger = Ledger::new(4 * MOST);
    let store = builder::<R>(config).build().unwrap();
    (0..before).for_each(|n| create(&store, &ledger, n).unwrap());
    let mut freed = [false; MOST];
    let ((failed, reached), fired) = with_failure(nth, for_good, || {
        let mut reached = before;
        let failed = loop {
            if reached == MOST || FIRED.get() {
                break None;
            }
            match create(&store, &ledger, reached) {
                Ok(()) => reached += 1,
                Err(serial) => break Some(serial),
            }
        };
        if FIRED.get() && for_good {
            // Freeing needs no memory.
            for n in (0..reached).step_by(3) {
                freed[n] = free(&store, n);
            }
        }
        (failed, reached)
    });
    if let Some(serial) = failed {
        assert!(fired && !exists(&store, reached));
        assert_eq!(
            serial,
            (reached % 6 < 2).then(|| ledger.made() - 1),
            "the value came back"
        );
    }
    let gone = |n: usize| fired && for_good && n.is_multiple_of(3) && n < reached;
    (0..reached).for_each(|n| assert_eq!((exists(&store, n), freed[n]), (!gone(n), gone(n)), "variable {n}"));
    assert_eq!(store.len(), (0..reached).filter(|&n| !gone(n)).count());
    // With memory again, everything works.
    (0..MOST)
        .filter(|&n| gone(n) || n >= reached)
        .for_each(|n| create(&store, &ledger, n).unwrap());
    (0..MOST).for_each(|n| assert!(exists(&store, n), "variable {n} is lost"));
    assert_eq!(store.pin().iter().count(), MOST);
    (0..MOST).step_by(2).for_each(|n| assert!(free(&store, n)));
    (0..MOST).for_each(|n| assert_eq!(exists(&store, n), n % 2 == 1));
    drop(store);
    ledger.assert_balanced();
    fired
}

/// Returns a store that begins no grace period by itself: crossbeam-epoch and seize abort the process if they have no memory
/// for their own data.
fn builder<R: Reclaim>(config: &Config) -> Builder<R> {
    let provoke = Provoke {
        batch_of_one: false,
        ..config.provoke
    };
    ShadowStore::<R>::builder().hash_seed(1).batch(1 << 30).provoke(provoke)
}

fn building<R: Reclaim>(config: &Config, nth: usize) -> bool {
    let builder = builder::<R>(config);
    SPARES_SMALL.set(true);
    let (built, fired) = with_failure(nth, false, || builder.build());
    SPARES_SMALL.set(false);
    assert_eq!(built.err(), fired.then_some(BuildError::OutOfMemory { asked: 0 }));
    fired
}

fn every_failure<R: Reclaim>() -> usize {
    // Allocates what a thread's first guard needs.
    drop(ShadowStore::<R>::builder().build().unwrap().pin());
    let mut points = 0;
    for config in Config::all() {
        println!("configuration {}", config.name);
        points += (1..).take_while(|&nth| building::<R>(&config, nth)).count();
        for (for_good, before) in [(false, 0), (false, LIVE), (true, 0), (true, LIVE)] {
            points += (1..)
                .take_while(|&nth| creating::<R>(&config, nth, for_good, before))
                .count();
        }
    }
    points
}

#[test]
fn no_allocation_is_taken_for_granted() {
    let points = every_failure::<shadow_vars::Asymmetric>()
        + every_failure::<shadow_vars::Epoch>()
        + every_failure::<shadow_vars::Eras>();
    #[cfg(feature = "seize")]
    let points = points + every_failure::<shadow_vars::Seize>();
    println!("{points} points of failure");
    // Again, as the first run filled caches; then there must be less than one more allocation per point.
    let held = HELD.load(Ordering::Relaxed);
    every_failure::<shadow_vars::Epoch>();
    let leaked = HELD.load(Ordering::Relaxed) - held;
    println!("{leaked} more allocations held");
    assert!(leaked < 100, "{leaked} allocations leaked");
}
