//! What a thread waits for that does nothing: other work on its core, a host that takes the core away, memory that is
//! touched for the first time. No operation's worst case is below these.

use std::alloc::{Layout, alloc, dealloc};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::limits::Figure;
use crate::limits::loads::advise;

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;
/// Bytes of an ordinary one.
const PAGE: usize = 4096;
/// Pieces of memory of that size, each touched in turn.
const PIECES: usize = 32;
/// Growing to 8 M takes about four seconds, and p99.99 of its inserts is the 839th longest: so many in a second.
const RANK: usize = 210;

/// One repetition of everything here.
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

/// Reads the clock until it is told to stop: the longest time between two looks, in nanoseconds. A thread that comes late has
/// paused since then.
pub(crate) fn longest_until(since: Instant, stop: &AtomicBool) -> f64 {
    let (mut last, mut longest) = (since, Duration::ZERO);
    loop {
        let now = Instant::now();
        longest = longest.max(now - last);
        last = now;
        // Relaxed: nothing else is passed on.
        if stop.load(Ordering::Relaxed) {
            return longest.as_nanos() as f64;
        }
    }
}

/// The times between two looks at the clock, in nanoseconds, the longest [`RANK`] of them, longest first.
fn gaps(time: Duration) -> Vec<f64> {
    // No pause: so that there are as many, and the shortest of them comes first.
    let mut longest = BinaryHeap::from(vec![Reverse(Duration::ZERO); RANK]);
    let start = Instant::now();
    let mut last = start;
    while last - start < time {
        let now = Instant::now();
        let gap = Reverse(now - last);
        // The least of the longest has the highest rank of all.
        if longest.peek().is_some_and(|least| gap < *least) {
            longest.push(gap);
            longest.pop();
        }
        last = now;
    }
    let longest = longest.into_sorted_vec().into_iter();
    longest.map(|Reverse(gap)| gap.as_nanos() as f64).collect()
}

/// How long it takes to write to every page of each of some pieces of fresh memory, in nanoseconds.
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
                // SAFETY: within the allocation. Volatile: the write is all there is to it.
                unsafe { memory.add(piece * HUGE + page).write_volatile(1) };
            }
            start.elapsed().as_nanos() as f64
        })
        .collect();
    // SAFETY: allocated above with this layout.
    unsafe { dealloc(memory, layout) };
    times
}
