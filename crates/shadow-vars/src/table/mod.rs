//! The lock-free table: how it works, and why it is right.
//!
//! This page is the whole argument; the code cites its numbers. Constructors ([`crate::ctor`], C1 to C3), waiting
//! ([`crate::wait`], W1 to W5), reclamation ([`crate::reclaim`], G1 to G4), the default backend
//! (`crate::reclaim::asymmetric`, E1 to E9), that with intervals (`crate::reclaim::eras`, B1 to B6; [`crate::reclaim::held`], H1 to
//! H3), the retire lists ([`crate::reclaim::retired`], R1 to R7, V1 to V3), the memory of nodes
//! ([`crate::pool`], M1 to M4), counts ([`crate::tally`], N1 to N5), and forks ([`crate::fork`], F1 to F4) have theirs.
//!
//! # Vocabulary
//!
//! - **Key**: `<obj, id>`. **Variable**: what a key leads to while it exists. **Node**: header and value of one variable
//!   ([`node`]); it never moves. **Life** of a node: BUILDING → LIVE → DEAD, or BUILDING → FAILED.
//! - **Slot**: one 64-bit [word] in a bucket of eight, one cache line. **Table**: an [array](mod@array) of buckets. Tables form
//!   a **chain**, old to new; the **root** is the oldest that is not finished. **Successor**: the next in the chain.
//!   **Generation**: a table's position in it.
//! - **Point** of a key: its parent's [hash], with the **place** of its id exclusive-or'ed into the highest four bits. Ids
//!   have places in the order of their first use, four ids to a place, and again from the first after sixteen places.
//!   **Home** of a key: the bucket that the high bits of its point name. So what the first four ids put on a parent shares
//!   a home, and 64 ids have sixteen homes, far apart. **[Probe](probe)**: slot after slot from home, around the table, to
//!   the first that answers.
//! - **Walk**: through all buckets of a table (a sweep), or all regions of the hash space (iteration), in the order of P5.
//! - **Claim**: EMPTY → anything else. **Close** a key in a table: see to it that the key owns a slot there that is
//!   MOVED, or meets SEALED before EMPTY: its turn there is over. A slot is **finished** if it is MOVED, SEALED, or behind
//!   a SEALED in its bucket. **Migrate**: finish every slot of the root. **Seen**: MOVED was met on this probe.
//!
//! # States of a slot
//!
//! | word | meaning | belongs to a key? | goes to |
//! |---|---|---|---|
//! | EMPTY | never claimed | no | LINK, TOMB, RECORD, SEALED |
//! | LINK(n) | leads to `n`, the newest node of its key | yes | LINK(new), TOMB, RECORD, FROZEN |
//! | TOMB(key) | the key has no node now; the word holds the key | yes | LINK, MOVED |
//! | RECORD(r) | as TOMB, for a key that does not fit into a word: the key is in `r` | yes | LINK, MOVED |
//! | FROZEN(n) | as LINK, while the table migrates | yes | MOVED |
//! | MOVED | the key lives in the successor, or nowhere | its turn here is over | nothing |
//! | SEALED | was the first EMPTY of its bucket when that migrated | no, for ever | nothing |
//!
//! A key fits into a word if its address has 48 bits and is a multiple of 8, and its id is among the first 65,535 of the
//! store. The tag makes the id's index readable: *tag = index xor hash bits of the address*, of which the low four are 0.
//! So the index's low four bits can be read without the address: by them a sweep passes other ids' nodes by untouched.
//!
//! ```text
//!  root ─▶ table, generation 7 (migrating)          next ─▶ table, generation 8
//!          ┌──────┬──────┬──────┬──────┐                    ┌──────┬──────┐
//! bucket b │MOVED │FROZEN│ LINK │EMPTY │   splits into  2b  │ LINK │EMPTY │
//!          └──────┴──┬───┴──┬───┴──────┘                    ├──────┼──────┤
//!                    │      │                         2b+1  │ LINK │ TOMB │
//!                    ▼      ▼                               └──┬───┴──────┘
//!                  node   node ◀────── (placed already) ───────┘
//! ```
//!
//! A home is a point's high bits, so tables of every size have their entries in the same order (split order, as in
//! Shalev and Shavit, *Split-ordered lists*, JACM 2006; migration by blocks in that order as in Maier, Sanders and
//! Dementiev's *growt*, TOPC 2019). What is ours: slots that belong to a key for the life of a table, tombs that keep
//! the key, and the node's life, not the slot, as the truth.
//!
//! # Invariants
//!
//! - **I1** A slot, once claimed, belongs to its key until the table is finished: EMPTY never comes back, and no slot
//!   changes its key. As every probe for a key goes the same way and claims only the *first* EMPTY, a key owns at most one
//!   slot in a table, and two threads that insert one key meet. So a key has at most one node that is LIVE or BUILDING.
//! - **I2** Freeze → place → MOVED: a slot that leads to a live node becomes MOVED only when the key owns a slot in the
//!   successor. A live node is findable at every moment, in the old table or the new.
//! - **I3** Whoever ends a node's life sees to it, before the node is retired, that its key owns a slot in the successor
//!   wherever a helper could still place the node, or can never claim one there. A node is placed only by claiming its
//!   key's slot; so it is not placed twice, nor after its retirement, however slow the helper. For this, unlink goes from
//!   the root with which its operation began, and does not stop before the table where the node was found. (Of a sweep, each
//!   table is an operation of its own.)
//! - **I4** A variable exists exactly while its node is LIVE. LIVE → DEAD by compare-and-swap is the moment of removal;
//!   whoever wins it owns the destructor, the unlinking and the retirement.
//! - **I5** No slot leads to a retired node, and nothing leads to a retired table: kill → unlink → retire; every slot
//!   finished → swing the root → retire the table.
//! - **I6** FROZEN(dead) only becomes MOVED, never a link again; so at FROZEN(dead) the key's answer is in the successor.
//! - **I7** A key record belongs to its node, or to the one slot in which it is the tomb. Whoever takes it out of the slot
//!   by compare-and-swap retires it; else it goes with its node.
//! - **I8** Only the root is migrated, and it becomes the past only when every slot is finished. Each step of migrating a
//!   slot may be done by any number of threads, at any pace, more than once. The last is a plain store: FROZEN becomes
//!   nothing but MOVED, and MOVED nothing, so however late it comes, it changes nothing else.
//! - **I9** In a bucket, slots are claimed in order, as each claim takes the first EMPTY of a probe. So what lies behind an
//!   EMPTY slot was never claimed; and once that slot is SEALED, it never will be.
//!
//! # Why a find is right
//!
//! It reads a table, then (only then) the successor. LINK(live): found, as it exists (I4). TOMB, LINK(dead): absent; the
//! key's newest node is this one, or none (I1), as an insert elsewhere would first have closed this slot. EMPTY, nothing
//! seen: the key never owned a slot here, and could own one further on only after this one had been sealed: absent when
//! the EMPTY was read. SEALED, MOVED, FROZEN(dead): the key was closed here, so whatever it is now is in the successor
//! (I2, I6). BUILDING: absent, as it does not exist yet.
//!
//! # Why whole buckets may be looked at in any order
//!
//! Find, insert and remove first take a snapshot of a bucket ([`group`]): eight loads in no order. What a snapshot says is
//! used in three cases only; for anything else the slots are read again, in order, as above. Three more are the walks'.
//!
//! - **L1** LINK(live) of the key itself, loaded again: as for any find.
//! - **L2** The key's own TOMB, loaded again: absent, as for any find; an insert replaces it by compare-and-swap.
//! - **L3** No slot that was read is the key's, none is MOVED or SEALED, and *f* is the first that was read as EMPTY. Then the
//!   key was absent when *f* was read, and if *f* still is EMPTY, the key may claim it. For if the key owned a slot *s* of
//!   this table by then, it had claimed *s* as the first EMPTY, so *s* comes before *f*; the snapshot has *s* not EMPTY, so it
//!   was read after the claim, with the key's tag, or MOVED. And if the key had been closed here by a SEALED before its first
//!   EMPTY, that slot comes before *f* too; it was not read as EMPTY, so as SEALED. That none is MOVED or SEALED is also said
//!   by a successor that is not there, read after the snapshot and a fence (O1): the usual cases ask no more.
//! - **L4** A sweep looks again at the slots that a snapshot has as LINK or FROZEN with the id's bits, and at no others. A
//!   variable that is there throughout has such a slot, or one that is MOVED, and then a slot in the successor, which is
//!   swept next. That it is seen there takes the sweep's fence (O1).
//! - **L5** A pass over one parent's variables goes from each of their homes, bucket by bucket, and looks again, as L4, at
//!   the slots with the bits that the tags of one place have in common. A bucket with EMPTY or SEALED is the last: what is
//!   EMPTY, or was until it was SEALED, was never claimed, and no claim goes by it. If there was MOVED or SEALED on the
//!   way, these are loaded again, as for any find, and the pass goes on to the successor.
//!
//! - **L6** A walk passes by what was never claimed: 64 buckets that come one after the other in it share a *mark*, which is
//!   set, once and for all, before a slot is claimed in one of them, or by a key whose home one of them is. Who claims sets
//!   both by itself: whoever filled the home before has marked it, too, but may have been seen in a snapshot only, in no
//!   order. So who sees the claim, because it came before the operation or by O1, sees both marks; and in every table in
//!   which a variable that is there throughout has a slot, a sweep looks at its bucket, and iteration at its home. Iteration
//!   passes by a region only where there is no successor either, read after the mark: the variable is in the root, or its
//!   operation had seen a successor before the walk began.
//!
//! And one is for finds that read no bucket at all:
//!
//! - **L7** The bits of a key are set in the [sieve] of a table before a slot is claimed there for it, by whomever and for
//!   whatever, and never cleared. So if one of them is not, and the table is a root without a successor, read after it (O1), the
//!   key was absent when the bit was read: a claim that came before the operation, or before anything that it saw, has its bits
//!   seen; and in no other table can a slot of the key have been claimed by then that this one's successor would not lead to.
//!
//! # Orderings
//!
//! - **O1** Every change of a slot is an AcqRel compare-and-swap (`Table::cas`), or from FROZEN to MOVED a Release store
//!   (`Table::set_moved`), every load at least Acquire (`Table::load`): who reads a word sees the node it leads to, and all
//!   that came before the word: what SEALED and MOVED say about the successor is there to be seen. Snapshots are Relaxed:
//!   nothing is reached through them, and coherence alone makes them see what happened before the operation. A sweep goes
//!   on to the successor by what they say, so it ends a table with an Acquire fence, which pairs with every change that they
//!   saw; and so does whoever asks for the successor in their place (L3).
//! - **O2** `Table::install` (Release) with `Table::next` (Acquire): a successor is seen with its slots EMPTY.
//! - **O3** `Node::publish` and `Node::kill` (AcqRel) with `Node::life` (Acquire): who reads LIVE sees the value whole.
//! - **O4** `next` is read after the scan. SEALED, MOVED and FROZEN are written by threads that have seen or installed the
//!   successor, so by O1 and O2 it is not null after them.
//! - **O5** `Table::finish_block` (AcqRel, both) then `swing_root` (Release) with `root` (Acquire): who begins at a table
//!   sees all that was placed in it while it was the successor.
//! - **O6** A table is retired after all older ones. So a guard that protects a table protects its successors; but with intervals,
//!   where what is younger may go first: there `Core::next` gives the root in place of a successor, if the table is retired
//!   (B4). All slots of the tables that are passed by so are finished: nothing is found there, claimed or placed any more, so an
//!   operation goes on as if it had met MOVED in each; a helper that was placing a node is done, as the node's slot is finished.
//! - **O7** An id is counted (`Registry::known`) before its entry is published (Release), so before any variable of it is
//!   made. A pass over one parent's variables reads the count first: a variable that is there throughout has a place
//!   among those that so many ids have.
//!
//! No decision needs more. A slot is passed only for what never changes back (another key's, MOVED), every claim is decided
//! by a compare-and-swap on the one word, and a stale answer is one that was true at an instant within the operation, or
//! before it began for threads between which nothing else was ordered. No pair of threads writes one place and reads another
//! (store buffering), so no SeqCst is needed outside reclamation.
//!
//! # Rules of the protocol that are not invariants
//!
//! - **P1** An insert that meets a migrating root migrates a block first (and so does a free), so a migration ends after
//!   at most as many of them as the table has blocks, and none pays for more than a block or two.
//! - **P2** After a lost compare-and-swap, look at the bucket again. Starting over would be as right.
//! - **P3** A table that is not the root is not migrated, even if it has a successor already (it had to overflow).
//! - **P4** While an older table lives, inserts of new keys take *tickets* for slots in the successor, of which there are
//!   no more than the old table cannot need; beyond, they finish the old table first. So a chain of more than two is
//!   rare, and of more than a few impossible. If the successor is full all the same, who must place or close a key there
//!   installs the successor's successor and goes on in it.
//!
//! - **P5** The order of a table is not that of walks. Tables of all sizes have the same order, so if a walk went along it, what
//!   it has not come to would lie in one part of the hash space; a smaller table is as small a part of everything, and there
//!   all of that would crowd into one end, in one long run. Who frees as it goes, or what it has met, in that order or its
//!   reverse, makes just this happen. So a [walk](hash::Walk) goes on by the golden section of the whole at each step: any
//!   stretch of it, and what any stretch leaves, is spread over the hash space evenly, more so than keys that come at random.
//!   All other orders (by address, by id, by chance) know nothing of the hash. So a table may be made for the number of
//!   variables alone, wherever they are. A region is the same in tables of all sizes, and iteration takes as many of them as
//!   the table had buckets when it began, whatever that becomes meanwhile.
//! - **P6** What a sweep frees does not ask for a smaller table before its end, when what is left is known and nothing has to
//!   be moved only to be freed. Then it migrates as many blocks as it has freed variables (P1).
//!
//! # Progress
//!
//! `find` is wait-free but for the length of probe and chain (with intervals lock-free: a load is done again if an era begins), and writes nothing, but for one miss in a thousand of a large table, which says how others should begin (L7). `insert` and `remove` are lock-free: each
//! compare-and-swap that is lost was won by somebody else's step forward (every slot's states go one way but LINK ⇄ TOMB,
//! which count completed operations). A thread stopped anywhere delays nobody: its block is finished by others, its
//! BUILDING node is waited for only by those who want the same variable. Memory is another matter: nodes come from and go to
//! a pool, tables an allocator, and both may lock, for a moment and never around anything else.
//!
//! # What is not promised
//!
//! - A sweep or an iteration is no instant ([`sweep`]). A full table of a store that gets no memory makes inserts fail.
//! - Thousands of ids on one parent make sixteen long runs of buckets, which slow down every key that comes later and has
//!   its home in one.
//! - Counts (load, live) are approximate; they decide when tables are replaced, never what is true.

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use self::array::{BUCKET, MAX_LOG2, Plan, Table};
use self::hash::{AddrHasher, Places};
use self::node::Node;
use self::probe::Key;
use self::sieve::Sieved;
use crate::heap::Heap;
use crate::reclaim::Reclaim;
use crate::reclaim::object::Link;
use crate::reclaim::retired::{RetireLists, Retired};
use crate::registry::{IdEntry, Registry};
use crate::shard::Shard;
use crate::sync::stat::AtomicU64;
use crate::sync::{AtomicPtr, Ordering};
use crate::tally::Tally;

pub(crate) mod alloc;
pub(crate) mod array;
mod count;
pub(crate) mod defect;
pub(crate) mod find;
mod group;
mod harvest;
pub(crate) mod hash;
pub(crate) mod insert;
pub(crate) mod layout;
mod migrate;
pub(crate) mod node;
pub(crate) mod prefetch;
pub(crate) mod probe;
pub(crate) mod remove;
mod retire;
pub(crate) mod sieve;
pub(crate) mod sweep;
mod teardown;
pub(crate) mod word;

/// No memory for a table that is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoMemory;

/// Proof that a guard is held for `'g`, by which what it protects is loaded. Whoever makes one sees to it.
pub(crate) struct Shield<'g, R: Reclaim> {
    place: R::Place,
    _guard: PhantomData<&'g ()>,
}

impl<R: Reclaim> Clone for Shield<'_, R> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Reclaim> Copy for Shield<'_, R> {}

impl<R: Reclaim> Shield<'_, R> {
    /// Of the guard that has this place.
    ///
    /// # Safety
    ///
    /// That guard, of the store's backend, lives for the shield's lifetime.
    #[inline(always)]
    pub(crate) unsafe fn new(place: R::Place) -> Self {
        Self {
            place,
            _guard: PhantomData,
        }
    }

    /// Loads a word that leads to what the guard protects then (G4). `load` does it, by the ordering that it is given.
    #[inline(always)]
    pub(crate) fn load<W>(self, load: impl Fn(Ordering) -> W) -> W {
        R::load(self.place, load)
    }

    /// See [`Backend::announced`](crate::reclaim::sealed::Backend::announced).
    #[inline(always)]
    pub(crate) fn announced(self) -> u64 {
        R::announced(self.place)
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
    pub(crate) fn new<R: Reclaim>(_: Shield<'g, R>, node: NonNull<Node>) -> Self {
        Self {
            node,
            _guard: PhantomData,
        }
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
    fn take_record(self, entry: &IdEntry) -> Option<NonNull<Node>> {
        // SAFETY: the guard protects the node, whose entry this is.
        let record = unsafe { Node::record(self.node, entry) }?;
        // Relaxed, here and below: only the node's remover uses it, and later whoever reclaims the node.
        NonNull::new(record.swap(ptr::null_mut(), Ordering::Relaxed))
    }

    fn put_record_back(self, entry: &IdEntry, record: NonNull<Node>) {
        // SAFETY: as above.
        if let Some(slot) = unsafe { Node::record(self.node, entry) } {
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
    pub(crate) places: Places,
    /// Retired objects per shard that make it worth asking for a grace period.
    pub(crate) batch: usize,
    /// Buckets per migration block.
    pub(crate) block: usize,
    pub(crate) shards: usize,
    /// Nodes packed, else each an allocation of its own.
    pub(crate) packed: bool,
    pub(crate) sieved: Sieved,
}

/// The table, its ids and its retire lists: everything but the public face.
pub(crate) struct Core<R: Reclaim> {
    /// The oldest table that is not finished: where every operation begins.
    root: CachePadded<AtomicPtr<Table>>,
    pub(crate) hasher: AddrHasher,
    pub(crate) registry: Registry,
    pub(crate) heap: Arc<Heap>,
    pub(crate) lists: Arc<RetireLists<Heap>>,
    shards: usize,
    block: usize,
    min_log2: u32,
    sieved: Sieved,
    /// Dead nodes that could not be unlinked for lack of memory; freed by the store's drop.
    orphans: AtomicPtr<Link>,
    pub(crate) growths: AtomicU64,
    pub(crate) shrinks: AtomicU64,
    pub(crate) rebuilds: AtomicU64,
    pub(crate) ctor_failed: AtomicU64,
    /// How many nodes live, and were freed.
    pub(crate) nodes: Tally,
    #[cfg(any(test, shadow_loom))]
    pub(crate) rigging: defect::Rigging,
    _backend: PhantomData<fn() -> R>,
}

impl<R: Reclaim> Core<R> {
    pub(crate) fn new(config: &Config) -> Result<Self, NoMemory> {
        let shards = config.shards.max(1);
        let heap = Heap::new(shards, config.packed).ok_or(NoMemory)?;
        let registry = Registry::new(config.places, heap.clone(), R::INTERVALS);
        let mut core = Self {
            root: CachePadded::new(AtomicPtr::new(ptr::null_mut())),
            hasher: config.hasher,
            registry,
            lists: RetireLists::new(shards, config.batch.max(1), heap.clone()).ok_or(NoMemory)?,
            heap,
            shards,
            block: config.block.max(1),
            min_log2: 0,
            sieved: config.sieved,
            orphans: AtomicPtr::new(ptr::null_mut()),
            growths: AtomicU64::new(0),
            shrinks: AtomicU64::new(0),
            rebuilds: AtomicU64::new(0),
            ctor_failed: AtomicU64::new(0),
            nodes: Tally::new(shards),
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
        let plan = Plan {
            log2: core.min_log2,
            generation: 0,
            room: usize::MAX,
            block: core.block,
            shards,
            retired: 0,
            born: R::INTERVALS.then_some(0),
            sieved: core.sieved,
        };
        let table = Table::alloc(plan).ok_or(NoMemory)?;
        core.root = CachePadded::new(AtomicPtr::new(table.as_ptr()));
        Ok(core)
    }

    #[inline]
    pub(crate) fn root<'g>(&'g self, shield: Shield<'g, R>) -> &'g Table {
        // The backend's ordering, Acquire at least: pairs with `swing_root` (O5). What an older table held is in the
        // one that is loaded here, or gone.
        // SAFETY: never null; the guard protects it (I5).
        unsafe { &*shield.load(|order| self.root.load(order)) }
    }

    /// The root in the usual case (see [`Backend::announced`](crate::reclaim::sealed::Backend::announced)).
    #[inline(always)]
    pub(crate) fn root_since<'g>(&'g self, _: Shield<'g, R>, announced: u64) -> Option<&'g Table> {
        let root = self.root.load(R::LOAD);
        // SAFETY: as in `root`, if it counts.
        R::counts(announced).then(|| unsafe { &*root })
    }

    /// The successor of a table, once there is one. With a backend that has intervals, the root in its place if that is later
    /// than the table (B4): then all slots of the table are finished, and what it held is in the root, or gone.
    #[inline]
    pub(crate) fn next<'g>(&'g self, shield: Shield<'g, R>, table: &'g Table) -> Option<&'g Table> {
        if !R::INTERVALS {
            // SAFETY: retired after this one (O6), so the guard that protects this one protects it.
            return table.load_next(Ordering::Acquire).map(|next| unsafe { next.as_ref() });
        }
        let next = shield.load(|order| table.load_next(order))?;
        // After the successor was loaded (B4).
        let root = self.root(shield);
        if root.generation > table.generation && !self.planted(defect::Defect::SuccessorUnchecked) {
            return Some(root);
        }
        // SAFETY: not retired when it was loaded, so it is protected (B4).
        Some(unsafe { next.as_ref() })
    }

    /// Notes when a node was born that is about to be published (B2).
    #[inline(always)]
    pub(crate) fn note_birth(&self, shield: Shield<'_, R>, node: NonNull<Node>) {
        if R::INTERVALS {
            // SAFETY: new, and of this store.
            unsafe { Node::set_birth(node, &self.heap, R::birth(shield.place)) };
        }
    }

    /// When a table is born that is about to be published (B2).
    fn birth(&self, shield: Shield<'_, R>) -> Option<u64> {
        R::INTERVALS.then(|| R::birth(shield.place))
    }

    pub(crate) fn is_root(&self, shield: Shield<'_, R>, table: &Table) -> bool {
        self.root(shield).generation == table.generation
    }

    fn swing_root(&self, from: &Table, to: &Table) -> bool {
        let (from, to) = (ptr::from_ref(from).cast_mut(), ptr::from_ref(to).cast_mut());
        // AcqRel: Release pairs with `root` and hands on all that `finish_block` acquired (O5).
        self.root
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    #[inline]
    pub(crate) fn key<'a>(&self, obj: usize, entry: &'a IdEntry) -> Key<'a> {
        Key::new(obj, entry, self.hasher.hash(obj))
    }

    fn key_of(&self, node: &Node) -> Key<'_> {
        self.key(node.obj, node.entry(&self.heap))
    }

    /// The shard of this thread.
    #[inline]
    pub(crate) fn shard(&self) -> Shard {
        Shard::of(self.shards)
    }

    /// Where this thread's nodes come from and go to.
    #[inline]
    pub(crate) fn memory(&self) -> (&Heap, Shard) {
        (&self.heap, self.shard())
    }

    /// Gives back the free memory that this thread keeps.
    pub(crate) fn settle(&self) {
        self.heap.pool.settle(self.shard(), true);
    }

    /// Retires what no slot leads to any more (I5).
    fn retire(&self, shield: Shield<'_, R>, object: NonNull<Node>) {
        // SAFETY: the shield protects it.
        let bytes = unsafe { retire::bytes(object, &self.heap) };
        self.retire_by(shield, self.shard(), object, (bytes, false));
    }

    /// The same, of a known shard, with the object's bytes, and whether it is to be dropped soon.
    #[inline]
    fn retire_by(&self, _: Shield<'_, R>, shard: Shard, object: NonNull<Node>, (bytes, soon): (u64, bool)) -> Retired {
        // SAFETY: each caller is the one who unlinked the object; it is pinned, as the shield says.
        unsafe { self.lists.retire::<R>(Node::link(object), bytes, soon, shard) }
    }

    fn orphan(&self, node: NonNull<Node>) {
        let orphan = Node::link(node);
        // Relaxed: nobody reads the list before the store's drop, which has the store to itself.
        let mut head = self.orphans.load(Ordering::Relaxed);
        loop {
            // SAFETY: dead, and in no other list.
            unsafe { orphan.as_ref() }.set_next(head);
            match self
                .orphans
                .compare_exchange_weak(head, orphan.as_ptr(), Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(found) => head = found,
            }
        }
    }
}

/// User code that panics inside a store leaves it whole.
impl<R: Reclaim> std::panic::RefUnwindSafe for Core<R> {}
impl<R: Reclaim> std::panic::UnwindSafe for Core<R> {}
