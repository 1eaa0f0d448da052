//! The counters of each phase while the run goes on: frames handled, lost and overtaken.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::phase::{Clock, PerPhase, Phase};

/// The interval between two reports.
const TICK: Duration = Duration::from_millis(100);

/// Counters that are incremented as soon as the fate of a frame is known.
///
/// The final table is computed from what has arrived, not from these.
#[derive(Default)]
pub(crate) struct Live {
    handled: PerPhase<AtomicU64>,
    lost: PerPhase<AtomicU64>,
    overtaken: PerPhase<AtomicU64>,
}

impl Live {
    /// Counts a frame that was sent or queued.
    pub(crate) fn handled(&self, phase: Phase) {
        self.handled[phase].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a frame that was dropped from a station's queue. `log` tells how many of the station's frames were handled
    /// in each phase.
    pub(crate) fn lost(&self, log: &PerPhase<AtomicU64>, seq: u64) {
        self.lost[phase_of(log, seq)].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a frame that arrived after a later one.
    pub(crate) fn overtaken(&self, log: &PerPhase<AtomicU64>, seq: u64) {
        self.overtaken[phase_of(log, seq)].fetch_add(1, Ordering::Relaxed);
    }

    /// Writes a line for each phase whose counters have changed, ten times a second, until `ended` is set.
    ///
    /// The fields of a line are separated by tabs: `live`, the number of the phase, its name, whether it is patched (0 or
    /// 1), the frames handled, lost, and overtaken.
    pub(crate) fn report(&self, clock: &Clock, ended: &AtomicBool, out: &mut impl Write) -> io::Result<()> {
        let mut shown = Vec::new();
        loop {
            // Read first, so that the last report has the last changes.
            let last = ended.load(Ordering::Relaxed);
            for (phase, info) in clock.phases().into_iter().enumerate() {
                let counts = [&self.handled, &self.lost, &self.overtaken].map(|of| of[phase].load(Ordering::Relaxed));
                if shown.get(phase) != Some(&counts) {
                    let ([handled, lost, overtaken], patched) = (counts, u8::from(info.patched));
                    let name = info.name;
                    writeln!(out, "live\t{phase}\t{name}\t{patched}\t{handled}\t{lost}\t{overtaken}")?;
                    shown.truncate(phase);
                    shown.push(counts);
                }
            }
            out.flush()?;
            if last {
                return Ok(());
            }
            thread::sleep(TICK);
        }
    }
}

/// Returns the phase in which the access point handled a frame.
///
/// A frame whose unit of work has not ended is not counted yet. It is assigned to the phase of the frame before it.
fn phase_of(log: &PerPhase<AtomicU64>, seq: u64) -> Phase {
    let mut end = 0;
    let mut newest = 0;
    for (phase, handled) in log.iter().enumerate() {
        let handled = handled.load(Ordering::Relaxed);
        end += handled;
        if seq < end {
            return phase;
        }
        if handled > 0 {
            newest = phase;
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(counts: [u64; 3]) -> PerPhase<AtomicU64> {
        let log = PerPhase::<AtomicU64>::default();
        for (phase, count) in counts.into_iter().enumerate() {
            log[phase].store(count, Ordering::Relaxed);
        }
        log
    }

    #[test]
    fn a_frame_belongs_to_the_phase_that_handled_it() {
        let log = log([2, 0, 3]);
        assert_eq!([0, 1, 2, 4].map(|seq| phase_of(&log, seq)), [0, 0, 2, 2]);
        // Not counted yet.
        assert_eq!(phase_of(&log, 5), 2);
    }

    #[test]
    fn the_last_report_is_complete_and_lines_come_only_for_changes() {
        let (live, clock, ended) = (Live::default(), Clock::new(), AtomicBool::new(true));
        live.handled(0);
        live.lost(&log([1, 0, 0]), 0);
        let mut out = Vec::new();
        live.report(&clock, &ended, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "live\t0\tunpatched\t0\t1\t1\t0\n");
    }
}
