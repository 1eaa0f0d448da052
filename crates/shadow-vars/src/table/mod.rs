//! placeholder for the page
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::marker::PhantomData;
use std::ops::Deref;

use crossbeam_utils::CachePadded;

use self::array::{BUCKET, MAX_LOG2, Plan, Table};
use self::hash::AddrHasher;
use self::node::{Node, State};
use self::probe::Key;
use self::word::Kind;
use crate::reclaim::Reclaim;
use crate::reclaim::retired::RetireLists;
use crate::registry::{IdEntry, Registry};
use crate::sync::stat::AtomicU64;
use crate::sync::{AtomicPtr, Ordering, thread_token};

pub(crate) mod array;
mod count;
pub(crate) mod defect;
mod find;
pub(crate) mod hash;
pub(crate) mod insert;
mod migrate;
pub(crate) mod node;
mod prefetch;
pub(crate) mod probe;
pub(crate) mod remove;
pub(crate) mod sweep;
pub(crate) mod word;

/// No memory for a table that is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoMemory;

/// Proof that a guard is held for `'g`. Whoever makes one sees to it.
#[derive(Clone, Copy)]
pub(crate) struct Shield<'g>(PhantomData<&'g ()>);

impl<'g> Shield<'g> {
    /// # Safety
    ///
    /// A guard of the store's backend lives for `'g`.
    #[inline]
    pub(crate) unsafe fn new() -> Self {
        Self(PhantomData)
    }
}

/// A node that a guard protects for `'g`.
#[derive(Clone, Copy)]
pub(crate) struct NodeRef<'g> {
    node: NonNull<Node>,
    _guard: PhantomData<&'g Node>,
}

impl<'g> NodeRef<'g> {
    /// `node` was read from a slot under the guard that the shield stands for, or is the caller's alone for `'g`.
    #[inline]
    pub(crate) fn new(_: Shield<'g>, node: NonNull<Node>) -> Self {
        Self { node, _guard: PhantomData }
    }

    pub(crate) fn as_ptr(self) -> NonNull<Node> {
        self.node
    }

    /// The value.
    ///
    /// # Safety
    ///
    /// The node's entry holds `T`, and the node is or was live.
    #[inline]
    pub(crate) unsafe fn value<T>(self) -> &'g T {
        self.check();
        // SAFETY: the guard protects the node for `'g`; the caller's.
        unsafe { Node::value(self.node) }
    }

    /// Takes the key record out of a node whose remover this thread is.
    fn take_record(self) -> Option<NonNull<Node>> {
        // SAFETY: the guard protects the node.
        let record = unsafe { Node::record(self.node) }?;
        // Relaxed, here and below: only the node's remover uses it, and later whoever reclaims the node.
        NonNull::new(record.swap(ptr::null_mut(), Ordering::Relaxed))
    }

    fn put_record_back(self, record: NonNull<Node>) {
        // SAFETY: the guard protects the node.
        if let Some(slot) = unsafe { Node::record(self.node) } {
            slot.store(record.as_ptr(), Ordering::Relaxed);
        }
    }
}

impl Deref for NodeRef<'_> {
    type Target = Node;

    #[inline]
    fn deref(&self) -> &Node {
        // SAFETY: the guard protects the node for `'g`.
        unsafe { self.node.as_ref() }
    }
}

/// How a core is made.
pub(crate) struct Config {
    pub(crate) capacity: usize,
    pub(crate) hasher: AddrHasher,
    /// Retired objects per shard that make it worth asking for a grace period.
    pub(crate) batch: usize,
    /// Buckets per migration block.
    pub(crate) block: usize,
    pub(crate) shards: usize,
}

/// The table, its ids and its retire lists: everything but the public face.
pub(crate) struct Core<R: Reclaim> {
    /// The oldest table that is not finished: where every operation begins.
    root: CachePadded<AtomicPtr<Table>>,
    pub(crate) hasher: AddrHasher,
    pub(crate) registry: Registry,
    pub(crate) lists: Arc<RetireLists>,
    shard_mask: usize,
    block: usize,
    min_log2: u32,
    /// Dead nodes that could not be unlinked for lack of memory; freed by the store's drop.
    orphans: AtomicPtr<Node>,
    pub(crate) growths: AtomicU64,
    pub(crate) shrinks: AtomicU64,
    pub(crate) rebuilds: AtomicU64,
    pub(crate) ctor_failed: AtomicU64,
    #[cfg(any(test, shadow_loom))]
    pub(crate) rigging: defect::Rigging,
    _backend: PhantomData<fn() -> R>,
}

impl<R: Reclaim> Core<R> {
    pub(crate) fn new(config: &Config) -> Result<Self, NoMemory> {
        let shards = config.shards.next_power_of_two();
        let mut core = Self {
            root: CachePadded::new(AtomicPtr::new(ptr::null_mut())),
            hasher: config.hasher,
            registry: Registry::new(shards).ok_or(NoMemory)?,
            lists: RetireLists::new(shards, config.batch.max(1)).ok_or(NoMemory)?,
            shard_mask: shards - 1,
            block: config.block.max(1),
            min_log2: 0,
            orphans: AtomicPtr::new(ptr::null_mut()),
            growths: AtomicU64::new(0),
            shrinks: AtomicU64::new(0),
            rebuilds: AtomicU64::new(0),
            ctor_failed: AtomicU64::new(0),
            #[cfg(any(test, shadow_loom))]
            rigging: defect::Rigging::default(),
            _backend: PhantomData,
        };
        // Twice as many slots as asked for stay below the load limit for that many, and for the tombs among them.
        let buckets = config.capacity.div_ceil(BUCKET).saturating_mul(2).max(1);
        core.min_log2 = buckets.checked_next_power_of_two().ok_or(NoMemory)?.trailing_zeros();
        if core.min_log2 > MAX_LOG2 {
            return Err(NoMemory);
        }
        let plan = Plan { log2: core.min_log2, generation: 0, room: usize::MAX, block: core.block, shards };
        let table = Table::alloc(plan).ok_or(NoMemory)?;
        core.root = CachePadded::new(AtomicPtr::new(table.as_ptr()));
        Ok(core)
    }

    #[inline]
    pub(crate) fn root<'g>(&'g self, _: Shield<'g>) -> &'g Table {
        // The backend's ordering, Acquire at least: pairs with `swing_root` (O5). What an older table held is in the
        // one that is loaded here, or gone.
        // SAFETY: never null; the guard protects it (I5).
        unsafe { &*self.root.load(R::LOAD) }
    }

    pub(crate) fn is_root(&self, shield: Shield<'_>, table: &Table) -> bool {
        self.root(shield).generation == table.generation
    }

    fn swing_root(&self, from: &Table, to: &Table) -> bool {
        let (from, to) = (ptr::from_ref(from).cast_mut(), ptr::from_ref(to).cast_mut());
        // AcqRel: Release pairs with `root` and hands on all that `finish_block` acquired (O5).
        self.root.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    #[inline]
    pub(crate) fn key<'a>(&self, obj: usize, entry: &'a IdEntry) -> Key<'a> {
        Key::new(obj, entry, self.hasher.hash(obj))
    }

    fn key_of<'a>(&self, node: &'a Node) -> Key<'a> {
        self.key(node.obj, node.entry())
    }

    /// The shard of this thread.
    pub(crate) fn shard(&self) -> usize {
        thread_token() as usize & self.shard_mask
    }

    pub(crate) fn shards(&self) -> usize {
        self.shard_mask + 1
    }

    /// Retires what no slot leads to any more (I5).
    /// How many this thread's shard has retired so far.
    fn retire(&self, _: Shield<'_>, object: NonNull<Node>) -> u64 {
        // SAFETY: each caller is the one who unlinked the object; it is pinned, as the shield says.
        unsafe { self.lists.retire::<R>(object, self.shard()) }
    }

    fn orphan(&self, node: NonNull<Node>) {
        // Relaxed: nobody reads the list before the store's drop, which has the store to itself.
        let mut head = self.orphans.load(Ordering::Relaxed);
        loop {
            // SAFETY: dead, and in no other list.
            unsafe { node.as_ref() }.set_next_retired(head);
            match self.orphans.compare_exchange_weak(head, node.as_ptr(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => head = found,
            }
        }
    }
}

impl<R: Reclaim> Drop for Core<R> {
    /// Drops every value: what is retired, what lives, what was orphaned.
    fn drop(&mut self) {
        // SAFETY: nobody else has the core, so no guard protects anything of it and no operation runs.
        unsafe { self.lists.drain() };
        // A live node can be found twice (FROZEN in a table, LINK in its successor): the first time it is killed and
        // chained; only when all tables are gone are the chained nodes dropped.
        let mut chain = self.orphans.load(Ordering::Acquire);
        let mut next = NonNull::new(self.root.load(Ordering::Acquire));
        while let Some(pointer) = next {
            // SAFETY: a table of the chain, freed below only.
            let table = unsafe { pointer.as_ref() };
            for bucket in 0..table.buckets() {
                for position in 0..BUCKET {
                    let word = table.load(table.index(bucket, position), Ordering::Acquire);
                    match word.kind() {
                        Kind::Link(node) | Kind::Frozen(node) => {
                            // SAFETY: slots lead to no freed node; what is dead is an orphan or in this chain.
                            let this = unsafe { node.as_ref() };
                            if this.life().state() == State::Live && this.kill() {
                                this.set_next_retired(chain);
                                chain = node.as_ptr();
                            }
                        }
                        // SAFETY: a slot owns its record alone.
                        Kind::Record(record) => unsafe { Node::dealloc(record) },
                        _ => {}
                    }
                }
            }
            next = table.next().map(NonNull::from);
            // SAFETY: nobody else has it.
            unsafe { Table::dealloc(pointer) };
        }
        while let Some(node) = NonNull::new(chain) {
            // SAFETY: chained once, and nobody else has it.
            unsafe {
                chain = node.as_ref().next_retired();
                self.lists.reclaim_now(node);
            }
        }
        }
}
