//! Creating and dropping stores, objects that own variables, and process-wide settings.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

use shadow_vars::{
    Attached, BuildError, Parent, Reclaim, ShadowStore, global, mapped_bytes, report_old_guards, start_reclaimer,
};

use crate::Effect::Nothing;
use crate::support::failing::spared;
use crate::{N, NEW, Operation, placed};

/// Returns whether it has succeeded, or has panicked for lack of memory for a store.
fn or_panicked<O>(run: impl FnOnce() -> O + std::panic::UnwindSafe) -> bool {
    let ended = catch_unwind(run);
    spared(|| {
        let Err(panic) = ended else { return true };
        panic.downcast::<String>().is_ok_and(|said| said.contains("memory"))
    })
}

pub(crate) fn of_processes<R: Reclaim>() -> Vec<Operation<R>> {
    vec![
        ("Builder::build", Nothing, |_| {
            match ShadowStore::<R>::builder().build() {
                Ok(store) => placed(store.pin().alloc(NEW, N, 7).map(drop)) | true,
                Err(error) => error == BuildError::OutOfMemory { asked: 0 },
            }
        }),
        ("drop of a store", Nothing, |_| {
            let store = spared(|| ShadowStore::<R>::builder().build().unwrap());
            (drop(store), true).1
        }),
        ("Parent::new_in", Nothing, |store| {
            let parent = Parent::new_in(7_u32, &**store);
            placed(store.pin().alloc(Parent::addr(&parent), N, 7).map(drop));
            true
        }),
        ("Attached::new_in", Nothing, |store| {
            let object = spared(|| Arc::new(7_u32));
            let attached = Attached::new_in(object, &**store);
            placed(store.pin().alloc(&*attached, N, 7).map(drop));
            true
        }),
        ("Builder::capacity", Nothing, |_| {
            let builder = ShadowStore::<R>::builder().capacity(1000).batch(7).hash_seed(1);
            spared(|| builder.build().is_ok())
        }),
        ("ShadowStore::new", Nothing, |_| {
            or_panicked(|| placed(ShadowStore::new().pin().alloc(NEW, N, 7).map(drop)))
        }),
        ("ShadowStore::with_capacity", Nothing, |_| {
            or_panicked(|| placed(ShadowStore::with_capacity(10_000).pin().alloc(NEW, N, 7).map(drop)))
        }),
        ("global", Nothing, |_| {
            // The next call creates it.
            or_panicked(|| placed(global().pin().alloc(NEW, N, 7).map(drop))) && spared(|| global().capacity() > 0)
        }),
        ("Parent::new", Nothing, |_| {
            spared(|| assert!(global().is_empty()));
            let parent = Parent::new(7_u32);
            placed(global().pin().alloc(&*parent, N, 7).map(drop));
            drop(parent);
            spared(|| global().is_empty())
        }),
        ("Parent::into_inner", Nothing, |store| {
            let parent = spared(|| Parent::new_in(7_u32, &**store));
            placed(store.pin().alloc(Parent::addr(&parent), N, 7).map(drop));
            Parent::into_inner(parent) == 7
        }),
        ("Attached::new", Nothing, |_| {
            let object = spared(|| (global().flush(), Arc::new(7_u32)).1);
            let attached = Attached::new(object);
            placed(global().pin().alloc(&*attached, N, 7).map(drop));
            drop(attached);
            spared(|| global().is_empty())
        }),
        ("Attached::keeper", Nothing, |store| {
            let attached = spared(|| Attached::new_in(Arc::new(7_u32), &**store));
            **Attached::keeper(&attached) == 7
        }),
        ("Attached::into_inner", Nothing, |store| {
            let attached = spared(|| Attached::new_in(Box::new(7_u32), &**store));
            placed(store.pin().alloc(Attached::addr(&attached), N, 7).map(drop));
            *Attached::into_inner(attached) == 7
        }),
        ("start_reclaimer", Nothing, |_| {
            // A call that failed may be repeated.
            start_reclaimer().is_ok() || spared(|| start_reclaimer().is_ok())
        }),
        ("report_old_guards", Nothing, |_| {
            report_old_guards(Some(Duration::from_secs(1)));
            report_old_guards(None);
            true
        }),
        ("mapped_bytes", Nothing, |_| mapped_bytes() < usize::MAX),
    ]
}
