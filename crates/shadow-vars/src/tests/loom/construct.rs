//! Models of constructors: one runs at a time for a key, its value is complete before it is found, a failed one leaves
//! nothing, and no thread waits for ever.

use std::sync::Arc;

use super::{
    A, AtomicUsize, B, CtorError, Large, Ordering, Small, Store, StoreError, Usual, Value, explore, join, small, spawn,
    tiny,
};

/// Counts runs of constructors.
#[derive(Clone, Default)]
struct Runs(Arc<AtomicUsize>);

impl Runs {
    fn run(&self, number: usize) -> Option<Value> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(Value::new(number))
    }

    fn fail(&self) -> Option<Value> {
        self.0.fetch_add(1, Ordering::Relaxed);
        None
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn of_two_constructors_one_runs_and_both_callers_see_its_value() {
    explore(Small, || {
        let (store, runs) = (small(&[]), Runs::default());
        let other = spawn(&store, {
            let runs = runs.clone();
            move |store| store.construct(A, || runs.run(1))
        });
        let mine = store.construct(A, || runs.run(2));
        assert_eq!(mine, join(other), "the callers see one value");
        assert_eq!(runs.count(), 1, "constructors that ran");
        store.end(&[A]);
    });
}

/// Both may be on the list of waiters at once, in either order.
#[test]
fn two_who_wait_for_one_constructor_both_go_on() {
    explore(Large, || {
        let (store, runs) = (small(&[]), Runs::default());
        let others = [1, 2].map(|number| {
            let runs = runs.clone();
            spawn(&store, move |store| store.construct(A, || runs.run(number)))
        });
        let mine = store.construct(A, || runs.run(3));
        for other in others {
            assert_eq!(mine, join(other), "the callers see one value");
        }
        assert_eq!(runs.count(), 1, "constructors that ran");
        store.end(&[A]);
    });
}

#[test]
fn a_failed_constructor_leaves_its_turn_to_the_waiter() {
    explore(Usual, || {
        let (store, runs) = (small(&[]), Runs::default());
        let other = spawn(&store, {
            let runs = runs.clone();
            move |store| store.construct(A, || runs.fail())
        });
        assert_eq!(store.construct(A, || runs.run(2)), Ok(2));
        match join(other) {
            Ok(found) => assert_eq!((found, runs.count()), (2, 1)),
            Err(error) => {
                assert_eq!(error, CtorError::Ctor(()));
                assert_eq!(runs.count(), 2, "constructors that ran");
            }
        }
        store.end(&[A]);
    });
}

#[test]
fn two_failed_constructors_leave_nothing() {
    explore(Usual, || {
        let (store, runs) = (small(&[]), Runs::default());
        let other = spawn(&store, {
            let runs = runs.clone();
            move |store| store.construct(A, || runs.fail())
        });
        assert_eq!(store.construct(A, || runs.fail()), Err(CtorError::Ctor(())));
        assert_eq!(join(other), Err(CtorError::Ctor(())));
        assert_eq!(runs.count(), 2, "constructors that ran");
        store.end(&[]);
    });
}

/// Two look-ups find nothing or the value; once found, the value is found again.
#[test]
fn a_finder_sees_nothing_or_the_whole_value() {
    explore(Small, || {
        let (store, runs) = (small(&[]), Runs::default());
        let other = spawn(&store, move |store| store.construct(A, || runs.run(1)));
        let (first, second) = (found(&store), found(&store));
        assert!(first.is_none() || first == second, "found, then not found");
        assert_eq!(join(other), Ok(1));
        store.end(&[A]);
    });
}

/// Like `get`, and fails if it reads a value that does not exist.
fn found(store: &Store) -> Option<usize> {
    store.pinned(|core, shield| {
        let node = core.find(shield, A, store.entry())?;
        assert_eq!(node.life().state(), super::State::Live, "found before it exists");
        // SAFETY: the entry holds `Value`, and the node is live.
        Some(unsafe { node.value::<Value>() }.read())
    })
}

#[test]
fn a_free_finds_nothing_or_the_whole_value() {
    explore(Small, || {
        let (store, runs) = (small(&[]), Runs::default());
        let other = spawn(&store, move |store| store.construct(A, || runs.run(1)));
        let freed = store.free(A);
        assert_eq!(join(other), Ok(1));
        store.end(if freed.is_some() { &[] } else { &[A] });
    });
}

#[test]
fn an_alloc_waits_for_the_constructor() {
    explore(Small, || {
        let (store, runs) = (small(&[]), Runs::default());
        let other = spawn(&store, move |store| store.construct(A, || runs.fail()));
        let mine = store.alloc(A, 2);
        assert!(mine, "a failed constructor refuses nobody");
        assert!(matches!(join(other), Ok(2) | Err(CtorError::Ctor(()))));
        store.end(&[A]);
    });
}

/// Each thread constructs the other's key inside its own constructor.
#[test]
fn a_ring_of_constructors_is_refused_and_not_a_deadlock() {
    fn nest(store: &Store, outer: usize, inner: usize) -> Result<usize, CtorError<()>> {
        let mut refused = false;
        let result = store.construct(outer, || {
            let nested = store.construct(inner, || Some(Value::new(inner)));
            refused = matches!(nested, Err(CtorError::Store(StoreError::Cycle { .. })));
            nested.ok().map(|_| Value::new(outer))
        });
        match result {
            Err(CtorError::Ctor(())) => assert!(refused, "only a ring refuses"),
            Ok(number) => assert_eq!(number, outer),
            Err(CtorError::Store(ref error)) => panic!("the outer key is nobody's before: {error:?}"),
        }
        result
    }
    explore(Usual, || {
        let store = small(&[]);
        let other = spawn(&store, |store| nest(store, A, B));
        let mine = nest(&store, B, A);
        let other = join(other);
        assert!(mine.is_ok() || other.is_ok(), "one of the ring gets through");
        // The constructor that finished had made the other's variable on the way, or found it.
        store.end(&[A, B]);
    });
}

#[test]
fn a_variable_under_construction_moves_with_its_table() {
    explore(Large, || {
        let (store, runs) = (tiny(&[]), Runs::default());
        let other = spawn(&store, {
            let runs = runs.clone();
            move |store| store.construct(A, || runs.run(1))
        });
        store.migrate();
        let mine = store.construct(A, || runs.run(2));
        assert_eq!(mine, join(other), "the callers see one value");
        assert_eq!(runs.count(), 1, "constructors that ran");
        store.end(&[A]);
    });
}

#[test]
fn a_constructor_that_fails_during_a_migration_leaves_nothing() {
    explore(Large, || {
        let (store, runs) = (tiny(&[]), Runs::default());
        let other = spawn(&store, move |store| store.construct(A, || runs.fail()));
        store.migrate();
        assert_eq!(store.get(A), None);
        assert_eq!(join(other), Err(CtorError::Ctor(())));
        store.end(&[]);
    });
}

#[test]
fn a_constructor_that_wants_its_own_variable_is_told() {
    explore(Small, || {
        let store = small(&[]);
        let result = store.construct(A, || {
            let nested = store.construct(A, || Some(Value::new(1)));
            assert!(matches!(nested, Err(CtorError::Store(StoreError::Recursion { .. }))));
            None
        });
        assert_eq!(result, Err(CtorError::Ctor(())));
        store.end(&[]);
    });
}
