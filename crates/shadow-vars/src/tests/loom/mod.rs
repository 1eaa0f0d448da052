//! Loom models of the protocols: every interleaving of two or three threads, up to a number of preemptions, and every
//! value that the memory model allows a load to see.
//!
//! `ci/loom.sh` runs them. Each model makes a tiny table with the checked backend and runs threads on it. At the end it
//! compares their results with those of a sequential execution, checks every slot, and counts drops. Meanwhile the
//! backend reports a late access or a second retirement, and loom reports an unordered memory access.
//!
//! The limits of loom: sequentially consistent *accesses* count as acquire-release (the crate has none), two
//! sequentially consistent fences order more than the language guarantees, a load never sees a future store, and a
//! location remembers its last seven stores. A bounded number of preemptions hides errors that need more of them.

use std::any::type_name;
use std::sync::Arc;
use std::time::Instant;

use loom::cell::UnsafeCell;
use loom::thread::JoinHandle;

use crate::defect::model::EVERYWHERE;
use crate::entry::IdEntry;
use crate::error::{CtorError, StoreError};
use crate::reclaim::Reclaim;
use crate::reclaim::checked::{self, Checked};
use crate::shard::Shard;
use crate::sync::lock_stat;
use crate::sync::stat::{AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::table::array::Table;
use crate::table::group::BUCKET;
use crate::table::hash::{AddrHasher, Places};
use crate::table::insert::IfExists;
use crate::table::insert::Inserted;
use crate::table::key::Key;
use crate::table::node::{Life, Node, State};
use crate::table::node_alloc::Payload;
use crate::table::sieve::Sieved;
use crate::table::word::Kind;
use crate::table::{Config, Core, NoMemory, Shield};

mod claim;
mod construct;
mod defects;
mod eras;
mod grace;
mod migrate;
mod promote;
mod read;
mod remove;
mod retire;
mod reuse;
mod sieve;
mod sweep;
mod tally;

/// Parents whose keys fit into a word, and one whose key does not. With the models' hasher all have the same home
/// bucket.
const A: usize = 0x1000;
const B: usize = 0x2000;
const C: usize = 0x3000;
const ODD: usize = 0x1001;

/// A key that is looked up in an endless loop.
const OTHER: usize = B;

/// The id of all variables,
const ID: u64 = 7;
/// except in models of a parent with two: this one has another place, and in a table of two buckets the other home
/// bucket.
const SECOND: u64 = 8;

/// The size of a model's state space.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    Small,
    Usual,
    Large,
    Huge,
}
use Space::{Huge, Large, Small, Usual};

/// Explores a model, and prints the number of executions.
///
/// Runs twice: first with loads that may see any store that the memory model allows, then with loads that see the
/// newest, which loom interleaves without gaps (see `asymmetric_barrier::atomics`). `LOOM_MAX_PREEMPTIONS` (2 unless set)
/// is how often threads are preempted: more often in small spaces and with newest loads, less in large spaces with true
/// loads, and still less in huge ones.
fn explore<F: Fn() + Send + Sync + 'static>(space: Space, model: F) {
    // The backend's book of guards, the value counters and the kind of loads belong to the process: one model at a
    // time.
    static ONE: Mutex<()> = Mutex::new(());

    let _one = lock_stat(&ONE);
    let mut builder = loom::model::Builder::new();
    let bound = builder.preemption_bound.unwrap_or(2);
    builder.max_branches = 20_000;
    let model = Arc::new(model);
    let mut passes = String::new();
    for newest in [false, true] {
        builder.preemption_bound = Some(match (space, newest) {
            (Small, true) => bound + 2,
            (Small, false) | (Usual, true) => bound + 1,
            (Usual, false) | (Large | Huge, true) => bound,
            (Large, false) => bound.saturating_sub(1),
            (Huge, false) => bound.saturating_sub(2),
        });
        asymmetric_barrier::atomics::loads_see_the_newest(newest);
        let _ = EVERYWHERE.set(defects::planted());
        checked::reset();
        let executions = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        builder.check({
            let (model, executions) = (model.clone(), executions.clone());
            move || {
                executions.fetch_add(1, Ordering::Relaxed);
                CREATED.store(0, Ordering::Relaxed);
                DROPPED.store(0, Ordering::Relaxed);
                WHICH.store(0, Ordering::Relaxed);
                model();
            }
        });
        let executions = executions.load(Ordering::Relaxed);
        passes += &format!(", {executions} executions in {:.1} s", start.elapsed().as_secs_f64());
    }
    let name = type_name::<F>()
        .split("::")
        .skip(3)
        .take(2)
        .collect::<Vec<_>>()
        .join("::");
    eprintln!("model {name}{passes}");
}

static CREATED: AtomicUsize = AtomicUsize::new(0);
static DROPPED: AtomicUsize = AtomicUsize::new(0);
/// The dropped values, one bit each by number.
static WHICH: AtomicUsize = AtomicUsize::new(0);

fn dropped() -> usize {
    DROPPED.load(Ordering::Relaxed)
}

/// Returns whether the value with this number was dropped.
fn is_dropped(number: usize) -> bool {
    WHICH.load(Ordering::Relaxed) & 1 << number != 0
}

/// Whether loom knows of each drop, for models that check its time: otherwise loom need not explore the check at each
/// point between two of its own accesses.
static WATCHED: AtomicBool = AtomicBool::new(false);

loom::lazy_static! {
    static ref WITNESS: loom::sync::atomic::AtomicUsize = loom::sync::atomic::AtomicUsize::new(0);
}

/// Like [`is_dropped`], explored at every point in time.
fn is_dropped_by_now(number: usize) -> bool {
    WITNESS.fetch_add(0, loom::sync::atomic::Ordering::Relaxed);
    is_dropped(number)
}

/// A value that is counted, and whose accesses loom checks.
struct Value(UnsafeCell<usize>);

// SAFETY: written only when it is made and when it is dropped; loom reports a read that is not ordered with both.
unsafe impl Sync for Value {}

impl Value {
    fn new(number: usize) -> Self {
        CREATED.fetch_add(1, Ordering::Relaxed);
        Self(UnsafeCell::new(number))
    }

    fn read(&self) -> usize {
        // SAFETY: the value is written only when it is made and when it is dropped; loom reports a read that is not ordered with
        // both.
        self.0.with(|number| unsafe { *number })
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: the value is being dropped; loom reports a read that is not ordered with this.
        let number = self
            .0
            .with_mut(|number| unsafe { std::mem::replace(&mut *number, usize::MAX) });
        if WATCHED.load(Ordering::Relaxed) {
            WITNESS.fetch_add(1, loom::sync::atomic::Ordering::Relaxed);
        }
        WHICH.fetch_or(1 << number, Ordering::Relaxed);
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// A core with the smallest possible tables.
struct Store<R: Reclaim = Checked> {
    core: Core<R>,
}

/// The initial store of a model: see [`Store::tiny`] and [`Store::small`].
fn tiny(keys: &[usize]) -> Arc<Store> {
    Store::tiny(keys)
}

fn small(keys: &[usize]) -> Arc<Store> {
    Store::small(keys)
}

impl<R: Reclaim> Store<R> {
    /// Makes a store whose first table has one bucket. Every claim exceeds its load limit, so it gets a successor of
    /// the same size after the first. The value of each key is its place.
    fn tiny(keys: &[usize]) -> Arc<Self> {
        Self::of(0, keys)
    }

    /// Makes a store whose first table has two buckets, in two blocks, and takes two claims without a successor.
    fn small(keys: &[usize]) -> Arc<Self> {
        Self::of(1, keys)
    }

    /// Like [`small`](Self::small), with a shard that one thread can own, and batches that do not fill.
    fn owned(keys: &[usize]) -> Arc<Self> {
        let config = Config {
            batch: 8,
            shards: 2,
            ..Self::config(1)
        };
        Self::with(&config, keys)
    }

    fn of(capacity: usize, keys: &[usize]) -> Arc<Self> {
        Self::with(&Self::config(capacity), keys)
    }

    fn config(capacity: usize) -> Config {
        Config {
            capacity,
            hasher: AddrHasher::constant(),
            places: Places::APART,
            batch: 1,
            block: 1,
            shards: 1,
            packed: false,
            sieved: Sieved::NONE,
        }
    }

    fn with(config: &Config, keys: &[usize]) -> Arc<Self> {
        let Ok(mut core) = Core::new(config) else {
            panic!("out of memory")
        };
        core.rigging.defect = defects::planted();
        // Bound before the threads start, and the statics of the backend and the waiters initialised.
        if core.registry.bind::<Value>(ID).is_err() {
            panic!("out of memory");
        }
        let store = Self { core };
        store.pinned(|_, _| ());
        for (place, &obj) in keys.iter().enumerate() {
            assert!(store.alloc(obj, place));
        }
        Arc::new(store)
    }

    fn entry(&self) -> &IdEntry {
        self.core
            .registry
            .get(ID)
            .unwrap_or_else(|| unreachable!("bound in `of`"))
    }

    /// Returns the entry of the second id, made now if it was not used before.
    fn second(&self) -> &IdEntry {
        self.core
            .registry
            .bind::<Value>(SECOND)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Like [`alloc`](Self::alloc), for the second id.
    fn alloc_second(&self, obj: usize, number: usize) {
        assert!(
            self.alloc_of(self.second(), obj, number),
            "the second id's variable is new"
        );
    }

    fn key(&self, obj: usize) -> Key<'_> {
        self.core.key(obj, self.entry())
    }

    /// Runs a closure under a guard of its own.
    fn pinned<O>(&self, run: impl for<'g> FnOnce(&'g Core<R>, Shield<'g, R>) -> O) -> O {
        let guard = R::pin();
        // SAFETY: the guard lives until `run` has returned.
        run(&self.core, unsafe { Shield::new(R::place(&guard)) })
    }

    /// Returns whether this call created the variable.
    fn alloc(&self, obj: usize, number: usize) -> bool {
        self.alloc_of(self.entry(), obj, number)
    }

    fn alloc_of(&self, entry: &IdEntry, obj: usize, number: usize) -> bool {
        self.pinned(|core, shield| {
            let key = core.key(obj, entry);
            // SAFETY: the entry holds `Value`, here and below.
            let made = unsafe { core.try_alloc_fast(shield, &key, Value::new(number)) };
            // SAFETY: what is left is of this key.
            match made.or_else(|left| unsafe { core.alloc_slow(shield, &key, IfExists::Refuse, left) }) {
                Ok(_) => true,
                Err(error) => {
                    assert!(matches!(error.error, StoreError::Exists { .. }), "{:?}", error.error);
                    false
                }
            }
        })
    }

    /// Like `alloc`, without the quick look-up before, so that the insert itself finds an existing key.
    fn insert(&self, obj: usize, number: usize) -> bool {
        self.pinned(|core, shield| {
            let key = self.key(obj);
            let Some(node) = Node::alloc::<R>(core.memory(), obj, key.entry, Payload::TYPED, Life::LIVE) else {
                panic!("out of memory")
            };
            core.note_birth(shield, node);
            // SAFETY: the node is new, and its entry holds `Value`.
            let payload = unsafe { Node::payload(node, key.entry) }.cast::<Value>();
            // SAFETY: fresh memory with the layout of `Value`.
            unsafe { payload.write(Value::new(number)) };
            match core.insert(shield, &key, node) {
                Ok(Inserted::Claimed(_)) => {
                    core.nodes.count_created(key.entry.counts(), core.shard());
                    true
                }
                Ok(Inserted::Exists(_)) => {
                    // SAFETY: the node still belongs to this thread, with the value written above.
                    unsafe {
                        payload.drop_in_place();
                        Node::dealloc(core.memory(), node);
                    }
                    false
                }
                Ok(Inserted::Building(_)) => panic!("no model inserts beside a constructor"),
                Err(NoMemory) => panic!("out of memory"),
            }
        })
    }

    fn get(&self, obj: usize) -> Option<usize> {
        self.pinned(|core, shield| {
            let node = core.find(shield, obj, self.entry())?;
            // SAFETY: the entry holds `Value`, and the node is live.
            Some(unsafe { node.value::<Value>() }.read())
        })
    }

    /// Like `get`, and reads the value again after other threads have had a chance to free it.
    fn get_and_hold(&self, obj: usize, number: usize) {
        self.pinned(|_, shield| self.find_and_hold(shield, obj, number));
    }

    /// Like `get_and_hold`, under an existing guard.
    fn find_and_hold(&self, shield: Shield<'_, R>, obj: usize, number: usize) {
        if let Some(node) = self.core.find(shield, obj, self.entry()) {
            // SAFETY: the entry holds `Value`, and the node was live.
            let value = unsafe { node.value::<Value>() };
            assert_eq!(value.read(), number);
            // Lets another thread run, if it has not.
            self.core.find(shield, OTHER, self.entry());
            assert_eq!(dropped(), 0, "values dropped under a guard");
            assert_eq!(value.read(), number);
        }
    }

    /// Frees the variable, and returns the value that this call took.
    fn free(&self, obj: usize) -> Option<usize> {
        self.pinned(|core, shield| {
            // SAFETY: the entry holds `Value`, and the node was live.
            core.remove(shield, &self.key(obj), |node| unsafe { node.value::<Value>() }.read())
        })
    }

    /// Like `free`, by a thread with this shard.
    fn free_in(&self, shard: Shard, obj: usize) {
        self.pinned(|core, shield| {
            let removed = core.begin_removal(shield, core.root(shield), &self.key(obj));
            removed.unwrap_or_else(|| panic!("{obj:#x} is there")).shard = shard;
        });
    }

    /// Runs a constructor as `get_or_alloc_with` does.
    fn construct(&self, obj: usize, make: impl FnOnce() -> Option<Value>) -> Result<usize, CtorError<()>> {
        self.pinned(|core, shield| {
            // SAFETY: the payload is written when the constructor returns success.
            let node = unsafe {
                core.alloc_constructed(shield, &self.key(obj), IfExists::Get, Payload::TYPED, |node| {
                    let value = make().ok_or(())?;
                    Node::value_ptr::<Value>(node).write(value);
                    Ok(())
                })
            };
            // SAFETY: the entry holds `Value`, and the node is live.
            Ok(unsafe { node?.value::<Value>() }.read())
        })
    }

    /// Gives the root a successor.
    fn grow(&self) {
        self.pinned(|core, shield| assert!(core.successor(shield, core.root(shield)).is_ok()));
    }

    /// Migrates one block of the root, if it has a successor.
    fn help(&self) {
        self.pinned(|core, shield| assert!(core.help(shield).is_ok()));
    }

    /// A helper claims a block of the root to migrate it, and never continues.
    fn sleeping_helper(&self) {
        self.pinned(|core, shield| assert!(core.root(shield).next_block().is_some()));
    }

    /// Finishes the root's migration, if it has a successor.
    fn finish(&self) {
        self.pinned(|core, shield| assert!(core.finish(shield, core.root(shield)).is_ok()));
    }

    /// Runs a whole migration, beginning with the successor's creation.
    fn migrate(&self) {
        self.grow();
        self.finish();
    }

    /// Advances the retire lists by one step: drops ready objects, closes open batches.
    fn flush(&self) {
        self.core.lists.flush::<R>();
    }

    /// Called when all threads are done. Checks that exactly these variables live, each is found and has one node, no
    /// slot leads to reclaimed memory, and no retired object waits. Then drops the store and checks the counts.
    fn end(self: Arc<Self>, live: &[usize]) {
        let Some(store) = Arc::into_inner(self) else {
            panic!("a thread still has the store")
        };
        for obj in [A, B, C, ODD] {
            assert_eq!(
                store.get(obj).is_some(),
                live.contains(&obj),
                "whether {obj:#x} is found"
            );
        }
        let mut nodes = Vec::new();
        store.pinned(|core, shield| {
            core.for_each_table(shield, |table| nodes.extend(live_nodes(table)));
        });
        nodes.sort_unstable();
        nodes.dedup();
        assert_eq!(nodes.len(), live.len(), "live nodes: {nodes:x?}");
        assert_eq!(store.core.nodes.live() as usize, live.len());
        if matches!(R::NAMED, crate::reclaim::Named::Checked { exact: true }) {
            assert_eq!(
                store.core.lists.pending().0,
                0,
                "retired and not reclaimed, with no guard left"
            );
        }
        let lists = store.core.lists.clone();
        drop(store);
        assert_eq!(lists.drop_panics(), 0, "values whose drop panicked");
        assert_eq!(dropped(), CREATED.load(Ordering::Relaxed), "values dropped and created");
    }
}

/// Returns the parents and addresses of the live nodes that a table's slots lead to. All these nodes must still exist.
fn live_nodes(table: &Table) -> Vec<(usize, usize)> {
    let slots = (0..table.buckets()).flat_map(|bucket| (0..BUCKET).map(move |position| (bucket, position)));
    slots
        .filter_map(
            |(bucket, position)| match table.load(table.index(bucket, position), Ordering::Acquire).kind() {
                Kind::Link(node) | Kind::Frozen(node) | Kind::Record(node) => {
                    // SAFETY: the checked backend poisons and does not free, and `life` checks for the poison.
                    let this = unsafe { node.as_ref() };
                    (this.life().state() == State::Live).then_some((this.obj, node.addr().get()))
                }
                _ => None,
            },
        )
        .collect()
}

/// Starts a thread of the model.
fn spawn<R: Reclaim, T: 'static>(store: &Arc<Store<R>>, body: impl FnOnce(&Store<R>) -> T + 'static) -> JoinHandle<T> {
    let store = store.clone();
    loom::thread::spawn(move || body(&store))
}

/// Returns a thread's result.
fn join<T>(thread: JoinHandle<T>) -> T {
    thread
        .join()
        .unwrap_or_else(|_| panic!("a thread of the model panicked"))
}
