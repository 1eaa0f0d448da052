//! The probe for a key's slot in one table: slot by slot, bucket by bucket from the key's home.

use super::array::Table;
use super::group::BUCKET;
use super::key::Key;
use super::node::{Life, State};
use super::site::Site;
use super::word::Kind;
use super::{Core, NodeRef, Shield};
use crate::defect::Defect;
use crate::reclaim::Reclaim;

/// The slot at which a probe ends.
#[derive(Clone, Copy)]
pub(crate) enum Found<'t> {
    /// The key's slot: LINK, FROZEN, TOMB or RECORD.
    Own(Site<'t>),
    /// The first slot that was never claimed.
    Empty(Site<'t>),
    /// A slot that will never be claimed.
    Sealed,
    /// The probe has passed every slot of the table.
    Full,
}

/// A probe in progress. Calling [`next`](Self::next) again after a lost compare-and-swap continues at the same bucket.
pub(crate) struct Probe<'t, 'k, R: Reclaim> {
    core: &'t Core<R>,
    shield: Shield<'t, R>,
    pub(crate) table: &'t Table,
    key: &'k Key<'k>,
    /// Buckets passed so far.
    passed: usize,
    /// Whether MOVED was met: the key may have been moved to the successor from such a slot.
    pub(crate) seen: bool,
}

impl<'t, 'k, R: Reclaim> Probe<'t, 'k, R> {
    #[inline]
    pub(crate) fn new(core: &'t Core<R>, shield: Shield<'t, R>, table: &'t Table, key: &'k Key<'k>) -> Self {
        Self {
            core,
            shield,
            table,
            key,
            passed: 0,
            seen: false,
        }
    }

    /// Returns the slot that decides. Only slots whose state can never change back are passed, another key's or MOVED (I1), so
    /// a stale word can only lead to a compare-and-swap that fails, or to an answer that was true when the word was read.
    #[inline]
    pub(crate) fn next(&mut self) -> Found<'t> {
        let home = self.table.home(self.key.hash);
        while self.passed < self.table.buckets() {
            if let Some(found) = self.bucket(home + self.passed) {
                return found;
            }
            self.passed += 1;
        }
        Found::Full
    }

    #[inline]
    fn bucket(&mut self, bucket: usize) -> Option<Found<'t>> {
        let mut sealed = false;
        for position in 0..BUCKET {
            let site = Site::load(self.shield, self.table, self.table.index(bucket, position));
            match site.kind() {
                // Slots behind an EMPTY were never claimed (I9).
                Kind::Empty => return Some(Found::Empty(site)),
                Kind::Link(node) | Kind::Frozen(node) | Kind::Record(node) if site.word().tag() == self.key.tag => {
                    if node.is_for(self.key.obj, self.key.entry) {
                        return Some(Found::Own(site));
                    }
                }
                // Another key's, by its tag.
                Kind::Link(_) | Kind::Frozen(_) | Kind::Record(_) => {}
                Kind::Tomb if self.key.tomb() == Some(site.word()) => return Some(Found::Own(site)),
                Kind::Tomb if self.core.planted(Defect::AnyTomb) => return Some(Found::Own(site)),
                // Another key's tomb.
                Kind::Tomb => {}
                // Some key's that was closed here: perhaps this one.
                Kind::Moved => self.seen = true,
                // The order of slots decides: an EMPTY behind a SEALED does not count.
                Kind::Sealed if self.core.planted(Defect::EmptyBeforeSealed) => sealed = true,
                Kind::Sealed => return Some(Found::Sealed),
            }
        }
        sealed.then_some(Found::Sealed)
    }
}

impl<R: Reclaim> Core<R> {
    /// Probes for a key in the chain of tables, from one that is or was the root. Calls `meet` with each node that the key's
    /// slots lead to, its life and its table, until `meet` returns `Some`, or the key is absent.
    ///
    /// `meet` is to end nothing but LIVE or BUILDING. Returns `None` if the key was absent at some instant.
    pub(super) fn probe_chain<'g, O>(
        &'g self,
        shield: Shield<'g, R>,
        mut table: &'g Table,
        key: &Key<'_>,
        mut meet: impl FnMut(NodeRef<'g>, Life, &'g Table) -> Option<O>,
    ) -> Option<O> {
        loop {
            let mut probe = Probe::new(self, shield, table, key);
            match probe.next() {
                Found::Own(site) => match site.kind() {
                    Kind::Link(node) | Kind::Frozen(node) => {
                        let life = node.life();
                        if let Some(answer) = meet(node, life, table) {
                            return Some(answer);
                        }
                        match site.kind() {
                            // It does not exist yet.
                            _ if life.state() == State::Building => return None,
                            // Dead, perhaps just now. LINK leads to the newest node of the key, so the key is absent.
                            Kind::Link(_) => return None,
                            _ if self.planted(Defect::FrozenDeadIsAbsent) => return None,
                            // After FROZEN(dead), it may live again in the successor (I6).
                            _ => {}
                        }
                    }
                    // A tomb.
                    _ => return None,
                },
                // Never claimed for the key, unless it was before a MOVED.
                Found::Empty(_) if !probe.seen => return None,
                Found::Empty(_) if self.planted(Defect::EmptyAfterMovedIsAbsent) => return None,
                Found::Sealed if self.planted(Defect::SealedIsAbsent) => return None,
                Found::Full if !probe.seen && self.planted(Defect::FullIsAbsent) => return None,
                // The key is closed in this table, or was never there for want of room.
                Found::Empty(_) | Found::Sealed | Found::Full => {}
            }
            // Read after the scan (O4). There is a successor after MOVED, SEALED or FROZEN; otherwise this is the last table.
            table = self.next(shield, table)?;
        }
    }
}
