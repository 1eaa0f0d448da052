//! Four threads, each at exactly the place where it does harm: too large for a model, and not met by chance.

use std::cell::{Cell, RefCell};
use std::sync::Barrier;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use super::stall::support::{Counted, Ledger, within};
use crate::config::Provoke;
use crate::defect::rig::ON_ACCESS;
use crate::defect::{Defect, Stage};
use crate::reclaim::checked::Checked;
use crate::reclaim::sealed::Backend;
use crate::table::{Core, Shield};
use crate::{ShadowId, ShadowStore};

const VALUE: ShadowId<Counted> = ShadowId::new(1);

type Store = ShadowStore<Checked>;

/// The place where a thread stops.
struct Stop {
    /// Accesses to let pass before the stop.
    after: usize,
    stopped: Sender<()>,
    go_on: Receiver<()>,
}

thread_local! {
    static STOP: RefCell<Option<Stop>> = const { RefCell::new(None) };
    /// Whether this is the helper, which stops when it has placed a node.
    static HELPS: Cell<bool> = const { Cell::new(false) };
}

fn on_access() {
    STOP.with_borrow_mut(|stop| match stop {
        Some(Stop { after: 0, .. }) => {
            if let Some(stop) = stop.take() {
                stop.stopped.send(()).unwrap();
                stop.go_on.recv().unwrap();
            }
        }
        Some(stop) => stop.after -= 1,
        None => {}
    });
}

/// Runs a closure under a guard.
fn pinned<O>(store: &Store, run: impl for<'g> FnOnce(&'g Core<Checked>, Shield<'g, Checked>) -> O) -> O {
    let _guard = Checked::<true>::pin();
    // SAFETY: the guard lives until `run` has returned.
    run(store.core(), unsafe { Shield::new(()) })
}

/// Returns a parent whose variable has this home in the root.
fn parent_at(store: &Store, home: impl Fn(usize) -> usize) -> usize {
    let entry = store.core().registry.bind::<Counted>(VALUE.get()).unwrap();
    pinned(store, |core, shield| {
        let root = core.root(shield);
        let is_there = |obj: &usize| root.home(core.key(*obj, entry).hash) == home(root.buckets());
        (1..10_000).map(|n| n * 64).find(is_there).unwrap()
    })
}

/// A sweep has passed a bucket when a variable is created there, and the table begins to migrate. A helper places the
/// variable's node in the successor, and stops before the old slot is MOVED. The sweep finds the node in the successor,
/// and frees it. A reader finds the old slot, and stops at its `n`th access. The helper continues, and drops its guard;
/// then the reader continues. Returns whether the reader was stopped at all, and whether it ended without a panic.
fn late_reader(defect: Option<Defect>, n: usize) -> (bool, bool) {
    let ledger = Ledger::new(100);
    let (placed, is_placed) = channel();
    let (move_on, may_move_on) = channel::<()>();
    let provoke = Provoke {
        smallest_block: true,
        batch_of_one: true,
        ..Provoke::default()
    };
    let builder = Store::builder().hash_seed(5).capacity(64).provoke(provoke);
    let mut core = builder.core().unwrap();
    core.rigging.defect = defect;
    let may_move_on = std::sync::Mutex::new(may_move_on);
    let placed = std::sync::Mutex::new(placed);
    core.rigging.watch = Some(Box::new(move |stage| {
        if stage == Stage::Placed && HELPS.replace(false) {
            placed.lock().unwrap().send(()).unwrap();
            may_move_on.lock().unwrap().recv().unwrap();
        }
    }));
    let store = Store::from_core(core);
    let first = parent_at(&store, |_| 0);
    let last = parent_at(&store, |buckets| buckets - 1);
    store.pin().alloc(last, VALUE, ledger.value()).unwrap();
    let begin = Barrier::new(2);
    thread::scope(|scope| {
        let helper = scope.spawn(|| {
            begin.wait();
            HELPS.set(true);
            pinned(&store, |core, shield| core.help(shield)).unwrap();
            assert!(!HELPS.get(), "the helper has been stopped");
        });
        let mut freed = Vec::new();
        store.pin().free_all_with(VALUE, |obj, _| {
            freed.push(obj.get());
            if obj.get() == last {
                store.pin().alloc(first, VALUE, ledger.value()).unwrap();
                pinned(&store, |core, shield| {
                    core.successor(shield, core.root(shield)).map(|_| ())
                })
                .unwrap();
                begin.wait();
                is_placed.recv().unwrap();
            }
        });
        assert_eq!(freed, [last, first], "the sweep meets the second in the successor");
        let (stopped, is_stopped) = channel();
        let (go_on, may_go_on) = channel();
        let reader = scope.spawn({
            let store = &store;
            move || {
                STOP.set(Some(Stop {
                    after: n,
                    stopped,
                    go_on: may_go_on,
                }));
                ON_ACCESS.set(Some(on_access));
                let found = store.pin().get(first, VALUE).map(Counted::serial);
                ON_ACCESS.set(None);
                STOP.set(None);
                assert_eq!(found, None);
            }
        });
        // Or the reader ends, and drops its sender.
        let was_stopped = is_stopped.recv().is_ok();
        move_on.send(()).unwrap();
        helper.join().unwrap();
        if was_stopped {
            go_on.send(()).unwrap();
        }
        let well = reader.join().is_ok();
        if defect.is_none() {
            store.synchronize().unwrap();
            assert_eq!((store.len(), ledger.alive().len()), (0, 0));
        }
        (was_stopped, well)
    })
}

/// Stops the late reader at each of its accesses. Returns whether it always ended without a panic.
fn late_readers(defect: Option<Defect>) -> bool {
    let mut stops = 0;
    for n in 0.. {
        let (was_stopped, well) = within(Duration::from_secs(60), "a late reader", || late_reader(defect, n));
        if !well {
            return false;
        }
        if !was_stopped {
            break;
        }
        stops += 1;
    }
    assert!(stops > 3, "the reader was stopped at {stops} accesses only");
    true
}

/// I3: the thread that ends a life unlinks from the root with which its operation began.
#[test]
fn a_sweep_lets_go_of_what_it_frees_in_every_table() {
    let _alone = super::alone();
    assert!(late_readers(None));
}

#[test]
fn a_sweep_that_lets_go_where_it_found_is_caught() {
    let _alone = super::alone();
    assert!(!late_readers(Some(Defect::UnlinkFromFound)));
}
