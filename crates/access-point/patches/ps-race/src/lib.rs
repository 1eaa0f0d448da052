//! The first patch: the lock for each station.

use std::sync::Arc;
use std::time::Instant;

use access_point_interface::{INTERFACE, Repair, power_save};
use livepatch::{CallbackError, ObjectPatch, PatchBuilder};
use ps_lock::PS_LOCKS;

livepatch::export_patch! {
    interface: INTERFACE,
    patch: patch,
}

fn patch(patch: PatchBuilder) -> Result<PatchBuilder, CallbackError> {
    let functions = ObjectPatch::program()
        .function::<power_save::tx_ps_buf>(ps_lock::tx_ps_buf)
        .function::<power_save::ps_deliver_wakeup>(ps_lock::ps_deliver_wakeup)
        .function::<power_save::sta_info_alloc>(ps_lock::sta_info_alloc)
        .function::<power_save::sta_info_free>(ps_lock::sta_info_free)
        .post_patch(|context| {
            if let Some(state) = context.patch().state(PS_LOCKS) {
                state.set_data(Arc::new(Repair {
                    since: Instant::now(),
                    generations: 1,
                }));
            }
        });
    Ok(patch.object(functions).state(ps_lock::locks(1)))
}
