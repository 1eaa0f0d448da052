//! What a contender can do: the one interface between the workloads and the maps.
//!
//! The workloads are compiled once for each contender, so that nothing dynamic is in a timed loop. A key is an address
//! and an id; a value is 16 bytes that can be computed from the key, so that every answer is checked and none has to
//! be remembered.
//!
//! A map that moves its values is measured in two forms: with boxed values, to which references stay good while the map
//! grows, as those to shadow variables do; and with values in place, as most of its users have it.

use std::hash::BuildHasher;

/// How a map sees a key.
pub(crate) type Key = (usize, u64);

/// What is stored. A hit reads the first half.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) first: u64,
    /// Never read: it makes the value as large as a small struct of a user's.
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

/// How a map keeps a value: in place, boxed, or as a workload of its own needs it.
pub(crate) trait Kept: Clone + Send + Sync + 'static {
    /// Whether it is the value behind a box.
    const BOXED: bool = false;

    fn of(key: Key) -> Self;

    /// What a read of the value gives: as [`Value::first`].
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

/// A key as streams of accesses hold it: the id in the upper 16 bits, the address in the lower 48.
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

    /// The key, of whose id the program knows what it is: as most programs do, in which it is a constant.
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

    /// The first half of this key's value. Never 0, which means absent.
    #[inline]
    pub(crate) fn value(self) -> u64 {
        !self.0
    }
}

/// A map, as its own documentation would have it used.
///
/// Reads give the first half of the value, or 0 if the key is absent.
pub(crate) trait Store: Send + Sync + Sized + 'static {
    const ABOUT: About;

    /// What protects a reader over several operations; `()` if the map has no such thing.
    type Guard<'a>
    where
        Self: 'a;

    /// The same map with other values; itself if it has room for no others ([`About::any_value`]).
    type With<V: Kept>: Store;

    /// An empty map, that grows as it is filled.
    fn new() -> Self;

    /// The map alone, without what the adapter prepares beside it.
    fn bare() -> impl Send {
        Self::new()
    }

    /// An empty map with room for that many entries.
    fn with_capacity(entries: usize) -> Self;

    fn guard(&self) -> Self::Guard<'_>;

    /// A look-up under a guard that is there already.
    fn get_in<'a>(&'a self, guard: &Self::Guard<'a>, key: Key) -> u64;

    /// A look-up with a guard of its own.
    #[inline]
    fn get(&self, key: Key) -> u64 {
        self.get_in(&self.guard(), key)
    }

    /// The same where each key has another id, so that none is prepared for.
    #[inline]
    fn get_any(&self, key: Key) -> u64 {
        self.get(key)
    }

    /// Look-ups of one id, one after the other, under one guard.
    #[inline]
    fn get_each(&self, id: u64, keys: &[Packed], mut found: impl FnMut(u64, Packed)) {
        let guard = self.guard();
        for &key in keys {
            found(self.get_in(&guard, key.with_id(id)), key);
        }
    }

    /// The same, all handed over at once if the map has that. `out` is as long as `keys`.
    #[inline]
    fn get_batch(&self, id: u64, keys: &[Packed], out: &mut [u64]) {
        let guard = self.guard();
        for (key, out) in keys.iter().zip(out) {
            *out = self.get_in(&guard, key.with_id(id));
        }
    }

    /// Creates the entry. Whether it was absent; if not, nothing changes.
    fn insert(&self, key: Key) -> bool;

    /// The entry, which is created if it is absent.
    fn get_or_insert(&self, key: Key) -> u64;

    /// Removes the entry. Whether there was one.
    fn remove(&self, key: Key) -> bool;

    /// Removes all entries of an id. How many there were.
    fn clear_id(&self, id: u64) -> usize;

    /// The same by the threads of the current rayon pool, if the map has that.
    fn clear_id_parallel(&self, _id: u64) -> Option<usize> {
        None
    }

    /// Creates an entry that is known to be absent, before anything is timed.
    fn load(&self, key: Key) {
        assert!(self.insert(key), "{key:x?} was there already");
    }

    /// Sees to it that what was removed is given back, as far as the map has a way to ask for it.
    fn settle(&self) {}

    /// Bytes that the map got from the allocator and has nothing in, of those that it keeps for entries: what would lie
    /// in the allocator's own lists if the map had none.
    fn free_bytes(&self) -> u64 {
        0
    }

    /// Asks the map to shrink. Whether it has a way to do so.
    fn shrink(&self) -> bool {
        false
    }
}

/// What is known of a contender beside its operations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether a reader takes no lock, not even a short one.
    pub(crate) lock_free_reads: bool,
    pub(crate) form: Form,
    /// Whether it can have other values than the harness's own, destructors included.
    pub(crate) any_value: bool,
    /// What a reader that keeps hold of what it found does to writers.
    pub(crate) stall: Stall,
    /// More than that is not worth waiting for.
    pub(crate) max_entries: usize,
    /// Whether it stands keys that come and go and never come back (W4N).
    pub(crate) stands_new_keys: bool,
}

impl About {
    /// Whether it is ours with the id told to each operation.
    pub(crate) fn is_by_id(&self) -> bool {
        self.kind == Kind::Ours && self.name.ends_with("-by-id")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What this study is about.
    Ours,
    /// A concurrent map from the package registry: the targets compare with the best of these.
    Peer,
    /// A design, in an implementation of this study's.
    Design,
    /// Not a concurrent map at all, but what one could hope for. Written by one thread only.
    Limit,
}

/// Where the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// In the map's own nodes, which do not move: both are of one form.
    Stable,
    /// In boxes, as the map moves its entries.
    Boxed,
    /// In the entries, which move when the map grows.
    InPlace,
}

impl Form {
    /// Of a map that moves its entries.
    pub(crate) const fn moving<V: Kept>() -> Self {
        if V::BOXED { Self::Boxed } else { Self::InPlace }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stall {
    /// What is removed meanwhile waits for the reader, in memory.
    Garbage,
    /// Writers wait for the reader.
    Blocks,
}

/// A hash function that a map can be given.
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
