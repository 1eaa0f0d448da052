//! The operations of a contender: the only interface between the workloads and the maps.
//!
//! The workloads are compiled once for each contender, so that a timed loop contains no dynamic dispatch. A key is an address and
//! an id; a value is 16 bytes that can be computed from the key, so that every answer is checked without remembering any.
//!
//! A map that moves its values is measured in two forms: with boxed values, to which references stay valid while the map grows,
//! as those to shadow variables do; and with values in place, as in most programs that use it.

use std::hash::BuildHasher;

/// A key as a map sees it.
pub(crate) type Key = (usize, u64);

/// The value of an entry. A hit reads the first half.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) first: u64,
    /// Never read: makes the value as large as a small struct.
    _second: u64,
}

impl Value {
    #[inline]
    pub(crate) fn of(key: Key) -> Self {
        Self {
            first: Packed::new(key.0, key.1).value(),
            _second: key.1,
        }
    }
}

/// A value in the form in which a map stores it: in place, boxed, or one that a workload brings.
pub(crate) trait Kept: Clone + Send + Sync + 'static {
    /// Whether it is the value in a box.
    const BOXED: bool = false;

    fn of(key: Key) -> Self;

    /// Returns what a read of the value returns: [`Value::first`].
    fn first(&self) -> u64;
}

impl Kept for Value {
    #[inline]
    fn of(key: Key) -> Self {
        Self::of(key)
    }

    #[inline]
    fn first(&self) -> u64 {
        self.first
    }
}

impl Kept for Box<Value> {
    const BOXED: bool = true;

    #[inline]
    fn of(key: Key) -> Self {
        Self::new(Value::of(key))
    }

    #[inline]
    fn first(&self) -> u64 {
        self.first
    }
}

/// A key as it stands in streams of accesses: the id in the upper 16 bits, the address in the lower 48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub(crate) struct Packed(u64);

impl Packed {
    /// No key: address 0 is not used.
    pub(crate) const NONE: Self = Self(0);

    #[inline]
    pub(crate) fn new(addr: usize, id: u64) -> Self {
        debug_assert!(addr >> 48 == 0 && id >> 16 == 0);
        Self(addr as u64 | id << 48)
    }

    #[inline]
    pub(crate) fn key(self) -> Key {
        ((self.0 & ((1 << 48) - 1)) as usize, self.0 >> 48)
    }

    /// Returns the key with an id that is a constant for the compiler, as in most programs.
    #[inline]
    pub(crate) fn with_id(self, id: u64) -> Key {
        let (addr, own) = self.key();
        debug_assert_eq!(own, id);
        (addr, id)
    }

    #[inline]
    pub(crate) fn word(self) -> u64 {
        self.0
    }

    /// Returns the first half of this key's value. Never 0, which means absent.
    #[inline]
    pub(crate) fn value(self) -> u64 {
        !self.0
    }
}

/// A map, used as its own documentation recommends.
///
/// Reads return the first half of the value, or 0 if the key is absent.
pub(crate) trait Store: Send + Sync + Sized + 'static {
    const ABOUT: About;

    /// The protection of a reader over several operations; `()` if the map has none.
    type Guard<'a>
    where
        Self: 'a;

    /// The same map with other values; `Self` if it cannot have others ([`About::any_value`]).
    type With<V: Kept>: Store;

    /// Makes an empty map, which grows as it is filled.
    fn new() -> Self;

    /// Makes the map alone, without what the adapter prepares beside it.
    fn bare() -> impl Send {
        Self::new()
    }

    /// Makes an empty map with room for that many entries.
    fn with_capacity(entries: usize) -> Self;

    fn guard(&self) -> Self::Guard<'_>;

    /// Looks a key up under a guard that is already held.
    fn get_in<'a>(&'a self, guard: &Self::Guard<'a>, key: Key) -> u64;

    /// Looks a key up with a guard of its own.
    #[inline]
    fn get(&self, key: Key) -> u64 {
        self.get_in(&self.guard(), key)
    }

    /// Like [`get`](Self::get), if each key has another id, so that no id is prepared for.
    #[inline]
    fn get_any(&self, key: Key) -> u64 {
        self.get(key)
    }

    /// Looks up keys of one id, one after the other, under one guard.
    #[inline]
    fn get_each(&self, id: u64, keys: &[Packed], mut found: impl FnMut(u64, Packed)) {
        let guard = self.guard();
        for &key in keys {
            found(self.get_in(&guard, key.with_id(id)), key);
        }
    }

    /// Like [`get_each`](Self::get_each), in one call if the map has batched look-ups. `out` is as long as `keys`.
    #[inline]
    fn get_batch(&self, id: u64, keys: &[Packed], out: &mut [u64]) {
        let guard = self.guard();
        for (key, out) in keys.iter().zip(out) {
            *out = self.get_in(&guard, key.with_id(id));
        }
    }

    /// Creates the entry if it is absent. Returns whether it was absent.
    fn insert(&self, key: Key) -> bool;

    /// Returns the entry, which is created if it is absent.
    fn get_or_insert(&self, key: Key) -> u64;

    /// Removes the entry. Returns whether there was one.
    fn remove(&self, key: Key) -> bool;

    /// Removes all entries of an id, and returns their number.
    fn clear_id(&self, id: u64) -> usize;

    /// Like [`clear_id`](Self::clear_id), by the threads of the current rayon pool, if the map has such an operation.
    fn clear_id_parallel(&self, _id: u64) -> Option<usize> {
        None
    }

    /// Creates an entry that is known to be absent, before anything is timed.
    fn load(&self, key: Key) {
        assert!(self.insert(key), "{key:x?} was there already");
    }

    /// Frees what was removed, as far as the map has an operation for it.
    fn settle(&self) {}

    /// Returns the bytes that the map has allocated for entries and that hold none: if the map had no pool of its own, they would
    /// be in the allocator's free lists.
    fn free_bytes(&self) -> u64 {
        0
    }

    /// Shrinks the map. Returns whether it has an operation for that.
    fn shrink(&self) -> bool {
        false
    }
}

/// The properties of a contender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether readers take no lock, not even a short one.
    pub(crate) lock_free_reads: bool,
    pub(crate) form: Form,
    /// Whether it can store other values than the harness's own, also with destructors.
    pub(crate) any_value: bool,
    /// The effect on writers of a reader that holds what it found.
    pub(crate) stall: Stall,
    /// Larger sizes would take too long.
    pub(crate) max_entries: usize,
    /// Whether it can have keys that come and go and never come back (W4N).
    pub(crate) stands_new_keys: bool,
}

impl About {
    /// Returns whether it is our store, with the id given to each operation.
    pub(crate) fn is_by_id(&self) -> bool {
        self.kind == Kind::Ours && self.name.ends_with("-by-id")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The store that this study is about.
    Ours,
    /// A concurrent map from the package registry: the targets compare with the best of these.
    Peer,
    /// A design, implemented for this study.
    Design,
    /// Not a concurrent map, but a limit to compare with. Only one thread writes to it.
    Limit,
}

/// Where the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// In the map's own nodes, which do not move. Such a map counts as of both forms.
    Stable,
    /// In boxes, because the map moves its entries.
    Boxed,
    /// In the entries, which move when the map grows.
    InPlace,
}

impl Form {
    /// Returns the form of a map that moves its entries.
    pub(crate) const fn moving<V: Kept>() -> Self {
        if V::BOXED { Self::Boxed } else { Self::InPlace }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stall {
    /// Removed values wait for the reader, in memory.
    Garbage,
    /// Writers wait for the reader.
    Blocks,
}

/// A hash function that a map can use.
pub(crate) trait Hashing: BuildHasher + Clone + Default + Send + Sync + 'static {
    const NAME: &'static str;
}

pub(crate) type FoldHash = foldhash::fast::RandomState;
pub(crate) type AHash = ahash::RandomState;

impl Hashing for FoldHash {
    const NAME: &'static str = "foldhash";
}

impl Hashing for AHash {
    const NAME: &'static str = "ahash";
}
