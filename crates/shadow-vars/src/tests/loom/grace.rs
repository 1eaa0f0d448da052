//! The default backend under the store: a period ends when its readers have gone, and not before.
//!
//! Under loom its barriers are fences, as on platforms that have no others (`reclaim::barrier`).

use super::{A, OTHER, Ordering, Small, Usual, dropped, explore, join, retire, spawn};
use crate::reclaim::Asymmetric;
use crate::reclaim::barrier::REFUSED;
use crate::reclaim::sealed::Backend;
use crate::table::Shield;

type Store = super::Store<Asymmetric>;

#[test]
fn nothing_is_dropped_before_a_readers_guard_goes() {
    explore(Small, || retire::free_beside_a_reader::<Asymmetric>(A));
}

#[test]
fn two_who_push_on_drop_a_value_once() {
    explore(Usual, || retire::flushes_drop_once::<Asymmetric>(&[A], 2));
}

/// The reader's guard nests, and is renewed: only what was found since the outermost began is protected.
#[test]
fn a_renewed_guard_protects_what_it_finds_then() {
    explore(Usual, || {
        let store = Store::small(&[A]);
        let other = spawn(&store, |store| {
            assert_eq!(store.free(A), Some(0));
            store.flush();
            store.flush();
        });
        {
            let mut guard = Asymmetric::pin();
            assert!(matches!(store.get(A), None | Some(0)));
            Asymmetric::repin(&mut guard);
            assert!(matches!(store.get(A), None | Some(0)));
            assert!(Asymmetric::is_pinned());
        }
        join(other);
        store.end(&[]);
    });
}

/// A guard without a thread protects as one with a thread does.
#[test]
fn an_owned_guard_protects_on_another_thread() {
    explore(Usual, || {
        let store = Store::small(&[A]);
        let guard = Asymmetric::pin_owned();
        let other = spawn(&store, move |store| {
            let found = store.pinned(|core, shield| core.find(shield, A, store.entry()).is_some());
            if found {
                // The guard that travels is older than the look.
                assert_eq!(dropped(), 0, "values dropped under a guard");
            }
            drop(guard);
        });
        assert_eq!(store.free(A), Some(0));
        store.flush();
        store.flush();
        retire::end_with_one_dropped(store, other);
    });
}

/// One that is made while others free and push on, and no guard of a thread beside it.
#[test]
fn an_owned_guard_protects_what_it_finds() {
    explore(Usual, || {
        let store = Store::small(&[A]);
        let other = spawn(&store, |store| {
            assert_eq!(store.free(A), Some(0));
            store.flush();
            store.flush();
        });
        let guard = Asymmetric::pin_owned();
        // SAFETY: the guard lives longer.
        store.find_and_hold(unsafe { Shield::new(()) }, A, 0);
        drop(guard);
        retire::end_with_one_dropped(store, other);
    });
}

/// A scan that began before the guard was made: what is freed since waits for the guard.
#[test]
fn an_owned_guard_holds_up_a_scan_of_before() {
    explore(Usual, || {
        let store = Store::small(&[A]);
        let other = spawn(&store, |store| {
            Asymmetric::drive();
            store.flush();
        });
        let guard = Asymmetric::pin_owned();
        // SAFETY: the guard lives longer.
        let shield = unsafe { Shield::new(()) };
        store.find_and_hold(shield, A, 0);
        assert_eq!(store.free(A), Some(0));
        store.core.lists.close::<Asymmetric>(0);
        // Lets the other thread go on, if it has not.
        store.core.find(shield, OTHER, store.entry());
        assert_eq!(dropped(), 0, "values dropped under a guard");
        drop(guard);
        retire::end_with_one_dropped(store, other);
    });
}

/// Without the heavy barrier a light one is nothing, so a reader may be inside and not be seen: nothing may go.
#[test]
fn nothing_is_dropped_while_the_barrier_is_refused() {
    explore(Usual, || {
        let store = Store::small(&[A]);
        REFUSED.store(true, Ordering::Relaxed);
        let other = spawn(&store, move |store| {
            assert_eq!(store.free(A), Some(0));
            (0..3).for_each(|_| store.flush());
            assert_eq!(dropped(), 0, "values dropped without a barrier");
        });
        store.get_and_hold(A, 0);
        join(other);
        REFUSED.store(false, Ordering::Relaxed);
        (0..2).for_each(|_| store.flush());
        assert_eq!(dropped(), 1, "values dropped when there are barriers again");
        store.end(&[]);
    });
}
