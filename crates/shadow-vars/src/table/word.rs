//! The word in a slot: the state of its key, packed into 64 bits.
//!
//! ```text
//!  63                                    19 18 16 15           0
//! ┌────────────────────────────────────────┬─────┬──────────────┐
//! │ address of a node or of the parent     │ kind│     tag      │
//! └────────────────────────────────────────┴─────┴──────────────┘
//! ```
//!
//! The tag is *(low 16 bits of the id's index) xor (hash bits of the parent's address, the low four 0)*. A TOMB holds the
//! parent's address itself, so its whole key can be read from the word: the address, and, with the address's hash bits, the
//! id's index. The index's low four bits are stored unchanged, so that a sweep for one id skips most of the others without
//! reading their nodes.
//!
//! Tag and kind are in the low half, so only half of a bucket's bytes are compared; getting from a LINK to its node takes one
//! bit test and one shift. Words that belong to no key have kind 0: EMPTY is all zeros, MOVED and SEALED have a bit in place
//! of the address.

use std::ptr::NonNull;

use super::node::{ADDR, Node};

/// The lowest bit of kind and address.
pub(crate) const TAG_BITS: u32 = 16;
pub(crate) const KIND: u64 = 0b111;

/// The kind of EMPTY, MOVED and SEALED.
pub(crate) const NO_KEY: u64 = 0;
pub(crate) const FROZEN: u64 = 1;
const TOMB: u64 = 2;
const RECORD: u64 = 3;
/// The only kind with this bit.
pub(crate) const LINK: u64 = 4;

const MOVED: u64 = 0b01_000 | NO_KEY;
const SEALED: u64 = 0b10_000 | NO_KEY;

/// The content of a slot. See the state table in [`super`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Word(u64);

/// A decoded word. `N` is how it leads to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind<N = NonNull<Node>> {
    /// Never claimed.
    Empty,
    /// Leads to the newest node of its key.
    Link(N),
    /// Like `Link`, while the table migrates: changes to MOVED only.
    Frozen(N),
    /// Its key has no node now; the key is in the word.
    Tomb,
    /// Its key has no node now; the key is in a record, for this word alone.
    Record(N),
    /// Its key is closed in this table.
    Moved,
    /// Was the first EMPTY of its bucket when that migrated.
    Sealed,
}

impl Word {
    pub(crate) const EMPTY: Self = Self(0);
    pub(crate) const MOVED: Self = Self(MOVED << TAG_BITS);
    pub(crate) const SEALED: Self = Self(SEALED << TAG_BITS);

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    const fn new(addr: u64, kind: u64, tag: u16) -> Self {
        Self((addr | kind) << TAG_BITS | tag as u64)
    }

    fn pointing(node: NonNull<Node>, tag: u16, kind: u64) -> Self {
        let addr = node.as_ptr().expose_provenance() as u64;
        debug_assert!(addr & !ADDR == 0, "a node's address was checked when it was allocated");
        Self::new(addr, kind, tag)
    }

    pub(crate) fn link(node: NonNull<Node>, tag: u16) -> Self {
        Self::pointing(node, tag, LINK)
    }

    pub(crate) fn record(record: NonNull<Node>, tag: u16) -> Self {
        Self::pointing(record, tag, RECORD)
    }

    /// Returns the tomb of a key that [fits](crate::entry::IdEntry::key_fits).
    pub(crate) const fn tomb(obj: usize, tag: u16) -> Self {
        Self::new(obj as u64, TOMB, tag)
    }

    /// Turns LINK(n) into FROZEN(n).
    pub(crate) const fn frozen(self) -> Self {
        debug_assert!(self.0 >> TAG_BITS & KIND == LINK);
        Self(self.0 ^ (LINK ^ FROZEN) << TAG_BITS)
    }

    pub(crate) const fn tag(self) -> u16 {
        self.0 as u16
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        self.decode(|node| node)
    }

    /// Decodes the word. `node` makes of a pointer to a node what the caller uses for it.
    #[inline(always)]
    pub(super) fn decode<N>(self, node: impl Fn(NonNull<Node>) -> N) -> Kind<N> {
        if self.is_link() {
            return Kind::Link(node(Self::at((self.0 >> TAG_BITS) - LINK)));
        }
        match self.0 >> TAG_BITS & KIND {
            FROZEN => Kind::Frozen(node(self.node())),
            TOMB => Kind::Tomb,
            RECORD => Kind::Record(node(self.node())),
            _ => match self {
                Self::EMPTY => Kind::Empty,
                Self::MOVED => Kind::Moved,
                _ => Kind::Sealed,
            },
        }
    }

    /// Returns the node, if this is a LINK. The caller has to compare the node's key even if a snapshot had the tag: an EMPTY
    /// word looks as if its tag were 0, and may belong to another key by now.
    #[inline]
    pub(crate) fn linked(self) -> Option<NonNull<Node>> {
        self.is_link().then(|| {
            // The kind is subtracted from the pointer, so that it is folded into the offsets of the node's fields.
            let node: *mut Node = std::ptr::with_exposed_provenance_mut((self.0 >> TAG_BITS) as usize);
            // SAFETY: as in `at`; a LINK's kind is this bit alone, and its value as an offset stays within the node.
            unsafe { NonNull::new_unchecked(node.byte_sub(LINK as usize)) }
        })
    }

    #[inline]
    const fn is_link(self) -> bool {
        self.0 & LINK << TAG_BITS != 0
    }

    #[inline]
    fn node(self) -> NonNull<Node> {
        Self::at(self.0 >> TAG_BITS & ADDR)
    }

    #[inline]
    fn at(addr: u64) -> NonNull<Node> {
        // SAFETY: LINK, FROZEN and RECORD words are only made from a NonNull (`pointing`), whose address is not 0.
        unsafe { NonNull::new_unchecked(std::ptr::with_exposed_provenance_mut(addr as usize)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        let memory = [0_u64; size_of::<Node>() / 8];
        let node: NonNull<Node> = NonNull::from(&memory).cast();
        let link = Word::link(node, 0xbeef);
        assert_eq!(link.kind(), Kind::Link(node));
        assert_eq!(link.frozen().kind(), Kind::Frozen(node));
        assert_eq!(link.frozen().tag(), 0xbeef);
        assert_eq!(Word::record(node, 3).kind(), Kind::Record(node));
        assert_eq!(link.linked(), Some(node));
        let others = [
            link.frozen(),
            Word::record(node, 3),
            Word::tomb(8, 0),
            Word::EMPTY,
            Word::MOVED,
            Word::SEALED,
        ];
        assert!(others.iter().all(|word| word.linked().is_none()));
        assert_eq!(Word::tomb(0, 0).kind(), Kind::Tomb);
        assert_eq!(Word::tomb(0xffff_ffff_fff8, 0xffff).kind(), Kind::Tomb);
        assert_ne!(Word::tomb(0, 0), Word::EMPTY);
        assert_eq!(Word::from_bits(0).kind(), Kind::Empty);
        assert_eq!(Word::MOVED.kind(), Kind::Moved);
        assert_eq!(Word::SEALED.kind(), Kind::Sealed);
    }
}
