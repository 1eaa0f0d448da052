//! Loads from memory: single ones, and in pairs like those of a look-up.
//!
//! The table has twice as many slots as entries, eight bytes each; half of the slots lead to nodes of one cache line. The order
//! of accesses is random and is read from a stream, as in the workloads.

use std::hint::black_box;
use std::time::Duration;

use crate::limits::figure::{Figure, timed};
use crate::rng::Rng;

pub(crate) const LOAD: &str = "one load";
pub(crate) const PAIR: &str = "slot, then node";
pub(crate) const CHAIN: &str = "slot, then node, each after the last";
pub(crate) const BATCH_32: &str = "slot, then node, prefetched in batches of 32";
pub(crate) const BATCH_64: &str = "slot, then node, prefetched in batches of 64";
/// The name of the limit that [`prefetched`] measures.
pub(crate) const LEAST: &str = "least of the prefetched batches";
const LOAD_HUGE: &str = "one load, huge pages asked for";
const PAIR_HUGE: &str = "slot, then node, huge pages asked for";
const BATCH_HUGE: &str = "slot, then node, batches of 64, huge pages";

/// Measures everything for one size.
pub(crate) fn measure(entries: usize, reps: usize, time: Duration, mut done: impl FnMut()) -> Vec<Figure> {
    let small = Data::new(entries, false);
    let huge = Data::new(entries, true);
    let mut figures = Vec::new();
    for rep in 0..reps {
        let mut put = |name, ns| {
            figures.push(Figure { name, entries, rep, ns });
        };
        put(LOAD, timed(time, || small.load()));
        put(PAIR, timed(time, || small.pair::<false>()));
        put(CHAIN, timed(time, || small.pair::<true>()));
        put(BATCH_32, timed(time, || small.prefetched::<32>()));
        put(BATCH_64, timed(time, || small.prefetched::<64>()));
        put(LOAD_HUGE, timed(time, || huge.load()));
        put(PAIR_HUGE, timed(time, || huge.pair::<false>()));
        put(BATCH_HUGE, timed(time, || huge.prefetched::<64>()));
        done();
    }
    figures
}

/// Returns the least time of a prefetched look-up, in nanoseconds, with either page size: the limit for batches.
pub(crate) fn prefetched(entries: usize, reps: usize, time: Duration) -> Option<f64> {
    let once = |data: &Data| timed(time, || data.prefetched::<32>()).min(timed(time, || data.prefetched::<64>()));
    let of = |huge| {
        let data = Data::new(entries, huge);
        (0..reps).map(|_| once(&data)).reduce(f64::min)
    };
    Some(of(false)?.min(of(true)?))
}

/// A node. It contains 0, which the compiler does not know.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Node(u64);

struct Data {
    slots: Region<u32>,
    nodes: Region<Node>,
    /// The slots that lead to nodes, in the order of access.
    order: Vec<u32>,
}

const STREAM: usize = 1 << 22;
/// The accesses between two checks of the time.
const ROUND: usize = 1 << 12;

impl Data {
    fn new(entries: usize, huge: bool) -> Self {
        let mut rng = Rng::new(entries as u64);
        let mut nodes: Vec<u32> = (0..entries as u32).collect();
        rng.shuffle(&mut nodes);
        let mut slots = Region::new(entries * 2 * SLOT_WORDS, 0, huge);
        let mut order = Vec::with_capacity(entries);
        for (place, node) in nodes.into_iter().enumerate() {
            // One of two neighbouring slots, at random.
            let slot = (place * 2 + rng.below(2)) * SLOT_WORDS;
            slots.0[slot] = node;
            order.push(slot as u32);
        }
        rng.shuffle(&mut order);
        order.truncate(STREAM);
        while order.len() < ROUND {
            order.extend_from_within(..order.len().min(ROUND - order.len()));
        }
        Self {
            slots,
            nodes: Region::new(entries, Node(0), huge),
            order,
        }
    }

    /// Calls `work` with the whole stream, in pieces, and returns the number of accesses.
    #[inline]
    fn pieces(&self, mut work: impl FnMut(&[u32])) -> u64 {
        let pieces = self.order.chunks_exact(ROUND);
        let count = pieces.len() * ROUND;
        pieces.for_each(&mut work);
        count as u64
    }

    fn load(&self) -> u64 {
        let mut sum = 0;
        let count = self.pieces(|piece| {
            for &slot in piece {
                sum += self.nodes.0[slot as usize / (2 * SLOT_WORDS)].0;
            }
        });
        black_box(sum);
        count
    }

    /// Loads slots and their nodes. With `CHAINED`, the next slot depends on the loaded node.
    fn pair<const CHAINED: bool>(&self) -> u64 {
        let mut sum = 0;
        let count = self.pieces(|piece| {
            for &slot in piece {
                let slot = slot as usize + if CHAINED { sum as usize } else { 0 };
                sum += self.nodes.0[self.slots.0[slot] as usize].0;
            }
        });
        black_box(sum);
        count
    }

    fn prefetched<const BATCH: usize>(&self) -> u64 {
        let mut sum = 0;
        let count = self.pieces(|piece| {
            for batch in piece.chunks_exact(BATCH) {
                for &slot in batch {
                    prefetch(&self.slots.0[slot as usize]);
                }
                for &slot in batch {
                    prefetch(&self.nodes.0[self.slots.0[slot as usize] as usize]);
                }
                for &slot in batch {
                    sum += self.nodes.0[self.slots.0[slot as usize] as usize].0;
                }
            }
        });
        black_box(sum);
        count
    }
}

/// The size of a slot in words: eight bytes, of which four are used here.
const SLOT_WORDS: usize = 2;

#[inline]
fn prefetch<T>(at: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is harmless, and this address is valid.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// A large array, in small or huge pages, if the system follows the advice.
struct Region<T>(Vec<T>);

impl<T: Copy> Region<T> {
    fn new(length: usize, value: T, huge: bool) -> Self {
        let mut items: Vec<T> = Vec::with_capacity(length);
        advise(items.as_mut_ptr().cast(), length * size_of::<T>(), huge);
        items.resize(length, value);
        Self(items)
    }
}

/// Advises the system which pages to use; must be called before the first access.
pub(crate) fn advise(start: *mut u8, bytes: usize, huge: bool) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let skipped = start.addr().next_multiple_of(PAGE) - start.addr();
        if bytes < skipped + PAGE {
            return;
        }
        let bytes = (bytes - skipped) & !(PAGE - 1);
        let advice = if huge {
            libc::MADV_HUGEPAGE
        } else {
            libc::MADV_NOHUGEPAGE
        };
        // SAFETY: the range is of whole pages within one allocation, and the advice does not change contents. If it is refused,
        // nothing changes.
        unsafe { libc::madvise(start.add(skipped).cast(), bytes, advice) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes, huge);
}
