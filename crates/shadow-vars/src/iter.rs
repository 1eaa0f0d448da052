//! Looking at all variables.

use std::fmt;
use std::iter::FusedIterator;

use crate::reclaim::Reclaim;
use crate::registry::IdEntry;
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
pub struct Iter<'g, R: Reclaim> {
    core: &'g Core<R>,
    shield: Shield<'g>,
    /// Where the next region begins; nothing after the last.
    next: Option<u64>,
    /// Where to stop: the first point that is not to be visited, or nothing for the end of the space.
    end: Option<u64>,
    /// What is left of the region before.
    region: Vec<NodeRef<'g>>,
}

impl<'g, R: Reclaim> Iter<'g, R> {
    pub(crate) fn new(core: &'g Core<R>, shield: Shield<'g>) -> Self {
        Self::part(core, shield, 0, None)
    }

    /// The variables whose points are in `start..end`. Both are multiples of a region of the root at any time.
    pub(crate) fn part(core: &'g Core<R>, shield: Shield<'g>, start: u64, end: Option<u64>) -> Self {
        Self {
            core,
            shield,
            next: Some(start),
            end,
            region: Vec::new(),
        }
    }
}

impl<'g, R: Reclaim> Iterator for Iter<'g, R> {
    type Item = VarRef<'g>;

    fn next(&mut self) -> Option<VarRef<'g>> {
        loop {
            if let Some(node) = self.region.pop() {
                return Some(VarRef {
                    node,
                    entry: node.entry(&self.core.heap),
                });
            }
            let from = self.next.filter(|&from| self.end.is_none_or(|end| from < end))?;
            self.next = self.core.region(self.shield, from, self.end, &mut self.region);
        }
    }
}

impl<R: Reclaim> FusedIterator for Iter<'_, R> {}

impl<R: Reclaim> fmt::Debug for Iter<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("next", &self.next).finish_non_exhaustive()
    }
}
