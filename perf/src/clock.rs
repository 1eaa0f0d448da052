//! The time of one operation, in nanoseconds.
//!
//! On x86-64 it is read from the time stamp counter between fences, which costs a third of the operating system's clock;
//! elsewhere from that clock. The time of an empty measurement is subtracted.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The clock of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    nanos_per_tick: f64,
    /// The ticks that an empty measurement takes.
    empty: u64,
}

impl Clock {
    pub(crate) fn get() -> Self {
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        *CLOCK.get_or_init(Self::calibrate)
    }

    /// Returns the nanoseconds between two readings, without the time that the clock itself takes.
    #[inline]
    pub(crate) fn nanos(self, start: Start, end: u64) -> u64 {
        (end.saturating_sub(start.0).saturating_sub(self.empty) as f64 * self.nanos_per_tick) as u64
    }

    /// Returns what is subtracted from each measurement, in nanoseconds.
    pub(crate) fn overhead_ns(self) -> f64 {
        self.empty as f64 * self.nanos_per_tick
    }

    fn calibrate() -> Self {
        let (instant, start) = (Instant::now(), start());
        while instant.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let nanos_per_tick = instant.elapsed().as_nanos() as f64 / end().saturating_sub(start.0) as f64;
        let empty = (0..10_000)
            .map(|_| {
                let start = self::start();
                end().saturating_sub(start.0)
            })
            .min();
        Self {
            nanos_per_tick,
            empty: empty.unwrap_or(0),
        }
    }
}

/// A reading before an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start(u64);

/// Reads the clock before any later instruction begins.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn start() -> Start {
    use std::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: both instructions exist on every x86-64 processor.
    unsafe {
        _mm_lfence();
        let now = _rdtsc();
        _mm_lfence();
        Start(now)
    }
}

/// Reads the clock after all earlier instructions have ended.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn end() -> u64 {
    use std::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: both instructions exist on every x86-64 processor.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}

/// Returns the nanoseconds since the first reading.
#[cfg(not(target_arch = "x86_64"))]
fn since_first() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Reads the clock.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(crate) fn start() -> Start {
    Start(since_first())
}

/// Reads the clock.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(crate) fn end() -> u64 {
    since_first()
}
