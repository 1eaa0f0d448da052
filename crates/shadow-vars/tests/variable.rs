//! `Variable`: an id of one store by itself.

mod support;

use std::sync::Arc;
use std::thread;

use shadow_vars::{CtorError, ObjAddr, Reclaim, ShadowId, StoreError, TypeMismatch, Variable};
use support::configs::Config;
use support::{Counted, Ledger, on_every_store};

on_every_store!(a_variable_by_itself, what_panics_leaves_the_variable_whole);

const N: ShadowId<u32> = ShadowId::new(0x41);

/// A `Variable` does what its store does with the id, and sees the changes of other threads.
fn a_variable_by_itself<R: Reclaim>(config: &Config) {
    fn shared<T: Send + Sync>(_: &T) {}
    let store = Arc::new(config.build::<R>());
    let (shares, borrows) = (
        Variable::new(store.clone(), N).unwrap(),
        Variable::new(&*store, N).unwrap(),
    );
    shared(&shares);
    let copied = borrows;
    assert!(std::ptr::eq(copied.store(), &raw const *store) && shares.clone().id() == N);
    let mismatch = TypeMismatch {
        id: N.get(),
        bound: "u32".into(),
        asked: "i32".into(),
    };
    assert_eq!(
        Variable::new(&*store, ShadowId::<i32>::new(N.get())).unwrap_err(),
        StoreError::TypeMismatch(mismatch)
    );
    // Bound, although nothing was created yet.
    assert!(store.check_id(ShadowId::<i32>::new(N.get())).is_err());

    let read = |value: &u32| *value;
    assert_eq!(
        (shares.get_cloned(1), shares.contains(1), shares.free(1)),
        (None, false, false)
    );
    assert_eq!(shares.alloc(1, 1), Ok(()));
    assert_eq!(shares.alloc_with(2, |obj| obj.get() as u32), Ok(()));
    assert_eq!(shares.try_alloc_with(3, |obj| Ok::<_, ()>(obj.get() as u32)), Ok(()));
    assert_eq!(shares.try_alloc_with(9, |_| Err(9)), Err(CtorError::Ctor(9)));
    assert_eq!(shares.get_or_alloc(4, 4, read), Ok(4));
    assert_eq!(shares.get_or_alloc_with(5, |obj| obj.get() as u32, read), Ok(5));
    let constructed = shares.get_or_try_alloc_with(6, |obj| Ok::<_, ()>(obj.get() as u32), read);
    assert_eq!(constructed, Ok(6));
    assert_eq!(shares.get_or_try_alloc_with(6, |_| Err(6), read), Ok(6));
    for obj in 1..=6 {
        assert_eq!(
            (borrows.get_with(obj, read), store.get_cloned(obj, N)),
            (Some(obj as u32), Some(obj as u32))
        );
        let refused = shares.alloc(obj, 7).unwrap_err();
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
    assert_eq!((shares.len(), store.len_of(N), shares.is_empty()), (6, 6, false));
    let sum = shares.pinned(|typed| {
        assert_eq!(typed.alloc_zeroed(7), Ok(&0));
        assert_eq!(typed.get_or_alloc_zeroed(7), Ok(&0));
        (1..9_usize).filter_map(|obj| typed.get(obj)).sum::<u32>()
    });
    assert_eq!(sum, 21);

    assert_eq!(
        (
            shares.free_with(1, |obj, value| (obj.get(), *value)),
            store.contains(1, N)
        ),
        (Some((1, 1)), false)
    );
    assert!(store.free(2, N) && !borrows.free(2) && borrows.free(3) && !store.free(3, N));
    let mut freed = Vec::new();
    assert_eq!(borrows.free_all_with(|obj, value| freed.push((obj.get(), *value))), 4);
    freed.sort_unstable();
    assert_eq!(freed, [(4, 4), (5, 5), (6, 6), (7, 0)]);
    assert_eq!((shares.free_all(), shares.is_empty(), store.len()), (0, true, 0));

    // Other threads use it by reference or by clone, and it keeps its store.
    drop(store);
    thread::scope(|scope| {
        let by_reference = &shares;
        scope.spawn(move || by_reference.alloc(8, 8).unwrap());
        let clone = shares.clone();
        scope.spawn(move || clone.alloc(16, 16).unwrap());
    });
    assert_eq!((shares.get_cloned(8), shares.get_cloned(16)), (Some(8), Some(16)));
}

/// Constructors and destructors that panic, as with the store.
fn what_panics_leaves_the_variable_whole<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(20);
    let store = config.build::<R>();
    let values = Variable::new(&store, ShadowId::<Counted>::new(0x42)).unwrap();
    let caught = |work: &dyn Fn()| {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
    };
    caught(&|| values.alloc_with(8, |_| panic!("on purpose")).unwrap());
    assert!(values.is_empty() && !values.contains(8));
    (1..5_usize).for_each(|obj| values.alloc(obj * 8, ledger.value()).unwrap());
    caught(&|| values.free_with(8, |_, _| panic!("on purpose")).unwrap());
    assert_eq!((values.contains(8), values.len()), (false, 3));
    caught(&|| assert_eq!(values.free_all_with(|_, _| panic!("on purpose")), 0));
    store.synchronize().unwrap();
    assert_eq!((values.len(), ledger.made(), ledger.alive().len()), (0, 4, 0));
}
