//! The thread that makes and frees stations, and makes the switch.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use shadow_vars::global;

use crate::Options;
use crate::ap::AccessPoint;
use crate::count::{Account, Phase, SentLog};
use crate::dispatch::{Switch, Task};
use crate::fixed::{NEW_CODE, PS_LOCK};
use crate::net;
use crate::report::Report;
use crate::run::{World, wait_for};
use crate::station::{Link, Station};

/// How often the manager looks up.
const TICK: Duration = Duration::from_millis(10);
/// How often the progress bar gets a new rate.
const REFRESH: Duration = Duration::from_millis(250);
/// The mean time between two comings and goings, in milliseconds.
const CHURN_MS: u64 = 60;

/// What the manager works on, and what it notes for the report.
pub(crate) struct Manager<'a> {
    options: &'a Options,
    ap: &'a AccessPoint,
    switch: &'a Switch,
    task: Task<'a>,
    world: &'a World,
    trouble: &'a AtomicBool,
    rng: fastrand::Rng,
    /// The stations there are.
    present: Vec<u32>,
    next_id: u32,
    /// What was sent to the stations that have left.
    sent: HashMap<u32, SentLog>,
    report: Report,
}

impl<'a> Manager<'a> {
    pub(crate) fn new(
        options: &'a Options,
        ap: &'a AccessPoint,
        switch: &'a Switch,
        world: &'a World,
        trouble: &'a AtomicBool,
    ) -> Self {
        Self {
            options,
            ap,
            switch,
            task: switch.task(),
            world,
            trouble,
            rng: fastrand::Rng::with_seed(options.seed),
            present: Vec::new(),
            next_id: 0,
            sent: HashMap::new(),
            report: Report::default(),
        }
    }

    /// Old code, switch, fixed code.
    pub(crate) fn phases(&mut self) -> Result<()> {
        let each = Duration::from_secs(self.options.seconds);
        for _ in 0..self.options.stations {
            self.join_station()?;
        }
        let bar = self.progress_bar();

        let start = Instant::now();
        self.stay(Phase::Before, start + each, &bar)?;
        self.report.seconds[Phase::Before] = start.elapsed().as_secs_f64();

        let start = Instant::now();
        self.ap.clock.set(Phase::Transition);
        self.switch.patch(&mut self.task);
        wait_for("the transition", self.trouble, || self.switch.is_complete())?;
        self.ap.clock.set(Phase::After);
        self.report.seconds[Phase::Transition] = start.elapsed().as_secs_f64();

        let start = Instant::now();
        self.stay(Phase::After, start + each, &bar)?;
        self.report.seconds[Phase::After] = start.elapsed().as_secs_f64();
        bar.finish_and_clear();
        Ok(())
    }

    /// Lets stations come and go until the time is up.
    fn stay(&mut self, phase: Phase, until: Instant, bar: &ProgressBar) -> Result<()> {
        let mut churn = Instant::now();
        let mut tick = Instant::now();
        let mut delivered = self.world.delivered();
        while Instant::now() < until {
            ensure!(!self.trouble.load(Ordering::Relaxed), "a thread has given up");
            self.task.quiescent();
            if churn <= Instant::now() {
                self.join_station()?;
                let leaver = self.present.swap_remove(self.rng.usize(..self.present.len()));
                self.leave_station(leaver)?;
                churn = Instant::now() + Duration::from_millis(self.rng.u64(1..2 * CHURN_MS));
            }
            if tick.elapsed() >= REFRESH {
                let now = self.world.delivered();
                let rate = (now - delivered) as f64 / tick.elapsed().as_secs_f64();
                bar.set_message(format!("{}: {rate:.0} frames/s", phase.name()));
                (tick, delivered) = (Instant::now(), now);
            }
            bar.set_position(bar.elapsed().as_millis() as u64);
            thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// A new station associates: a socket, a structure, then frames and naps.
    fn join_station(&mut self) -> Result<()> {
        let id = self.next_id;
        self.next_id += 1;
        let (ours, theirs) = net::pair().context("connecting a station")?;
        let sta = (self.task.functions().sta_info_alloc)(id, Link::new(ours))?;
        self.world.radios(id).add(id, theirs)?;
        self.ap.publish(sta);
        self.present.push(id);
        self.world.sleeper(id).add(id);
        self.world.client(id).add(id);
        Ok(())
    }

    /// A station leaves, after the last frame for it has been handled and it has woken up.
    fn leave_station(&mut self, id: u32) -> Result<()> {
        let sent = self.stop_sending(id)?;
        self.world.sleeper(id).remove(id)?;
        let sta = self.ap.find(id)?;
        wait_for("a station to leave", self.trouble, || {
            // Acquire: with the Release of `transmit` and of `receive`.
            sta.handled.load(Ordering::Acquire) == sent && sta.left.load(Ordering::Acquire)
        })?;
        self.ap.unpublish(id);
        self.report.freed.by_parent += self.free_station(sta)?;
        Ok(())
    }

    /// Frees a station that is published no more, as soon as no worker uses it. What is still
    /// queued for it goes with it.
    fn free_station(&mut self, mut sta: Arc<Station>) -> Result<usize> {
        wait_for("the last user of a station", self.trouble, || {
            Arc::get_mut(&mut sta).is_some()
        })?;
        self.report.purged += sta.ps_tx_buf.len() as u64;
        Ok((self.task.functions().sta_info_free)(sta))
    }

    /// Takes the flow of a station from its client, and returns how many frames were sent.
    fn stop_sending(&mut self, id: u32) -> Result<u64> {
        let sent = self.world.client(id).remove(id).context("a station without a flow")?;
        let total = sent.total();
        self.sent.insert(id, sent);
        Ok(total)
    }

    /// After the workers have ended: half of the stations go one by one, by parent; then the
    /// variables of the rest go by id, and last those stations.
    pub(crate) fn free_everything(&mut self) -> Result<()> {
        self.report.attached = global().len_of(PS_LOCK);
        let all = self.ap.unpublish_all();
        for sta in &all {
            self.stop_sending(sta.id)?;
        }
        let (half, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|sta| sta.id % 2 == 0);
        for sta in half {
            self.report.freed.by_parent += self.free_station(sta)?;
        }
        self.report.freed.by_id = global().free_all(PS_LOCK) + global().free_all(NEW_CODE);
        for sta in rest {
            self.report.freed.by_parent += self.free_station(sta)?;
        }
        Ok(())
    }

    /// Puts what was sent beside what was received.
    pub(crate) fn settle(mut self, accounts: Vec<(u32, Account)>) -> Result<Report> {
        global().synchronize()?;
        let report = &mut self.report;
        report.stations = self.next_id;
        report.expired = self.ap.expired.load(Ordering::Relaxed);
        for phase in Phase::ALL {
            report.sleeps[phase] = self.ap.sleeps[phase].load(Ordering::Relaxed);
            report.wakes[phase] = self.ap.wakes[phase].load(Ordering::Relaxed);
        }
        ensure!(accounts.len() == self.sent.len(), "a station without an account");
        for (id, account) in accounts {
            let sent = self.sent.get(&id).with_context(|| format!("station {id} is unknown"))?;
            report.strange += account.strange(sent);
            let tallies = account.settle(sent);
            for phase in Phase::ALL {
                report.tallies[phase] += tallies[phase];
            }
        }
        Ok(self.report)
    }

    /// A bar on a terminal, else nothing.
    fn progress_bar(&self) -> ProgressBar {
        if self.options.quiet {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(self.options.seconds * 2000);
        let style = ProgressStyle::with_template("{bar:40} {percent:>3}%  {msg}");
        bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }
}
