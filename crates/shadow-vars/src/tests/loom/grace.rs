//! Models of the default backend under the store: a period ends when the guards of its readers have been dropped, and
//! not before.
//!
//! Under loom its barriers are fences, as on platforms that have no others (`reclaim::barrier`).

use super::{A, OTHER, Ordering, Small, Usual, dropped, explore, join, retire, spawn};
use crate::defect::model::REFUSED;
use crate::reclaim::Asymmetric;
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

/// The reader's guard is nested and renewed: only what was found since the outermost guard began is protected.
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

/// An owned guard protects as a thread's guard does.
#[test]
fn an_owned_guard_protects_on_another_thread() {
    explore(Usual, || {
        let store = Store::small(&[A]);
        let guard = Asymmetric::pin_owned();
        let other = spawn(&store, move |store| {
            let found = store.pinned(|core, shield| core.find(shield, A, store.entry()).is_some());
            if found {
                // The guard that is sent is older than the look-up.
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

/// An owned guard is made while another thread frees and advances periods, with no guard of a thread beside it.
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
        // SAFETY: the guard lives longer than the shield.
        store.find_and_hold(unsafe { Shield::new(()) }, A, 0);
        drop(guard);
        retire::end_with_one_dropped(store, other);
    });
}

/// A scan began before the guard was made: what is freed after that waits for the guard.
#[test]
fn an_owned_guard_holds_up_a_scan_of_before() {
    explore(Usual, || {
        let store = Store::small(&[A]);
        let other = spawn(&store, |store| {
            Asymmetric::drive();
            store.flush();
        });
        let guard = Asymmetric::pin_owned();
        // SAFETY: the guard lives longer than the shield.
        let shield = unsafe { Shield::new(()) };
        store.find_and_hold(shield, A, 0);
        assert_eq!(store.free(A), Some(0));
        store.core.lists.close::<Asymmetric>(0);
        // Lets the other thread run, if it has not.
        store.core.find(shield, OTHER, store.entry());
        assert_eq!(dropped(), 0, "values dropped under a guard");
        drop(guard);
        retire::end_with_one_dropped(store, other);
    });
}

/// Without the heavy barrier a light one does nothing, so a reader may be inside unseen: nothing may be freed.
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
