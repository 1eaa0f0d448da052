//! Constructors: one runs, who else wants the variable waits for it, and nobody waits for ever.

use std::sync::Arc;

use super::{A, B, Store, Value, explore, join, small, spawn, tiny};
use crate::error::{CtorError, StoreError};
use crate::sync::stat::{AtomicUsize, Ordering};

#[test]
fn a_constructor_runs_once_for_two_who_want_the_variable() {
    explore(2, || {
        let store = tiny();
        let ran = Arc::new(AtomicUsize::new(0));
        let make = |ran: Arc<AtomicUsize>| move || Some(Value::new(ran.fetch_add(1, Ordering::Relaxed)));
        let (first, second) = (make(ran.clone()), make(ran.clone()));
        let other = spawn(&store, move |store| store.construct(A, first));
        let mine = store.construct(A, second);
        assert_eq!((mine, join(other)), (Ok(0), Ok(0)), "both have the one value");
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        store.end(&[A]);
    });
}

#[test]
fn a_failed_constructor_leaves_the_turn_to_who_waits() {
    explore(2, || {
        let store = tiny();
        let other = spawn(&store, |store| store.construct(A, || None));
        let mine = store.construct(A, || Some(Value::new(7)));
        assert_eq!(mine, Ok(7));
        // The other failed, or came when the variable was there.
        assert!(matches!(join(other), Err(CtorError::Ctor(())) | Ok(7)));
        store.end(&[A]);
    });
}

#[test]
fn a_find_sees_a_finished_value_or_nothing() {
    explore(2, || {
        let store = tiny();
        let other = spawn(&store, |store| store.construct(A, || Some(Value::new(7))));
        assert!(matches!(store.get(A), None | Some(7)));
        assert_eq!(join(other), Ok(7));
        store.end(&[A]);
    });
}

#[test]
fn a_free_takes_a_finished_value_or_nothing() {
    explore(2, || {
        let store = tiny();
        let other = spawn(&store, |store| store.construct(A, || Some(Value::new(7))));
        let freed = store.free(A);
        assert_eq!(join(other), Ok(7));
        store.end(if freed.is_some() { &[] } else { &[A] });
    });
}

#[test]
fn an_alloc_waits_for_the_constructor() {
    explore(2, || {
        let store = tiny();
        let other = spawn(&store, |store| store.construct(A, || Some(Value::new(7))));
        let created = store.alloc(A, 8);
        let seen = join(other);
        assert_eq!(seen, Ok(if created { 8 } else { 7 }));
        store.end(&[A]);
    });
}

#[test]
fn a_node_under_construction_moves_with_the_table() {
    explore(2, || {
        let store = small();
        let other = spawn(&store, |store| {
            store.grow();
            store.finish();
        });
        assert_eq!(store.construct(A, || Some(Value::new(7))), Ok(7));
        join(other);
        store.end(&[A]);
    });
}

#[test]
fn a_failed_node_goes_wherever_the_table_went() {
    explore(2, || {
        let store = small();
        let other = spawn(&store, |store| {
            store.grow();
            store.finish();
        });
        assert_eq!(store.construct(A, || None), Err(CtorError::Ctor(())));
        join(other);
        assert_eq!(store.get(A), None);
        store.end(&[]);
    });
}

#[test]
fn a_constructor_that_wants_itself_is_told() {
    explore(2, || {
        let store = tiny();
        let inner = store.clone();
        let result = store.construct(A, move || {
            let again = inner.construct(A, || Some(Value::new(1)));
            assert!(matches!(again, Err(CtorError::Store(StoreError::Recursion { .. }))));
            None
        });
        assert_eq!(result, Err(CtorError::Ctor(())));
        store.end(&[]);
    });
}

/// Each of two threads constructs one key and, inside, wants the other's.
#[test]
fn a_ring_of_two_is_refused_to_one_of_them() {
    explore(2, || {
        let store = small();
        let nested = |store: Arc<Store>, outer: usize, inner: usize| {
            let again = store.clone();
            store.construct(outer, move || {
                match again.construct(inner, || Some(Value::new(inner))) {
                    Ok(_) => Some(Value::new(outer)),
                    Err(CtorError::Store(StoreError::Cycle { .. })) => None,
                    Err(other) => panic!("{other:?}"),
                }
            })
        };
        let theirs = store.clone();
        let other = loom::thread::spawn(move || nested(theirs, A, B));
        let mine = nested(store.clone(), B, A);
        let other = join(other);
        assert!(mine.is_ok() || other.is_ok(), "one of them at least has its variable");
        let live: Vec<usize> = [A, B].into_iter().filter(|&obj| store.get(obj).is_some()).collect();
        assert!(!live.is_empty());
        store.end(&live);
    });
}
