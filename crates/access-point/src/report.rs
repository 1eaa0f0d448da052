//! The table at the end, and the verdict.

use std::io::{self, Write};

use shadow_vars::global;

use crate::Options;
use crate::count::{PerPhase, Phase, Tally};
use crate::counted::{FLAGS, LOCKS_IN_FLIGHT, LOCKS_NEW, Ledger};

/// All that a run has to tell.
#[derive(Default)]
pub(crate) struct Report {
    /// Length of each phase.
    pub(crate) seconds: PerPhase<f64>,
    /// Frames, by the phase in which they were sent.
    pub(crate) tallies: PerPhase<Tally>,
    /// Naps begun.
    pub(crate) sleeps: PerPhase<u64>,
    /// Wake-ups handled.
    pub(crate) wakes: PerPhase<u64>,
    /// Lost frames that were dropped from the queue of a station that went to sleep.
    pub(crate) expired: u64,
    /// Lost frames that were still queued when their station was freed.
    pub(crate) purged: u64,
    /// Frames that came twice, or that nobody sent.
    pub(crate) strange: u64,
    /// Stations there have been.
    pub(crate) stations: u32,
    /// Stations that had a lock when the clients stopped.
    pub(crate) attached: usize,
    /// How the variables were freed.
    pub(crate) freed: Freed,
}

/// How many variables were freed, and how.
#[derive(Clone, Copy, Default)]
pub(crate) struct Freed {
    /// With their station, by `free_object`.
    pub(crate) by_parent: usize,
    /// By `free_all`, those of all stations at once.
    pub(crate) by_id: usize,
}

impl Report {
    /// What went wrong; nothing if the run has passed.
    pub(crate) fn faults(&self) -> Vec<String> {
        let after = self.tallies[Phase::After];
        let lost: u64 = Phase::ALL.iter().map(|&phase| self.tallies[phase].lost).sum();
        let ledgers = ledgers();
        let made: usize = ledgers.iter().map(|ledger| ledger.made()).sum();
        let wrong: usize = ledgers.iter().map(|ledger| ledger.wrong()).sum();
        let store = global().stats();

        let mut faults = Vec::new();
        let mut check = |fine: bool, fault: String| {
            if !fine {
                faults.push(fault);
            }
        };
        check(after.lost == 0, format!("{} frames lost after the switch", after.lost));
        check(
            after.overtaken == 0,
            format!("{} frames overtaken after the switch", after.overtaken),
        );
        check(self.strange == 0, format!("{} frames too many", self.strange));
        check(
            lost == self.expired + self.purged,
            format!("{lost} frames lost, but {} dropped", self.expired + self.purged),
        );
        check(wrong == 0, format!("{wrong} variables not dropped exactly once"));
        check(
            made == self.freed.by_parent + self.freed.by_id,
            format!("{made} variables made, {:?} freed", self.freed),
        );
        check(
            (store.created, store.freed, store.live) == (made as u64, made as u64, 0),
            format!(
                "the store counts {} created, {} freed, {} live; made were {made}",
                store.created, store.freed, store.live
            ),
        );
        faults
    }

    /// Prints the tables and the verdict; with `quiet` the verdict only.
    pub(crate) fn print(&self, options: &Options, out: &mut impl Write) -> io::Result<()> {
        if !options.quiet {
            self.print_phases(options, out)?;
            self.print_variables(options, out)?;
        }
        let faults = self.faults();
        if faults.is_empty() {
            let made: usize = ledgers().iter().map(|ledger| ledger.made()).sum();
            writeln!(
                out,
                "PASS: no frame lost or overtaken after the switch; {made} variables made, each \
                 dropped once"
            )
        } else {
            writeln!(out, "FAIL: {}", faults.join("; "))
        }
    }

    fn print_phases(&self, options: &Options, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "access point: {} stations at a time ({} in all), {} threads, {} s before the \
             switch\nand {} s after it, seed {}\n",
            options.stations, self.stations, options.threads, options.seconds, options.seconds, options.seed
        )?;
        writeln!(
            out,
            "{:<11}{:>8}{:>10}{:>11}{:>8}{:>11}{:>10}{:>9}{:>9}",
            "phase", "seconds", "sent", "delivered", "lost", "overtaken", "frames/s", "sleeps", "wakes"
        )?;
        for phase in Phase::ALL {
            let Tally {
                sent,
                delivered,
                lost,
                overtaken,
            } = self.tallies[phase];
            let seconds = self.seconds[phase];
            writeln!(
                out,
                "{:<11}{seconds:>8.4}{sent:>10}{delivered:>11}{lost:>8}{overtaken:>11}{:>10.0}\
                 {:>9}{:>9}",
                phase.name(),
                delivered as f64 / seconds,
                self.sleeps[phase],
                self.wakes[phase],
            )?;
        }
        writeln!(
            out,
            "\nA frame counts for the phase in which it was sent. The transition lasts from the \
             switch\nuntil the last thread has left the old code; what was sent until then may \
             still be lost.\nOf the lost frames, missed by a wake-up, {} expired in the queue and \
             {} were still there\nwhen their station left.\n",
            self.expired, self.purged
        )?;
        let before = self.tallies[Phase::Before];
        if before.lost + before.overtaken == 0 {
            writeln!(out, "The race did not show before the switch; more seconds may help.\n")?;
        }
        Ok(())
    }

    fn print_variables(&self, options: &Options, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{:<28}{:>8}{:>14}", "shadow variables", "made", "dropped once")?;
        for ledger in ledgers() {
            let (made, dropped) = (ledger.made(), ledger.dropped_once());
            writeln!(out, "{:<28}{made:>8}{dropped:>14}", ledger.name)?;
        }
        writeln!(
            out,
            "freed by parent, as stations left: {}; freed by id, at the end: {}\n\
             stations with a lock when the clients stopped: {} of {}\n",
            self.freed.by_parent, self.freed.by_id, self.attached, options.stations
        )
    }
}

impl std::fmt::Debug for Freed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by parent and {} by id", self.by_parent, self.by_id)
    }
}

fn ledgers() -> [&'static Ledger; 3] {
    [&LOCKS_IN_FLIGHT, &LOCKS_NEW, &FLAGS]
}
