//! Operations under a guard of either kind, and through handles of one id.

use std::alloc::Layout;
use std::ptr::null_mut;
use std::sync::Arc;

use shadow_vars::{CtorError, ObjAddr, OwnedPinned, Reclaim, ShadowId, ShadowStore, StoreError, Typed, Variable};

use crate::Effect::{Frees, FreesAll, Makes, Nothing};
use crate::support::failing::spared;
use crate::{FAR, N, NEW, OLD, Operation, RAW, TEXT, WRONG, ZERO, constructed, done, obj, placed};

/// Operations under an owned guard; taking and dropping it has memory, as these are operations of their own.
fn owned<R: Reclaim, O>(store: &Arc<ShadowStore<R>>, run: impl FnOnce(&mut OwnedPinned<'_, R>) -> O) -> O {
    let mut pin = spared(|| store.pin_owned());
    let result = run(&mut pin);
    spared(|| drop(pin));
    result
}

fn typed<R: Reclaim, O>(store: &Arc<ShadowStore<R>>, run: impl FnOnce(Typed<'_, usize, R>) -> O) -> O {
    let pin = store.pin();
    let variables = spared(|| pin.bind(N).unwrap());
    run(variables)
}

fn variable<R: Reclaim>(store: &Arc<ShadowStore<R>>) -> Variable<usize, Arc<ShadowStore<R>>> {
    spared(|| Variable::new(store.clone(), N).unwrap())
}

/// Returns whether the creation failed, by its constructor's error or for lack of memory.
fn refused<O>(result: Result<O, CtorError<()>>) -> bool {
    matches!(
        result,
        Err(CtorError::Ctor(()) | CtorError::Store(StoreError::OutOfMemory))
    )
}

/// Frees the zeros of `NEW`.
fn zeroed<R: Reclaim, O>(store: &ShadowStore<R>, result: Result<O, StoreError>) -> bool {
    let was_done = result.map_or_else(|error| done::<()>(Err(error)), |_| true);
    assert_eq!(spared(|| store.free(NEW, ZERO)), was_done);
    true
}

fn raw<O, E: std::fmt::Debug>(result: Result<O, CtorError<E>>) -> bool {
    match result {
        Ok(_) | Err(CtorError::Store(StoreError::OutOfMemory)) => true,
        Err(error) => panic!("{error:?}"),
    }
}

pub(crate) fn pinned<R: Reclaim>() -> Vec<Operation<R>> {
    vec![
        ("Pinned::repin", Nothing, |store| (store.pin().repin(), true).1),
        ("Pinned::repin, owned", Nothing, |store| {
            owned(store, |pin| (pin.repin(), true).1)
        }),
        ("Pinned::get", Nothing, |store| {
            owned(store, |pin| pin.get(obj(1), N) == Some(&1))
        }),
        ("Pinned::try_get", Nothing, |store| {
            owned(store, |pin| matches!(pin.try_get(obj(1), N), Ok(Some(1))))
        }),
        ("Pinned::try_get, another type", Nothing, |store| {
            store.pin().try_get(obj(1), WRONG).is_err()
        }),
        ("Pinned::contains", Nothing, |store| {
            owned(store, |pin| pin.contains(obj(1), N) && !pin.contains(NEW, N))
        }),
        ("Pinned::get_many", Nothing, |store| {
            let mut found = [None];
            let pin = store.pin();
            pin.get_many(&[(ObjAddr::new(obj(2)), N)], &mut found);
            found[0] == Some(&2)
        }),
        ("Pinned::alloc", Makes(NEW), |store| {
            owned(store, |pin| placed(pin.alloc(NEW, N, 7)))
        }),
        ("Pinned::alloc_with", Makes(FAR), |store| {
            owned(store, |pin| done(pin.alloc_with(FAR, N, |_| 7)))
        }),
        ("Pinned::try_alloc_with", Makes(NEW), |store| {
            owned(store, |pin| constructed(pin.try_alloc_with(NEW, N, |_| Ok(7))))
        }),
        ("Pinned::try_alloc_with, refuses", Nothing, |store| {
            owned(store, |pin| refused(pin.try_alloc_with(NEW, N, |_| Err(()))))
        }),
        ("Pinned::alloc_zeroed", Nothing, |store| {
            owned(store, |pin| zeroed(store, pin.alloc_zeroed(NEW, ZERO)))
        }),
        ("Pinned::get_or_alloc", Makes(NEW), |store| {
            owned(store, |pin| placed(pin.get_or_alloc(NEW, N, 7)))
        }),
        ("Pinned::get_or_alloc_with", Makes(NEW), |store| {
            owned(store, |pin| done(pin.get_or_alloc_with(NEW, N, |_| 7)))
        }),
        ("Pinned::get_or_try_alloc_with", Makes(NEW), |store| {
            owned(store, |pin| constructed(pin.get_or_try_alloc_with(NEW, N, |_| Ok(7))))
        }),
        ("Pinned::get_or_alloc_zeroed", Nothing, |store| {
            owned(store, |pin| zeroed(store, pin.get_or_alloc_zeroed(NEW, ZERO)))
        }),
        ("Pinned::free", Frees, |store| owned(store, |pin| pin.free(obj(1), N))),
        ("Pinned::free_with", Frees, |store| {
            owned(store, |pin| pin.free_with(obj(1), N, |_, &value| value) == Some(1))
        }),
        ("Pinned::free_all", FreesAll, |store| {
            owned(store, |pin| pin.free_all(N) == OLD)
        }),
        ("Pinned::free_all_with", FreesAll, |store| {
            owned(store, |pin| pin.free_all_with(N, |_, _| ()) == OLD)
        }),
        ("Pinned::free_object", Frees, |store| {
            owned(store, |pin| pin.free_object(obj(1)) == 1)
        }),
        ("Pinned::ids_of", Nothing, |store| {
            owned(store, |pin| pin.ids_of(obj(1)) == [1])
        }),
        ("Pinned::iter", Nothing, |store| {
            owned(store, |pin| pin.iter().count() == OLD + 1)
        }),
        ("Pinned::typed", Nothing, |store| {
            owned(store, |pin| pin.typed(N).is_some() && pin.typed(WRONG).is_none())
        }),
        ("Pinned::bind", Nothing, |store| owned(store, |pin| done(pin.bind(N)))),
        ("Pinned::bind, a new id", Nothing, |store| {
            owned(store, |pin| (done(pin.bind(ShadowId::<u16>::new(79))), true).1)
        }),
        ("Pinned::raw_get", Nothing, |store| {
            let layout = Layout::new::<u128>();
            // SAFETY: no constructor.
            let made = spared(|| unsafe { raw(store.pin().raw_alloc(NEW, RAW, layout, None, null_mut())) });
            made && owned(store, |pin| matches!(pin.raw_get(NEW, RAW, layout), Ok(Some(_))))
        }),
        ("Pinned::raw_alloc", Nothing, |store| {
            let layout = Layout::new::<u128>();
            // SAFETY: no constructor.
            owned(store, |pin| unsafe {
                raw(pin.raw_alloc(NEW, RAW, layout, None, null_mut()))
            })
        }),
        ("Pinned::raw_get_or_alloc", Nothing, |store| {
            let layout = Layout::new::<[u64; 9]>();
            // SAFETY: no constructor.
            owned(store, |pin| unsafe {
                raw(pin.raw_get_or_alloc(NEW, RAW, layout, None, null_mut()))
            })
        }),
        ("Pinned::raw_free", Nothing, |store| {
            let layout = Layout::new::<u128>();
            // SAFETY: no constructor.
            let made = spared(|| unsafe { raw(store.pin().raw_alloc(NEW, RAW, layout, None, null_mut())) });
            // SAFETY: no destructor.
            made && owned(store, |pin| unsafe { pin.raw_free(NEW, RAW, None, null_mut()) })
        }),
        ("Pinned::raw_free_all", Nothing, |store| {
            let layout = Layout::new::<u128>();
            // SAFETY: no constructor.
            let made = spared(|| unsafe { raw(store.pin().raw_alloc(NEW, RAW, layout, None, null_mut())) });
            // SAFETY: no destructor.
            made && owned(store, |pin| unsafe { pin.raw_free_all(RAW, None, null_mut()) == 1 })
        }),
        #[cfg(feature = "rayon")]
        ("OwnedPinned::par_iter", Nothing, |store| {
            use rayon::iter::ParallelIterator;
            spared(rayon::current_num_threads);
            owned(store, |pin| pin.par_iter().count() == OLD + 1)
        }),
    ]
}

pub(crate) fn of_one_id<R: Reclaim>() -> Vec<Operation<R>> {
    vec![
        ("Typed::get", Nothing, |store| {
            typed(store, |all| all.get(obj(1)) == Some(&1))
        }),
        ("Typed::contains", Nothing, |store| {
            typed(store, |all| all.contains(obj(1)) && !all.contains(NEW))
        }),
        ("Typed::get_many", Nothing, |store| {
            typed(store, |all| {
                let mut found = [None; 2];
                all.get_many(&[ObjAddr::new(obj(2)), ObjAddr::new(NEW)], &mut found);
                found == [Some(&2), None]
            })
        }),
        ("Typed::alloc", Makes(NEW), |store| {
            typed(store, |all| placed(all.alloc(NEW, 7)))
        }),
        ("Typed::alloc_with", Makes(NEW), |store| {
            typed(store, |all| done(all.alloc_with(NEW, |_| 7)))
        }),
        ("Typed::try_alloc_with", Makes(FAR), |store| {
            typed(store, |all| constructed(all.try_alloc_with(FAR, |_| Ok(7))))
        }),
        ("Typed::alloc_zeroed", Nothing, |store| {
            let pin = store.pin();
            let zeros = spared(|| pin.bind(ZERO).unwrap());
            zeroed(store, zeros.alloc_zeroed(NEW))
        }),
        ("Typed::get_or_alloc", Makes(NEW), |store| {
            typed(store, |all| placed(all.get_or_alloc(NEW, 7)))
        }),
        ("Typed::get_or_alloc_with", Makes(NEW), |store| {
            typed(store, |all| done(all.get_or_alloc_with(NEW, |_| 7)))
        }),
        ("Typed::get_or_try_alloc_with", Makes(NEW), |store| {
            typed(store, |all| constructed(all.get_or_try_alloc_with(NEW, |_| Ok(7))))
        }),
        ("Typed::get_or_try_alloc_with, refuses", Nothing, |store| {
            typed(store, |all| refused(all.get_or_try_alloc_with(NEW, |_| Err(()))))
        }),
        ("Typed::get_or_alloc_zeroed", Nothing, |store| {
            let pin = store.pin();
            let zeros = spared(|| pin.bind(ZERO).unwrap());
            zeroed(store, zeros.get_or_alloc_zeroed(NEW))
        }),
        ("Typed::free", Frees, |store| typed(store, |all| all.free(obj(1)))),
        ("Typed::free_with", Frees, |store| {
            typed(store, |all| all.free_with(obj(1), |_, &value| value) == Some(1))
        }),
        ("Typed::free_all", FreesAll, |store| {
            typed(store, |all| all.free_all() == OLD)
        }),
        ("Typed::free_all_with", FreesAll, |store| {
            typed(store, |all| all.free_all_with(|_, _| ()) == OLD)
        }),
        ("Variable::new", Nothing, |store| done(Variable::new(store.clone(), N))),
        ("Variable::new, a new id", Nothing, |store| {
            done(Variable::new(&**store, ShadowId::<u16>::new(78)));
            true
        }),
        ("Variable::new, another type", Nothing, |store| {
            matches!(Variable::new(&**store, WRONG), Err(StoreError::TypeMismatch(_)))
        }),
        ("Variable::pinned", Nothing, |store| {
            variable(store).pinned(|all| all.contains(obj(1)))
        }),
        ("Variable::get_with", Nothing, |store| {
            variable(store).get_with(obj(1), |&value| value) == Some(1)
        }),
        ("Variable::get_cloned", Nothing, |store| {
            let texts = spared(|| Variable::new(&**store, TEXT).unwrap());
            texts.get_with(obj(1) + 8, |text| **text) == Some(5) && variable(store).get_cloned(obj(1)) == Some(1)
        }),
        ("Variable::contains", Nothing, |store| {
            variable(store).contains(obj(1)) && !variable(store).contains(NEW)
        }),
        ("Variable::alloc", Makes(NEW), |store| {
            placed(variable(store).alloc(NEW, 7))
        }),
        ("Variable::alloc_with", Makes(NEW), |store| {
            done(variable(store).alloc_with(NEW, |_| 7))
        }),
        ("Variable::try_alloc_with", Makes(NEW), |store| {
            constructed(variable(store).try_alloc_with(NEW, |_| Ok(7)))
        }),
        ("Variable::get_or_alloc", Makes(FAR), |store| {
            placed(variable(store).get_or_alloc(FAR, 7, |_| ()))
        }),
        ("Variable::get_or_alloc_with", Makes(NEW), |store| {
            done(variable(store).get_or_alloc_with(NEW, |_| 7, |_| ()))
        }),
        ("Variable::get_or_try_alloc_with", Makes(NEW), |store| {
            constructed(variable(store).get_or_try_alloc_with(NEW, |_| Ok(7), |_| ()))
        }),
        ("Variable::free", Frees, |store| variable(store).free(obj(1))),
        ("Variable::free_with", Frees, |store| {
            variable(store).free_with(obj(1), |_, &value| value) == Some(1)
        }),
        ("Variable::free_all", FreesAll, |store| {
            variable(store).free_all() == OLD
        }),
        ("Variable::free_all_with", FreesAll, |store| {
            variable(store).free_all_with(|_, _| ()) == OLD
        }),
        ("Variable::len", Nothing, |store| variable(store).len() == OLD),
        ("Variable::is_empty", Nothing, |store| !variable(store).is_empty()),
    ]
}
