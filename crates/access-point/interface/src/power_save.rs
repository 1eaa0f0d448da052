//! The code the access point was built with, including the race.
//!
//! [`tx_ps_buf()`] checks whether the station sleeps and then queues the frame; [`ps_deliver_wakeup()`] empties the queue
//! and then marks the station awake. The two are not synchronised. A frame that is queued between the emptying and the
//! next nap is stuck: the frames after it are sent directly and overtake it, and when it has waited too long it is
//! dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;
use livepatch::patchable;

use crate::frame::Frame;
use crate::station::{Link, Station, Tx, prepare_to_queue};

/// Queues the frame if its station sleeps.
#[patchable]
pub fn tx_ps_buf(sta: &Station, frame: &Frame) -> Result<Tx> {
    // Acquire: pairs with the Release of `ps_deliver_wakeup`.
    if !sta.asleep.load(Ordering::Acquire) {
        return Ok(Tx::Continue);
    }
    prepare_to_queue(frame);
    // The race: by now the station may be awake, and its queue delivered.
    sta.ps_tx_buf.push(*frame);
    Ok(Tx::Queued)
}

/// Delivers the buffered frames and marks the station awake.
#[patchable]
pub fn ps_deliver_wakeup(sta: &Station) -> Result<()> {
    for frame in sta.ps_tx_buf.take_all() {
        sta.link.send(&frame)?;
    }
    // Release: pairs with the Acquire of `tx_ps_buf`.
    sta.asleep.store(false, Ordering::Release);
    Ok(())
}

/// Makes a station.
#[patchable]
pub fn sta_info_alloc(id: u32, link: Link) -> Result<Arc<Station>> {
    Ok(Arc::new(Station::new(id, link)))
}

/// Frees a station that is not used any more. Returns how many shadow variables were freed with it.
#[patchable]
pub fn sta_info_free(sta: Arc<Station>) -> usize {
    drop(sta);
    0
}
