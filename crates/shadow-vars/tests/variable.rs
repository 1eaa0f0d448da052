//! `Variable`: an id of one store that has been looked up.

mod support;

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::thread;

use shadow_vars::{CtorError, ObjAddr, Reclaim, ShadowId, ShadowStore, StoreError, TypeMismatch, Variable, global};
use support::configs::Config;
use support::{Counted, Ledger, on_every_store};

on_every_store!(a_variable_does_what_its_id_does, what_panics_leaves_the_variable_whole);

const N: ShadowId<u32> = ShadowId::new(0x41);

/// Operations do the same with a `Variable` as with its id, and see the changes of other threads.
fn a_variable_does_what_its_id_does<R: Reclaim>(config: &Config) {
    fn shared<T: Send + Sync>(_: &T) {}
    let store = Arc::new(config.build::<R>());
    let (shares, borrows) = (
        Variable::new_in(N, store.clone()).unwrap(),
        Variable::new_in(N, &*store).unwrap(),
    );
    shared(&shares);
    let copied = borrows;
    assert!(std::ptr::eq(copied.store(), &raw const *store) && shares.clone().id() == N);
    let mismatch = TypeMismatch {
        id: N.get(),
        bound: "u32".into(),
        asked: "i32".into(),
    };
    // Bound, although nothing was created yet.
    assert_eq!(
        Variable::new_in(ShadowId::<i32>::new(N.get()), &*store).unwrap_err(),
        StoreError::TypeMismatch(mismatch)
    );

    let pin = store.pin();
    assert_eq!(
        (pin.get(1, &shares), pin.contains(1, &shares), pin.free(1, &shares)),
        (None, false, false)
    );
    assert_eq!(pin.alloc(1, &shares, 1), Ok(&1));
    assert_eq!(pin.alloc_with(2, &shares, || 2), Ok(&2));
    assert_eq!(pin.try_alloc_with(3, &shares, || Ok::<_, ()>(3)), Ok(&3));
    assert_eq!(pin.try_alloc_with(9, &shares, || Err(9)), Err(CtorError::Ctor(9)));
    assert_eq!(pin.get_or_alloc(4, &shares, 4), Ok(&4));
    assert_eq!(pin.get_or_alloc_with(5, &shares, || 5), Ok(&5));
    assert_eq!(pin.get_or_try_alloc_with(6, &shares, || Ok::<_, ()>(6)), Ok(&6));
    assert_eq!(pin.get_or_try_alloc_with(6, &shares, || Err(6)), Ok(&6));
    assert_eq!(
        pin.get_or_try_alloc_with(9, &shares, || Err(9)),
        Err(CtorError::Ctor(9))
    );
    for obj in 1..=6 {
        assert_eq!(pin.get(obj, &borrows), Some(&(obj as u32)));
        assert!(std::ptr::eq(pin.get(obj, &shares).unwrap(), pin.get(obj, N).unwrap()));
        let refused = pin.alloc(obj, &shares, 7).unwrap_err();
        assert_eq!(
            (&refused.error, refused.value),
            (
                &StoreError::Exists {
                    obj: ObjAddr::new(obj),
                    id: N.get()
                },
                7
            )
        );
    }
    assert_eq!((store.len_of(&shares), store.len_of(N)), (6, 6));
    let mut found = [None; 3];
    pin.get_many(&[1.into(), 9.into(), 3.into()], &borrows, &mut found);
    assert_eq!(found, [Some(&1), None, Some(&3)]);

    let read = |obj: ObjAddr, value: &u32| (obj.get(), *value);
    assert_eq!(pin.free_with(1, &shares, read), Some((1, 1)));
    assert!(!pin.contains(1, N));
    assert!(pin.free(2, N) && !pin.free(2, &borrows) && pin.free(3, &borrows) && !pin.free(3, N));
    let mut freed = Vec::new();
    assert_eq!(
        pin.free_all_with(&borrows, |obj, value| freed.push(read(obj, value))),
        3
    );
    freed.sort_unstable();
    assert_eq!(freed, [(4, 4), (5, 5), (6, 6)]);
    assert_eq!((pin.free_all(&shares), store.len_of(&shares), store.len()), (0, 0, 0));
    drop(pin);

    // Other threads use it by reference or by clone, and it keeps its store.
    drop(store);
    thread::scope(|scope| {
        let by_reference = &shares;
        scope.spawn(move || by_reference.store().pin().alloc(8, by_reference, 8).map(drop).unwrap());
        let clone = shares.clone();
        scope.spawn(move || clone.store().pin().alloc(16, &clone, 16).map(drop).unwrap());
    });
    let pin = shares.store().pin_owned();
    assert_eq!((pin.get(8, &shares), pin.get(16, &shares)), (Some(&8), Some(&16)));
}

/// Constructors and destructors that panic, as by id.
fn what_panics_leaves_the_variable_whole<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(20);
    let store = config.build::<R>();
    let values = Variable::new_in(ShadowId::<Counted>::new(0x42), &store).unwrap();
    let caught = |work: &dyn Fn()| {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
    };
    let there = |obj| (store.pin().contains(obj, &values), store.len_of(&values));
    caught(&|| {
        let _ = store.pin().alloc_with(8, &values, || panic!("on purpose"));
    });
    assert_eq!(there(8), (false, 0));
    (1..5_usize).for_each(|obj| assert!(store.pin().alloc(obj * 8, &values, ledger.value()).is_ok()));
    caught(&|| store.pin().free_with(8, &values, |_, _| panic!("on purpose")).unwrap());
    assert_eq!(there(8), (false, 3));
    caught(&|| assert_eq!(store.pin().free_all_with(&values, |_, _| panic!("on purpose")), 0));
    store.synchronize().unwrap();
    assert_eq!((there(16), ledger.made(), ledger.alive().len()), ((false, 0), 4, 0));
}

/// A handle can be a `static`, and compared.
#[test]
fn variables_are_statics_and_values() {
    static HITS: LazyLock<Variable<u32>> = LazyLock::new(|| Variable::new(ShadowId::new(0x4e11)).unwrap());
    let vars = HITS.store().pin();
    assert!(std::ptr::eq(vars.store(), global()));
    assert_eq!(vars.get_or_alloc(8, &HITS, 3), Ok(&3));
    assert_eq!(vars.get(8, &*HITS), vars.get(8, HITS.id()));
    assert!(vars.free(8, &HITS) && vars.store().len_of(&HITS) == 0);

    let other = ShadowStore::new();
    let of_other = Variable::new_in(HITS.id(), &other).unwrap();
    let again = Variable::new(HITS.id()).unwrap();
    let another = Variable::new(ShadowId::<u32>::new(0x4e12)).unwrap();
    assert!(*HITS == again && of_other == of_other && again != another);
    assert_eq!(HashSet::from([again, *HITS, another]).len(), 2);
    assert_eq!(of_other.id(), again.id());
}

/// The mistake is found where assertions are enabled; otherwise the operation is on the variable's store.
#[test]
fn a_guard_of_another_store() {
    let (store, other) = (ShadowStore::new(), ShadowStore::new());
    let variable = Variable::new_in(N, &store).unwrap();
    store.pin().alloc(8, N, 1).unwrap();
    let look = || other.pin().get(8, &variable).copied();
    if cfg!(debug_assertions) {
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).is_err());
    } else {
        assert_eq!(look(), Some(1));
    }
}
