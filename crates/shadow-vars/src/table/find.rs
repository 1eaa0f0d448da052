//! Finding a variable: never writes, never waits, helps nobody.

use super::defect::Defect;
use super::node::State;
use super::probe::{Found, Key, Probe};
use super::word::Kind;
use super::{Core, NodeRef, Shield};
use crate::reclaim::Reclaim;

impl<R: Reclaim> Core<R> {
    /// The live node of a key. Wait-free but for the length of the probe and of the chain of tables.
    #[inline]
    pub(crate) fn find<'g>(&'g self, shield: Shield<'g>, key: &Key<'_>) -> Option<NodeRef<'g>> {
        let mut table = self.root(shield);
        loop {
            let mut probe = Probe::new(self, table, key);
            match probe.next() {
                Found::Own(_, word) => match word.kind() {
                    Kind::Link(node) | Kind::Frozen(node) => {
                        let node = NodeRef::new(shield, node);
                        match node.life().state() {
                            State::Live => return Some(node),
                            State::Building if self.planted(Defect::BuildingIsFound) => return Some(node),
                            State::Building => return None,
                            // The key may live again in the successor (I6): a LINK, though, is its newest node.
                            _ if matches!(word.kind(), Kind::Link(_)) => return None,
                            _ if self.planted(Defect::FrozenDeadIsAbsent) => return None,
                            _ => {}
                        }
                    }
                    _ => return None,
                },
                Found::Empty(_) if !probe.seen || self.planted(Defect::EmptyAfterMovedIsAbsent) => return None,
                Found::Sealed if self.planted(Defect::SealedIsAbsent) => return None,
                Found::Full if !probe.seen && self.planted(Defect::FullIsAbsent) => return None,
                Found::Empty(_) | Found::Sealed | Found::Full => {}
            }
            // Read after the scan (O4). Always there after MOVED, SEALED or FROZEN; else this is the last table.
            table = table.next()?;
        }
    }
}
