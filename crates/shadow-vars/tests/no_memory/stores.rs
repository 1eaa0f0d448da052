//! The store's own operations, and those of a guard that is taken for one.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use shadow_vars::{CtorError, Reclaim, ShadowId, ShadowStore, StoreError};

use crate::Effect::{Frees, FreesAll, Makes, Nothing};
use crate::support::failing::spared;
use crate::{FAR, N, NEW, OLD, Operation, TEXT, WRONG, constructed, done, obj, placed};

pub(crate) fn of_stores<R: Reclaim>() -> Vec<Operation<R>> {
    vec![
        ("ShadowStore::pin", Nothing, |store| (drop(store.pin()), true).1),
        ("ShadowStore::pin_owned", Nothing, |store| {
            (drop(store.pin_owned()), true).1
        }),
        ("Pinned::contains, another type", Nothing, |store| {
            !store.pin().contains(obj(1), WRONG)
        }),
        ("Pinned::alloc, its own guard", Makes(NEW), |store| {
            placed(store.pin().alloc(NEW, N, 7).map(drop))
        }),
        ("Pinned::alloc, far", Makes(FAR), |store| {
            placed(store.pin().alloc(FAR, N, 7).map(drop))
        }),
        ("Pinned::alloc, what exists", Nothing, |store| {
            let refused = store.pin().alloc(obj(1), N, 9).map(drop).unwrap_err();
            assert_eq!(refused.value, 9);
            refused.is_exists() || refused.error == StoreError::OutOfMemory
        }),
        ("Pinned::alloc, another type", Nothing, |store| {
            matches!(
                store.pin().alloc(obj(1), WRONG, 9).map(drop).unwrap_err().error,
                StoreError::TypeMismatch(_)
            )
        }),
        ("Pinned::alloc, a new id", Nothing, |store| {
            placed(store.pin().alloc(obj(1), ShadowId::<u16>::new(77), 9).map(drop));
            true
        }),
        ("Pinned::get_or_alloc, its own guard", Makes(NEW), |store| {
            placed(store.pin().get_or_alloc(NEW, N, 7).map(|_| ()))
        }),
        ("Pinned::alloc_with, its own guard", Makes(NEW), |store| {
            done(store.pin().alloc_with(NEW, N, || 7).map(drop))
        }),
        ("Pinned::get_or_alloc_with, its own guard", Makes(FAR), |store| {
            done(store.pin().get_or_alloc_with(FAR, N, || 7).map(|_| ()))
        }),
        ("Pinned::try_alloc_with, its own guard", Makes(NEW), |store| {
            constructed(store.pin().try_alloc_with(NEW, N, || Ok(7)).map(drop))
        }),
        ("Pinned::get_or_try_alloc_with, refuses", Nothing, |store| {
            let refused = store
                .pin()
                .get_or_try_alloc_with(NEW, N, || Err(()))
                .map(|_| ())
                .unwrap_err();
            matches!(refused, CtorError::Ctor(()) | CtorError::Store(StoreError::OutOfMemory))
        }),
        ("Pinned::alloc_with, panics", Nothing, |store| {
            // The memory for the panic itself is std's, which frees it while it unwinds.
            let caught = catch_unwind(AssertUnwindSafe(|| {
                store
                    .pin()
                    .alloc_with(NEW, N, || spared(|| resume_unwind(Box::new(()))))
                    .map(drop)
            }));
            spared(|| caught.map_or(true, |result| result == Err(StoreError::OutOfMemory)))
        }),
        ("Pinned::free, its own guard", Frees, |store| {
            store.pin().free(obj(1), N)
        }),
        ("Pinned::free_with, its own guard", Frees, |store| {
            store.pin().free_with(obj(1), N, |_, &value| value) == Some(1)
        }),
        ("Pinned::free_object, its own guard", Frees, |store| {
            store.pin().free_object(obj(1)) == 1
        }),
        ("Pinned::free_all, its own guard", FreesAll, |store| {
            store.pin().free_all(N) == OLD
        }),
        ("Pinned::free_all_with, its own guard", FreesAll, |store| {
            store.pin().free_all_with(N, |_, _| ()) == OLD
        }),
        ("Pinned::free, a value with a drop", Nothing, |store| {
            store.pin().free(obj(1) + 8, TEXT)
        }),
        ("Pinned::free, often, of many ids", Nothing, |store| {
            const IDS: u64 = 8;
            let id_of = |n| ShadowId::<[u64; 5]>::new(80 + n % IDS);
            // This thread's place is taken before the other's, so that it uses nothing that the other creates there.
            spared(|| store.flush());
            let prepare = || {
                (0..4 * IDS).for_each(|n| {
                    store
                        .pin()
                        .alloc(NEW + 8 * n as usize, id_of(n), [n; 5])
                        .map(drop)
                        .unwrap()
                });
                (0..4 * IDS).for_each(|n| assert!(store.pin().free(NEW + 8 * n as usize, id_of(n))));
                store.synchronize().unwrap();
            };
            spared(|| thread::scope(|scope| scope.spawn(prepare).join().unwrap()));
            // Often enough for the shard to get magazines, and separate counters for each id, if there is memory for them.
            let mut made = 0;
            for n in 0..20 * IDS {
                let there = placed(store.pin().alloc(NEW, id_of(n), [n; 5]).map(drop));
                made += usize::from(there);
                let counted = || (store.len_of(id_of(n)), store.len());
                assert_eq!(spared(counted), (usize::from(there), OLD + 1 + usize::from(there)));
                assert_eq!(store.pin().free(NEW, id_of(n)), there);
            }
            // Freed memory is reused.
            assert!(made == 0 || made as u64 > 15 * IDS, "{made} of {}", 20 * IDS);
            true
        }),
        ("ShadowStore::len", Nothing, |store| {
            store.len() == OLD + 1 && store.len_of(N) == OLD && store.capacity() > 0
        }),
        ("ShadowStore::flush", Nothing, |store| (store.flush(), true).1),
        ("ShadowStore::synchronize", Nothing, |store| {
            store.synchronize() == Ok(())
        }),
        ("ShadowStore::shrink_to_fit", Nothing, |store| {
            (store.shrink_to_fit(), true).1
        }),
        ("Pinned::ids_of, its own guard", Nothing, |store| {
            store.pin().ids_of(obj(1)) == [1]
        }),
        ("ShadowStore::stats", Nothing, |store| {
            store.stats().live == OLD as u64 + 1
        }),
        ("ShadowStore::pin, when all places are taken", Nothing, |store| {
            with_places_taken(store, || (drop(store.pin()), true).1)
        }),
        ("ShadowStore::pin_owned, when all places are taken", Nothing, |store| {
            with_places_taken(store, || (drop(store.pin_owned()), true).1)
        }),
        ("Pinned::get, its own guard", Nothing, |store| {
            store.pin().get(obj(1), N).copied() == Some(1)
        }),
        ("Pinned::contains, its own guard", Nothing, |store| {
            store.pin().contains(obj(1), N) && !store.pin().contains(NEW, N)
        }),
        ("Pinned::get_or_try_alloc_with, its own guard", Makes(NEW), |store| {
            constructed(store.pin().get_or_try_alloc_with(NEW, N, || Ok(7)).map(|_| ()))
        }),
        ("ShadowStore::len_of", Nothing, |store| store.len_of(N) == OLD),
        ("ShadowStore::is_empty", Nothing, |store| !store.is_empty()),
        ("ShadowStore::capacity", Nothing, |store| store.capacity() > 0),
        ("ShadowStore::weigh", Nothing, |store| {
            done(store.weigh(TEXT, Some(|_| 1 << 20))) && store.pin().free(obj(1) + 8, TEXT)
        }),
        ("ShadowStore::weigh, a new id", Nothing, |store| {
            done(store.weigh(ShadowId::<Box<u8>>::new(90), Some(|_| 1)));
            true
        }),
        ("ShadowStore::weigh, another type", Nothing, |store| {
            matches!(store.weigh(WRONG, None), Err(StoreError::TypeMismatch(_)))
        }),
        #[cfg(feature = "rayon")]
        ("Pinned::par_free_all", FreesAll, |store| {
            spared(rayon::current_num_threads);
            store.pin().par_free_all(N) == OLD
        }),
        #[cfg(feature = "rayon")]
        ("Pinned::par_free_all_with", FreesAll, |store| {
            spared(rayon::current_num_threads);
            store.pin().par_free_all_with(N, |_, _| ()) == OLD
        }),
        ("Pinned::alloc, waiting", Nothing, |store| {
            let refused =
                while_constructing(store, Ending::Made, || store.pin().alloc(NEW, N, 7).map(drop)).unwrap_err();
            refused.value == 7 && (refused.is_exists() || refused.error == StoreError::OutOfMemory)
        }),
        ("Pinned::get_or_alloc_with, waiting", Nothing, |store| {
            let ask = || store.pin().get_or_alloc_with(NEW, N, || 8).copied();
            matches!(
                while_constructing(store, Ending::Made, ask),
                Ok(7) | Err(StoreError::OutOfMemory)
            )
        }),
        ("Pinned::get_or_alloc, waiting for what fails", Makes(NEW), |store| {
            placed(while_constructing(store, Ending::Refused, || {
                store.pin().get_or_alloc(NEW, N, 8).map(|_| ())
            }))
        }),
        (
            "Pinned::get_or_alloc_with, waiting for what panics",
            Makes(NEW),
            |store| {
                let ask = || store.pin().get_or_alloc_with(NEW, N, || 8).map(|_| ());
                done(while_constructing(store, Ending::Panicked, ask))
            },
        ),
    ]
}

/// How the constructor that another thread runs ends.
#[derive(Clone, Copy)]
enum Ending {
    Made,
    Refused,
    Panicked,
}

/// Calls `ask` while another thread constructs `N` of `NEW`.
fn while_constructing<R: Reclaim, O>(store: &Arc<ShadowStore<R>>, ending: Ending, ask: impl FnOnce() -> O) -> O {
    let builder = spared(|| {
        let (store, (inside, enters)) = (store.clone(), mpsc::channel());
        let builder = thread::spawn(move || {
            let construct = || {
                inside.send(()).unwrap();
                // Usually long enough for the other thread to wait.
                thread::sleep(Duration::from_millis(3));
                match ending {
                    Ending::Made => Ok(7),
                    Ending::Refused => Err(()),
                    Ending::Panicked => resume_unwind(Box::new(())),
                }
            };
            let _ = catch_unwind(AssertUnwindSafe(|| {
                store.pin().try_alloc_with(NEW, N, construct).map(drop)
            }));
        });
        enters.recv().unwrap();
        builder
    });
    let result = ask();
    spared(|| builder.join().unwrap());
    result
}

/// Calls `run` while more threads, and more owned guards, have places among the readers than there are without memory.
fn with_places_taken<R: Reclaim, O>(store: &Arc<ShadowStore<R>>, run: impl FnOnce() -> O) -> O {
    const MANY: usize = 64;
    let (guards, ends) = spared(|| {
        let guards: Vec<_> = (0..MANY).map(|_| store.pin_owned()).collect();
        let (ready, all_ready) = mpsc::channel();
        let ends: Vec<_> = (0..MANY)
            .map(|_| {
                let (store, ready, (end, ended)) = (store.clone(), ready.clone(), mpsc::channel::<()>());
                let thread = thread::spawn(move || {
                    drop(store.pin());
                    ready.send(()).unwrap();
                    let _ = ended.recv();
                });
                (end, thread)
            })
            .collect();
        (0..MANY).for_each(|_| all_ready.recv().unwrap());
        (guards, ends)
    });
    let result = run();
    spared(|| {
        drop(guards);
        ends.into_iter().for_each(|(end, thread)| {
            drop(end);
            thread.join().unwrap();
        });
    });
    result
}
