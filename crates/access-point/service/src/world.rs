//! The world around the access point, and waiting for what happens in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::clients::Client;
use crate::radios::Radios;
use crate::sleepers::Sleeper;

/// How long anything may take that takes microseconds on an idle machine.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The world around the access point. Stations are distributed evenly over each group.
pub(crate) struct World {
    pub(crate) clients: Vec<Client>,
    pub(crate) sleepers: Vec<Sleeper>,
    pub(crate) radios: Vec<Radios>,
}

impl World {
    /// Returns the client that sends to this station.
    pub(crate) fn client(&self, station: u32) -> &Client {
        &self.clients[station as usize % self.clients.len()]
    }

    /// Returns the sleeper that controls its naps.
    pub(crate) fn sleeper(&self, station: u32) -> &Sleeper {
        &self.sleepers[station as usize % self.sleepers.len()]
    }

    /// Returns the radios that include its own.
    pub(crate) fn radios(&self, station: u32) -> &Radios {
        &self.radios[station as usize % self.radios.len()]
    }
}

/// Polls until something has happened; returns an error if it takes much too long.
pub(crate) fn wait_for(what: &str, trouble: &AtomicBool, mut happened: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    while !happened() {
        ensure!(!trouble.load(Ordering::Relaxed), "a thread has given up");
        ensure!(Instant::now() < deadline, "waited too long for {what}");
        thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}
