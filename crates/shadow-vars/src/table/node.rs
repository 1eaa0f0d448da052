//! Nodes: a header and the parts that [`layout`](super::layout) places around it, in one allocation.
//!
//! ```text
//!        63        48 47                                       3 2     0
//!       ┌────────────┬──────────────────────────────────────────┬───────┐
//! life: │ id's index │ builder │ nothing │ next of a retire list │ state │
//!       └────────────┴──────────────────────────────────────────┴───────┘
//! ```
//!
//! The meaning of the middle bits depends on the state: the builder's token (BUILDING), unused (LIVE), the next node of a
//! retire list (all others, once retired). The index does not change, so one comparison tells whether a node is LIVE and of an
//! id. If the index is [`WIDE`], a pointer to the id's entry precedes the header. What needs the entry is in
//! [`parts`](super::parts).

use std::mem::align_of;

use crate::defect::{Poison, as_checked};
use crate::reclaim::object::Link;
use crate::sync::Ordering;

/// The first index that a life word cannot hold. Nodes of such ids hold a pointer to their entry instead.
pub(crate) const WIDE: u32 = 0xffff;

/// The header of a variable, of a key record, and of a retired table.
#[repr(C)]
pub(crate) struct Node {
    pub(crate) obj: usize,
    pub(super) life: Link,
    /// The index in the life word, separately: under loom, each load is one more point at which threads can switch.
    #[cfg(shadow_loom)]
    index: u32,
    /// Set by the checked backend, in tests.
    pub(super) reclaimed: Poison,
}

/// The state of a node. Changes only to a later one of this list, and from `Building` at most once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// The constructor runs; the key is claimed, the variable does not exist yet.
    Building,
    /// The variable exists.
    Live,
    /// The variable was freed; its value is dropped when the node is reclaimed.
    Dead,
    /// The constructor failed; there is no value.
    Failed,
    /// Not a variable: the key of a tomb.
    Record,
    /// Not a variable: a table on a retire list.
    Table,
}

/// A value of a life word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Life(u64);

const STATE: u64 = 0b111;
const WAITERS: u64 = 0b1000;
const BUILDER_SHIFT: u32 = 4;
const INDEX_SHIFT: u32 = 48;
const INDEX: u64 = 0xffff << INDEX_SHIFT;

impl Life {
    pub(crate) const LIVE: Self = Self(1);
    pub(crate) const DEAD: Self = Self(2);
    pub(crate) const FAILED: Self = Self(3);
    pub(crate) const RECORD: Self = Self(4);
    pub(crate) const TABLE: Self = Self(5);

    /// Returns BUILDING, by the thread with this token.
    pub(crate) const fn building(builder: u64) -> Self {
        Self((builder << BUILDER_SHIFT) & !INDEX)
    }

    /// Returns this life with the index of an id.
    pub(super) const fn of(self, index: u32) -> Self {
        let index = if index < WIDE { index } else { WIDE };
        Self(self.0 | (index as u64) << INDEX_SHIFT)
    }

    /// Returns LIVE, of the id with this index: the word that look-ups compare with. If the index is WIDE, no node has it.
    pub(crate) const fn live(index: u32) -> Self {
        if index < WIDE {
            Self::LIVE.of(index)
        } else {
            Self(u64::MAX)
        }
    }

    /// Returns the id's index, or WIDE.
    fn index(self) -> u32 {
        (self.0 >> INDEX_SHIFT) as u32
    }

    pub(crate) fn state(self) -> State {
        match self.0 & STATE {
            0 => State::Building,
            1 => State::Live,
            2 => State::Dead,
            3 => State::Failed,
            4 => State::Record,
            _ => State::Table,
        }
    }

    /// Returns the token of the building thread. Only for `State::Building`.
    pub(crate) fn builder(self) -> u64 {
        (self.0 & !INDEX) >> BUILDER_SHIFT
    }

    /// Returns whether a thread is parked until the constructor ends. Only for `State::Building`.
    pub(crate) fn has_waiters(self) -> bool {
        self.0 & WAITERS != 0
    }

    /// Returns the id's index and the state alone.
    #[inline]
    pub(super) fn without_link(self) -> Self {
        Self(self.0 & (INDEX | STATE))
    }
}

const _: () = assert!(size_of::<Node>() == 16 || size_of::<Poison>() > 0);
const _: () = assert!(align_of::<Node>() == align_of::<*const ()>());

impl Node {
    /// Creates the header of a table, with which the table can be put on retire lists. In place of an object, it holds the
    /// address of the interval, if there is one.
    pub(crate) fn for_table() -> Self {
        Self::header(0, Life::TABLE)
    }

    pub(super) fn header(obj: usize, life: Life) -> Self {
        Self {
            obj,
            life: Link::new(life.0),
            #[cfg(shadow_loom)]
            index: life.index(),
            reclaimed: Poison::default(),
        }
    }

    /// Returns the id's index, or WIDE. Constant for the node's lifetime.
    #[inline]
    pub(super) fn index(&self) -> u32 {
        #[cfg(shadow_loom)]
        return self.index;
        // Relaxed: the index was written before the node was published, and never changes.
        #[cfg(not(shadow_loom))]
        return Life(self.life.load(Ordering::Relaxed)).index();
    }

    /// Returns whether the variable exists. Ordered like [`life`](Self::life).
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.life().state() == State::Live
    }

    /// Loads the life word. Acquire: pairs with the Release half of `publish` and `kill`; a thread that reads LIVE sees the
    /// whole value (O3).
    #[inline]
    pub(crate) fn life(&self) -> Life {
        self.check();
        Life(self.life.load(Ordering::Acquire))
    }

    /// Returns the life word that the node has if it is LIVE.
    #[inline]
    pub(crate) fn as_live(&self) -> Life {
        Life::LIVE.of(self.index())
    }

    /// Turns LIVE into DEAD: the linearization point of removal (I4). Returns whether this call did it. `live` is the node's
    /// life word [if it is LIVE](Self::as_live).
    #[inline]
    #[must_use = "only the winner may run the destructor"]
    pub(crate) fn kill(&self, live: Life) -> bool {
        self.check();
        let dead = live.0 ^ (Life::LIVE.0 ^ Life::DEAD.0);
        // AcqRel: Release for threads that read DEAD in `life`, Acquire for the value (partner: `publish`). Relaxed on
        // failure: the caller reads again or gives up.
        self.life
            .compare_exchange(live.0, dead, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// A deliberate defect: kills without compare-and-swap.
    #[cfg(any(test, shadow_loom))]
    pub(crate) fn kill_by_store(&self) -> bool {
        let life = self.life();
        let was_live = life.state() == State::Live;
        if was_live {
            self.check();
            self.life.store(life.0 & INDEX | Life::DEAD.0, Ordering::Release);
        }
        was_live
    }

    /// Turns BUILDING into LIVE or FAILED, by the builder. Returns the life before, which tells whether there are waiters.
    pub(crate) fn publish(&self, life: Life) -> Life {
        let index = Life(0).of(self.index()).0;
        // AcqRel: Release publishes the payload to `life`; Acquire pairs with `add_waiter`, whose waiter must be woken.
        Life(self.life.swap(index | life.0, Ordering::AcqRel))
    }

    /// Turns BUILDING into FAILED, in place of a builder that no longer exists. Returns whether this call did it.
    pub(crate) fn fail(&self, seen: Life) -> bool {
        let failed = Life::FAILED.0 | seen.0 & INDEX;
        // AcqRel: as in `publish`.
        self.life
            .compare_exchange(seen.0, failed, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Records that a thread waits for this builder. Returns whether the node is still as it was read.
    pub(crate) fn add_waiter(&self, seen: Life) -> bool {
        // AcqRel: Release pairs with `publish`; on failure the caller reads again, so Relaxed is enough.
        seen.has_waiters()
            || self
                .life
                .compare_exchange(seen.0, seen.0 | WAITERS, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// Returns whether the key can be read back from a TOMB word.
    #[inline]
    pub(crate) fn key_fits(&self) -> bool {
        addr_fits(self.obj) && self.index() != WIDE
    }

    /// With the checked backend, panics on an access after reclamation.
    #[inline]
    pub(crate) fn check(&self) {
        self.reclaimed.check();
    }
}

/// The bits that an address in a slot's word may have: 3 to 47.
pub(crate) const ADDR: u64 = 0x0000_ffff_ffff_fff8;

/// Returns whether a slot's word can hold this address.
pub(crate) const fn addr_fits(addr: usize) -> bool {
    addr as u64 & !ADDR == 0
}

/// Returns whether a slot's word, and the link of a retire list, can hold the address of a new allocation. Exposes it.
#[inline]
pub(super) fn is_near<T>(made: *mut T) -> bool {
    addr_fits(as_checked(made.expose_provenance()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_addresses_fit() {
        assert!(addr_fits(0));
        assert!(addr_fits(0xffff_ffff_fff8));
        assert!(!addr_fits(1));
        assert!(!addr_fits(0x1_0000_0000_0000));
        assert!(!addr_fits(usize::MAX));
    }
}
