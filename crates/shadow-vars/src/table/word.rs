//! One slot's word: what it says about its key, packed into 64 bits.
//!
//! ```text
//!  63          48 47                                    3 2   0
//! ┌──────────────┬───────────────────────────────────────┬─────┐
//! │     tag      │ address of a node or of the parent    │ kind│
//! └──────────────┴───────────────────────────────────────┴─────┘
//! ```
//!
//! The tag is *(low 16 bits of the id's index) xor (hash bits of the parent's address, the low four 0)*. A TOMB holds the
//! parent's address itself, so its whole key can be read from the word: the address, and with its hash bits the id's
//! index. The index's low four bits stand there as they are, so that a sweep for one id passes most of the others by
//! without a look at their nodes.

use std::ptr::NonNull;

use super::node::{ADDR, Node};

pub(crate) const TAG_SHIFT: u32 = 48;
pub(crate) const KIND: u64 = 0b111;
/// Kinds above this one say that a key's turn in the table is over.
pub(crate) const LAST_OPEN: u64 = RECORD;

const EMPTY: u64 = 0;
pub(crate) const LINK: u64 = 1;
pub(crate) const FROZEN: u64 = 2;
const TOMB: u64 = 3;
const RECORD: u64 = 4;
const MOVED: u64 = 5;
const SEALED: u64 = 6;

/// The content of a slot. See the state table in [`super`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Word(u64);

/// A word taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Never claimed.
    Empty,
    /// Leads to the newest node of its key.
    Link(NonNull<Node>),
    /// As `Link`, while the table migrates: changes to MOVED only.
    Frozen(NonNull<Node>),
    /// Its key has no node now; the key is in the word.
    Tomb,
    /// Its key has no node now; the key is in a record of its own.
    Record(NonNull<Node>),
    /// Its key's turn in this table is over.
    Moved,
    /// Was EMPTY when the table migrated.
    Sealed,
}

impl Word {
    pub(crate) const EMPTY: Self = Self(EMPTY);
    pub(crate) const MOVED: Self = Self(MOVED);
    pub(crate) const SEALED: Self = Self(SEALED);
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    fn pointing(node: NonNull<Node>, tag: u16, kind: u64) -> Self {
        let addr = node.as_ptr().expose_provenance() as u64;
        debug_assert!(addr & !ADDR == 0, "a node's address was checked when it was allocated");
        Self(u64::from(tag) << TAG_SHIFT | addr | kind)
    }

    pub(crate) fn link(node: NonNull<Node>, tag: u16) -> Self {
        Self::pointing(node, tag, LINK)
    }

    pub(crate) fn record(record: NonNull<Node>, tag: u16) -> Self {
        Self::pointing(record, tag, RECORD)
    }

    /// The tomb of a key that [fits](super::node::key_fits).
    pub(crate) const fn tomb(obj: usize, tag: u16) -> Self {
        Self((tag as u64) << TAG_SHIFT | obj as u64 | TOMB)
    }

    /// LINK(n) → FROZEN(n).
    pub(crate) const fn frozen(self) -> Self {
        debug_assert!(self.0 & KIND == LINK);
        Self(self.0 & !KIND | FROZEN)
    }

    pub(crate) const fn tag(self) -> u16 {
        (self.0 >> TAG_SHIFT) as u16
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        match self.0 & KIND {
            EMPTY => Kind::Empty,
            LINK => Kind::Link(self.node()),
            FROZEN => Kind::Frozen(self.node()),
            TOMB => Kind::Tomb,
            RECORD => Kind::Record(self.node()),
            MOVED => Kind::Moved,
            _ => Kind::Sealed,
        }
    }

    /// The node, if this is a LINK with that tag.
    ///
    /// The tag has to be asked for even where a snapshot had it: an EMPTY word looks as if its tag were 0, and by now may
    /// be another key's.
    #[inline]
    pub(crate) fn link_with(self, tag: u16) -> Option<NonNull<Node>> {
        let rest = self.0 ^ (u64::from(tag) << TAG_SHIFT | LINK);
        // Tag and kind are 0 now, or were others.
        // SAFETY: as in `node`.
        (rest & !ADDR == 0)
            .then(|| unsafe { NonNull::new_unchecked(std::ptr::with_exposed_provenance_mut(rest as usize)) })
    }

    #[inline]
    fn node(self) -> NonNull<Node> {
        let addr = (self.0 & ADDR) as usize;
        // SAFETY: LINK, FROZEN and RECORD words are only made from a NonNull (`pointing`), whose address is not 0.
        unsafe { NonNull::new_unchecked(std::ptr::with_exposed_provenance_mut(addr)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        let node: NonNull<Node> = NonNull::without_provenance(std::num::NonZero::new(0x7fff_1234_5678).unwrap());
        let link = Word::link(node, 0xbeef);
        assert_eq!(link.kind(), Kind::Link(node));
        assert_eq!(link.frozen().kind(), Kind::Frozen(node));
        assert_eq!(link.frozen().tag(), 0xbeef);
        assert_eq!(Word::record(node, 3).kind(), Kind::Record(node));
        assert_eq!(link.link_with(0xbeef), Some(node));
        assert_eq!(link.link_with(0), None);
        assert_eq!(link.frozen().link_with(0xbeef), None);
        assert_eq!(Word::EMPTY.link_with(0), None);
        assert_eq!(Word::tomb(0, 0).kind(), Kind::Tomb);
        assert_eq!(Word::tomb(0xffff_ffff_fff8, 0xffff).kind(), Kind::Tomb);
        assert_ne!(Word::tomb(0, 0), Word::EMPTY);
        assert_eq!(Word::from_bits(0).kind(), Kind::Empty);
        assert_eq!(Word::MOVED.kind(), Kind::Moved);
        assert_eq!(Word::SEALED.kind(), Kind::Sealed);
    }
}
