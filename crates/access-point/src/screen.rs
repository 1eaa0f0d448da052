//! What the user sees while the service runs: a table of the phases that is updated in place on a terminal, and plain lines
//! elsewhere.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The interval between two plain lines.
const PLAIN: Duration = Duration::from_secs(1);

/// The counters of one phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    /// Its number, from 0.
    pub(crate) index: usize,
    /// Its name.
    pub(crate) name: String,
    /// Whether all frames in it are handled by a patch.
    pub(crate) patched: bool,
    /// Frames handled, lost, and overtaken.
    pub(crate) counts: [u64; 3],
}

impl Phase {
    /// Parses a line of the service; returns `None` for any other line.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.strip_prefix("live\t")?.split('\t');
        let index = fields.next()?.parse().ok()?;
        let name = fields.next()?.to_owned();
        let patched = fields.next()? == "1";
        let mut count = || fields.next()?.parse().ok();
        let counts = [count()?, count()?, count()?];
        Some(Self {
            index,
            name,
            patched,
            counts,
        })
    }

    /// Returns the phase as a line of the table: red if frames were lost or overtaken, green if a patch keeps that from
    /// happening.
    fn row(&self) -> String {
        let [handled, lost, overtaken] = self.counts;
        let color = |count: u64, width: usize| {
            let text = style(format!("{count:>width$}"));
            match (count, self.patched) {
                (0, false) => text,
                (0, true) => text.green(),
                (_, _) => text.red(),
            }
        };
        let name = &self.name;
        format!("{name:<22}{handled:>10}{}{}", color(lost, 10), color(overtaken, 12))
    }

    /// Returns the phase as a line of text.
    fn text(&self) -> String {
        let [handled, lost, overtaken] = self.counts;
        format!("  {}: {handled} frames, {lost} lost, {overtaken} overtaken", self.name)
    }
}

/// Standard output.
pub(crate) struct Screen {
    shown: Option<Shown>,
    state: Mutex<State>,
}

/// How live counters are shown.
enum Shown {
    /// As a table that is updated in place.
    Table(MultiProgress),
    /// As lines.
    Lines,
}

struct State {
    /// The header of the table, and the rows.
    bars: Vec<ProgressBar>,
    /// The newest phase, and when it began or was last printed.
    latest: Option<(Phase, Instant)>,
    /// The last line of counters that was printed.
    counters: String,
    /// Whether writing has failed, because the output has no reader any more.
    closed: bool,
}

impl Screen {
    /// Returns the screen, which shows nothing but [results](Self::result) if `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        let shown = match quiet {
            true => None,
            false if io::stdout().is_terminal() && !is_dumb => {
                let table = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
                Some(Shown::Table(table))
            }
            false => Some(Shown::Lines),
        };
        let state = Mutex::new(State {
            bars: Vec::new(),
            latest: None,
            counters: String::new(),
            closed: false,
        });
        Self { shown, state }
    }

    /// Returns whether the output has no reader any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Prints some lines, above the table.
    pub(crate) fn say(&self, text: &str) {
        let mut state = self.state();
        match &self.shown {
            None => {}
            // A line break at the end is an empty line, as it is for the lines below.
            Some(Shown::Table(table)) => state.closed |= table.println(format!("{text}\n")).is_err(),
            Some(Shown::Lines) => state.print(text),
        }
    }

    /// Shows the counters of a phase.
    pub(crate) fn show(&self, phase: Phase) {
        let mut state = self.state();
        match &self.shown {
            None => {}
            Some(Shown::Table(table)) => state.draw(table, &phase),
            Some(Shown::Lines) => state.note(phase),
        }
    }

    /// Ends the live counters.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        match &self.shown {
            None => {}
            Some(Shown::Table(table)) => {
                state.bars.clear();
                state.closed |= table.clear().is_err();
            }
            Some(Shown::Lines) => {
                state.end_phase();
                state.print("");
            }
        }
    }

    /// Prints the final report, with its verdict in colour.
    pub(crate) fn result(&self, report: &str) {
        let mut state = self.state();
        for line in report.lines() {
            let line = match line.split_at_checked(4) {
                Some(("PASS", rest)) => format!("{}{rest}", style("PASS").green().bold()),
                Some(("FAIL", rest)) => format!("{}{rest}", style("FAIL").red().bold()),
                _ => line.to_owned(),
            };
            state.print(&line);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Prints a line, unless an earlier one has failed.
    fn print(&mut self, line: &str) {
        let mut out = io::stdout().lock();
        self.closed = self.closed || writeln!(out, "{line}").and_then(|()| out.flush()).is_err();
    }

    /// Updates a row of the table, which is added if it is new.
    fn draw(&mut self, table: &MultiProgress, phase: &Phase) {
        let add = |message: String| {
            let style = ProgressStyle::with_template("{msg}").expect("a valid template");
            table.add(ProgressBar::new_spinner().with_style(style).with_message(message))
        };
        if self.bars.is_empty() {
            let header = format!("{:<22}{:>10}{:>10}{:>12}", "phase", "handled", "lost", "overtaken");
            self.bars.push(add(style(header).bold().to_string()));
            // It is drawn from now on. The rows are when their messages are set.
            self.bars[0].tick();
        }
        while self.bars.len() <= phase.index + 1 {
            self.bars.push(add(String::new()));
        }
        self.bars[phase.index + 1].set_message(phase.row());
    }

    /// Prints the counters of a phase once a second, and when it ends.
    fn note(&mut self, phase: Phase) {
        match &mut self.latest {
            // A late frame of an earlier phase: the report will count it.
            Some((last, _)) if last.index > phase.index => {}
            Some((last, printed)) if last.index == phase.index => {
                *last = phase;
                if printed.elapsed() >= PLAIN {
                    *printed = Instant::now();
                    let text = last.text();
                    self.print_new(text);
                }
            }
            _ => {
                self.end_phase();
                self.latest = Some((phase, Instant::now()));
            }
        }
    }

    /// Prints the last counters of the current phase.
    fn end_phase(&mut self) {
        if let Some((phase, _)) = self.latest.take() {
            self.print_new(phase.text());
        }
    }

    /// Prints a line of counters, unless it is the same as the one before.
    fn print_new(&mut self, text: String) {
        if self.counters != text {
            self.print(&text);
            self.counters = text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_service_are_told_from_its_report() {
        let line = "live\t3\tpatching ps-race\t1\t812345\t17\t4";
        let phase = Phase::parse(line).expect("a line of the service");
        assert_eq!((phase.index, phase.patched, phase.counts), (3, true, [812_345, 17, 4]));
        assert_eq!(phase.name, "patching ps-race");
        for other in ["", "live", "live\t3\tx\t1\t2\t3", "PASS: live", "phase  seconds"] {
            assert_eq!(Phase::parse(other), None, "{other}");
        }
    }

    #[test]
    fn rows_fit_a_terminal_of_80_columns() {
        let phase = Phase {
            index: 0,
            name: "unpatching ps-race-2".to_owned(),
            patched: true,
            counts: [u64::from(u32::MAX); 3],
        };
        assert!(console::measure_text_width(&phase.row()) <= 80);
        assert!(console::measure_text_width(&phase.text()) <= 80);
    }
}
