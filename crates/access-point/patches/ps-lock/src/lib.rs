//! The fix that both patches contain: a lock for each station, which makes the check of `asleep` and the queueing one
//! step. The lock has no place in [`Station`]; it is a shadow variable.
//!
//! All three uses of shadow variables occur here. A station that existed before the patch gets its lock when one of these
//! functions first needs it; a station made later gets it in [`sta_info_alloc`], along with a flag that says so; both are
//! freed in [`sta_info_free`], before the station's memory. Any that are left when the patch is removed belong to its
//! state.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use access_point_interface::counted::{Counted, Ledger};
use access_point_interface::frame::Frame;
use access_point_interface::station::{Link, Station, Tx, prepare_to_queue};
use anyhow::{Context, Result};
use livepatch::State;
use parking_lot::Mutex;
use shadow_vars::{ObjAddr, ShadowId, global};

/// The id of the state: stations have locks.
pub const PS_LOCKS: u64 = 1;
/// The lock of a station.
pub const PS_LOCK: ShadowId<Counted<Mutex<()>>> = ShadowId::new(1);
/// Exists for stations that this code made; its value has no meaning.
pub const NEW_CODE: ShadowId<Counted<()>> = ShadowId::new(2);

/// Returns the state that owns the locks, in this version.
pub fn locks(version: u32) -> State {
    State::new(PS_LOCKS, version)
        .owns(global(), PS_LOCK)
        .owns(global(), NEW_CODE)
}

/// Queues the frame if its station sleeps.
pub fn tx_ps_buf(sta: &Station, frame: &Frame) -> Result<Tx> {
    tx_ps_buf_with(sta, frame, |_| Ok(()))
}

/// Queues the frame if its station sleeps.
///
/// Calls `saved` for each frame that the check under the lock kept from being stuck.
pub fn tx_ps_buf_with(sta: &Station, frame: &Frame, saved: impl FnOnce(&Station) -> Result<()>) -> Result<Tx> {
    // Acquire: pairs with the Release of `ps_deliver_wakeup`. A thread that sees the station awake sends after the frames
    // that the wake-up delivered.
    if !sta.asleep.load(Ordering::Acquire) {
        return Ok(Tx::Continue);
    }
    prepare_to_queue(frame);
    with_ps_lock(sta, || {
        // Relaxed: a wake-up clears it under this lock. If it is set now, the wake-up of this nap is still to come, and
        // finds the frame.
        if !sta.asleep.load(Ordering::Relaxed) {
            saved(sta)?;
            return Ok(Tx::Continue);
        }
        sta.ps_tx_buf.push(*frame);
        Ok(Tx::Queued)
    })
}

/// Delivers the buffered frames and marks the station awake.
pub fn ps_deliver_wakeup(sta: &Station) -> Result<()> {
    with_ps_lock(sta, || {
        for frame in sta.ps_tx_buf.take_all() {
            sta.link.send(&frame)?;
        }
        // Release: pairs with the first load of `tx_ps_buf`, which is done without the lock.
        sta.asleep.store(false, Ordering::Release);
        Ok(())
    })
}

/// Makes a station, with its variables, before it is shared.
pub fn sta_info_alloc(id: u32, link: Link) -> Result<Arc<Station>> {
    let sta = Arc::new(Station::new(id, link));
    let obj = ObjAddr::of_arc(&sta);
    let store = global();
    // During a transition, old code may have freed a station at this address and left its lock behind.
    store.pin().free_object(obj);
    let lock = Counted::new(Mutex::new(()), Ledger::named("ps_lock, made with station"));
    store
        .pin()
        .alloc(obj, PS_LOCK, lock)
        .map(drop)
        .map_err(|refused| refused.error)?;
    let flag = Counted::new((), Ledger::named("flag, made with station"));
    let flagged = store.pin().alloc(obj, NEW_CODE, flag).map(drop);
    if let Err(refused) = flagged {
        store.pin().free_object(obj);
        return Err(refused.error.into());
    }
    Ok(sta)
}

/// Frees a station that is not used any more, its variables first. Returns their number.
pub fn sta_info_free(sta: Arc<Station>) -> usize {
    let freed = global().pin().free_object(ObjAddr::of_arc(&sta));
    drop(sta);
    freed
}

/// Runs `body` under the station's lock.
fn with_ps_lock<T>(sta: &Station, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let obj = ObjAddr::of(sta);
    let store = global().pin();
    let lock = if store.contains(obj, NEW_CODE) {
        store
            .get(obj, PS_LOCK)
            .context("a station of the new code without its lock")?
    } else {
        let ledger = || Ledger::named("ps_lock, station in flight");
        store.get_or_alloc_with(obj, PS_LOCK, || Counted::new(Mutex::new(()), ledger()))?
    };
    let _held = lock.lock();
    body()
}
