//! Guards that are held for a long time are reported, once each, and counted.

#![cfg(all(target_os = "linux", not(miri)))]

#[path = "support/process.rs"]
#[allow(dead_code, reason = "what other tests need of it")]
mod process;
#[cfg(feature = "tracing")]
#[path = "support/warnings.rs"]
mod warnings;

use std::panic::Location;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use process::{fork, processes};
use shadow_vars::{
    Asymmetric, Epoch, Eras, OwnedPinned, Reclaim, ShadowId, ShadowStore, Stats, report_old_guards, start_reclaimer,
};

processes! {
    a_thread_is_named => a_thread::<Asymmetric>;
    owned_guards_are_named_by_where_they_were_made => owned::<Asymmetric>;
    guards_inside_another_are_part_of_it => nested::<Asymmetric>;
    a_guard_that_is_renewed_is_new => renewed::<Asymmetric>;
    guards_that_go_in_time_are_not_reported => in_time::<Asymmetric>;
    one_report_for_each_guard => one_each::<Asymmetric>;
    nothing_need_happen_but_a_look => looked_at::<Asymmetric>;
    the_reclaimer_looks => reclaimer::<Asymmetric>;
    a_report_that_panics_ends_there => panicking::<Asymmetric>;
    it_can_be_switched_off => switched_off::<Asymmetric>;
    the_child_of_a_fork_has_its_own_guards_only => child::<Asymmetric>;
    all_that_was_freed_meanwhile_is_held_back => held_back;
    crossbeam_does_not_tell => crossbeam;
    of_eras_a_thread_is_named => a_thread::<Eras>;
    of_eras_owned_guards_are_named_by_where_they_were_made => owned::<Eras>;
    of_eras_guards_inside_another_are_part_of_it => nested::<Eras>;
    of_eras_a_guard_that_is_renewed_is_new => renewed::<Eras>;
    of_eras_guards_that_go_in_time_are_not_reported => in_time::<Eras>;
    of_eras_one_report_for_each_guard => one_each::<Eras>;
    of_eras_nothing_need_happen_but_a_look => looked_at::<Eras>;
    of_eras_the_reclaimer_looks => reclaimer::<Eras>;
    of_eras_a_report_that_panics_ends_there => panicking::<Eras>;
    of_eras_it_can_be_switched_off => switched_off::<Eras>;
    of_eras_the_child_of_a_fork_has_its_own_guards_only => child::<Eras>;
    of_eras_what_was_there_is_held_back_and_no_more => held_back_of_eras;
    of_eras_what_a_value_owns_is_held_back_with_it => weighed_of_eras;
}

const VALUE: ShadowId<[u64; 4]> = ShadowId::new(1);
const AGE: Duration = Duration::from_millis(160);

/// Takes the reports so far: names of threads, and places of owned guards with their numbers.
fn reports() -> Vec<String> {
    #[cfg(feature = "tracing")]
    return warnings::take();
    #[cfg(not(feature = "tracing"))]
    Vec::new()
}

/// Reports exist only with the feature.
fn assert_reports(expected: &[&str]) {
    let mut told = reports();
    told.sort();
    if cfg!(feature = "tracing") {
        assert_eq!(told, expected);
    }
}

fn begin<R: Reclaim>() -> &'static ShadowStore<R> {
    #[cfg(feature = "tracing")]
    warnings::listen();
    report_old_guards(Some(AGE));
    store()
}

fn store<R: Reclaim>() -> &'static ShadowStore<R> {
    Box::leak(Box::new(ShadowStore::builder().batch(8).build().unwrap()))
}

/// Frees for this long.
fn churn<R: Reclaim>(store: &ShadowStore<R>, time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        for n in 1..64_usize {
            store.pin().alloc(n * 8, VALUE, [7; 4]).unwrap();
            store.pin().free(n * 8, VALUE);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Frees until a guard is too old, and that has been detected.
fn until_old<R: Reclaim>(store: &ShadowStore<R>, count: usize) -> Stats {
    let start = Instant::now();
    loop {
        churn(store, Duration::from_millis(1));
        let stats = store.stats();
        if stats.old_guards >= count {
            return stats;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{stats:?}");
    }
}

/// Runs `meanwhile` while a thread of this name holds a guard.
fn beside<R: Reclaim, O>(store: &'static ShadowStore<R>, name: &str, meanwhile: impl FnOnce() -> O) -> O {
    let (pinned, is_pinned) = channel();
    let (done, is_done) = channel();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _pin = store.pin();
        pinned.send(()).unwrap();
        is_done.recv().unwrap();
    });
    is_pinned.recv().unwrap();
    let answer = meanwhile();
    done.send(()).unwrap();
    thread.unwrap().join().unwrap();
    answer
}

fn a_thread<R: Reclaim>() {
    let store = begin::<R>();
    let start = Instant::now();
    churn(store, AGE / 4);
    let none = store.stats();
    assert_eq!((none.old_guards, none.oldest_guard, none.held_back_bytes), (0, None, 0));
    beside(store, "a sleeping thread of long name", || {
        let stats = until_old(store, 1);
        assert_eq!(stats.old_guards, 1);
        let age = stats.oldest_guard.unwrap();
        assert!(age >= AGE && age <= start.elapsed(), "{age:?}");
        churn(store, AGE);
        let later = store.stats();
        assert!(later.oldest_guard.unwrap() >= age + AGE, "{later:?}");
        assert_reports(&["a sleeping thre"]);
    });
    store.synchronize().unwrap();
    let gone = store.stats();
    assert_eq!((gone.old_guards, gone.oldest_guard, gone.held_back_bytes), (0, None, 0));
}

fn held_back() {
    let store = begin::<Asymmetric>();
    beside(store, "sleeping", || {
        let stats = until_old(store, 1);
        // Everything that was freed beside it, which is nearly everything that waits.
        assert!(
            stats.held_back_bytes >= stats.retired_bytes / 2 && stats.held_back_bytes > 10_000,
            "{stats:?}"
        );
        churn(store, AGE);
        assert!(store.stats().held_back_bytes > stats.held_back_bytes);
    });
}

fn held_back_of_eras() {
    const THERE: usize = 1000;
    let store = begin::<Eras>();
    let other = self::store::<Asymmetric>();
    let there = |n: usize| (100 + n) * 8;
    (0..THERE).for_each(|n| store.pin().alloc(there(n), VALUE, [n as u64; 4]).map(drop).unwrap());
    beside(store, "sleeping", || {
        (0..THERE).for_each(|n| assert!(store.pin().free(there(n), VALUE)));
        let stats = until_old(store, 1);
        let bytes = stats.held_back_bytes;
        assert!(
            bytes >= THERE * 32 && bytes <= stats.retired_bytes && bytes < THERE * 128,
            "{stats:?}"
        );
        // It holds back no value that is created and freed now, and no value of the other backend.
        churn(store, AGE);
        churn(other, AGE / 4);
        let later = store.stats();
        assert!(later.oldest_guard.unwrap() >= stats.oldest_guard.unwrap() + AGE);
        assert_eq!(later.held_back_bytes, bytes, "{later:?}");
        let others = other.stats();
        assert_eq!((others.old_guards, others.held_back_bytes), (0, 0));
    });
    store.synchronize().unwrap();
    let gone = store.stats();
    assert_eq!((gone.old_guards, gone.held_back_bytes, gone.retired_bytes), (0, 0, 0));
}

/// Values that own much memory and have a weight.
fn weighed_of_eras() {
    const BUFFER: ShadowId<Vec<u8>> = ShadowId::new(2);
    const EACH: usize = 20_000;
    const THERE: usize = 64;
    let store = begin::<Eras>();
    store.weigh(BUFFER, Some(Vec::capacity)).unwrap();
    let there = |n: usize| (100 + n) * 8;
    (0..THERE).for_each(|n| {
        store
            .pin()
            .alloc(there(n), BUFFER, Vec::with_capacity(EACH))
            .map(drop)
            .unwrap()
    });
    beside(store, "sleeping", || {
        (0..THERE).for_each(|n| assert!(store.pin().free(there(n), BUFFER)));
        let stats = until_old(store, 1);
        for bytes in [stats.held_back_bytes, stats.retired_bytes] {
            assert!(
                (THERE * EACH * 4 / 5..THERE * EACH * 5 / 4).contains(&bytes),
                "{bytes} of {stats:?}"
            );
        }
    });
    store.synchronize().unwrap();
    let gone = store.stats();
    assert_eq!((gone.held_back_bytes, gone.retired_bytes), (0, 0));
}

/// A guard, and the place where it was made.
#[track_caller]
fn made<R: Reclaim>(store: &ShadowStore<R>) -> (OwnedPinned<'_, R>, String) {
    (store.pin_owned(), Location::caller().to_string())
}

fn owned<R: Reclaim>() {
    let store = begin::<R>();
    let (first, place) = made(store);
    let mut many: Vec<_> = (0..3).map(|_| made(store)).collect();
    assert_eq!(until_old(store, 4).old_guards, 4);
    churn(store, AGE);
    let mut expected = [format!("1 at {place}"), format!("3 at {}", many[0].1)];
    expected.sort();
    assert_reports(&[&expected[0], &expected[1]]);
    // Guards that are made there later are different ones.
    drop(first);
    many.truncate(1);
    assert_eq!(store.stats().old_guards, 1);
    churn(store, AGE / 8);
    let (again, place) = made(store);
    let age = until_old(store, 2).oldest_guard.unwrap();
    assert!(age > AGE * 2, "{age:?}");
    assert_reports(&[&format!("1 at {place}")]);
    drop((many, again));
    assert_eq!(store.stats().old_guards, 0);
}

fn nested<R: Reclaim>() {
    let store = begin::<R>();
    let pin = store.pin();
    let start = Instant::now();
    while start.elapsed() < AGE * 3 {
        let mut inside = store.pin();
        inside.repin();
        assert!(pin.get(8, VALUE).is_none());
        churn(store, Duration::from_millis(2));
        drop(inside);
    }
    assert_eq!(store.stats().old_guards, 1);
    assert!(store.stats().oldest_guard.unwrap() > AGE);
    // The name of the test's thread.
    assert_eq!(reports().len(), usize::from(cfg!(feature = "tracing")));
}

fn renewed<R: Reclaim>() {
    let store = begin::<R>();
    let (mut local, mut owned) = (store.pin(), store.pin_owned());
    let start = Instant::now();
    while start.elapsed() < AGE * 4 {
        local.repin();
        owned.repin();
        churn(store, Duration::from_millis(5));
        assert_eq!(store.stats().old_guards, 0);
    }
    assert_reports(&[]);
    // And it becomes old again, with the place where it was first made.
    local.repin();
    until_old(store, 1);
    churn(store, AGE);
    let told = reports();
    assert_eq!(
        told.iter().filter(|told| told.contains("old_guards.rs")).count(),
        usize::from(cfg!(feature = "tracing"))
    );
}

fn in_time<R: Reclaim>() {
    let store = begin::<R>();
    let start = Instant::now();
    while start.elapsed() < AGE * 4 {
        // One after the other, with always one guard in existence.
        let (local, owned) = (store.pin(), store.pin_owned());
        churn(store, AGE / 4);
        drop(local);
        beside(store, "short", || churn(store, AGE / 4));
        drop(owned);
        assert_eq!(store.stats().old_guards, 0);
    }
    assert_reports(&[]);
}

fn one_each<R: Reclaim>() {
    let store = begin::<R>();
    beside(store, "first", || {
        until_old(store, 1);
        assert_reports(&["first"]);
        beside(store, "second", || {
            let stats = until_old(store, 2);
            assert!(stats.oldest_guard.unwrap() >= AGE * 2);
            churn(store, AGE * 2);
            assert_reports(&["second"]);
        });
        churn(store, AGE);
        assert_eq!(store.stats().old_guards, 1);
    });
    // Their places among the readers are reused.
    beside(store, "third", || {
        until_old(store, 1);
        churn(store, AGE);
        assert_reports(&["third"]);
    });
}

fn looked_at<R: Reclaim>() {
    let store = begin::<R>();
    beside(store, "idle", || {
        let start = Instant::now();
        while store.stats().old_guards == 0 {
            assert!(start.elapsed() < Duration::from_secs(60));
            thread::sleep(Duration::from_millis(5));
        }
        assert!(start.elapsed() >= AGE);
        let stats = store.stats();
        assert_eq!((stats.old_guards, stats.held_back_bytes), (1, 0));
        assert_reports(&["idle"]);
    });
}

fn reclaimer<R: Reclaim>() {
    let store = begin::<R>();
    start_reclaimer().unwrap();
    beside(store, "idle", || {
        thread::sleep(AGE * 8);
        assert_reports(&["idle"]);
        // Seen before, so the first check knows its age.
        assert!(store.stats().oldest_guard.unwrap() >= AGE * 6);
    });
}

/// Reports are made inside operations that free, and by the reclaimer: panics of a subscriber affect neither.
fn panicking<R: Reclaim>() {
    let store = begin::<R>();
    #[cfg(feature = "tracing")]
    warnings::panic();
    // With keys that leave a record when they are freed, which the next insert removes and retires.
    let odd = |store: &ShadowStore<R>| {
        for n in 0..64_usize {
            store.pin().alloc(n * 8 + 1, VALUE, [7; 4]).unwrap();
            assert!(store.pin().free(n * 8 + 1, VALUE));
        }
    };
    beside(store, "loud", || {
        let start = Instant::now();
        while start.elapsed() < AGE * 3 {
            odd(store);
            thread::sleep(Duration::from_millis(2));
        }
        assert_reports(&["loud"]);
    });
    start_reclaimer().unwrap();
    beside(store, "louder", || {
        odd(store);
        thread::sleep(AGE * 8);
        assert_reports(&["louder"]);
    });
    assert!(store.is_empty());
    store.synchronize().unwrap();
    assert_eq!(store.stats().retired_objects, 0);
}

fn switched_off<R: Reclaim>() {
    let store = begin::<R>();
    report_old_guards(None);
    beside(store, "quiet", || {
        churn(store, AGE * 3);
        assert_eq!(store.stats().old_guards, 0);
        assert_reports(&[]);
        report_old_guards(Some(AGE));
        until_old(store, 1);
    });
}

fn child<R: Reclaim>() {
    let store = begin::<R>();
    let mine = store.pin();
    beside(store, "another", || {
        until_old(store, 2);
        assert_eq!(reports().len(), if cfg!(feature = "tracing") { 2 } else { 0 });
        let child = fork(|| {
            // This thread's guard is as old as before, and was reported.
            churn(store, AGE);
            assert_eq!(store.stats().old_guards, 1);
            assert_reports(&[]);
            drop(mine);
            churn(store, AGE);
            assert_eq!(store.stats().old_guards, 0);
            beside(store, "in the child", || {
                until_old(store, 1);
                assert_reports(&["in the child"]);
            });
        });
        assert_eq!(child, 0);
    });
}

fn crossbeam() {
    let store = begin::<Epoch>();
    let _pin = store.pin();
    for n in 1..100_usize {
        store.pin().alloc(n * 8, VALUE, [7; 4]).unwrap();
        store.pin().free(n * 8, VALUE);
    }
    thread::sleep(AGE * 2);
    store.flush();
    let stats = store.stats();
    assert_eq!(
        (stats.old_guards, stats.oldest_guard, stats.held_back_bytes),
        (0, None, 0)
    );
    // What is available instead.
    assert!(stats.oldest_retired.unwrap() > AGE && stats.retired_bytes > 1000);
    assert_reports(&[]);
}
