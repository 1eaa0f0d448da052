//! The keys of a run, and the order in which its threads access them.
//!
//! Everything is made before anything is timed: the order of accesses is a stream that is read sequentially, eight bytes per key,
//! so that a timed loop contains no random number generator and no second cache miss. The same options give the same keys, except
//! for heap addresses, which the allocator chooses.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::rng::Rng;
use crate::store::Packed;

/// The kind of the addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyKind {
    /// Addresses of real objects of six size classes, allocated in random order of size; half of the objects have an entry.
    #[default]
    Heap,
    /// 64 bytes apart.
    Sequential,
    /// 4096 bytes apart.
    Pages,
    /// Multiples of 16 anywhere in the user's half of the address space.
    Random,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value().expect("no kind is hidden");
        f.write_str(name.get_name())
    }
}

/// How ids are spread over parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// One id, one entry per parent.
    Plain,
    /// Several ids, each with an entry on every parent.
    PerParent(usize),
    /// Several ids, each entry on a parent of its own: entry `i` has id `i mod n`.
    Spread(usize),
    /// As [`Plain`](Self::Plain), and one more parent with this many ids.
    Wide(usize),
}

/// The id of a plain entry.
pub(crate) const ID: u64 = 1;

/// Keys that are in the map, keys that are not, and streams of accesses to both.
pub(crate) struct KeySet {
    /// In random order.
    pub(crate) present: Vec<Packed>,
    /// The entries of the additional parent of [`Shape::Wide`].
    pub(crate) wide: Vec<Packed>,
    /// In random order, of the same kind as the present keys.
    pub(crate) absent: Vec<Packed>,
    hits: OnceLock<Vec<Vec<Packed>>>,
    misses: OnceLock<Vec<Vec<Packed>>>,
    zipf: OnceLock<Vec<Vec<Packed>>>,
    _objects: Objects,
}

/// The most accesses in a stream; of larger sets, a stream is a sample.
const MAX_STREAM: usize = 1 << 22;
/// The accesses in a Zipf stream.
const ZIPF_STREAM: usize = 1 << 20;
/// The length of the batches into which streams are divided.
pub(crate) const BATCH: usize = 64;
/// The number of different streams; further threads share them, from other starting points.
const STREAMS: usize = 2;

impl KeySet {
    pub(crate) fn new(kind: KeyKind, entries: usize, shape: Shape) -> Self {
        let mut rng = Rng::new(0x5eed ^ entries as u64);
        let per_parent = match shape {
            Shape::PerParent(ids) => ids,
            Shape::Plain | Shape::Spread(_) | Shape::Wide(_) => 1,
        };
        let parents = entries.div_ceil(per_parent);
        let others = (entries / 8).max(entries.min(1 << 20)).max(64);
        // One more parent for `Wide`; the other shapes do not use it.
        let (mut addresses, objects) = addresses(kind, parents + others + 1, &mut rng);
        rng.shuffle(&mut addresses);
        let key = |index: usize| {
            let id = match shape {
                Shape::PerParent(ids) => ID + (index % ids) as u64,
                Shape::Spread(ids) => ID + (index % ids) as u64,
                Shape::Plain | Shape::Wide(_) => ID,
            };
            Packed::new(addresses[index / per_parent], id)
        };
        let present = (0..entries).map(key).collect();
        let wide = match shape {
            Shape::Wide(ids) => (0..ids as u64)
                .map(|id| Packed::new(addresses[parents + others], ID + id))
                .collect(),
            _ => Vec::new(),
        };
        let absent = addresses[parents..parents + others]
            .iter()
            .map(|&address| Packed::new(address, ID))
            .collect();
        Self {
            present,
            wide,
            absent,
            hits: OnceLock::new(),
            misses: OnceLock::new(),
            zipf: OnceLock::new(),
            _objects: objects,
        }
    }

    /// Returns a smaller set: the first `entries` of the present and of the absent keys, which are in random order.
    pub(crate) fn sample(&self, entries: usize) -> Self {
        Self {
            present: self.present[..entries.min(self.present.len())].to_vec(),
            wide: Vec::new(),
            absent: self.absent[..entries.min(self.absent.len())].to_vec(),
            hits: OnceLock::new(),
            misses: OnceLock::new(),
            zipf: OnceLock::new(),
            _objects: Objects(Vec::new()),
        }
    }

    /// Returns a thread's accesses to existing entries: in each round all of them once, in random order.
    pub(crate) fn hits(&self, thread: usize) -> Stream<'_> {
        let streams = self.hits.get_or_init(|| shuffled(&self.present));
        Stream::new(streams, thread)
    }

    /// Returns a thread's accesses to keys that have no entry.
    pub(crate) fn misses(&self, thread: usize) -> Stream<'_> {
        let streams = self.misses.get_or_init(|| shuffled(&self.absent));
        Stream::new(streams, thread)
    }

    /// Returns a thread's accesses by Zipf's law with exponent 0.99; one in ten is [`Packed::NONE`]: a key not seen before.
    pub(crate) fn zipf(&self, thread: usize) -> Stream<'_> {
        let streams = self.zipf.get_or_init(|| {
            let mut weight = 0.0;
            let below: Vec<f64> = (1..=self.present.len())
                .map(|rank| {
                    weight += (rank as f64).powf(-0.99);
                    weight
                })
                .collect();
            let draw = |rng: &mut Rng| {
                if rng.below(10) == 0 {
                    return Packed::NONE;
                }
                let at = rng.unit() * weight;
                let rank = below.partition_point(|&below| below <= at);
                self.present[rank.min(self.present.len() - 1)]
            };
            let stream = |seed| {
                let mut rng = Rng::new(seed);
                (0..ZIPF_STREAM).map(|_| draw(&mut rng)).collect()
            };
            (0..STREAMS as u64).map(stream).collect()
        });
        Stream::new(streams, thread)
    }

    /// Returns the part of `keys` that belongs to one of several threads: only that thread creates and frees them.
    pub(crate) fn share(keys: &[Packed], thread: usize, threads: usize) -> &[Packed] {
        &keys[keys.len() * thread / threads..keys.len() * (thread + 1) / threads]
    }
}

/// Returns one random order of the keys for each stream; a sample if there are too many keys.
fn shuffled(keys: &[Packed]) -> Vec<Vec<Packed>> {
    let order = |seed: u64| {
        let mut rng = Rng::new(0x0dde_d000 + seed);
        let mut stream = if keys.len() <= MAX_STREAM {
            let mut all = keys.to_vec();
            rng.shuffle(&mut all);
            all
        } else {
            (0..MAX_STREAM).map(|_| keys[rng.below(keys.len())]).collect()
        };
        // Fills up the last batch with the first keys of the stream.
        let missing = stream.len().next_multiple_of(BATCH) - stream.len();
        for at in 0..missing {
            stream.push(stream[at]);
        }
        stream
    };
    (0..STREAMS as u64).map(order).collect()
}

/// The accesses of one thread, repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream<'a> {
    keys: &'a [Packed],
    at: usize,
}

impl<'a> Stream<'a> {
    fn new(streams: &'a [Vec<Packed>], thread: usize) -> Self {
        let keys = &streams[thread % streams.len()];
        // Threads that share a stream begin at different batches.
        let batches = keys.len() / BATCH;
        let at = thread / streams.len() * 7919 % batches * BATCH;
        Self { keys, at }
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Packed {
        if self.at >= self.keys.len() {
            self.at = 0;
        }
        let key = self.keys[self.at];
        self.at += 1;
        key
    }

    /// Returns the next batch of keys.
    #[inline]
    pub(crate) fn next_batch(&mut self) -> &'a [Packed] {
        if self.at + BATCH > self.keys.len() {
            self.at = 0;
        }
        let keys = &self.keys[self.at..self.at + BATCH];
        self.at += BATCH;
        keys
    }
}

/// The key sets that have been made, because making a large one takes longer than using it.
pub(crate) struct KeySets {
    kind: KeyKind,
    sets: BTreeMap<(usize, Shape), KeySet>,
}

impl KeySets {
    pub(crate) fn new(kind: KeyKind) -> Self {
        Self {
            kind,
            sets: BTreeMap::new(),
        }
    }

    pub(crate) fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Returns the set, and drops all other large sets.
    pub(crate) fn get(&mut self, entries: usize, shape: Shape) -> &KeySet {
        const LARGE: usize = 1 << 20;
        self.sets
            .retain(|&(held, of), _| held < LARGE || (held, of) == (entries, shape));
        let kind = self.kind;
        self.sets
            .entry((entries, shape))
            .or_insert_with(|| KeySet::new(kind, entries, shape))
    }
}

/// Objects whose addresses are keys. They are never written to.
struct Objects(Vec<usize>);

impl Drop for Objects {
    fn drop(&mut self) {
        for &address in &self.0 {
            // SAFETY: `addresses` got it from `malloc`, and only this line frees it.
            unsafe { libc::free(std::ptr::with_exposed_provenance_mut(address)) };
        }
    }
}

/// The sizes of the objects that get entries.
const CLASSES: [usize; 6] = [32, 48, 64, 96, 128, 192];

fn addresses(kind: KeyKind, count: usize, rng: &mut Rng) -> (Vec<usize>, Objects) {
    /// Far from all addresses that a process uses.
    const BASE: usize = 0x1000_0000_0000;
    let spaced = |stride| (0..count).map(|index| BASE + index * stride).collect();
    match kind {
        KeyKind::Heap => {
            let objects: Vec<usize> = (0..count)
                .map(|_| allocate(CLASSES[rng.below(CLASSES.len())]))
                .collect();
            (objects.clone(), Objects(objects))
        }
        KeyKind::Sequential => (spaced(64), Objects(Vec::new())),
        KeyKind::Pages => (spaced(4096), Objects(Vec::new())),
        KeyKind::Random => {
            let mut addresses: Vec<usize> = Vec::with_capacity(count);
            while addresses.len() < count {
                addresses.extend((addresses.len()..count).map(|_| (rng.next() as usize >> 17).max(16) & !15));
                addresses.sort_unstable();
                addresses.dedup();
            }
            (addresses, Objects(Vec::new()))
        }
    }
}

/// Allocates memory for an object, and returns its address.
fn allocate(size: usize) -> usize {
    // SAFETY: `malloc` has no preconditions.
    let object = unsafe { libc::malloc(size) };
    assert!(!object.is_null(), "out of memory");
    object.expose_provenance()
}

/// Formats a number of entries, such as `64 k` or `1 M`.
pub(crate) fn count(entries: usize) -> String {
    match entries {
        _ if entries >= 1 << 20 && entries.is_multiple_of(1 << 20) => format!("{} M", entries >> 20),
        _ if entries >= 1 << 10 && entries.is_multiple_of(1 << 10) => format!("{} k", entries >> 10),
        _ => entries.to_string(),
    }
}
