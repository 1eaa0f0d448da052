//! Memory at addresses too high for a slot's word and a retire list's link: it counts as not available, and no address
//! is ever truncated.

use std::sync::Arc;

use crate::defect::rig::FAR;
use crate::{Asymmetric, BuildError, CtorError, Epoch, Eras, Reclaim, ShadowId, ShadowStore, StoreError};

const ID: ShadowId<Arc<()>> = ShadowId::new(1);
const MANY: usize = 10_000;

/// Runs `body` with all memory that it allocates treated as if these bits of its address were set.
fn far<T>(bits: usize, body: impl FnOnce() -> T) -> T {
    FAR.set(bits);
    let result = body();
    FAR.set(0);
    result
}

/// Bit 48, the highest, and those below an object's alignment.
const TOO_FAR: [usize; 4] = [1 << 48, 1 << 63, usize::MAX << 48, 1];

fn check<R: Reclaim>() {
    for bits in TOO_FAR {
        for capacity in [0, 1 << 16] {
            let asked = BuildError::OutOfMemory { asked: capacity };
            let build = || ShadowStore::<R>::builder().capacity(capacity).build().err();
            assert_eq!(far(bits, build), Some(asked), "{bits:#x}");
        }
        let alive = Arc::new(());
        let store = ShadowStore::<R>::builder().build().unwrap();
        (1..=MANY).for_each(|n| store.pin().alloc(n * 8, ID, alive.clone()).map(drop).unwrap());
        let capacity = store.capacity();

        // Nodes: of an existing value, of one that a constructor makes, and with a key that needs a record.
        for object in [8 * (MANY + 1), usize::MAX] {
            let error = far(bits, || store.pin().alloc(object, ID, alive.clone()).map(drop)).unwrap_err();
            assert!(matches!(error.error, StoreError::OutOfMemory), "{bits:#x}: {error}");
            drop(error);
            let error = far(bits, || {
                store
                    .pin()
                    .try_alloc_with(object, ID, || Ok::<_, ()>(alive.clone()))
                    .map(drop)
            });
            assert_eq!(error, Err(CtorError::Store(StoreError::OutOfMemory)), "{bits:#x}");
            assert!(!store.pin().contains(object, ID));
        }
        assert_eq!((store.len(), Arc::strong_count(&alive)), (MANY, MANY + 1));

        // Tables: a smaller one is not made.
        (9..=MANY).for_each(|n| assert!(store.pin().free(n * 8, ID)));
        let shrunk = store.capacity();
        far(bits, || store.shrink_to_fit());
        assert_eq!(store.capacity(), shrunk, "{bits:#x}");
        store.shrink_to_fit();
        assert!(store.capacity() < capacity);
        store.synchronize().unwrap();
        assert_eq!((store.len(), Arc::strong_count(&alive)), (8, 9));
        drop(store);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}

#[test]
fn memory_that_a_word_cannot_say_counts_as_none() {
    check::<Asymmetric>();
    check::<Eras>();
    check::<Epoch>();
}
