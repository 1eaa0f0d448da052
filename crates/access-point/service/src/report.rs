//! The final tables and the verdict.

use std::io::{self, Write};
use std::time::Instant;

use access_point_interface::counted::Ledger;
use shadow_vars::global;

use crate::count::Tally;
use crate::options::Options;
use crate::phase::{PerPhase, PhaseInfo};

/// The results of a run.
#[derive(Default)]
pub(crate) struct Report {
    /// The phases of the run, in order.
    pub(crate) phases: Vec<PhaseInfo>,
    /// Frames, by the phase in which the access point handled them.
    pub(crate) tallies: PerPhase<Tally>,
    /// Naps begun.
    pub(crate) sleeps: PerPhase<u64>,
    /// Wake-ups handled.
    pub(crate) wakes: PerPhase<u64>,
    /// Lost frames that were dropped from the queue of a station that went to sleep.
    pub(crate) expired: u64,
    /// Lost frames that were still queued when their station was freed.
    pub(crate) purged: u64,
    /// Frames that arrived twice, or that were not sent.
    pub(crate) strange: u64,
    /// The number of stations in all.
    pub(crate) stations: u32,
    /// Variables that were freed with their station.
    pub(crate) freed_by_parent: usize,
    /// Variables that were freed with the last patch that held their state.
    pub(crate) freed_by_state: usize,
}

impl Report {
    /// Returns what went wrong; nothing if the run has passed.
    pub(crate) fn faults(&self) -> Vec<String> {
        let patched = self.patched();
        let lost: u64 = self.tallies.iter().map(|tally| tally.lost).sum();
        let ledgers = Ledger::all();
        let made: usize = ledgers.iter().map(|ledger| ledger.made()).sum();
        let wrong: usize = ledgers.iter().map(|ledger| ledger.wrong()).sum();
        let store = global().stats();

        let mut faults = Vec::new();
        let mut check = |fine: bool, fault: String| {
            if !fine {
                faults.push(fault);
            }
        };
        check(patched.lost == 0, format!("{} frames lost while patched", patched.lost));
        check(
            patched.overtaken == 0,
            format!("{} frames overtaken while patched", patched.overtaken),
        );
        check(self.strange == 0, format!("{} frames too many", self.strange));
        check(
            lost == self.expired + self.purged,
            format!("{lost} frames lost, but {} dropped", self.expired + self.purged),
        );
        check(wrong == 0, format!("{wrong} variables not dropped exactly once"));
        check(
            (store.created, store.freed, store.live) == (made as u64, made as u64, 0),
            format!(
                "the store counts {} created, {} freed, {} live; made were {made}",
                store.created, store.freed, store.live
            ),
        );
        faults
    }

    /// Returns the frames that were handled while every unit of work ran a patch.
    pub(crate) fn patched(&self) -> Tally {
        let mut sum = Tally::default();
        for (info, tally) in self.phases.iter().zip(self.tallies.iter()) {
            if info.patched {
                sum += *tally;
            }
        }
        sum
    }

    /// Prints the tables and the verdict; if quiet, only the verdict.
    pub(crate) fn print(&self, options: &Options, out: &mut impl Write) -> io::Result<()> {
        if !options.quiet {
            self.print_phases(options, out)?;
            self.print_variables(out)?;
        }
        let faults = self.faults();
        if faults.is_empty() {
            let made: usize = Ledger::all().iter().map(|ledger| ledger.made()).sum();
            let handled = self.patched().handled;
            writeln!(
                out,
                "PASS: 0 of {handled} frames lost or overtaken while patched; {made} values dropped"
            )
        } else {
            writeln!(out, "FAIL: {}", faults.join("\n      "))
        }
    }

    fn print_phases(&self, options: &Options, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{} stations at a time ({} in all), {} threads, seed {}\n",
            options.stations, self.stations, options.threads, options.seed
        )?;
        writeln!(
            out,
            "{:<21}{:>8}{:>9}{:>10}{:>6}{:>10}{:>8}{:>8}",
            "phase", "seconds", "handled", "delivered", "lost", "overtaken", "sleeps", "wakes"
        )?;
        let ends = self
            .phases
            .iter()
            .skip(1)
            .map(|next| next.began)
            .chain([Instant::now()]);
        for (phase, (info, end)) in self.phases.iter().zip(ends).enumerate() {
            let Tally {
                handled,
                delivered,
                lost,
                overtaken,
            } = self.tallies[phase];
            let seconds = end.duration_since(info.began).as_secs_f64();
            let name = &info.name;
            writeln!(
                out,
                "{name:<21}{seconds:>8.4}{handled:>9}{delivered:>10}{lost:>6}{overtaken:>10}{:>8}{:>8}",
                self.sleeps[phase], self.wakes[phase],
            )?;
        }
        writeln!(
            out,
            "\nA frame counts for the phase in which the access point took it. A transition\n\
             lasts until the last unit of work has left the old code, which may still lose\n\
             frames. Of the lost frames, missed by a wake-up, {} expired in the queue and\n\
             {} were still there when their station left.\n",
            self.expired, self.purged
        )?;
        let unpatched = self
            .phases
            .iter()
            .zip(self.tallies.iter())
            .filter(|(info, _)| !info.patched);
        if unpatched.map(|(_, tally)| tally.lost + tally.overtaken).sum::<u64>() == 0 {
            writeln!(out, "The race did not show while unpatched; more seconds may help.\n")?;
        }
        Ok(())
    }

    fn print_variables(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{:<28}{:>8}{:>14}", "shadow variables", "made", "dropped once")?;
        for ledger in Ledger::all() {
            let (made, dropped) = (ledger.made(), ledger.dropped_once());
            writeln!(out, "{:<28}{made:>8}{dropped:>14}", ledger.name())?;
        }
        writeln!(
            out,
            "freed with their station: {}; with the last patch of their state: {}\n",
            self.freed_by_parent, self.freed_by_state
        )
    }
}
