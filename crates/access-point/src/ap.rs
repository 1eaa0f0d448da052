//! The access point: the table of its stations, and the workers that serve the sockets.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use parking_lot::RwLock;

use crate::count::{PerPhase, PhaseClock};
use crate::dispatch::{Functions, Task};
use crate::net::{FRAME, Frame, Inlet, NOTICE, Next, Notice};
use crate::station::{Station, Tx};

/// The access point.
pub(crate) struct AccessPoint {
    stations: RwLock<HashMap<u32, Arc<Station>>>,
    /// The phase that counters are kept by.
    pub(crate) clock: PhaseClock,
    /// Naps begun.
    pub(crate) sleeps: PerPhase<AtomicU64>,
    /// Wake-ups handled.
    pub(crate) wakes: PerPhase<AtomicU64>,
    /// Stale frames dropped when their station went to sleep.
    pub(crate) expired: AtomicU64,
}

impl AccessPoint {
    pub(crate) fn new() -> Self {
        Self {
            stations: RwLock::default(),
            clock: PhaseClock::new(),
            sleeps: PerPhase::default(),
            wakes: PerPhase::default(),
            expired: AtomicU64::new(0),
        }
    }

    /// Takes frames from a client and brings them to their stations, or into their queues.
    pub(crate) fn tx_worker(&self, mut frames: Inlet<FRAME>, mut task: Task<'_>) -> Result<()> {
        loop {
            task.quiescent();
            match frames.next()? {
                Next::Record(bytes) => self.transmit(task.functions(), &Frame::parse(bytes)?)?,
                Next::Idle => {}
                Next::Finished => return Ok(()),
            }
        }
    }

    /// Takes the notices of stations: naps begin, wake-ups deliver what was buffered.
    pub(crate) fn rx_worker(&self, mut notices: Inlet<NOTICE>, mut task: Task<'_>) -> Result<()> {
        loop {
            task.quiescent();
            match notices.next()? {
                Next::Record(bytes) => self.receive(task.functions(), Notice::parse(bytes)?)?,
                Next::Idle => {}
                Next::Finished => return Ok(()),
            }
        }
    }

    fn transmit(&self, functions: &Functions, frame: &Frame) -> Result<()> {
        let sta = self.find(frame.station())?;
        if (functions.tx_ps_buf)(&sta, frame)? == Tx::Continue {
            sta.link.send(frame)?;
        }
        // Release: with the Acquire of who waits for the last frame of a station that leaves.
        sta.handled.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn receive(&self, functions: &Functions, notice: Notice) -> Result<()> {
        match notice {
            Notice::Sleep(id) => {
                let expired = self.find(id)?.ps_start();
                self.expired.fetch_add(expired as u64, Ordering::Relaxed);
                self.sleeps[self.clock.get()].fetch_add(1, Ordering::Relaxed);
            }
            Notice::Wake(id) => {
                (functions.ps_deliver_wakeup)(&*self.find(id)?)?;
                self.wakes[self.clock.get()].fetch_add(1, Ordering::Relaxed);
            }
            // Release: with the Acquire of who waits for the station to have left.
            Notice::Leave(id) => self.find(id)?.left.store(true, Ordering::Release),
        }
        Ok(())
    }

    /// The station of this address. Workers use it for one record, then let it go.
    pub(crate) fn find(&self, id: u32) -> Result<Arc<Station>> {
        self.stations
            .read()
            .get(&id)
            .cloned()
            .with_context(|| format!("no station {id}"))
    }

    /// Makes a station known to the workers.
    pub(crate) fn publish(&self, sta: Arc<Station>) {
        self.stations.write().insert(sta.id, sta);
    }

    /// Makes a station unknown. Workers may still be using it.
    pub(crate) fn unpublish(&self, id: u32) -> Option<Arc<Station>> {
        self.stations.write().remove(&id)
    }

    /// Makes all stations unknown.
    pub(crate) fn unpublish_all(&self) -> Vec<Arc<Station>> {
        self.stations.write().drain().map(|(_, sta)| sta).collect()
    }
}
