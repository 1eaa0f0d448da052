//! The cost of single calls that are in no workload, for several amounts of guards that are held, ids, and room in a table.
//!
//! They are recorded like limits, and shown in a table of their own.

use std::hint::black_box;
use std::time::{Duration, Instant};

use shadow_vars::{ObjAddr, ShadowId, ShadowStore};

use crate::limits::figure::{Figure, timed};
use crate::rng::Rng;
use crate::store::FoldHash;

/// The prefix of their names.
pub(crate) const CALL: &str = "call: ";

/// The amounts.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// The number of owned guards that are held.
    pub(crate) guards: [usize; 2],
    pub(crate) ids: usize,
    /// The number of entries that a table with one entry has room for.
    pub(crate) room: usize,
    /// The number of entries of which all but one in 32 are freed.
    pub(crate) swept: usize,
}

impl Sizes {
    pub(crate) const ALL: Self = Self {
        guards: [1 << 10, 1 << 14],
        ids: 100_000,
        room: 1 << 22,
        swept: 1 << 20,
    };
}

type Peer = papaya::HashMap<usize, u64, FoldHash>;

/// Runs one repetition of all measurements.
pub(crate) fn measure(sizes: Sizes, rep: usize, time: Duration) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut put = |name, entries, ns| {
        figures.push(Figure { name, entries, rep, ns });
    };
    for held in sizes.guards {
        put("call: one more owned guard, so many held: shadow", held, {
            let store = store_with(1);
            let _held: Vec<_> = (0..held).map(|_| store.pin_owned()).collect();
            timed(time, || round(|| drop(black_box(store.pin_owned()))))
        });
        put("call: one more owned guard, so many held: papaya", held, {
            let map = Peer::default();
            let _held: Vec<_> = (0..held).map(|_| map.owned_guard()).collect();
            timed(time, || round(|| drop(black_box(map.owned_guard()))))
        });
    }
    put("call: free, alloc and flush: shadow", 1, {
        let store = store_with(1);
        timed(time, || {
            round(|| {
                store.pin().free(address(0), ID);
                store.pin().alloc(address(0), ID, 1).expect("it was freed");
                store.flush();
            })
        })
    });
    put(
        "call: iteration over one entry, room for so many: shadow",
        sizes.room,
        {
            let store = ShadowStore::builder().capacity(sizes.room).build();
            let store: ShadowStore = store.expect("there is memory for a table");
            store.pin().alloc(address(0), ID, 1).expect("it is the first");
            timed(time, || {
                let mut seen = 0;
                store
                    .pin()
                    .iter()
                    .for_each(|entry| seen += u64::from(black_box(entry).id() == ID.get()));
                assert_eq!(seen, 1);
                1
            })
        },
    );
    put(
        "call: iteration over one entry, room for so many: papaya",
        sizes.room,
        {
            let map = Peer::with_capacity_and_hasher(sizes.room, FoldHash::default());
            map.pin().insert(address(0).get(), 1);
            timed(time, || {
                assert_eq!(map.pin().iter().filter(|entry| *black_box(entry.1) == 1).count(), 1);
                1
            })
        },
    );
    put(
        "call: iteration over one entry, room for so many: dashmap",
        sizes.room,
        {
            let map = dashmap::DashMap::with_capacity_and_hasher(sizes.room, FoldHash::default());
            map.insert(address(0).get(), 1_u64);
            timed(time, || {
                assert_eq!(map.iter().filter(|entry| *black_box(entry.value()) == 1).count(), 1);
                1
            })
        },
    );
    many_ids(sizes.ids, time, &mut put);
    after_a_sweep(sizes.swept, time, &mut put);
    figures
}

const ID: ShadowId<u64> = ShadowId::new(7);

/// Returns the address of an object: each takes a cache line, and they are adjacent.
fn address(number: usize) -> ObjAddr {
    ObjAddr::new(0x10_0000 + 64 * number)
}

fn store_with(entries: usize) -> ShadowStore {
    let store = ShadowStore::default();
    for number in 0..entries {
        store
            .pin()
            .alloc(address(number), ID, number as u64)
            .map(drop)
            .expect("each address once");
    }
    store
}

#[inline]
fn round(mut work: impl FnMut()) -> u64 {
    const ROUND: u64 = 64;
    for _ in 0..ROUND {
        work();
    }
    ROUND
}

/// Measures creating a variable with a new id, for several numbers of ids, and counting the variables of all ids.
fn many_ids(ids: usize, time: Duration, put: &mut impl FnMut(&'static str, usize, f64)) {
    let store: ShadowStore = ShadowStore::default();
    let start = Instant::now();
    for id in 0..ids {
        let made = store
            .pin()
            .alloc(address(id), ShadowId::new(id as u64), 1_u64)
            .map(drop);
        made.expect("each id once");
    }
    put(
        "call: alloc of a new id, up to so many: shadow",
        ids,
        start.elapsed().as_nanos() as f64 / ids as f64,
    );
    put(
        "call: len of a store with so many ids: shadow",
        ids,
        timed(time, || {
            round(|| assert_eq!(black_box(store.len()), ids, "nothing runs meanwhile"))
        }),
    );
}

/// Measures hits after all but one in 32 entries have been freed, in the order of the walk and at random, beside a fresh store
/// with the same entries. The remaining entries lie far apart in memory in both orders; the rest of the difference is the state
/// of the table.
fn after_a_sweep(entries: usize, time: Duration, put: &mut impl FnMut(&'static str, usize, f64)) {
    let mut rng = Rng::new(11);
    for (free, hit, is_random) in [
        (
            "call: free of 31 in 32 of so many, in the walk's order: shadow",
            "call: hit among the rest of so many, after it: shadow",
            false,
        ),
        (
            "call: free of 31 in 32 of so many, at random: shadow",
            "call: hit among the rest of so many, freed at random: shadow",
            true,
        ),
    ] {
        let store = store_with(entries);
        let mut order = Vec::with_capacity(entries);
        store.pin().iter().for_each(|entry| order.push(entry.obj()));
        if is_random {
            rng.shuffle(&mut order);
        }
        let mut left = order.split_off(entries - entries / 32);
        let start = Instant::now();
        for &obj in &order {
            assert!(store.pin().free(obj, ID));
        }
        put(free, entries, start.elapsed().as_nanos() as f64 / order.len() as f64);
        store.shrink_to_fit();
        // Shuffled, because the walk's order would be the table's.
        rng.shuffle(&mut left);
        put(hit, entries, hits(&store, &left, time));
        if !is_random {
            let fresh: ShadowStore = ShadowStore::default();
            for &obj in &left {
                fresh.pin().alloc(obj, ID, 1).map(drop).expect("each address once");
            }
            let name = "call: hit among the same entries in a fresh store: shadow";
            put(name, entries, hits(&fresh, &left, time));
        }
    }
}

fn hits(store: &ShadowStore, left: &[ObjAddr], time: Duration) -> f64 {
    timed(time, || {
        let found = left.iter().filter(|&&obj| store.pin().get(obj, ID).copied().is_some());
        assert_eq!(black_box(found.count()), left.len());
        left.len() as u64
    })
}
