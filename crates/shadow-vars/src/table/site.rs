//! A slot as it was read: where it is, and the word that was in it. And what is done with a node that was met there.

use super::array::{SlotIndex, Table};
use super::group::{BUCKET, Lane};
use super::word::{Kind, Word};
use super::{NodeRef, Shield};
use crate::reclaim::Reclaim;
use crate::sync::AtomicU64;

/// A slot, and the word that was loaded from it under a guard for `'t`: so the node that the word leads to is protected (G4).
#[derive(Clone, Copy)]
pub(crate) struct Site<'t> {
    table: &'t Table,
    slot: SlotIndex,
    word: Word,
}

impl<'t> Site<'t> {
    /// Creates the site of a word that was loaded before.
    ///
    /// # Safety
    ///
    /// The word was loaded from this slot of the table by [`Shield::load`], under a guard for `'t`.
    #[inline(always)]
    pub(super) unsafe fn new(table: &'t Table, slot: SlotIndex, word: Word) -> Self {
        Self { table, slot, word }
    }

    /// Loads a slot.
    ///
    /// The backend's ordering, Acquire at least: pairs with every [`Table::cas`] (O1), and protects the node (G4).
    #[inline(always)]
    pub(crate) fn load<R: Reclaim>(shield: Shield<'t, R>, table: &'t Table, slot: SlotIndex) -> Self {
        let word = shield.load(|order| table.load(slot, order));
        Self { table, slot, word }
    }

    /// Like [`load`](Self::load), of a slot by its bucket.
    #[inline(always)]
    pub(crate) fn load_lane<R: Reclaim>(
        shield: Shield<'t, R>,
        table: &'t Table,
        bucket: &[AtomicU64; BUCKET],
        lane: Lane,
    ) -> Self {
        let word = shield.load(|order| table.load_lane(bucket, lane, order));
        let slot = table.slot_in(bucket, lane);
        Self { table, slot, word }
    }

    /// Creates the site of a slot that a snapshot has as EMPTY.
    #[inline(always)]
    pub(crate) fn empty(table: &'t Table, slot: SlotIndex) -> Self {
        let word = Word::EMPTY;
        Self { table, slot, word }
    }

    #[inline(always)]
    pub(crate) fn table(self) -> &'t Table {
        self.table
    }

    #[inline(always)]
    pub(crate) fn slot(self) -> SlotIndex {
        self.slot
    }

    #[inline(always)]
    pub(crate) fn word(self) -> Word {
        self.word
    }

    /// Returns the decoded word, with the node that it leads to.
    #[inline(always)]
    pub(crate) fn kind(self) -> Kind<NodeRef<'t>> {
        // SAFETY: the word was read from a slot under a guard for `'t`.
        self.word.decode(|node| unsafe { NodeRef::new(node) })
    }

    /// Returns the node, if the word is a LINK. See [`Word::linked`].
    #[inline(always)]
    pub(crate) fn linked(self) -> Option<NodeRef<'t>> {
        // SAFETY: the word was read from a slot under a guard for `'t`.
        self.word.linked().map(|node| unsafe { NodeRef::new(node) })
    }

    /// Replaces the word, by compare-and-swap. Returns whether this call did it.
    #[must_use]
    #[inline(always)]
    pub(crate) fn replace(self, to: Word) -> bool {
        self.table.cas(self.slot, self.word, to)
    }
}
