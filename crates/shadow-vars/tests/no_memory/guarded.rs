//! Operations under a guard of either kind, by id and by `Variable`.

use std::alloc::Layout;
use std::ptr::null_mut;
use std::sync::Arc;

use shadow_vars::{
    CtorError, ObjAddr, OwnedPinned, Pinned, Reclaim, ShadowId, ShadowStore, StoreError, Variable, global,
};

use crate::Effect::{Frees, FreesAll, Makes, Nothing};
use crate::support::failing::spared;
use crate::{FAR, N, NEW, OLD, Operation, RAW, WRONG, constructed, done, obj, placed};

/// Operations under an owned guard; taking and dropping it has memory, as these are operations of their own.
fn owned<R: Reclaim, O>(store: &Arc<ShadowStore<R>>, run: impl FnOnce(&mut OwnedPinned<'_, R>) -> O) -> O {
    let mut pin = spared(|| store.pin_owned());
    let result = run(&mut pin);
    spared(|| drop(pin));
    result
}

/// Operations by a `Variable`, which is made with memory.
fn variable<R: Reclaim, O>(
    store: &Arc<ShadowStore<R>>,
    run: impl FnOnce(&Pinned<'_, R>, &Variable<usize, Arc<ShadowStore<R>>>) -> O,
) -> O {
    let variable = spared(|| Variable::new_in(N, store.clone()).unwrap());
    run(&store.pin(), &variable)
}

/// Returns whether the creation failed, by its constructor's error or for lack of memory.
fn refused<O>(result: Result<O, CtorError<()>>) -> bool {
    matches!(
        result,
        Err(CtorError::Ctor(()) | CtorError::Store(StoreError::OutOfMemory))
    )
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
        ("Pinned::contains", Nothing, |store| {
            owned(store, |pin| pin.contains(obj(1), N) && !pin.contains(NEW, N))
        }),
        ("Pinned::get_many", Nothing, |store| {
            let mut found = [None];
            let pin = store.pin();
            pin.get_many(&[ObjAddr::new(obj(2))], N, &mut found);
            found[0] == Some(&2)
        }),
        ("Pinned::alloc", Makes(NEW), |store| {
            owned(store, |pin| placed(pin.alloc(NEW, N, 7)))
        }),
        ("Pinned::alloc_with", Makes(FAR), |store| {
            owned(store, |pin| done(pin.alloc_with(FAR, N, || 7)))
        }),
        ("Pinned::try_alloc_with", Makes(NEW), |store| {
            owned(store, |pin| constructed(pin.try_alloc_with(NEW, N, || Ok(7))))
        }),
        ("Pinned::try_alloc_with, refuses", Nothing, |store| {
            owned(store, |pin| refused(pin.try_alloc_with(NEW, N, || Err(()))))
        }),
        ("Pinned::get_or_alloc", Makes(NEW), |store| {
            owned(store, |pin| placed(pin.get_or_alloc(NEW, N, 7)))
        }),
        ("Pinned::get_or_alloc_with", Makes(NEW), |store| {
            owned(store, |pin| done(pin.get_or_alloc_with(NEW, N, || 7)))
        }),
        ("Pinned::get_or_try_alloc_with", Makes(NEW), |store| {
            owned(store, |pin| constructed(pin.get_or_try_alloc_with(NEW, N, || Ok(7))))
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

pub(crate) fn by_variable<R: Reclaim>() -> Vec<Operation<R>> {
    vec![
        ("Pinned::get, by a variable", Nothing, |store| {
            variable(store, |pin, of| pin.get(obj(1), of) == Some(&1))
        }),
        ("Pinned::contains, by a variable", Nothing, |store| {
            variable(store, |pin, of| pin.contains(obj(1), of) && !pin.contains(NEW, of))
        }),
        ("Pinned::get_many, by a variable", Nothing, |store| {
            variable(store, |pin, of| {
                let mut found = [None; 2];
                pin.get_many(&[ObjAddr::new(obj(2)), ObjAddr::new(NEW)], of, &mut found);
                found == [Some(&2), None]
            })
        }),
        ("Pinned::alloc, by a variable", Makes(NEW), |store| {
            variable(store, |pin, of| placed(pin.alloc(NEW, of, 7)))
        }),
        ("Pinned::alloc_with, by a variable", Makes(NEW), |store| {
            variable(store, |pin, of| done(pin.alloc_with(NEW, of, || 7)))
        }),
        ("Pinned::try_alloc_with, by a variable", Makes(FAR), |store| {
            variable(store, |pin, of| constructed(pin.try_alloc_with(FAR, of, || Ok(7))))
        }),
        ("Pinned::get_or_alloc, by a variable", Makes(NEW), |store| {
            variable(store, |pin, of| placed(pin.get_or_alloc(NEW, of, 7)))
        }),
        ("Pinned::get_or_alloc_with, by a variable", Makes(NEW), |store| {
            variable(store, |pin, of| done(pin.get_or_alloc_with(NEW, of, || 7)))
        }),
        ("Pinned::get_or_try_alloc_with, by a variable", Makes(NEW), |store| {
            variable(store, |pin, of| {
                constructed(pin.get_or_try_alloc_with(NEW, of, || Ok(7)))
            })
        }),
        (
            "Pinned::get_or_try_alloc_with, by a variable, refuses",
            Nothing,
            |store| variable(store, |pin, of| refused(pin.get_or_try_alloc_with(NEW, of, || Err(())))),
        ),
        ("Pinned::free, by a variable", Frees, |store| {
            variable(store, |pin, of| pin.free(obj(1), of))
        }),
        ("Pinned::free_with, by a variable", Frees, |store| {
            variable(store, |pin, of| pin.free_with(obj(1), of, |_, &value| value) == Some(1))
        }),
        ("Pinned::free_all, by a variable", FreesAll, |store| {
            variable(store, |pin, of| pin.free_all(of) == OLD)
        }),
        ("Pinned::free_all_with, by a variable", FreesAll, |store| {
            variable(store, |pin, of| pin.free_all_with(of, |_, _| ()) == OLD)
        }),
        ("ShadowStore::len_of, by a variable", Nothing, |store| {
            variable(store, |pin, of| pin.store().len_of(of) == OLD)
        }),
        ("ShadowStore::weigh, by a variable", Nothing, |store| {
            variable(store, |pin, of| done(pin.store().weigh(of, Some(|_| 1))))
        }),
        ("Variable::new", Nothing, |_| {
            // Of the global store, which other operations do not use; that it is made is tried as `global`.
            spared(|| assert!(global().is_empty()));
            done(Variable::new(ShadowId::<u16>::new(78)));
            true
        }),
        ("Variable::new_in", Nothing, |store| {
            done(Variable::new_in(N, store.clone()))
        }),
        ("Variable::new_in, a new id", Nothing, |store| {
            done(Variable::new_in(ShadowId::<u16>::new(78), &**store));
            true
        }),
        ("Variable::new_in, another type", Nothing, |store| {
            matches!(Variable::new_in(WRONG, &**store), Err(StoreError::TypeMismatch(_)))
        }),
    ]
}
