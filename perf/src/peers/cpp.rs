//! The C++ peers, through functions that `cpp/` defines for each: these calls are not inlined, which costs a few nanoseconds
//! each. The values are the harness's own, in the map's nodes or slots.

use std::ffi::c_void;
use std::ptr::NonNull;

use crate::store::{About, Form, Kept, Key, Kind, Packed, Stall, Store};

/// The protection of a reader: none, or a read section of the thread.
pub(crate) struct Section<'a> {
    map: &'a NonNull<c_void>,
    unlock: unsafe extern "C" fn(*mut c_void),
    /// Not `Send`: a section belongs to its thread.
    _of_thread: std::marker::PhantomData<*const ()>,
}

impl Drop for Section<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the map is alive while borrowed, and this thread began the section that ends here.
        unsafe { (self.unlock)(self.map.as_ptr()) };
    }
}

/// Defines an adapter for the functions that `PERF_MAP` defines for a map.
macro_rules! peer {
    (
        $store:ident, $name:literal, lock_free_reads: $lock_free:literal, form: $form:ident, stall: $stall:ident,
        $new:ident $drop:ident $lock:ident $unlock:ident $get_in:ident $get:ident $get_each:ident
        $insert:ident $get_or_insert:ident $remove:ident $clear_id:ident $settle:ident
    ) => {
        unsafe extern "C" {
            fn $new(capacity: usize) -> *mut c_void;
            fn $drop(map: *mut c_void);
            fn $lock(map: *mut c_void);
            fn $unlock(map: *mut c_void);
            fn $get_in(map: *mut c_void, address: u64, id: u64) -> u64;
            fn $get(map: *mut c_void, address: u64, id: u64) -> u64;
            fn $get_each(map: *mut c_void, id: u64, keys: *const u64, count: usize, out: *mut u64);
            fn $insert(map: *mut c_void, address: u64, id: u64) -> bool;
            fn $get_or_insert(map: *mut c_void, address: u64, id: u64) -> u64;
            fn $remove(map: *mut c_void, address: u64, id: u64) -> bool;
            fn $clear_id(map: *mut c_void, id: u64) -> usize;
            fn $settle(map: *mut c_void);
        }

        pub(crate) struct $store(NonNull<c_void>);

        // SAFETY: any thread may use and drop the map.
        unsafe impl Send for $store {}
        // SAFETY: it is a concurrent map: several threads may call all functions that take it by reference.
        unsafe impl Sync for $store {}

        impl Drop for $store {
            fn drop(&mut self) {
                // SAFETY: the pointer came from `new`, and is not used afterwards.
                unsafe { $drop(self.0.as_ptr()) };
            }
        }

        impl Store for $store {
            const ABOUT: About = About {
                name: $name,
                kind: Kind::Peer,
                lock_free_reads: $lock_free,
                form: Form::$form,
                any_value: false,
                stall: Stall::$stall,
                max_entries: usize::MAX,
                stands_new_keys: true,
            };

            type Guard<'a> = Section<'a>;
            type With<V: Kept> = Self;

            fn new() -> Self {
                Self::with_capacity(0)
            }

            fn with_capacity(entries: usize) -> Self {
                // SAFETY: the function has no preconditions.
                let map = unsafe { $new(entries) };
                Self(NonNull::new(map).expect("`new` gives a map or ends the program"))
            }

            #[inline]
            fn guard(&self) -> Section<'_> {
                // SAFETY: the map is alive while borrowed; the section ends on this thread, because the guard is not `Send`.
                unsafe { $lock(self.0.as_ptr()) };
                Section {
                    map: &self.0,
                    unlock: $unlock,
                    _of_thread: std::marker::PhantomData,
                }
            }

            #[inline]
            fn get_in<'a>(&'a self, _guard: &Section<'a>, key: Key) -> u64 {
                // SAFETY: the map is alive while borrowed, and the thread is in a section.
                unsafe { $get_in(self.0.as_ptr(), key.0 as u64, key.1) }
            }

            #[inline]
            fn get(&self, key: Key) -> u64 {
                // SAFETY: the map is alive while borrowed.
                unsafe { $get(self.0.as_ptr(), key.0 as u64, key.1) }
            }

            #[inline]
            fn get_each(&self, id: u64, keys: &[Packed], mut found: impl FnMut(u64, Packed)) {
                let mut out = [0; 64];
                for keys in keys.chunks(out.len()) {
                    self.get_batch(id, keys, &mut out[..keys.len()]);
                    for (&read, &key) in out.iter().zip(keys) {
                        found(read, key);
                    }
                }
            }

            #[inline]
            fn get_batch(&self, id: u64, keys: &[Packed], out: &mut [u64]) {
                let count = keys.len().min(out.len());
                // SAFETY: the map is alive while borrowed; `keys` and `out` have `count` elements of 64 bits each.
                unsafe { $get_each(self.0.as_ptr(), id, keys.as_ptr().cast(), count, out.as_mut_ptr()) };
            }

            #[inline]
            fn insert(&self, key: Key) -> bool {
                // SAFETY: the map is alive while borrowed.
                unsafe { $insert(self.0.as_ptr(), key.0 as u64, key.1) }
            }

            #[inline]
            fn get_or_insert(&self, key: Key) -> u64 {
                // SAFETY: the map is alive while borrowed.
                unsafe { $get_or_insert(self.0.as_ptr(), key.0 as u64, key.1) }
            }

            #[inline]
            fn remove(&self, key: Key) -> bool {
                // SAFETY: the map is alive while borrowed.
                unsafe { $remove(self.0.as_ptr(), key.0 as u64, key.1) }
            }

            fn clear_id(&self, id: u64) -> usize {
                // SAFETY: the map is alive while borrowed.
                unsafe { $clear_id(self.0.as_ptr(), id) }
            }

            fn settle(&self) {
                // SAFETY: the map is alive while borrowed, and this thread is in no section: guards borrow the store, and the
                // workloads settle after their guards have been dropped.
                unsafe { $settle(self.0.as_ptr()) };
            }
        }
    };
}

#[cfg(perf_urcu)]
peer! {
    Urcu, "urcu", lock_free_reads: true, form: Stable, stall: Garbage,
    perf_urcu_new perf_urcu_drop perf_urcu_lock perf_urcu_unlock perf_urcu_get_in perf_urcu_get perf_urcu_get_each
    perf_urcu_insert perf_urcu_get_or_insert perf_urcu_remove perf_urcu_clear_id perf_urcu_settle
}

#[cfg(perf_tbb)]
peer! {
    Tbb, "tbb", lock_free_reads: false, form: Stable, stall: Blocks,
    perf_tbb_new perf_tbb_drop perf_tbb_lock perf_tbb_unlock perf_tbb_get_in perf_tbb_get perf_tbb_get_each
    perf_tbb_insert perf_tbb_get_or_insert perf_tbb_remove perf_tbb_clear_id perf_tbb_settle
}

#[cfg(perf_boost_flat)]
peer! {
    BoostFlat, "boost_flat", lock_free_reads: false, form: InPlace, stall: Blocks,
    perf_boost_flat_new perf_boost_flat_drop perf_boost_flat_lock perf_boost_flat_unlock perf_boost_flat_get_in
    perf_boost_flat_get perf_boost_flat_get_each perf_boost_flat_insert perf_boost_flat_get_or_insert
    perf_boost_flat_remove perf_boost_flat_clear_id perf_boost_flat_settle
}

#[cfg(perf_boost_node)]
peer! {
    BoostNode, "boost_node", lock_free_reads: false, form: Stable, stall: Blocks,
    perf_boost_node_new perf_boost_node_drop perf_boost_node_lock perf_boost_node_unlock perf_boost_node_get_in
    perf_boost_node_get perf_boost_node_get_each perf_boost_node_insert perf_boost_node_get_or_insert
    perf_boost_node_remove perf_boost_node_clear_id perf_boost_node_settle
}
