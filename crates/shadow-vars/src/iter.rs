//! Iteration over all variables.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;

use crate::entry::IdEntry;
use crate::reclaim::Reclaim;
use crate::table::hash::Walk;
use crate::table::{Core, NodeRef, Shield};
use crate::{ObjAddr, ShadowId};

/// A variable that an iteration has found.
#[derive(Clone, Copy)]
pub struct VarRef<'g> {
    node: NodeRef<'g>,
    entry: &'g IdEntry,
}

impl<'g> VarRef<'g> {
    /// Returns the parent's address.
    pub fn obj(&self) -> ObjAddr {
        ObjAddr::new(self.node.obj)
    }

    /// Returns the id.
    pub fn id(&self) -> u64 {
        self.entry.id
    }

    /// Returns the name of the value's type, `raw` for untyped variables.
    pub fn type_name(&self) -> &str {
        self.entry.type_name()
    }

    /// Returns the value, if it is a `T`.
    pub fn downcast_ref<T: Send + Sync + 'static>(&self) -> Option<&'g T> {
        // SAFETY: the entry holds `T`, and the node was live when the iteration found it.
        self.entry.holds::<T>().then(|| unsafe { self.node.value() })
    }

    /// Returns the value, if this is a variable of that id.
    pub fn get<T: Send + Sync + 'static>(&self, id: ShadowId<T>) -> Option<&'g T> {
        if self.id() == id.get() {
            self.downcast_ref()
        } else {
            None
        }
    }
}

impl fmt::Debug for VarRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}, {:#x}>: {}", self.obj(), self.id(), self.type_name())
    }
}

// SAFETY: gives access to the key (plain numbers), and to `&T` for `T: Sync` only; nodes may be shared by threads.
unsafe impl Send for VarRef<'_> {}
// SAFETY: as for `Send`.
unsafe impl Sync for VarRef<'_> {}

/// An iterator over all variables of a store, returned by [`Pinned::iter`](crate::Pinned::iter).
///
/// Visits the hash space region by region, so that it can continue in place when tables of other sizes take over. There
/// are as many regions as the table had buckets when the iteration began, visited in the order of a walk (P5 of the
/// table). Where the table has grown since, each region is visited in parts, again in the order of a walk.
pub struct Iter<'g, R: Reclaim> {
    core: &'g Core<R>,
    shield: Shield<'g, R>,
    walk: Walk,
    /// The remaining steps of the walk.
    steps: Range<usize>,
    /// The start of the current region; the walk through its parts, and the remaining steps of that walk.
    start: u64,
    within: Walk,
    parts: Range<usize>,
    /// The nodes of the current part that have not been yielded yet.
    found: Vec<NodeRef<'g>>,
}

impl<'g, R: Reclaim> Iter<'g, R> {
    pub(crate) fn new(core: &'g Core<R>, shield: Shield<'g, R>) -> Self {
        let walk = core.root(shield).walk;
        Self::part(core, shield, walk, 0..1 << walk.log2)
    }

    /// Returns an iterator over some steps of a walk.
    pub(crate) fn part(core: &'g Core<R>, shield: Shield<'g, R>, walk: Walk, steps: Range<usize>) -> Self {
        Self {
            core,
            shield,
            walk,
            steps,
            start: 0,
            within: Walk::new(0),
            parts: 0..0,
            found: Vec::new(),
        }
    }

    /// Collects the nodes of the next part of a region. Returns `None` after the last.
    fn advance(&mut self) -> Option<()> {
        if self.parts.is_empty() {
            let step = self.core.first_claimed(self.shield, self.walk, self.steps.clone())?;
            self.core.prefetch_ahead(self.shield, self.walk, step);
            self.steps.start = step + 1;
            self.start = self.walk.point(step);
            let log2 = self.core.root(self.shield).log2;
            self.within = Walk::new(log2.saturating_sub(self.walk.log2));
            self.parts = 0..1 << self.within.log2;
        }
        let part = self.parts.next()?;
        let from = self.start | self.within.point(part) >> self.walk.log2;
        let log2 = self.walk.log2 + self.within.log2;
        self.core.region(self.shield, from, log2, &mut self.found);
        Some(())
    }
}

impl<'g, R: Reclaim> Iterator for Iter<'g, R> {
    type Item = VarRef<'g>;

    fn next(&mut self) -> Option<VarRef<'g>> {
        loop {
            if let Some(node) = self.found.pop() {
                return Some(VarRef {
                    node,
                    entry: node.entry(&self.core.heap),
                });
            }
            self.advance()?;
        }
    }
}

impl<R: Reclaim> FusedIterator for Iter<'_, R> {}

impl<R: Reclaim> fmt::Debug for Iter<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter")
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}
