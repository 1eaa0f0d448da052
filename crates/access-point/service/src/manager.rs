//! The thread that makes and frees stations.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use access_point_interface::power_save::{sta_info_alloc, sta_info_free};
use access_point_interface::station::Link;
use anyhow::{Context, Result, ensure};
use livepatch::registry;
use shadow_vars::global;

use crate::ap::{AccessPoint, Known};
use crate::count::{Account, HandledLog};
use crate::net;
use crate::options::Options;
use crate::report::Report;
use crate::world::{World, wait_for};

/// The interval of the manager's checks.
const TICK: Duration = Duration::from_millis(10);
/// The mean time between two changes of stations, in milliseconds.
const CHURN_MS: u64 = 60;
/// How long the patches that are left at the end may take to be disabled.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The manager of stations, which also collects the report.
pub(crate) struct Manager<'a> {
    options: &'a Options,
    ap: &'a AccessPoint,
    world: &'a World,
    trouble: &'a AtomicBool,
    rng: fastrand::Rng,
    /// The stations that are present.
    present: Vec<u32>,
    next_id: u32,
    /// The frames handled for the stations that have left.
    handled: HashMap<u32, HandledLog>,
    report: Report,
}

impl<'a> Manager<'a> {
    pub(crate) fn new(options: &'a Options, ap: &'a AccessPoint, world: &'a World, trouble: &'a AtomicBool) -> Self {
        Self {
            options,
            ap,
            world,
            trouble,
            rng: fastrand::Rng::with_seed(options.seed),
            present: Vec::new(),
            next_id: 0,
            handled: HashMap::new(),
            report: Report::default(),
        }
    }

    /// Makes stations come and go until `enough` is set.
    pub(crate) fn stay(&mut self, enough: &AtomicBool) -> Result<()> {
        for _ in 0..self.options.stations {
            self.join_station()?;
        }
        let mut churn = Instant::now();
        while !enough.load(Ordering::Relaxed) {
            ensure!(!self.trouble.load(Ordering::Relaxed), "a thread has given up");
            if churn <= Instant::now() {
                self.join_station()?;
                let leaver = self.present.swap_remove(self.rng.usize(..self.present.len()));
                self.leave_station(leaver)?;
                churn = Instant::now() + Duration::from_millis(self.rng.u64(1..2 * CHURN_MS));
            }
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// Associates a new station: a socket, a structure, then frames and naps.
    fn join_station(&mut self) -> Result<()> {
        let id = self.next_id;
        self.next_id += 1;
        let (ours, theirs) = net::pair().context("connecting a station")?;
        let sta = sta_info_alloc(id, Link::new(ours))?;
        let handled = Arc::default();
        self.world.radios(id).add(id, theirs, Arc::clone(&handled))?;
        self.ap.publish(sta, handled);
        self.present.push(id);
        self.world.sleeper(id).add(id);
        self.world.client(id).add(id);
        Ok(())
    }

    /// Makes a station leave, after the last frame for it has been handled and it has woken up.
    fn leave_station(&mut self, id: u32) -> Result<()> {
        let sent = self.stop_sending(id)?;
        self.world.sleeper(id).remove(id)?;
        let Known { sta, .. } = self.ap.find(id)?;
        wait_for("a station to leave", self.trouble, || {
            // Acquire: pairs with the Release of `transmit` and of `receive`.
            sta.handled.load(Ordering::Acquire) == sent && sta.left.load(Ordering::Acquire)
        })?;
        drop(sta);
        let known = self.ap.unpublish(id).context("a station that is there")?;
        self.free_station(known)
    }

    /// Frees a station that was removed from the table, as soon as no worker uses it. Frames that are still queued are
    /// dropped.
    fn free_station(&mut self, known: Known) -> Result<()> {
        let Known { mut sta, handled } = known;
        wait_for("the last user of a station", self.trouble, || {
            Arc::get_mut(&mut sta).is_some()
        })?;
        self.handled
            .insert(sta.id, handled.map(|frames| frames.load(Ordering::Relaxed)));
        for frame in sta.ps_tx_buf.take_all() {
            self.report.purged += 1;
            self.ap.live.lost(&handled, frame.seq());
        }
        self.report.freed_by_parent += sta_info_free(sta);
        Ok(())
    }

    /// Stops the client of a station, and returns how many frames were sent.
    fn stop_sending(&mut self, id: u32) -> Result<u64> {
        self.world.client(id).remove(id).context("a station without a flow")
    }

    /// After the workers have ended: frees half of the stations, then disables all patches that are left, which frees the
    /// variables of the other stations, and last frees those stations.
    pub(crate) fn free_everything(&mut self) -> Result<()> {
        let all = self.ap.unpublish_all();
        for known in &all {
            self.stop_sending(known.sta.id)?;
        }
        let (half, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|known| known.sta.id % 2 == 0);
        for known in half {
            self.free_station(known)?;
        }
        registry().wait(TIMEOUT)?;
        for patch in registry().status().patches {
            registry().disable(&patch.name)?;
            registry().wait(TIMEOUT)?;
        }
        for known in rest {
            self.free_station(known)?;
        }
        Ok(())
    }

    /// Compares the handled frames with the received ones.
    pub(crate) fn settle(mut self, accounts: Vec<(u32, Account)>) -> Result<Report> {
        global().synchronize()?;
        let report = &mut self.report;
        report.stations = self.next_id;
        report.phases = self.ap.clock.phases();
        report.expired = self.ap.expired.load(Ordering::Relaxed);
        report.sleeps = self.ap.sleeps.map(|naps| naps.load(Ordering::Relaxed));
        report.wakes = self.ap.wakes.map(|wakes| wakes.load(Ordering::Relaxed));
        ensure!(accounts.len() == self.handled.len(), "a station without an account");
        for (id, account) in accounts {
            let handled = self
                .handled
                .get(&id)
                .with_context(|| format!("station {id} is unknown"))?;
            report.strange += account.strange(handled);
            let tallies = account.settle(handled);
            for (phase, tally) in tallies.iter().enumerate() {
                report.tallies[phase] += *tally;
            }
        }
        Ok(self.report)
    }
}
