//! The access point: the table of its stations, and the workers that serve the sockets.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use access_point_interface::frame::{FRAME, Frame};
use access_point_interface::power_save::{ps_deliver_wakeup, tx_ps_buf};
use access_point_interface::station::{Station, Tx};
use anyhow::{Context, Result};
use parking_lot::RwLock;

use crate::live::Live;
use crate::net::{Inlet, NOTICE, Next, Notice};
use crate::phase::{Clock, PerPhase};

/// The access point.
pub(crate) struct AccessPoint {
    stations: RwLock<HashMap<u32, Known>>,
    /// Tells the phase to which events are counted.
    pub(crate) clock: Arc<Clock>,
    /// Counts frames as they are handled, lost and overtaken.
    pub(crate) live: Live,
    /// Naps begun.
    pub(crate) sleeps: PerPhase<AtomicU64>,
    /// Wake-ups handled.
    pub(crate) wakes: PerPhase<AtomicU64>,
    /// Stale frames dropped when their station went to sleep.
    pub(crate) expired: AtomicU64,
}

/// A station, and how many frames for it were handled in each phase.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) sta: Arc<Station>,
    pub(crate) handled: Arc<PerPhase<AtomicU64>>,
}

impl AccessPoint {
    pub(crate) fn new(clock: Arc<Clock>) -> Self {
        Self {
            stations: RwLock::default(),
            clock,
            live: Live::default(),
            sleeps: PerPhase::default(),
            wakes: PerPhase::default(),
            expired: AtomicU64::new(0),
        }
    }

    /// Receives frames from a client, and sends them to their stations or queues them.
    pub(crate) fn tx_worker(&self, mut frames: Inlet<FRAME>) -> Result<()> {
        loop {
            match frames.next()? {
                Next::Record(bytes) => self.transmit(&Frame::parse(bytes)?)?,
                Next::Idle => {}
                Next::Finished => return Ok(()),
            }
        }
    }

    /// Receives the notices of stations: begins naps, and delivers buffered frames at wake-ups.
    pub(crate) fn rx_worker(&self, mut notices: Inlet<NOTICE>) -> Result<()> {
        loop {
            match notices.next()? {
                Next::Record(bytes) => self.receive(Notice::parse(bytes)?)?,
                Next::Idle => {}
                Next::Finished => return Ok(()),
            }
        }
    }

    /// One unit of work: sends or queues a frame.
    fn transmit(&self, frame: &Frame) -> Result<()> {
        let _unit = livepatch::unit();
        let Known { sta, handled } = self.find(frame.station())?;
        if tx_ps_buf(&sta, frame)? == Tx::Continue {
            sta.link.send(frame)?;
        }
        let phase = self.clock.get();
        handled[phase].fetch_add(1, Ordering::Relaxed);
        self.live.handled(phase);
        // Release: pairs with the Acquire of `leave_station`, which waits for the last frame of a station.
        sta.handled.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// One unit of work: a station goes to sleep, wakes up, or leaves.
    fn receive(&self, notice: Notice) -> Result<()> {
        let _unit = livepatch::unit();
        match notice {
            Notice::Sleep(id) => {
                let Known { sta, handled } = self.find(id)?;
                for frame in sta.ps_start() {
                    self.expired.fetch_add(1, Ordering::Relaxed);
                    self.live.lost(&handled, frame.seq());
                }
                self.sleeps[self.clock.get()].fetch_add(1, Ordering::Relaxed);
            }
            Notice::Wake(id) => {
                ps_deliver_wakeup(&self.find(id)?.sta)?;
                self.wakes[self.clock.get()].fetch_add(1, Ordering::Relaxed);
            }
            // Release: pairs with the Acquire of `leave_station`, which waits for the station to have left.
            Notice::Leave(id) => self.find(id)?.sta.left.store(true, Ordering::Release),
        }
        Ok(())
    }

    /// Returns the station of this address. Workers use it for one record, then drop it.
    pub(crate) fn find(&self, id: u32) -> Result<Known> {
        self.stations
            .read()
            .get(&id)
            .cloned()
            .with_context(|| format!("no station {id}"))
    }

    /// Makes a station known to the workers.
    pub(crate) fn publish(&self, sta: Arc<Station>, handled: Arc<PerPhase<AtomicU64>>) {
        self.stations.write().insert(sta.id, Known { sta, handled });
    }

    /// Removes a station from the table. Workers may still be using it.
    pub(crate) fn unpublish(&self, id: u32) -> Option<Known> {
        self.stations.write().remove(&id)
    }

    /// Removes all stations from the table.
    pub(crate) fn unpublish_all(&self) -> Vec<Known> {
        self.stations.write().drain().map(|(_, known)| known).collect()
    }
}
