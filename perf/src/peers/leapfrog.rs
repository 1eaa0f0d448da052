//! leapfrog's `LeapMap`: keys and values in atomics, without memory reclamation.
//!
//! Its values are plain numbers, so a stable pointer is stored as a number, and crossbeam-epoch keeps its target alive for
//! readers: a user would have to do the same. Its keys are the packed 64-bit words of the harness, because only such keys are
//! read without a lock. That favours it, because not every id fits.

use std::marker::PhantomData;
use std::sync::atomic::{Ordering, fence};

use crossbeam_epoch::{Guard, Shared, pin};
use leapfrog::LeapMap;

use crate::peers::epochs::flush_epochs;
use crate::store::{About, Form, Hashing, Kept, Key, Kind, Packed, Stall, Store};

pub(crate) struct Leapfrog<V: Kept, H: Hashing>(LeapMap<u64, u64, H>, PhantomData<V>);

#[inline]
fn word(key: Key) -> u64 {
    Packed::new(key.0, key.1).word()
}

/// # Safety
///
/// The address came from the map, under a guard that is still held.
#[inline]
unsafe fn first<V: Kept>(address: u64) -> u64 {
    // Acquire: pairs with `boxed`; the map itself moves values with Relaxed loads and stores only.
    fence(Ordering::Acquire);
    // SAFETY: a value whose address is in the map is destroyed only after all guards held now have been dropped.
    unsafe { (*std::ptr::with_exposed_provenance::<V>(address as usize)).first() }
}

fn boxed<V: Kept>(key: Key) -> u64 {
    let address = Box::into_raw(Box::new(V::of(key))).expose_provenance() as u64;
    // Release: pairs with `first`.
    fence(Ordering::Release);
    address
}

/// # Safety
///
/// The address came from `boxed`, and no other thread can reach it.
unsafe fn unbox<V: Kept>(address: u64) {
    // SAFETY: the caller guarantees that the address came from `boxed`, and that no other thread can reach it.
    drop(unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut::<V>(address as usize)) });
}

impl<V: Kept, H: Hashing> Leapfrog<V, H> {
    /// Removes under a guard, and frees the value when no reader can hold it any more.
    fn remove_in(&self, guard: &Guard, word: u64) -> bool {
        let Some(address) = self.0.remove(&word) else {
            return false;
        };
        let value: Shared<'_, V> =
            Shared::from(std::ptr::with_exposed_provenance_mut::<V>(address as usize).cast_const());
        // SAFETY: this thread took the address out of the map, so no other thread retires it; it came from a box.
        unsafe { guard.defer_destroy(value) };
        true
    }
}

impl<V: Kept, H: Hashing> Store for Leapfrog<V, H> {
    const ABOUT: About = About {
        name: "leapfrog",
        kind: Kind::Peer,
        lock_free_reads: true,
        // The value is behind the number in the map.
        form: Form::Boxed,
        any_value: true,
        stall: Stall::Garbage,
        max_entries: usize::MAX,
        // With new keys it loses entries, and has been seen to loop for ever in an insert.
        stands_new_keys: false,
    };

    type Guard<'a> = Guard;
    type With<W: Kept> = Leapfrog<W, H>;

    fn new() -> Self {
        Self::with_capacity(64)
    }

    fn with_capacity(entries: usize) -> Self {
        let map = LeapMap::with_capacity_and_hasher(entries.next_power_of_two(), H::default());
        Self(map, PhantomData)
    }

    #[inline]
    fn guard(&self) -> Guard {
        pin()
    }

    #[inline]
    fn get_in(&self, _guard: &Guard, key: Key) -> u64 {
        // SAFETY: the guard is held until the value has been read.
        self.0
            .get(&word(key))
            .and_then(|mut found| found.value())
            .map_or(0, |address| unsafe { first::<V>(address) })
    }

    #[inline]
    fn insert(&self, key: Key) -> bool {
        let _guard = pin();
        let address = boxed::<V>(key);
        let absent = self.0.try_insert(word(key), address).is_none();
        if !absent {
            // SAFETY: the map did not take the address.
            unsafe { unbox::<V>(address) };
        }
        absent
    }

    /// Looks up first, because `try_insert` needs the value.
    #[inline]
    fn get_or_insert(&self, key: Key) -> u64 {
        let guard = pin();
        match self.get_in(&guard, key) {
            0 => {
                let address = boxed::<V>(key);
                match self.0.try_insert(word(key), address) {
                    None => V::of(key).first(),
                    Some(other) => {
                        // SAFETY: the map did not take our value; the other one is in the map, and the guard is held.
                        unsafe {
                            unbox::<V>(address);
                            first::<V>(other)
                        }
                    }
                }
            }
            first => first,
        }
    }

    #[inline]
    fn remove(&self, key: Key) -> bool {
        self.remove_in(&pin(), word(key))
    }

    fn clear_id(&self, id: u64) -> usize {
        let guard = pin();
        let of_id = |word: &u64| word >> 48 == id;
        let words: Vec<u64> = self
            .0
            .iter()
            .filter_map(|mut entry| entry.key())
            .filter(of_id)
            .collect();
        words.iter().filter(|&&word| self.remove_in(&guard, word)).count()
    }

    fn settle(&self) {
        flush_epochs();
    }
}

impl<V: Kept, H: Hashing> Drop for Leapfrog<V, H> {
    fn drop(&mut self) {
        for mut entry in self.0.iter() {
            if let Some(address) = entry.value() {
                // SAFETY: the map is being dropped, so no thread can reach the value any more.
                unsafe { unbox::<V>(address) };
            }
        }
    }
}
