//! Large stores map memory from the system. One test only, as mapped memory is counted for the whole process.

use std::sync::Arc;

use shadow_vars::{ShadowId, ShadowStore, mapped_bytes};

const NUMBER: ShadowId<[u64; 2]> = ShadowId::new(1);
const SHARED: ShadowId<Arc<()>> = ShadowId::new(2);
/// Enough for tables and chunks of some megabytes.
const ENTRIES: usize = 300_000;

fn key(n: usize) -> usize {
    0x7000_0000_0000 + n * 64
}

#[test]
fn what_is_mapped_is_used_and_given_back() {
    let maps = cfg!(all(target_os = "linux", not(miri)));
    assert_eq!(mapped_bytes(), 0);

    // Values that need no drop: the drop of the store does not visit them. Some keys need a record.
    let store: ShadowStore = ShadowStore::default();
    for n in 0..ENTRIES {
        store.pin().alloc(key(n), NUMBER, [n as u64; 2]).unwrap();
    }
    for n in 0..1000 {
        store.pin().alloc(usize::MAX - n, NUMBER, [n as u64; 2]).unwrap();
    }
    for n in (0..1000).step_by(2) {
        assert!(store.pin().free(usize::MAX - n, NUMBER));
    }
    let full = mapped_bytes();
    // At least the values and their headers, and two slots for each.
    assert!(!maps || full > ENTRIES * (32 + 8), "{full} bytes");
    assert!((0..ENTRIES).all(|n| store.pin().get(key(n), NUMBER).map(|value| value[1]) == Some(n as u64)));
    drop(store);
    assert_eq!(mapped_bytes(), 0);

    // With one id whose values must be dropped, all variables are visited.
    let shared = Arc::new(());
    let store: ShadowStore = ShadowStore::default();
    for n in 0..ENTRIES {
        store.pin().alloc(key(n), NUMBER, [n as u64; 2]).unwrap();
        store.pin().alloc(key(n), SHARED, shared.clone()).unwrap();
    }
    assert_eq!(Arc::strong_count(&shared), ENTRIES + 1);
    assert_eq!(store.pin().free_all(SHARED), ENTRIES);
    store.synchronize().unwrap();
    assert_eq!(Arc::strong_count(&shared), 1);
    store.pin().alloc(key(7), SHARED, shared.clone()).unwrap();
    drop(store);
    assert_eq!(Arc::strong_count(&shared), 1);
    assert_eq!(mapped_bytes(), 0);
}
