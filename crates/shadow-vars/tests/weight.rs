//! Values with a weight: it counts while they wait, and they do not wait for a batch of others.
//!
//! A guard of one test holds back what others free, so they run one after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use shadow_vars::{Asymmetric, Epoch, Reclaim, ShadowId, ShadowStore, Variable};

const MIB: usize = 1 << 20;
const KIB: usize = 1 << 10;

/// Memory that a value owns, and a count of the existing ones.
struct Body(Vec<u8>, #[expect(dead_code, reason = "to be dropped")] Arc<()>);

const BODY: ShadowId<Body> = ShadowId::new(1);

impl Body {
    fn new(size: usize, alive: &Arc<()>) -> Self {
        Self(Vec::with_capacity(size), alive.clone())
    }

    fn owns(&self) -> usize {
        self.0.capacity()
    }
}

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn store<R: Reclaim>() -> ShadowStore<R> {
    let store = ShadowStore::builder().build().unwrap();
    store.weigh(BODY, Some(Body::owns)).unwrap();
    store
}

fn each_way_counts<R: Reclaim>() {
    /// The size of a few variables and their table.
    const FEW: usize = 64 * KIB;
    type Way<R> = fn(&ShadowStore<R>);
    let ways: [(&str, Way<R>); 7] = [
        ("free", |store| {
            (0..4).for_each(|n| assert!(store.pin().free(n * 8, BODY)))
        }),
        ("free_with", |store| {
            (0..4).for_each(|n| assert_eq!(store.pin().free_with(n * 8, BODY, |_, body| body.owns()), Some(MIB)));
        }),
        ("free_all", |store| assert_eq!(store.pin().free_all(BODY), 4)),
        ("free_object", |store| {
            (0..4).for_each(|n| assert_eq!(store.pin().free_object(n * 8), 1))
        }),
        ("pinned", |store| {
            (0..4).for_each(|n| assert!(store.pin().free(n * 8, BODY)))
        }),
        ("owned", |store| {
            let pin = store.pin_owned();
            let weighed = |_, body: &Body| assert_eq!(body.owns(), MIB);
            assert_eq!(pin.free_all_with(BODY, weighed), 4);
        }),
        ("variable", |store| {
            let bodies = Variable::new_in(BODY, store).unwrap();
            (0..4).for_each(|n| assert!(store.pin().free(n * 8, &bodies)));
        }),
    ];
    for (way, free) in ways {
        let (store, alive) = (store::<R>(), Arc::new(()));
        (0..4).for_each(|n| {
            store
                .pin()
                .alloc(n * 8, BODY, Body::new(MIB, &alive))
                .map(drop)
                .unwrap()
        });
        let before = store.stats().retired_bytes;
        assert!(before < FEW, "{way}: what lives weighs nothing");
        let reader = store.pin();
        free(&store);
        let held = store.stats().retired_bytes;
        assert!((4 * MIB..4 * MIB + FEW).contains(&held), "{way}: {held}");
        drop(reader);
        store.synchronize().unwrap();
        assert_eq!(
            (store.stats().retired_bytes, Arc::strong_count(&alive)),
            (0, 1),
            "{way}"
        );
        assert_eq!(store.stats().weigh_panics, 0);
    }
}

#[test]
fn what_a_value_owns_counts() {
    let _alone = alone();
    each_way_counts::<Asymmetric>();
    each_way_counts::<Epoch>();
    #[cfg(feature = "seize")]
    each_way_counts::<shadow_vars::Seize>();
}

/// Returns the largest number of values that waited, and of bytes that the store reported, while this many were created and
/// freed one after the other.
fn most_waiting<R: Reclaim>(store: &ShadowStore<R>, count: usize, size: usize) -> (usize, usize) {
    let alive = Arc::new(());
    let mut most = (0, 0);
    for n in 0..count {
        store.pin().alloc(n % 64 * 8, BODY, Body::new(size, &alive)).unwrap();
        assert!(store.pin().free(n % 64 * 8, BODY));
        let waiting = Arc::strong_count(&alive) - 1;
        let bytes = if n % 16 == 0 { store.stats().retired_bytes } else { 0 };
        // No more is reported than was freed since all were dropped, and no less than actually waits.
        assert!(
            bytes == 0 || bytes >= waiting * size / 2,
            "{bytes} bytes, {waiting} values"
        );
        most = (most.0.max(waiting), most.1.max(bytes));
    }
    store.synchronize().unwrap();
    assert_eq!((Arc::strong_count(&alive), store.stats().retired_bytes), (1, 0));
    most
}

/// 3,000 of 1 MiB, one alive at a time: with every backend, also those that begin no grace period before a batch is full.
#[test]
fn heavy_values_do_not_wait_for_a_batch() {
    let _alone = alone();
    fn check<R: Reclaim>() {
        let (values, bytes) = most_waiting(&store::<R>(), 3000, MIB);
        assert!(values <= 32 && bytes <= 64 * MIB, "{values} values, {bytes} bytes");
    }
    check::<Asymmetric>();
    check::<Epoch>();
    #[cfg(feature = "seize")]
    check::<shadow_vars::Seize>();
}

/// Nor do many that are heavy together.
#[test]
fn batches_are_bounded_by_what_their_values_own() {
    let _alone = alone();
    let unweighed = ShadowStore::<Epoch>::builder().build().unwrap();
    let (all, _) = most_waiting(&unweighed, 6000, 0);
    assert!(all >= 1024, "a batch by number: {all}");
    let (values, _) = most_waiting(&store::<Epoch>(), 6000, KIB);
    assert!(values <= 512, "64 KiB, and those that came while they waited: {values}");
}

/// A reader was delayed: what has accumulated is dropped by the next frees, together with what they free.
#[test]
fn what_piled_up_behind_a_reader_goes() {
    let _alone = alone();
    fn check<R: Reclaim>() {
        let (store, alive) = (store::<R>(), Arc::new(()));
        let turn = |n: usize| {
            store.pin().alloc(n * 8, BODY, Body::new(MIB, &alive)).unwrap();
            store.pin().free(n * 8, BODY);
        };
        let reader = store.pin_owned();
        (0..200).for_each(turn);
        assert!(store.stats().retired_bytes >= 200 * MIB);
        assert_eq!(Arc::strong_count(&alive), 201);
        drop(reader);
        let turns = (0..1000).take_while(|&n| {
            turn(n);
            let (waiting, bytes) = (Arc::strong_count(&alive) - 1, store.stats().retired_bytes);
            // What has been dropped has no weight any more, apart from the average that is used for values dropped together.
            assert!(
                (waiting * MIB * 9 / 10..(waiting + 3) * MIB).contains(&bytes),
                "{bytes} bytes, {waiting} values"
            );
            waiting >= 32
        });
        let turns = turns.count();
        assert!(turns <= 200, "{turns} frees");
        assert!(store.stats().retired_bytes <= 64 * MIB);
    }
    check::<Asymmetric>();
    check::<Epoch>();
}

/// The values of a test, and how often they were weighed: functions know nothing but the value.
struct Asked(
    &'static AtomicUsize,
    #[expect(dead_code, reason = "to be dropped")] Arc<()>,
);

impl Asked {
    fn asked(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed);
        MIB
    }

    fn panics(&self) -> usize {
        match self.0.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => std::panic::panic_any(PanicsAgain),
            _ => MIB,
        }
    }
}

/// A payload whose drop panics, too.
struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        panic!("not this either");
    }
}

const ASKED: ShadowId<Asked> = ShadowId::new(2);

#[test]
fn a_function_that_panics_leaves_everything_whole() {
    let _alone = alone();
    static TIMES: AtomicUsize = AtomicUsize::new(0);
    fn check<R: Reclaim>() {
        TIMES.store(0, Ordering::Relaxed);
        let (store, alive) = (ShadowStore::<R>::builder().build().unwrap(), Arc::new(()));
        store.weigh(ASKED, Some(Asked::panics)).unwrap();
        let fill = || {
            (0..8).for_each(|n| {
                store
                    .pin()
                    .alloc(n * 8, ASKED, Asked(&TIMES, alive.clone()))
                    .map(drop)
                    .unwrap()
            })
        };
        let reader = store.pin();
        fill();
        (0..8).for_each(|n| assert!(store.pin().free(n * 8, ASKED)));
        fill();
        assert_eq!(store.pin().free_all(ASKED), 8);
        // During another panic.
        fill();
        for n in 0..8 {
            let dtor = || store.pin().free_with(n * 8, ASKED, |_, _| std::panic::panic_any(n));
            let panic = catch_unwind(AssertUnwindSafe(dtor)).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&n));
        }
        let stats = store.stats();
        assert_eq!((stats.weigh_panics, stats.drop_panics, stats.live), (12, 0, 0));
        assert_eq!(stats.retired_bytes / MIB, 12, "those that panicked weigh nothing");
        assert_eq!(TIMES.load(Ordering::Relaxed), 24, "each is asked once");
        drop(reader);
        store.synchronize().unwrap();
        assert_eq!((Arc::strong_count(&alive), store.stats().retired_bytes), (1, 0));
    }
    check::<Asymmetric>();
    check::<Epoch>();
}

#[test]
fn only_values_that_were_freed_are_asked() {
    let _alone = alone();
    static TIMES: AtomicUsize = AtomicUsize::new(0);
    let times = || TIMES.load(Ordering::Relaxed);
    let (store, alive) = (ShadowStore::new(), Arc::new(()));
    store.weigh(ASKED, Some(Asked::asked)).unwrap();
    let value = || Asked(&TIMES, alive.clone());
    // There is no value.
    assert!(store.pin().try_alloc_with(8, ASKED, || Err::<Asked, _>(7)).is_err());
    assert!(
        catch_unwind(AssertUnwindSafe(|| store
            .pin()
            .alloc_with(8, ASKED, || panic!("no value"))
            .map(drop)))
        .is_err()
    );
    store.pin().alloc(8, ASKED, value()).unwrap();
    assert!(store.pin().alloc(8, ASKED, value()).is_err());
    assert_eq!(times(), 0);
    store.pin().free(8, ASKED);
    assert_eq!(times(), 1);
    // Not any more, and again.
    store.weigh(ASKED, None).unwrap();
    store.pin().alloc(8, ASKED, value()).unwrap();
    store.pin().free(8, ASKED);
    assert_eq!(times(), 1);
    store.weigh(ASKED, Some(Asked::asked)).unwrap();
    // Values that were not freed.
    store.pin().alloc(8, ASKED, value()).unwrap();
    drop(store);
    assert_eq!((times(), Arc::strong_count(&alive)), (1, 1));
}

#[test]
fn what_owns_nothing_is_not_asked() {
    let _alone = alone();
    const NUMBER: ShadowId<u64> = ShadowId::new(3);
    let store = ShadowStore::new();
    store.weigh(NUMBER, Some(|_| panic!("asked"))).unwrap();
    (0..100).for_each(|n| store.pin().alloc(n * 8, NUMBER, 7).map(drop).unwrap());
    (0..50).for_each(|n| assert!(store.pin().free(n * 8, NUMBER)));
    assert_eq!((store.pin().free_all(NUMBER), store.stats().weigh_panics), (50, 0));
    assert!(
        store.weigh(ShadowId::<u32>::new(3), Some(|_| 1)).is_err(),
        "bound to another type"
    );
}

/// It may do what any code may: free others, whose values are weighed in turn, and sweep its own id.
#[test]
fn a_function_may_use_the_store() {
    let _alone = alone();
    static STORE: OnceLock<ShadowStore> = OnceLock::new();
    struct Chained(usize, #[expect(dead_code, reason = "to be dropped")] Arc<()>);
    const CHAIN: ShadowId<Chained> = ShadowId::new(4);
    fn weigh(value: &Chained) -> usize {
        let store = STORE.get().unwrap();
        assert!(!store.pin().contains(value.0 * 8, CHAIN), "nobody finds it any more");
        match value.0 {
            0 => 0,
            3 => store.pin().free_all(CHAIN),
            n => usize::from(store.pin().free((n - 1) * 8, CHAIN)),
        }
    }
    let store = STORE.get_or_init(ShadowStore::new);
    let alive = Arc::new(());
    store.weigh(CHAIN, Some(weigh)).unwrap();
    let fill = || {
        (0..8).for_each(|n| {
            store
                .pin()
                .alloc(n * 8, CHAIN, Chained(n, alive.clone()))
                .map(drop)
                .unwrap()
        })
    };
    let reader = store.pin();
    fill();
    assert!(store.pin().free(7_usize * 8, CHAIN));
    assert!(store.is_empty());
    fill();
    assert!(store.pin().free_all(CHAIN) >= 1);
    assert!(store.is_empty());
    drop(reader);
    store.synchronize().unwrap();
    assert_eq!((Arc::strong_count(&alive), store.stats().retired_bytes), (1, 0));
}

/// Functions that say anything: a value counts as 4 GiB at most, so sums tell how many wait, of one thread and of several.
#[test]
fn a_value_weighs_4_gib_at_most() {
    const EACH: usize = 70_000;
    const THREADS: usize = 2;
    let _alone = alone();
    fn check<R: Reclaim>() {
        let (store, alive) = (ShadowStore::<R>::builder().build().unwrap(), Arc::new(()));
        store.weigh(BODY, Some(|_| usize::MAX)).unwrap();
        let reader = store.pin();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (store, alive) = (&store, &alive);
                scope.spawn(move || {
                    for n in 0..EACH {
                        let object = (thread * EACH + n + 1) * 8;
                        store.pin().alloc(object, BODY, Body::new(0, alive)).unwrap();
                        assert!(store.pin().free(object, BODY));
                    }
                });
            }
        });
        let (least, bytes) = ((THREADS * EACH) << 32, store.stats().retired_bytes);
        assert!((least..least + 64 * MIB).contains(&bytes), "{bytes}");
        drop(reader);
        store.synchronize().unwrap();
        assert_eq!((Arc::strong_count(&alive), store.stats().retired_bytes), (1, 0));
    }
    check::<Asymmetric>();
    check::<Epoch>();
    #[cfg(feature = "seize")]
    check::<shadow_vars::Seize>();
}

/// Like the test above, for a sweep, which adds the weights of what it takes before it passes them on.
#[test]
fn what_a_sweep_takes_weighs_4_gib_each() {
    const MANY: usize = 70_000;
    let _alone = alone();
    let (store, alive) = (ShadowStore::new(), Arc::new(()));
    store.weigh(BODY, Some(|_| usize::MAX)).unwrap();
    (1..=MANY).for_each(|n| store.pin().alloc(n * 8, BODY, Body::new(0, &alive)).map(drop).unwrap());
    let reader = store.pin();
    assert_eq!(store.pin().free_all(BODY), MANY);
    let bytes = store.stats().retired_bytes;
    assert!((MANY << 32..(MANY << 32) + 64 * MIB).contains(&bytes), "{bytes}");
    drop(reader);
    store.synchronize().unwrap();
    assert_eq!((Arc::strong_count(&alive), store.stats().retired_bytes), (1, 0));
}
