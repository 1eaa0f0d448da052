//! Dropping a store in states that only a thread can leave which never continued.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::defect::Stage;
use crate::table::group::BUCKET;
use crate::table::word::Kind;
use crate::{Asymmetric, ShadowId, ShadowStore};

type Store = ShadowStore<Asymmetric>;

/// Records its number when it is dropped.
struct Noted(usize, Arc<Mutex<Vec<usize>>>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }
}

const NOTED: ShadowId<Noted> = ShadowId::new(1);

/// Returns the nodes that the slots of all tables lead to, as often as they do.
fn led_to(store: &Store) -> Vec<usize> {
    let (core, pin) = (store.core(), store.pin());
    let mut nodes = Vec::new();
    core.for_each_table(pin.shield(), |table| {
        for at in 0..table.capacity() {
            let word = table.load(table.index(at / BUCKET, at), Ordering::Acquire);
            if let Kind::Link(node) | Kind::Frozen(node) = word.kind() {
                nodes.push(node.addr().get());
            }
        }
    });
    nodes
}

/// A helper vanished that had placed a node and not yet recorded that: two tables lead to it.
#[test]
fn what_two_tables_lead_to_is_dropped_once() {
    const COUNT: usize = 500;
    let mut core = Store::builder().hash_seed(3).capacity(8).core().unwrap();
    let armed = Arc::new(AtomicBool::new(false));
    let watched = armed.clone();
    core.rigging.watch = Some(Box::new(move |stage| {
        if stage == Stage::Placed && watched.swap(false, Ordering::Relaxed) {
            // Not a panic, which would be reported.
            std::panic::resume_unwind(Box::new("gone"));
        }
    }));
    let store = Store::from_core(core);
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let mut twice = 0;
    let mut made = 0;
    while made < COUNT || twice == 0 {
        assert!(made < 100_000, "no helper was lost in the middle of a block");
        armed.store(made > COUNT, Ordering::Relaxed);
        let value = Noted(made, dropped.clone());
        let _ = catch_unwind(AssertUnwindSafe(|| store.pin().alloc(made * 64, NOTED, value).is_ok()));
        made += 1;
        if made > COUNT {
            let nodes = led_to(&store);
            twice = nodes.len() - nodes.iter().collect::<HashSet<_>>().len();
        }
    }
    // Possibly not the one whose thread was lost.
    let mut live = Vec::new();
    store
        .pin()
        .iter()
        .for_each(|var| live.extend(var.get(NOTED).map(|noted| noted.0)));
    assert!(live.len() >= made - 1);
    drop(store);
    let mut dropped = dropped.lock().unwrap().clone();
    live.sort_unstable();
    dropped.sort_unstable();
    assert_eq!(dropped, live, "{twice} nodes in two tables");
}
