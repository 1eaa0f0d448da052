//! The code with the fix: one lock for each station, which joins the look at `asleep` with the
//! queue. The lock has no place in [`Station`]; it is a shadow variable.
//!
//! All three uses of shadow variables meet here. A station that was there before the switch
//! gets its lock when the first of these functions needs it; a station made after the switch gets
//! it in [`sta_info_alloc`], and a flag that says so; both are freed in [`sta_info_free`], before
//! the station's memory goes away.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use shadow_vars::{ObjAddr, ShadowId, global};

use crate::counted::{Counted, FLAGS, LOCKS_IN_FLIGHT, LOCKS_NEW};
use crate::dispatch::Functions;
use crate::net::Frame;
use crate::station::{Link, Station, Tx, prepare_to_queue};

/// The table of this version.
pub(crate) const FUNCTIONS: Functions = Functions {
    tx_ps_buf,
    ps_deliver_wakeup,
    sta_info_alloc,
    sta_info_free,
};

/// The lock of a station.
pub(crate) const PS_LOCK: ShadowId<Counted<Mutex<()>>> = ShadowId::new(1);
/// Exists for stations that this code made; its value says nothing.
pub(crate) const NEW_CODE: ShadowId<Counted<()>> = ShadowId::new(2);

/// Queues the frame if its station sleeps.
fn tx_ps_buf(sta: &Station, frame: &Frame) -> Result<Tx> {
    // Acquire: with the Release of `ps_deliver_wakeup`. Who sees the station awake sends behind
    // the frames that the wake-up delivered.
    if !sta.asleep.load(Ordering::Acquire) {
        return Ok(Tx::Continue);
    }
    prepare_to_queue(frame);
    with_ps_lock(sta, || {
        // Relaxed: a wake-up clears it under this lock. If it is set now, the wake-up of this nap
        // is still to come, and finds the frame.
        if !sta.asleep.load(Ordering::Relaxed) {
            return Ok(Tx::Continue);
        }
        sta.ps_tx_buf.push(*frame);
        Ok(Tx::Queued)
    })
}

/// Delivers what was buffered and marks the station awake.
fn ps_deliver_wakeup(sta: &Station) -> Result<()> {
    with_ps_lock(sta, || {
        for frame in sta.ps_tx_buf.take_all() {
            sta.link.send(&frame)?;
        }
        // Release: with the first load of `tx_ps_buf`, which is made without the lock.
        sta.asleep.store(false, Ordering::Release);
        Ok(())
    })
}

/// Makes a station, and its variables before anybody can ask for them.
fn sta_info_alloc(id: u32, link: Link) -> Result<Arc<Station>> {
    let sta = Arc::new(Station::new(id, link));
    let obj = ObjAddr::of_arc(&sta);
    let store = global();
    let lock = Counted::new(Mutex::new(()), &LOCKS_NEW);
    store.alloc(obj, PS_LOCK, lock).map_err(|refused| refused.error)?;
    if let Err(refused) = store.alloc(obj, NEW_CODE, Counted::new((), &FLAGS)) {
        store.free_object(obj);
        return Err(refused.error.into());
    }
    Ok(sta)
}

/// Frees a station that nobody uses any more, its variables first. Returns their number.
fn sta_info_free(sta: Arc<Station>) -> usize {
    let freed = global().free_object(ObjAddr::of_arc(&sta));
    drop(sta);
    freed
}

/// Runs `body` under the lock of the station.
fn with_ps_lock<T>(sta: &Station, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let obj = ObjAddr::of(sta);
    let store = global().pin();
    let lock = if store.contains(obj, NEW_CODE) {
        store
            .get(obj, PS_LOCK)
            .context("a station of the new code without its lock")?
    } else {
        store.get_or_alloc_with(obj, PS_LOCK, |_| Counted::new(Mutex::new(()), &LOCKS_IN_FLIGHT))?
    };
    let _held = lock.lock();
    body()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net;

    // The only test that uses the global store: tests run side by side.
    #[test]
    fn each_kind_of_station_gets_and_loses_its_variables() {
        let (ours, _theirs) = net::pair().unwrap();
        let in_flight = Arc::new(Station::new(1, Link::new(ours)));
        let addr = ObjAddr::of_arc(&in_flight);
        assert!(!global().contains(addr, PS_LOCK));
        in_flight.ps_start();
        assert_eq!(tx_ps_buf(&in_flight, &Frame::new(1, 0)).unwrap(), Tx::Queued);
        assert!(global().contains(addr, PS_LOCK));
        assert!(!global().contains(addr, NEW_CODE));
        ps_deliver_wakeup(&in_flight).unwrap();
        assert_eq!(in_flight.ps_tx_buf.len(), 0);
        assert_eq!(tx_ps_buf(&in_flight, &Frame::new(1, 1)).unwrap(), Tx::Continue);

        let (ours, _theirs) = net::pair().unwrap();
        let new = sta_info_alloc(2, Link::new(ours)).unwrap();
        assert!(global().contains(ObjAddr::of_arc(&new), NEW_CODE));
        ps_deliver_wakeup(&new).unwrap();

        assert_eq!(sta_info_free(in_flight), 1);
        assert_eq!(sta_info_free(new), 2);
        global().synchronize().unwrap();
        for ledger in [&LOCKS_IN_FLIGHT, &LOCKS_NEW, &FLAGS] {
            assert_eq!((ledger.made(), ledger.dropped_once(), ledger.wrong()), (1, 1, 0));
        }
    }
}
