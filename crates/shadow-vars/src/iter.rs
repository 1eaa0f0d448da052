//! Looking at all variables.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;

use crate::reclaim::Reclaim;
use crate::registry::IdEntry;
use crate::table::hash::Walk;
use crate::table::{Core, NodeRef, Shield};
use crate::{ObjAddr, ShadowId};

/// One variable, met by iteration.
#[derive(Clone, Copy)]
pub struct VarRef<'g> {
    node: NodeRef<'g>,
    entry: &'g IdEntry,
}

impl<'g> VarRef<'g> {
    /// The parent.
    pub fn obj(&self) -> ObjAddr {
        ObjAddr::new(self.node.obj)
    }

    /// The id.
    pub fn id(&self) -> u64 {
        self.entry.id
    }

    /// The name of the value's type, `raw` for untyped variables.
    pub fn type_name(&self) -> &str {
        self.entry.type_name()
    }

    /// The value, if it is a `T`.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&'g T> {
        // SAFETY: the entry holds `T`; the node was live when it was met.
        self.entry.holds::<T>().then(|| unsafe { self.node.value() })
    }

    /// The value, if this is a variable of that id.
    pub fn get_as<T: Send + Sync + 'static>(&self, id: ShadowId<T>) -> Option<&'g T> {
        if self.id() == id.get() { self.get() } else { None }
    }
}

impl fmt::Debug for VarRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}, {:#x}>: {}", self.obj(), self.id(), self.type_name())
    }
}

// SAFETY: gives out the key (plain numbers), and `&T` for `T: Sync` only; nodes are made for many threads.
unsafe impl Send for VarRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for VarRef<'_> {}

/// All variables of a store: [`Pinned::iter`](crate::Pinned::iter).
///
/// Goes through the hash space region by region, so that it can go on where it was when tables of other sizes take over.
/// There are as many regions as the table had buckets when the iteration began, and it takes them in the order of a walk (P5
/// of the table); where a table has become larger, each in parts, in such an order, too.
pub struct Iter<'g, R: Reclaim> {
    core: &'g Core<R>,
    shield: Shield<'g, R>,
    walk: Walk,
    /// The steps that are left.
    steps: Range<usize>,
    /// Where the region begins that the walk has come to, and the walk through its parts and what is left of that.
    start: u64,
    within: Walk,
    parts: Range<usize>,
    /// What is left of the part before.
    found: Vec<NodeRef<'g>>,
}

impl<'g, R: Reclaim> Iter<'g, R> {
    pub(crate) fn new(core: &'g Core<R>, shield: Shield<'g, R>) -> Self {
        let walk = core.root(shield).walk;
        Self::part(core, shield, walk, 0..1 << walk.log2)
    }

    /// Some steps of a walk.
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

    /// Looks at the next part of a region. Nothing after the last.
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
