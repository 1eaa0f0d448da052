//! Models of the backend with intervals under the store: objects that a stalled reader cannot have found are freed, and
//! no others.
//!
//! In each of them a reader has been inside since before the eras began in which the rest happens, so no period ends.

use std::sync::Arc;

use super::{
    A, B, CREATED, Huge, Large, ODD, Ordering, Usual, Value, WATCHED, dropped, explore, is_dropped, is_dropped_by_now,
    join, spawn,
};
use crate::defect::model::PAUSED;
use crate::reclaim::Eras;
use crate::reclaim::sealed::Backend;
use crate::reclaim::sift::Effort;
use crate::table::scan::Scan;
use crate::table::{Config, Core, NodeRef, Shield};

type Store = super::Store<Eras>;
type Guard = <Eras as Backend>::Guard;

/// Returns a shield for this guard.
fn under<'g>(guard: &'g Guard) -> Shield<'g, Eras> {
    // SAFETY: the guard lives for `'g`.
    unsafe { Shield::new(Eras::place(guard)) }
}

/// Looks a variable up, and reads it again after other threads have had a chance to free it. Returns the number of its
/// value.
fn find_and_hold(store: &Store, shield: Shield<'_, Eras>, obj: usize) -> Option<usize> {
    let node = store.core.find(shield, obj, store.entry())?;
    Some(hold(store, shield, node, obj))
}

fn hold(store: &Store, shield: Shield<'_, Eras>, node: NodeRef<'_>, obj: usize) -> usize {
    // SAFETY: the entry holds `Value`, and the node was live.
    let value = unsafe { node.value::<Value>() };
    let number = value.read();
    // Lets another thread run, if it has not.
    store.core.find(shield, B, store.entry());
    assert!(!is_dropped(number), "dropped under a guard that found it");
    assert_eq!(value.read(), number);
    assert_eq!(node.obj, obj);
    number
}

/// Creates a variable in a new era, and frees it.
fn come_and_go(store: &Store, obj: usize, number: usize) {
    Eras::begin_period();
    assert!(store.alloc(obj, number));
    assert_eq!(store.free(obj), Some(number));
}

/// The reader stalls between two look-ups: what is created after the first is freed, what existed before stays.
#[test]
fn what_was_born_since_goes_and_what_was_there_stays() {
    WATCHED.store(true, Ordering::Relaxed);
    explore(Usual, || {
        let store = Store::small(&[A]);
        let guard = Eras::pin();
        assert_eq!(
            store.core.find(under(&guard), A, store.entry()).map(|node| node.obj),
            Some(A)
        );
        let other = spawn(&store, |store| {
            assert_eq!(store.free(A), Some(0));
            store.flush();
            come_and_go(store, A, 1);
            let mark = store.core.lists.mark();
            (0..2).for_each(|_| store.flush());
            assert!(is_dropped_by_now(1), "nobody can have found it");
            assert!(!store.core.lists.is_done(&mark), "the first is held");
            assert_eq!(store.core.lists.pending().0, 1);
        });
        assert!(!is_dropped_by_now(0), "dropped under a guard that found it");
        join(other);
        drop(guard);
        let mark = store.core.lists.mark();
        (0..2).for_each(|_| store.flush());
        assert!(is_dropped(0) && store.core.lists.is_done(&mark));
        store.end(&[]);
    });
}

/// What the last reader's end releases is reclaimed by flushes alone: nothing is left for the store's drop.
fn end_with_nothing(store: Arc<Store>, guard: Guard) {
    drop(guard);
    (0..3).for_each(|_| store.flush());
    assert_eq!(dropped(), CREATED.load(Ordering::Relaxed));
    store.end(&[]);
}

/// The reader is anywhere in a look-up when the variable that it looks for is created, freed and reclaimed.
fn look_up_beside(obj: usize) {
    explore(Usual, move || {
        let store = Store::small(&[]);
        let guard = Eras::pin();
        let other = spawn(&store, move |store| {
            come_and_go(store, obj, 0);
            store.flush();
        });
        find_and_hold(&store, under(&guard), obj);
        join(other);
        end_with_nothing(store, guard);
    });
}

#[test]
fn a_reader_in_a_look_up_announces_what_it_finds() {
    look_up_beside(A);
}

#[test]
fn a_reader_in_a_look_up_announces_the_record_that_it_finds() {
    look_up_beside(ODD);
}

/// The reader has begun a look-up in the root when another thread creates the variable, in a new era; then `go` frees
/// it during the look-up.
fn look_up_of_younger(go: fn(&Store)) {
    explore(Usual, move || {
        let store = Store::small(&[]);
        let guard = Eras::pin();
        let (shield, key) = (under(&guard), store.key(A));
        let root = store.core.root(shield);
        join(spawn(&store, |store| {
            Eras::begin_period();
            assert!(store.alloc(A, 0));
        }));
        let other = spawn(&store, move |store| {
            assert_eq!(store.free(A), Some(0));
            go(store);
        });
        if let Scan::Live(node, ..) = store.core.scan_buckets(shield, root, &key) {
            hold(&store, shield, node, A);
        }
        join(other);
        end_with_nothing(store, guard);
    });
}

/// A load made before the announcement does not count.
#[test]
fn a_word_counts_that_was_loaded_after_the_announcement() {
    look_up_of_younger(Store::flush);
}

/// A variable is freed while a reader looks it up, and retired objects are examined by `sift`. The reader has an owned
/// guard, batches do not fill, and a free does not advance the period: so the freeing thread has no fence of its own
/// between the removal and the examination.
fn look_up_beside_a_sift(sift: fn(&Store)) {
    PAUSED.store(true, Ordering::Relaxed);
    explore(Usual, move || {
        let config = Config {
            batch: 8,
            ..Store::config(1)
        };
        let store = Store::with(&config, &[]);
        let owned = Eras::pin_owned();
        Eras::begin_period();
        assert!(store.alloc(A, 0));
        let guard = Eras::pin();
        let reader = spawn(&store, move |store| {
            // SAFETY: the guard lives longer than the shield.
            find_and_hold(store, unsafe { Shield::new(Eras::place_owned(&owned)) }, A);
            drop(owned);
        });
        assert!(store.core.remove(under(&guard), &store.key(A), |_| ()).is_some());
        drop(guard);
        sift(&store);
        join(reader);
        (0..3).for_each(|_| store.flush());
        store.end(&[]);
    });
    PAUSED.store(false, Ordering::Relaxed);
}

/// The announcements of readers are read behind a barrier,
#[test]
fn nothing_is_sifted_before_the_barrier() {
    look_up_beside_a_sift(Store::flush);
}

/// or, if none came since the period began, not at all.
#[test]
fn nothing_is_sifted_without_a_barrier() {
    look_up_beside_a_sift(|store| {
        store.core.lists.close::<Eras>(0);
        store.core.lists.sift::<Eras>(0, Effort::All);
    });
}

/// The reader is in the root when two migrations begin, each in a new era: its table is held, the successor is freed.
#[test]
fn a_reader_in_a_table_passes_by_a_successor_that_is_gone() {
    explore(Large, || {
        let store = Store::small(&[A]);
        let guard = Eras::pin();
        let shield = under(&guard);
        let (root, key) = (store.core.root(shield), store.key(A));
        let other = spawn(&store, |store| {
            for _ in 0..2 {
                Eras::begin_period();
                store.migrate();
            }
            // The second makes the successor's successor.
            (0..2).for_each(|_| store.flush());
        });
        let found = store.core.find_by_words(shield, root, &key);
        assert_eq!(found.map(|node| hold(&store, shield, node, A)), Some(0));
        join(other);
        drop(guard);
        (0..3).for_each(|_| store.flush());
        store.end(&[A]);
    });
}

/// Like the model above, for a freeing thread: it has killed the variable, and a migration is over, when the next
/// begins and the table is freed in which it has to close the key.
#[test]
fn a_remover_in_a_table_passes_by_a_successor_that_is_gone() {
    explore(Huge, || {
        let store = Store::small(&[A]);
        let guard = Eras::pin();
        let shield = under(&guard);
        let removed = store.core.begin_removal(shield, store.core.root(shield), &store.key(A));
        // On a thread of its own, so that the remover announces nothing.
        let migrate = |store: &Store| {
            Eras::begin_period();
            store.migrate();
        };
        join(spawn(&store, migrate));
        let other = spawn(&store, move |store| {
            migrate(store);
            (0..2).for_each(|_| store.flush());
        });
        drop(removed);
        join(other);
        drop(guard);
        (0..3).for_each(|_| store.flush());
        store.end(&[]);
    });
}

/// The creator of a variable may use it as long as the guard exists under which it was made, even if another thread
/// frees it.
#[test]
fn a_maker_keeps_what_it_has_made() {
    explore(Usual, || {
        let store = Store::small(&[]);
        let guard = Eras::pin();
        let other = spawn(&store, |store| {
            Eras::begin_period();
            let freed = store.free(A);
            (0..2).for_each(|_| store.flush());
            freed
        });
        let made = make(&store.core, under(&guard), &store);
        assert_eq!(made.read(), 0);
        store.core.find(under(&guard), B, store.entry());
        assert_eq!(made.read(), 0);
        let freed = join(other).is_some();
        drop(guard);
        (0..2).for_each(|_| store.flush());
        store.end(if freed { &[] } else { &[A] });
    });
}

fn make<'g>(core: &'g Core<Eras>, shield: Shield<'g, Eras>, store: &Store) -> &'g Value {
    // SAFETY: the entry holds `Value`.
    let Ok(node) = (unsafe { core.try_alloc_fast(shield, &store.key(A), Value::new(0)) }) else {
        panic!("nothing is in the way")
    };
    // SAFETY: the entry holds `Value`, and the node was live.
    unsafe { node.value() }
}

/// Two threads look things up at once by one owned guard: what one has announced, the other may find at once.
#[test]
fn an_owned_guard_announces_for_all_who_share_it() {
    explore(Large, || {
        let store = Store::small(&[]);
        let guard = Arc::new(Eras::pin_owned());
        let find = |store: &Store, guard: &<Eras as Backend>::OwnedGuard| {
            // SAFETY: the guard lives longer than the shield.
            let shield = unsafe { Shield::new(Eras::place_owned(guard)) };
            find_and_hold(store, shield, A);
        };
        let other = spawn(&store, |store| {
            come_and_go(store, A, 0);
            store.flush();
        });
        let shared = guard.clone();
        let second = spawn(&store, move |store| find(store, &shared));
        find(&store, &guard);
        join(other);
        join(second);
        drop(guard);
        (0..3).for_each(|_| store.flush());
        store.end(&[]);
    });
}
