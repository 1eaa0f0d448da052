//! The pauses of a thread that does nothing: other work on its core, a host that takes the core away, the first access to memory.
//! The worst case of no operation is below these.

use std::alloc::{Layout, alloc, dealloc};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::limits::figure::Figure;
use crate::limits::loads::advise;

/// The bytes of a huge page.
const HUGE: usize = 2 << 20;
/// The bytes of an ordinary page.
const PAGE: usize = 4096;
/// The number of huge pages of memory, each of which is touched in turn.
const PIECES: usize = 32;
/// Growth to 8 M entries takes about four seconds, and p99.99 of its inserts is the 839th longest: 210 per second.
const RANK: usize = 210;

/// Runs one repetition of all measurements.
pub(crate) fn measure(rep: usize) -> Vec<Figure> {
    let figure = |name, ns| Figure {
        name,
        entries: 0,
        rep,
        ns,
    };
    let gaps = gaps(Duration::from_secs(1));
    let touched = |huge| first_touch(huge).into_iter().fold(0.0, f64::max);
    vec![
        figure("a second of reading the clock: longest pause", gaps[0]),
        figure("a second of reading the clock: 210th longest", gaps[RANK - 1]),
        figure("first touch of 2 MiB, worst of 32", touched(false)),
        figure("the same, huge pages asked for", touched(true)),
    ]
}

/// Returns the [`RANK`] longest times between two readings of the clock, in nanoseconds, longest first.
fn gaps(time: Duration) -> Vec<f64> {
    // Filled with zeros, so that there are always as many; the shortest comes first.
    let mut longest = BinaryHeap::from(vec![Reverse(Duration::ZERO); RANK]);
    let start = Instant::now();
    let mut last = start;
    while last - start < time {
        let now = Instant::now();
        let gap = Reverse(now - last);
        // The least of the longest is on top of the heap.
        if longest.peek().is_some_and(|least| gap < *least) {
            longest.push(gap);
            longest.pop();
        }
        last = now;
    }
    let longest = longest.into_sorted_vec().into_iter();
    longest.map(|Reverse(gap)| gap.as_nanos() as f64).collect()
}

/// Returns the time that it takes to write to every page of fresh memory, in nanoseconds, for each piece.
fn first_touch(huge: bool) -> Vec<f64> {
    let layout = Layout::from_size_align(HUGE * PIECES, HUGE).expect("a legal layout");
    // SAFETY: the size is not 0.
    let memory = unsafe { alloc(layout) };
    assert!(!memory.is_null(), "memory for {PIECES} huge pages");
    advise(memory, layout.size(), huge);
    let times = (0..PIECES)
        .map(|piece| {
            let start = Instant::now();
            for page in (0..HUGE).step_by(PAGE) {
                // SAFETY: the byte is within the allocation. Volatile, so that the write is not optimised away.
                unsafe { memory.add(piece * HUGE + page).write_volatile(1) };
            }
            start.elapsed().as_nanos() as f64
        })
        .collect();
    // SAFETY: `memory` was allocated above with this layout, and is not used afterwards.
    unsafe { dealloc(memory, layout) };
    times
}
