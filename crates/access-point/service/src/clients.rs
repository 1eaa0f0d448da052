//! The senders: each sends frames for its stations to the access point, over one connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use access_point_interface::frame::{FRAME, Frame};
use anyhow::Result;
use parking_lot::Mutex;

use crate::net::Outlet;

/// Frames per write.
const BATCH: usize = 16;
/// The maximum number of consecutive frames for one station.
const BURST: usize = 4;
/// How long to wait when there is no station to send to.
const PAUSE: Duration = Duration::from_micros(200);

/// One sender.
///
/// All frames of a station come from one client and are handled in order by the worker at the other end of its
/// connection. So the order of sending is well defined, and only a wake-up on another thread can change it.
#[derive(Default)]
pub(crate) struct Client {
    flows: Mutex<Vec<Flow>>,
}

/// The frames for one station.
struct Flow {
    station: u32,
    /// The number of the next frame, which is how many were sent.
    next: u64,
}

impl Client {
    /// Starts sending to a station.
    pub(crate) fn add(&self, station: u32) {
        self.flows.lock().push(Flow { station, next: 0 });
    }

    /// Stops sending to a station, and returns how many frames were sent.
    pub(crate) fn remove(&self, station: u32) -> Option<u64> {
        let mut flows = self.flows.lock();
        let at = flows.iter().position(|flow| flow.station == station)?;
        Some(flows.swap_remove(at).next)
    }

    /// Sends until `enough` is set, and returns when all sent frames have been handled.
    pub(crate) fn run(&self, mut outlet: Outlet, enough: &AtomicBool, seed: u64) -> Result<()> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut batch = Vec::with_capacity(BATCH * FRAME);
        while !enough.load(Ordering::Relaxed) {
            batch.clear();
            self.compose(&mut batch, &mut rng);
            if batch.is_empty() {
                thread::sleep(PAUSE);
            } else {
                outlet.send(&batch, batch.len() / FRAME)?;
            }
        }
        Ok(outlet.finish()?)
    }

    /// Fills the batch with bursts of frames, for stations chosen by `rng`.
    fn compose(&self, batch: &mut Vec<u8>, rng: &mut fastrand::Rng) {
        let mut flows = self.flows.lock();
        if flows.is_empty() {
            return;
        }
        while batch.len() < BATCH * FRAME {
            let chosen = rng.usize(..flows.len());
            let flow = &mut flows[chosen];
            let room = BATCH - batch.len() / FRAME;
            for _ in 0..rng.usize(1..=BURST).min(room) {
                batch.extend_from_slice(Frame::new(flow.station, flow.next).as_bytes());
                flow.next += 1;
            }
        }
    }
}
