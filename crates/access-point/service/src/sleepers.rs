//! The stations' power saving: decides which stations sleep, and notifies the access point over a socket.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use parking_lot::Mutex;

use crate::net::{Notice, Outlet};

/// How long a nap lasts, in microseconds.
const NAP: Range<u64> = 500..3_000;
/// How long a station stays awake, in microseconds.
const AWAKE: Range<u64> = 500..4_000;
/// The interval between checks for stations whose nap begins or ends.
const TICK: Duration = Duration::from_micros(200);

/// The naps of some stations.
///
/// The notices of a station are sent over one connection and handled in order; no two wake-ups of one station run at a time.
pub(crate) struct Sleeper {
    shared: Mutex<Shared>,
}

struct Shared {
    uplink: Outlet,
    naps: Vec<Nap>,
}

struct Nap {
    station: u32,
    asleep: bool,
    until: Instant,
}

impl Sleeper {
    /// Returns a sleeper that sends its notices here.
    pub(crate) fn new(uplink: Outlet) -> Self {
        Self {
            shared: Mutex::new(Shared {
                uplink,
                naps: Vec::new(),
            }),
        }
    }

    /// Starts the naps of a station.
    pub(crate) fn add(&self, station: u32) {
        let until = Instant::now();
        self.shared.lock().naps.push(Nap {
            station,
            asleep: false,
            until,
        });
    }

    /// Makes a station wake up, if it sleeps, and leave.
    pub(crate) fn remove(&self, station: u32) -> Result<()> {
        let mut shared = self.shared.lock();
        if let Some(at) = shared.naps.iter().position(|nap| nap.station == station) {
            let nap = shared.naps.swap_remove(at);
            shared.leave(&nap)?;
        }
        Ok(())
    }

    /// Sends stations to sleep and wakes them up until `enough` is set; then makes all of them leave.
    pub(crate) fn run(&self, enough: &AtomicBool, seed: u64) -> Result<()> {
        let mut rng = fastrand::Rng::with_seed(seed);
        while !enough.load(Ordering::Relaxed) {
            self.shared.lock().turn(&mut rng)?;
            thread::sleep(TICK);
        }
        let mut shared = self.shared.lock();
        for nap in std::mem::take(&mut shared.naps) {
            shared.leave(&nap)?;
        }
        Ok(shared.uplink.finish()?)
    }
}

impl Shared {
    /// Sends a notice for each station whose nap begins or ends now.
    fn turn(&mut self, rng: &mut fastrand::Rng) -> Result<()> {
        let now = Instant::now();
        for nap in self.naps.iter_mut().filter(|nap| nap.until <= now) {
            nap.asleep = !nap.asleep;
            let (notice, span) = if nap.asleep {
                (Notice::Sleep(nap.station), NAP)
            } else {
                (Notice::Wake(nap.station), AWAKE)
            };
            nap.until = now + Duration::from_micros(rng.u64(span));
            self.uplink.send(&notice.to_bytes(), 1)?;
        }
        Ok(())
    }

    fn leave(&mut self, nap: &Nap) -> Result<()> {
        if nap.asleep {
            self.uplink.send(&Notice::Wake(nap.station).to_bytes(), 1)?;
        }
        Ok(self.uplink.send(&Notice::Leave(nap.station).to_bytes(), 1)?)
    }
}
