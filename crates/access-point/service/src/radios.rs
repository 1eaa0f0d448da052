//! The receiving side of the stations: sockets on which frames arrive and are counted.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use access_point_interface::frame::{FRAME, Frame};
use anyhow::{Context, Result, ensure};
use mio::{Events, Interest, Poll, Registry, Token};
use parking_lot::Mutex;

use crate::count::Account;
use crate::live::Live;
use crate::net::Records;
use crate::phase::PerPhase;

/// How long to wait for events before checking whether the run has ended.
const IDLE: Duration = Duration::from_millis(20);
/// How long the streams may take to end once the run has ended.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The radios of some stations, served by one thread.
pub(crate) struct Radios {
    registry: Registry,
    tuned: Mutex<HashMap<u32, Radio>>,
}

/// The radio of one station.
struct Radio {
    stream: mio::net::TcpStream,
    records: Records<FRAME>,
    account: Account,
    /// How many frames for the station were handled in each phase.
    handled: Arc<PerPhase<AtomicU64>>,
}

impl Radios {
    /// Returns an empty set of radios, and the poll of their thread.
    pub(crate) fn new() -> Result<(Self, Poll)> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let tuned = Mutex::default();
        Ok((Self { registry, tuned }, poll))
    }

    /// Starts receiving for a station.
    pub(crate) fn add(&self, station: u32, stream: TcpStream, handled: Arc<PerPhase<AtomicU64>>) -> Result<()> {
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        let mut tuned = self.tuned.lock();
        self.registry
            .register(&mut stream, Token(station as usize), Interest::READABLE)?;
        tuned.insert(
            station,
            Radio {
                stream,
                records: Records::new(),
                account: Account::default(),
                handled,
            },
        );
        Ok(())
    }

    /// Receives until the access point has `closed` all streams. Returns what each station has received.
    pub(crate) fn run(&self, mut poll: Poll, closed: &AtomicBool, live: &Live) -> Result<Vec<(u32, Account)>> {
        let mut events = Events::with_capacity(256);
        let mut accounts = Vec::new();
        let mut deadline = None;
        loop {
            match poll.poll(&mut events, Some(IDLE)) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            let mut tuned = self.tuned.lock();
            for event in &events {
                let station = event.token().0 as u32;
                let radio = tuned.get_mut(&station).context("an event for no station")?;
                if radio.receive(station, live)? {
                    let radio = tuned.remove(&station).context("a station that is there")?;
                    accounts.push((station, radio.account));
                }
            }
            if closed.load(Ordering::Relaxed) {
                if tuned.is_empty() {
                    return Ok(accounts);
                }
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + TIMEOUT);
                ensure!(Instant::now() < deadline, "{} streams were never closed", tuned.len());
            }
        }
    }
}

impl Radio {
    /// Reads all available data, and returns whether the stream has ended.
    fn receive(&mut self, station: u32, live: &Live) -> Result<bool> {
        loop {
            match self.records.fill(&mut self.stream) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e).context(format!("receiving for station {station}")),
            }
            while let Some(bytes) = self.records.next() {
                let frame = Frame::parse(bytes)?;
                ensure!(frame.station() == station, "station {station} got another's frame");
                if self.account.note(frame.seq()) {
                    live.overtaken(&self.handled, frame.seq());
                }
            }
        }
    }
}
