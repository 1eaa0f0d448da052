//! The second patch, cumulative: it replaces the first, whose locks it takes over, and counts the frames that the check
//! under the lock saved. The counters are new; a station gets one with its first such frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use access_point_interface::counted::{Counted, Ledger};
use access_point_interface::frame::Frame;
use access_point_interface::station::{Station, Tx};
use access_point_interface::{INTERFACE, Repair, power_save};
use anyhow::Result;
use livepatch::{CallbackError, ObjectPatch, PatchBuilder, State};
use ps_lock::PS_LOCKS;
use shadow_vars::{ObjAddr, ShadowId, global};

livepatch::export_patch! {
    interface: INTERFACE,
    patch: patch,
}

/// The id of the state that this patch adds: stations have counters.
const COUNTERS: u64 = 2;
/// How many frames the check under the lock kept from being queued for a station that had just woken up.
const SAVED: ShadowId<Counted<AtomicU64>> = ShadowId::new(3);

fn patch(patch: PatchBuilder) -> Result<PatchBuilder, CallbackError> {
    let functions = ObjectPatch::program()
        .function::<power_save::tx_ps_buf>(tx_ps_buf)
        .function::<power_save::ps_deliver_wakeup>(ps_lock::ps_deliver_wakeup)
        .function::<power_save::sta_info_alloc>(ps_lock::sta_info_alloc)
        .function::<power_save::sta_info_free>(ps_lock::sta_info_free)
        .post_patch(|context| {
            // The first patch is still in the list here. If there is none, the repair begins now.
            let before = context.prev_state(PS_LOCKS).and_then(|state| state.data::<Repair>());
            let repair = match before {
                Some(repair) => Repair {
                    since: repair.since,
                    generations: repair.generations + 1,
                },
                None => Repair {
                    since: Instant::now(),
                    generations: 1,
                },
            };
            if let Some(state) = context.patch().state(PS_LOCKS) {
                state.set_data(Arc::new(repair));
            }
        });
    Ok(patch
        .replace(true)
        .object(functions)
        .state(ps_lock::locks(2))
        .state(State::new(COUNTERS, 1).owns(global(), SAVED)))
}

/// Queues the frame if its station sleeps; counts it if the lock saved it.
fn tx_ps_buf(sta: &Station, frame: &Frame) -> Result<Tx> {
    ps_lock::tx_ps_buf_with(sta, frame, |sta| {
        let store = global().pin();
        let ledger = || Ledger::named("frames saved, by station");
        let saved = store.get_or_alloc_with(ObjAddr::of(sta), SAVED, || Counted::new(AtomicU64::new(0), ledger()))?;
        // Relaxed: only a count.
        saved.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
}
