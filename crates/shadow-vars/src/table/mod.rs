//! The lock-free table: how it works, and why it is correct.
//!
//! This page is the whole argument; the code cites its rules by number. These modules state rules of their own: constructors
//! ([`crate::ctor`], C1 to C3), waiting ([`crate::wait`], W1 to W5), reclamation ([`crate::reclaim`], G1 to G4), the default
//! backend (`crate::reclaim::asymmetric`, E1 to E9), the backend with intervals (`crate::reclaim::eras`, B1 to B6;
//! `crate::reclaim::held`, H1 to H3), the retire lists ([`crate::reclaim::retired`], R1 to R7, V1 to V3), the memory of
//! nodes ([`crate::pool`], M1 to M4), counts ([`crate::tally`], N1 to N5), and forks ([`crate::fork`], F1 to F4).
//!
//! # Vocabulary
//!
//! - **Key**: `<obj, id>`. **Variable**: what a key maps to while it exists. **Node**: header and value of one variable
//!   ([`node`]); it never moves. **Life** of a node: BUILDING → LIVE → DEAD, or BUILDING → FAILED.
//! - **Slot**: one 64-bit [word] in a bucket of eight, one cache line. **Table**: an [array](mod@array) of buckets. Tables
//!   form a **chain**, oldest first; the **root** is the oldest that is not finished. **Successor**: the next table in the
//!   chain. **Generation**: a table's position in the chain.
//! - **Point** of a key: its parent's [hash], with the **place** of its id exclusive-or'ed into the highest four bits. Ids get
//!   places in the order of their first use, four ids to a place, starting over after sixteen places. **Home** of a key: the
//!   bucket named by the high bits of its point. So the first four ids of a parent share a home, and 64 ids have sixteen
//!   homes, far apart. **[Probe](probe)**: slot after slot from home, around the table, up to the first slot that decides.
//! - **Walk**: a traversal of all buckets of a table (a sweep), or of all regions of the hash space (iteration), in the order
//!   of P5.
//! - **Claim**: EMPTY → any other state. **Close** a key in a table: make sure that the key owns a slot there that is MOVED,
//!   or that its probe meets SEALED before EMPTY; from then on the table can hold nothing for the key. A slot is **finished**
//!   if it is MOVED, SEALED, or behind a SEALED in its bucket. **Migrate**: finish every slot of the root. **Seen**: this
//!   probe has met MOVED.
//!
//! # States of a slot
//!
//! | word | meaning | belongs to a key? | goes to |
//! |---|---|---|---|
//! | EMPTY | never claimed | no | LINK, TOMB, RECORD, SEALED |
//! | LINK(n) | leads to `n`, the newest node of its key | yes | LINK(new), TOMB, RECORD, FROZEN |
//! | TOMB(key) | the key has no node now; the word holds the key | yes | LINK, MOVED |
//! | RECORD(r) | like TOMB, for a key that does not fit into a word: the key is in `r` | yes | LINK, MOVED |
//! | FROZEN(n) | like LINK, while the table migrates | yes | MOVED |
//! | MOVED | the key is in the successor, or absent | its key is closed here | nothing |
//! | SEALED | was the first EMPTY of its bucket when that migrated | no, for ever | nothing |
//!
//! A key fits into a word if its address has 48 bits and is a multiple of 8, and its id is among the first 65,535 of the
//! store. The tag keeps the id's index readable: *tag = index xor hash bits of the address*, of which the low four are 0. So
//! the index's low four bits can be read without the address, and a sweep uses them to skip nodes of other ids without
//! touching them.
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
//! A home is the high bits of a point, so tables of every size hold their entries in the same order (split order, as in Shalev
//! and Shavit, *Split-ordered lists*, JACM 2006; migration by blocks in that order as in Maier, Sanders and Dementiev's
//! *growt*, TOPC 2019). New here are slots that belong to a key for the life of a table, tombs that keep the key, and that a
//! node's life, not the slot, decides whether a variable exists.
//!
//! # Invariants
//!
//! - **I1** A slot, once claimed, belongs to its key until the table is finished: it never becomes EMPTY again, and it never
//!   changes its key. As every probe for a key takes the same path and claims only the *first* EMPTY, a key owns at most one
//!   slot in a table, and two threads that insert the same key meet there. So a key has at most one node that is LIVE or
//!   BUILDING.
//! - **I2** Freeze → place → MOVED: a slot that leads to a live node becomes MOVED only when the key owns a slot in the
//!   successor. A live node can be found at any time, in the old table or in the new one.
//! - **I3** The thread that ends a node's life makes sure, before the node is retired, that the node's key owns a slot in the
//!   successor wherever a helper could still place the node, or can never claim one there. A node is placed only by claiming
//!   its key's slot; so it is not placed twice, nor after its retirement, however slow the helper. For this, unlinking starts
//!   at the root with which its operation began, and does not stop before the table where the node was found. (In a sweep,
//!   each table is an operation of its own.)
//! - **I4** A variable exists exactly while its node is LIVE. The compare-and-swap from LIVE to DEAD is the linearization
//!   point of removal; the thread that wins it must run the destructor, unlink the node and retire it.
//! - **I5** No slot leads to a retired node, and nothing leads to a retired table: kill → unlink → retire; every slot finished
//!   → swing the root → retire the table.
//! - **I6** FROZEN(dead) only becomes MOVED, never a link again; so after FROZEN(dead) the key is looked up in the successor.
//! - **I7** A key record belongs to its node, or to the one slot in which it is the tomb. The thread that takes it out of the
//!   slot by compare-and-swap retires it; otherwise it is freed with its node.
//! - **I8** Only the root is migrated, and it stops being the root only when every slot is finished. Each step of migrating a
//!   slot may be done by any number of threads, at any pace, more than once. The last step is a plain store: FROZEN becomes
//!   nothing but MOVED, and MOVED never changes, so however late the store comes, it changes nothing else.
//! - **I9** In a bucket, slots are claimed in order, as each claim takes the first EMPTY of a probe. So the slots behind an
//!   EMPTY slot were never claimed; and once that slot is SEALED, they never will be.
//!
//! # Why a find is correct
//!
//! It reads a table, then (only then) the successor. LINK(live): found, as it exists (I4). TOMB, LINK(dead): absent; this is
//! the key's newest node, or there is none (I1), as an insert elsewhere would first have closed this slot. EMPTY, nothing
//! seen: the key never owned a slot here, and could own one further on only after this one had been sealed: absent when the
//! EMPTY was read. SEALED, MOVED, FROZEN(dead): the key was closed here, so its present state is in the successor (I2, I6).
//! BUILDING: absent, as it does not exist yet.
//!
//! # Why the slots of a bucket may be read in any order
//!
//! Find, insert and remove first take a snapshot of a bucket ([`group`]): eight loads in no order. The snapshot is used in the
//! following three cases only; in all others the slots are read again, in order, as above. Three more rules are for walks.
//!
//! - **L1** LINK(live) of the key itself, loaded again: decided as in any find.
//! - **L2** The key's own TOMB, loaded again: absent, as in any find; an insert replaces it by compare-and-swap.
//! - **L3** No slot that was read is the key's, none is MOVED or SEALED, and *f* is the first that was read as EMPTY. Then the
//!   key was absent when *f* was read, and if *f* still is EMPTY, the key may claim it. For if the key owned a slot *s* of
//!   this table by then, it had claimed *s* as the first EMPTY, so *s* comes before *f*; the snapshot has *s* not EMPTY, so
//!   *s* was read after the claim, with the key's tag, or MOVED. And if the key had been closed here by a SEALED before its
//!   first EMPTY, that slot comes before *f* too; it was not read as EMPTY, so as SEALED. That none is MOVED or SEALED also
//!   follows if there is no successor, read after the snapshot and a fence (O1): the common cases check no more than that.
//! - **L4** A sweep loads again the slots that a snapshot has as LINK or FROZEN with the id's bits, and no others. A variable
//!   that exists throughout has such a slot, or one that is MOVED, and then a slot in the successor, which is swept next. The
//!   sweep's fence makes that slot visible there (O1).
//! - **L5** A pass over one parent's variables starts at each of their homes, continues bucket by bucket, and loads again,
//!   like L4, the slots with the bits that the tags of one place have in common. A bucket with EMPTY or SEALED is the last: a
//!   slot that is EMPTY, or was until it was SEALED, was never claimed, and no claim passes it. If there was MOVED or SEALED
//!   on the way, these are loaded again, as in any find, and the pass continues in the successor.
//!
//! - **L6** A walk skips buckets that were never claimed: 64 buckets that follow each other in the walk share a *mark*, which
//!   is set, once and for all, before a slot is claimed in one of them, or by a key whose home is one of them. The claiming
//!   thread sets both marks itself: the thread that filled the home before has marked it, too, but may have been seen in a
//!   snapshot only, in no order. So a thread that sees the claim, because it came before the operation or by O1, sees both
//!   marks; and in every table in which a variable that exists throughout has a slot, a sweep visits its bucket, and iteration
//!   its home. Iteration skips a region only if there is no successor either, read after the mark: the variable is in the
//!   root, or its operation had seen a successor before the walk began.
//!
//! The last rule is for finds that read no bucket at all:
//!
//! - **L7** The bits of a key are set in the [sieve] of a table before a slot is claimed there for it, by any thread and for
//!   any purpose, and never cleared. So if one of them is not set, and the table is a root without a successor, read after it
//!   (O1), the key was absent when the bit was read: the bits of a claim that came before the operation, or before anything
//!   that it saw, are seen; and a slot of the key claimed by then in another table would be reached through this one's
//!   successor.
//!
//! # Orderings
//!
//! - **O1** A slot changes only by an AcqRel compare-and-swap (`Table::cas`), or from FROZEN to MOVED by a Release store
//!   (`Table::set_moved`), and every load but those of debug assertions is at least Acquire (`Table::load`): a thread that
//!   reads a word sees the node it leads to, and all that came before the word; so it also sees what SEALED and MOVED say
//!   about the successor. Snapshots are Relaxed: no node is reached through them, and coherence alone makes them see what
//!   happened before the operation. A sweep decides by them to continue in the successor, so it ends a table with an Acquire
//!   fence, which pairs with every change that the snapshots saw; so does a thread that checks for a successor instead (L3).
//! - **O2** `Table::install` (Release) with `Table::load_next` (Acquire): a successor is seen with its slots EMPTY.
//! - **O3** `Node::publish` and `Node::kill` (AcqRel) with `Node::life` (Acquire): a thread that reads LIVE sees the whole
//!   value.
//! - **O4** `next` is read after the scan. SEALED, MOVED and FROZEN are written by threads that have seen or installed the
//!   successor, so by O1 and O2 it is not null after them.
//! - **O5** `Table::finish_block` (AcqRel, both) then `swing_root` (Release) with `root` (Acquire): an operation that begins
//!   at a table sees all that was placed in it while it was the successor.
//! - **O6** A table is retired after all older ones. So a guard that protects a table protects its successors. Backends with
//!   intervals are the exception, as younger objects may be reclaimed first: there `Core::next` returns the root instead of a
//!   successor, if the table is retired (B4). All slots of the tables skipped in this way are finished: nothing is found
//!   there, claimed or placed any more, so an operation continues as if it had met MOVED in each; a helper that was placing a
//!   node is done, as the node's slot is finished.
//! - **O7** An id is counted (`Registry::known`) before its entry is published (Release), so before any variable of it is
//!   created. A pass over one parent's variables reads the count first: the place of a variable that exists throughout is
//!   among those that this many ids use.
//!
//! No decision needs more. A slot is passed only for a state that never changes back (another key's, MOVED), every claim is
//! decided by a compare-and-swap on the one word, and a stale answer is one that was true at an instant within the operation,
//! or before it began for threads between which nothing else was ordered. No pair of threads writes one place and reads
//! another (store buffering), so no SeqCst is needed outside reclamation.
//!
//! # Rules of the protocol that are not invariants
//!
//! - **P1** An insert that meets a migrating root migrates a block first (and so does a free), so a migration ends after at
//!   most as many of them as the table has blocks, and none pays for more than a block or two.
//! - **P2** After a lost compare-and-swap, the bucket is read again. Starting over would be correct, too.
//! - **P3** A table that is not the root is not migrated, even if it has a successor already (because it was full).
//! - **P4** While an older table exists, inserts of new keys take *tickets* for slots in the successor, of which there are no
//!   more than the old table cannot need; when they run out, inserts finish the old table first. So a chain of more than two
//!   is rare, and of more than a few impossible. If the successor is full all the same, a thread that must place or close a
//!   key there installs the successor's successor and continues in it.
//!
//! - **P5** A walk does not visit buckets in the order of the table. Tables of all sizes have the same order, so in a walk
//!   along it, the entries not yet visited would lie in one part of the hash space; in a smaller table the same part is as
//!   small, and all of them would crowd into one long run at one end of it. A caller that frees what it visits, in that order
//!   or its reverse, would cause just this. So each step of a [walk](hash::Walk) advances by the golden section of the whole:
//!   any stretch of it, and what any stretch leaves, is spread over the hash space evenly, more evenly than random keys. All
//!   other orders (by address, by id, random) are independent of the hash. So a table can be sized by the number of variables
//!   alone, wherever they are. A region is the same in tables of all sizes, and iteration visits as many of them as the table
//!   had buckets when it began, even if the table is replaced meanwhile.
//! - **P6** The frees of a sweep request no smaller table before the sweep ends; then the number of remaining variables is
//!   known, and no entry is moved only to be freed. After that, the sweep migrates as many blocks as it has freed variables
//!   (P1).
//!
//! # Progress
//!
//! `find` is wait-free but for the length of probe and chain (with intervals lock-free: a load is repeated if an era begins),
//! and writes nothing, except that one miss in a thousand of a large table records how later finds should begin (L7). `insert`
//! and `remove` are lock-free: each compare-and-swap that is lost was won by a step forward of another thread (every slot's
//! states go one way but LINK ⇄ TOMB, which count completed operations). A thread stopped anywhere delays no other: its block
//! is finished by others, its BUILDING node is waited for only by threads that need the same variable. Memory is the
//! exception: nodes come from and go to a pool, tables an allocator, and both may lock, but briefly, and no other code runs
//! under these locks.
//!
//! # What is not promised
//!
//! - A sweep or an iteration is not atomic ([`sweep`]). In a store that gets no memory, inserts fail once the table is full.
//! - Thousands of ids on one parent make sixteen long runs of buckets, which slow down every key that is inserted later and
//!   has its home in one of them.
//! - Counts (load, live) are approximate; they decide when tables are replaced, never whether a variable exists.

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use self::array::{MAX_LOG2, Plan, Table};
use self::group::BUCKET;
use self::hash::{AddrHasher, Places};
use self::key::Key;
use self::node::Node;
use self::node_alloc::Memory;
use self::sieve::Sieved;
use crate::defect::{Defect, Rigging, Stage};
use crate::entry::IdEntry;
use crate::heap::Heap;
use crate::reclaim::Reclaim;
use crate::reclaim::object::Link;
use crate::reclaim::retired::RetireLists;
use crate::registry::Registry;
use crate::shard::Shard;
use crate::sync::stat::AtomicU64;
use crate::sync::{AtomicPtr, Ordering};
use crate::tally::Tally;

pub(crate) mod array;
pub(crate) mod batch;
mod by_address;
mod claim;
mod count;
pub(crate) mod find;
pub(crate) mod group;
pub(crate) mod hash;
pub(crate) mod insert;
pub(crate) mod key;
pub(crate) mod layout;
mod migrate;
pub(crate) mod node;
pub(crate) mod node_alloc;
mod node_free;
mod parts;
pub(crate) mod probe;
pub(crate) mod remove;
mod resize;
mod retire;
pub(crate) mod scan;
pub(crate) mod sieve;
pub(crate) mod site;
mod slots;
pub(crate) mod sweep;
mod sweep_batch;
mod teardown;
pub(crate) mod word;

/// There is no memory for a table that is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoMemory;

/// Proof that a guard is held for `'g`; protected pointers are loaded through it. The caller of [`new`](Self::new) must uphold
/// this.
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
    /// Creates the shield of the guard that has this place.
    ///
    /// # Safety
    ///
    /// The guard, of the store's backend, lives for the shield's lifetime.
    #[inline(always)]
    pub(crate) unsafe fn new(place: R::Place) -> Self {
        Self {
            place,
            _guard: PhantomData,
        }
    }

    /// Loads a word so that the node or table it leads to is protected by the guard (G4). `load` is called with the ordering
    /// to use.
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

/// A node that a guard protects for `'g`. Two are equal if they are the same node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeRef<'g> {
    node: NonNull<Node>,
    _guard: PhantomData<&'g Node>,
}

impl<'g> NodeRef<'g> {
    /// Wraps a node. A node that was met at a slot comes from its [`Site`](site::Site).
    ///
    /// # Safety
    ///
    /// A guard protects the node for `'g`: it was read from a slot under the guard (G4), or was published by the caller under
    /// the guard; or the caller alone owns the node for `'g`.
    #[inline(always)]
    pub(crate) unsafe fn new(node: NonNull<Node>) -> Self {
        Self {
            node,
            _guard: PhantomData,
        }
    }

    pub(crate) fn as_ptr(self) -> NonNull<Node> {
        self.node
    }

    /// Returns the value.
    ///
    /// # Safety
    ///
    /// The node's entry holds `T`, and the node is or was live.
    #[inline]
    pub(crate) unsafe fn value<T>(self) -> &'g T {
        self.check();
        // SAFETY: the guard protects the node for `'g`; the caller guarantees the type and that the value was initialised.
        unsafe { Node::value(self.node) }
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

/// The parameters of a core.
pub(crate) struct Config {
    pub(crate) capacity: usize,
    pub(crate) hasher: AddrHasher,
    pub(crate) places: Places,
    /// Retired objects per shard that make a grace period worthwhile.
    pub(crate) batch: usize,
    /// Buckets per migration block.
    pub(crate) block: usize,
    pub(crate) shards: usize,
    /// Whether nodes come packed from the pool, instead of each being an allocation of its own.
    pub(crate) packed: bool,
    pub(crate) sieved: Sieved,
}

/// The table, its ids and its retire lists: everything but the public interface.
pub(crate) struct Core<R: Reclaim> {
    /// The oldest table that is not finished; every operation begins there.
    root: CachePadded<AtomicPtr<Table>>,
    pub(crate) hasher: AddrHasher,
    pub(crate) registry: Registry,
    pub(crate) heap: Arc<Heap>,
    pub(crate) lists: Arc<RetireLists<Heap>>,
    shards: usize,
    block: usize,
    min_log2: u32,
    sieved: Sieved,
    /// Dead nodes that could not be unlinked for lack of memory; freed when the store is dropped.
    orphans: AtomicPtr<Link>,
    pub(crate) growths: AtomicU64,
    pub(crate) shrinks: AtomicU64,
    pub(crate) rebuilds: AtomicU64,
    pub(crate) ctor_failed: AtomicU64,
    /// Counts of variables created and freed.
    pub(crate) nodes: Tally,
    pub(crate) rigging: Rigging,
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
            rigging: Rigging::default(),
            _backend: PhantomData,
        };
        // A table of twice the requested slots stays below the load limit with that many variables and the tombs among them.
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
        // The backend's ordering, Acquire at least: pairs with `swing_root` (O5). What an older table held is in the one that
        // is loaded here, or freed.
        // SAFETY: never null; the guard protects it (I5).
        unsafe { &*shield.load(|order| self.root.load(order)) }
    }

    /// Returns the root, if no new era began since `announced`: the fast path of [`root`](Self::root) (see
    /// [`Backend::announced`](crate::reclaim::sealed::Backend::announced)).
    #[inline(always)]
    pub(crate) fn root_since<'g>(&'g self, _: Shield<'g, R>, announced: u64) -> Option<&'g Table> {
        let root = self.root.load(R::LOAD);
        // SAFETY: as in `root`; the load counts as protected (`R::counts`).
        R::counts(announced).then(|| unsafe { &*root })
    }

    /// Returns the successor of a table, if there is one. With a backend that has intervals, returns the root instead if that
    /// is newer than the table (B4): then all slots of the table are finished, and what it held is in the root, or freed.
    #[inline]
    pub(crate) fn next<'g>(&'g self, shield: Shield<'g, R>, table: &'g Table) -> Option<&'g Table> {
        if !R::INTERVALS {
            // SAFETY: retired after this one (O6), so the guard that protects this one protects it.
            return table.load_next(Ordering::Acquire).map(|next| unsafe { next.as_ref() });
        }
        let next = shield.load(|order| table.load_next(order))?;
        // After the successor was loaded (B4).
        let root = self.root(shield);
        if root.generation > table.generation && !self.planted(Defect::SuccessorUnchecked) {
            return Some(root);
        }
        // SAFETY: not retired when it was loaded, so it is protected (B4).
        Some(unsafe { next.as_ref() })
    }

    /// Records the birth of a node that is about to be published (B2).
    #[inline(always)]
    pub(crate) fn note_birth(&self, shield: Shield<'_, R>, node: NonNull<Node>) {
        if R::INTERVALS {
            // SAFETY: new, and of this store.
            unsafe { Node::set_birth(node, &self.heap, R::birth(shield.place)) };
        }
    }

    /// Returns the birth of a table that is about to be published (B2).
    fn birth(&self, shield: Shield<'_, R>) -> Option<u64> {
        R::INTERVALS.then(|| R::birth(shield.place))
    }

    pub(crate) fn is_root(&self, shield: Shield<'_, R>, table: &Table) -> bool {
        self.root(shield).generation == table.generation
    }

    fn swing_root(&self, from: &Table, to: &Table) -> bool {
        let (from, to) = (ptr::from_ref(from).cast_mut(), ptr::from_ref(to).cast_mut());
        // AcqRel: Release pairs with `root` and passes on all that `finish_block` acquired (O5).
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

    /// Returns the shard of this thread.
    #[inline]
    pub(crate) fn shard(&self) -> Shard {
        Shard::of(self.shards)
    }

    /// Returns where this thread allocates and frees nodes.
    #[inline]
    pub(crate) fn memory(&self) -> Memory<'_> {
        self.memory_of(self.shard())
    }

    /// Returns where the thread that has this shard allocates and frees nodes.
    #[inline(always)]
    pub(crate) fn memory_of(&self, shard: Shard) -> Memory<'_> {
        Memory {
            heap: &self.heap,
            shard,
        }
    }

    /// Returns the free memory cached by this thread to the depots.
    pub(crate) fn flush_pool(&self) {
        self.heap.pool.flush(self.shard(), true);
    }

    /// Returns whether this rule is broken on purpose.
    #[inline(always)]
    pub(crate) fn planted(&self, defect: Defect) -> bool {
        self.rigging.has(defect)
    }

    /// Lets a test stop this thread at a stage.
    #[inline(always)]
    pub(crate) fn at(&self, stage: Stage) {
        self.rigging.at(stage);
    }
}

/// User code that panics inside a store leaves it whole.
impl<R: Reclaim> std::panic::RefUnwindSafe for Core<R> {}
impl<R: Reclaim> std::panic::UnwindSafe for Core<R> {}
