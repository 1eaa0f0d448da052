//! Hashing: from a key to its home bucket and its tag.
//!
//! Addresses come in regular strides, on which many otherwise good hash functions cluster. A folded multiplication brings
//! every bit of the address down into the low half; a second multiplication spreads it over the high bits, which select the
//! bucket. Last, the id's salt is exclusive-or'ed in, which moves the key to the place of its id.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::sync::stat::{AtomicU64, Ordering};

/// The low bits of a tag in which the hash is 0, so that they hold those of the id's index unchanged.
pub(crate) const INDEX_BITS: u32 = 4;

/// An odd constant without a pattern, the first digits of e, times a power of two: products end in zeros.
const SPREAD: u64 = 0xadf8_5458_a2bb_4a9b << INDEX_BITS;

/// A hash function for addresses, keyed per store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddrHasher {
    /// The first factor: odd, without a pattern, different for each seed. Zero makes all hashes equal (tests).
    fold: u64,
    /// The second factor: [`SPREAD`], stored next to the first so that both are loaded from one line.
    spread: u64,
}

impl AddrHasher {
    pub(crate) fn new(seed: u64) -> Self {
        // Steele, Lea and Flood's SplitMix64 (OOPSLA 2014): seeds that differ in one bit give factors that differ in many.
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self {
            fold: (mixed ^ mixed >> 31) | 1,
            spread: SPREAD,
        }
    }

    /// Creates a hasher with a random seed, different for each. The process draws its randomness once.
    pub(crate) fn random() -> Self {
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        static GIVEN: AtomicU64 = AtomicU64::new(0);
        // Relaxed, all: the numbers stand for nothing else.
        let drawn = match DRAWN.load(Ordering::Relaxed) {
            0 => {
                let drawn = RandomState::new().build_hasher().finish() | 1;
                // Two threads that draw at the same time both use what was stored first.
                match DRAWN.compare_exchange(0, drawn, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => drawn,
                    Err(first) => first,
                }
            }
            drawn => drawn,
        };
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        // `new` mixes the seed; an odd factor keeps the seeds apart.
        Self::new(drawn.wrapping_add(given.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Creates a hasher that gives every address the same hash.
    pub(crate) fn constant() -> Self {
        Self {
            fold: 0,
            spread: SPREAD,
        }
    }

    #[inline]
    pub(crate) fn hash(self, obj: usize) -> AddrHash {
        let wide = u128::from(obj as u64) * u128::from(self.fold);
        let folded = wide as u64 ^ (wide >> 64) as u64;
        // In models all hashes are equal, but no tag is that of an EMPTY word, which would hide the common cases.
        let some_tag = u64::from(cfg!(shadow_loom)) << INDEX_BITS;
        AddrHash {
            spread: folded.wrapping_mul(self.spread) | some_tag,
        }
    }
}

/// The hash of one address. Its last [`INDEX_BITS`] bits are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddrHash {
    spread: u64,
}

impl AddrHash {
    /// Returns the hash of a key: of this address, and of an id by its [salt](Places::salt).
    #[inline]
    pub(crate) fn with(self, salt: u64) -> KeyHash {
        KeyHash {
            point: self.spread ^ salt,
        }
    }

    /// Returns the bits shared by the tags of this address's keys whose ids are among the first `ids` and have this place,
    /// modulo `of` (a power of two).
    #[inline]
    pub(crate) fn shared_tag_bits(self, places: Places, ids: u64, (place, of): (usize, usize)) -> TagPart {
        let place_bits = ((of - 1) << places.share) as u16;
        // The bits of an index that does not fit into a tag are unknown.
        let rest = if ids > 1 << u16::BITS {
            0
        } else {
            !(ids.next_power_of_two() - 1) as u16
        };
        let mask = place_bits | rest;
        TagPart {
            bits: (self.spread as u16 ^ (place << places.share) as u16) & mask,
            mask,
        }
    }

    /// Returns the home, in a table of `2^log2` buckets, of this address's key of the first id.
    #[cfg(test)]
    pub(crate) fn home(self, log2: u32) -> usize {
        home(self.spread, log2)
    }
}

/// The hash of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash {
    /// A point in the hash space; tables of every size keep their entries in this order (split order).
    pub(crate) point: u64,
}

impl KeyHash {
    /// Returns the tag: the low 16 bits, which no table is large enough to use.
    #[inline]
    pub(crate) fn tag(self) -> u16 {
        self.point as u16
    }
}

/// Bits that some tags have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TagPart {
    pub(crate) bits: u16,
    /// The bits that count.
    pub(crate) mask: u16,
}

impl TagPart {
    /// No bits: every tag matches.
    pub(crate) const ANY: Self = Self { bits: 0, mask: 0 };

    /// Returns the bits shared by all keys of an id: the low bits of its index.
    #[inline]
    pub(crate) fn of_id(index: u32) -> Self {
        const MASK: u16 = (1 << INDEX_BITS) - 1;
        Self {
            bits: index as u16 & MASK,
            mask: MASK,
        }
    }
}

/// The mapping from ids to places: a parent's variables lie in [`MOST`](Self::MOST) places at equal distances in the hash
/// space. Ids take the places in turn, by the order of their first use, and equally many ids share each.
///
/// A place is its number reversed, in the highest bits of the salt. So a table of 2^n buckets, if that is fewer than the
/// places, has place p where it has place p mod 2^n; and the first places are the farthest apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// The logarithm of how many consecutive ids share a place.
    share: u32,
}

impl Places {
    /// Half a bucket to a place: a parent's variables of a few ids are in one cache line, and 64 ids fill no bucket.
    pub(crate) const USUAL: Self = Self { share: 2 };
    /// Each id at another place than the one before (tests).
    pub(crate) const APART: Self = Self { share: 0 };

    /// The number of places, a power of two: a pass over one parent's variables has no more homes to visit.
    pub(crate) const MOST: usize = 16;

    /// Returns the place of an id, by the low bits of its index.
    #[inline]
    pub(crate) fn of(self, index: u16) -> usize {
        usize::from(index >> self.share) % Self::MOST
    }

    /// Returns how many places this many ids use.
    #[inline]
    pub(crate) fn used(self, ids: u64) -> usize {
        ids.div_ceil(1 << self.share).min(Self::MOST as u64) as usize
    }

    /// Returns the salt of the id with this index: its place, and the low bits of the index for the tag.
    pub(crate) fn salt(self, index: u32) -> u64 {
        Self::start(self.of(index as u16)) | u64::from(index as u16)
    }

    /// Returns a place as it appears in a salt.
    #[inline]
    pub(crate) fn start(place: usize) -> u64 {
        // Looked up, as a pass over one parent's variables needs many of them, and to reverse one takes twenty instructions.
        const STARTS: [u64; Places::MOST] = {
            let mut starts = [0; Places::MOST];
            let mut place = 0;
            while place < Places::MOST {
                starts[place] = (place as u64).reverse_bits();
                place += 1;
            }
            starts
        };
        STARTS[place % Self::MOST]
    }
}

/// The order in which a walk visits the 2^log2 regions of the hash space, or the buckets of a table, which are the same.
///
/// This is not the order of points, in which tables keep their entries: each step advances by about the golden section of the
/// whole, wrapping around. Any stretch of such a walk is spread evenly over the space: the gaps that it leaves have at most
/// three lengths (Sós, 1958), the longest two and a half times their mean. So are the regions not yet visited (P5).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    pub(crate) log2: u32,
    /// Regions per step: odd, so that the walk visits each once.
    step: u64,
    /// The inverse of `step` modulo 2^64.
    inverse: u64,
    /// The bits of a region's number.
    pub(super) mask: u64,
}

impl Walk {
    pub(crate) fn new(log2: u32) -> Self {
        /// The fractional part of the golden ratio, times 2^64.
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        /// For each size, by how many odd numbers the step differs from the golden section: to the next number such that no
        /// partial quotient of its ratio to the whole is above 4. The largest quotient bounds how uneven a stretch may be.
        const AWAY: [i64; 41] = [
            0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 2, -4, 0, 1, 1, -1, 3, 18, -2, 17, -1, -20, -6, 21, -39, -1, -64, 11, 16, 70,
            -45, 22, -114, -29, -15, -14, -27, -87, 351, -426, -1102,
        ];
        let section = u128::from(GOLDEN) << log2 >> 64;
        let step = (section as u64 | 1).wrapping_add_signed(2 * AWAY[log2 as usize]);
        // Newton's method: an odd number is its own inverse modulo 8, and each round doubles the correct bits.
        let inverse = (0..5).fold(step, |inverse, _| {
            inverse.wrapping_mul(2_u64.wrapping_sub(step.wrapping_mul(inverse)))
        });
        Self {
            log2,
            step,
            inverse,
            mask: (1 << log2) - 1,
        }
    }

    /// Returns the number of the region that the walk visits after `after` others.
    #[inline]
    pub(crate) fn region(self, after: usize) -> usize {
        ((after as u64).wrapping_mul(self.step) & self.mask) as usize
    }

    /// Returns the first point of that region.
    #[inline]
    pub(crate) fn point(self, after: usize) -> u64 {
        // Rotated, not shifted, as in `home`.
        (self.region(after) as u64).rotate_right(self.log2)
    }

    /// Returns how many others the walk visits before this region.
    #[inline]
    pub(crate) fn before(self, region: usize) -> usize {
        ((region as u64).wrapping_mul(self.inverse) & self.mask) as usize
    }
}

/// Returns the home bucket of a point in the hash space: its `log2` high bits.
#[inline]
pub(crate) fn home(point: u64, log2: u32) -> usize {
    // Rotated, not shifted: a shift by 64 (a table of one bucket) is not defined.
    point.rotate_left(log2) as usize & ((1 << log2) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_splits_a_bucket_in_two() {
        let hasher = AddrHasher::new(42);
        for obj in (0..4096_usize).map(|n| 0x7f00_0000_0000 + n * 64) {
            let hash = hasher.hash(obj);
            for log2 in 0..20 {
                assert_eq!(hash.home(log2 + 1) >> 1, hash.home(log2));
            }
            assert_eq!(hash.home(0), 0);
        }
    }

    /// The partial quotients bound how uneven any stretch is, also of tables too large to be tried.
    #[test]
    fn no_walk_is_near_to_a_simple_fraction() {
        for log2 in 3..=40 {
            let (mut over, mut under) = (1_u64 << log2, Walk::new(log2).step);
            assert!(under < over && under % 2 == 1);
            let part = under as f64 / over as f64;
            assert!((part - 0.618).abs() < 0.11, "2^{log2}: {part} of the whole");
            while under > 0 {
                assert!(over / under <= 4, "2^{log2}: {}", over / under);
                (over, under) = (under, over % under);
            }
        }
    }

    /// A walk visits each region once, and any stretch of it is spread evenly: whatever its length, it leaves no gap, wrapping
    /// around, longer than two and a half times the mean gap, nor one shorter than a fifth of it.
    #[test]
    fn any_stretch_of_a_walk_is_spread_evenly() {
        for log2 in 0..=13 {
            let (walk, regions) = (Walk::new(log2), 1_usize << log2);
            let mut came = vec![false; regions];
            for step in 0..regions {
                let region = walk.region(step);
                assert!(
                    !std::mem::replace(&mut came[region], true),
                    "{region} of 2^{log2} twice"
                );
                assert_eq!((walk.before(region), home(walk.point(step), log2)), (step, region));
                assert_eq!(walk.region(step + regions), region);
            }
            // A stretch that begins elsewhere is a rotation of this one.
            let lengths = (1..=regions).filter(|length| *length < 200 || length.is_multiple_of(97));
            for length in lengths {
                let start = length * 31 % regions;
                let mut stretch: Vec<_> = (start..start + length).map(|step| walk.region(step)).collect();
                stretch.sort_unstable();
                let first = stretch[0];
                let gaps = stretch.windows(2).map(|two| two[1] - two[0]);
                let gaps: Vec<_> = gaps.chain([first + regions - stretch[length - 1]]).collect();
                let (most, least) = (gaps.iter().max().copied(), gaps.iter().min().copied());
                let share = regions as f64 / length as f64;
                assert!(
                    most.is_some_and(|most| most as f64 <= 2.5 * share)
                        && least.is_some_and(|least| least as f64 >= share / 5.0),
                    "{length} of 2^{log2} regions, gaps from {least:?} to {most:?}"
                );
            }
        }
    }

    /// For every stride that an allocator or a page table makes, 2^12 addresses leave no bucket of 2^9 with more
    /// than four times its share of eight.
    #[test]
    fn strides_do_not_cluster() {
        for seed in [0, 1, 0xdead_beef, u64::MAX] {
            let hasher = AddrHasher::new(seed);
            for stride in [
                8_usize,
                16,
                24,
                32,
                48,
                64,
                80,
                96,
                128,
                192,
                256,
                1024,
                4096,
                4160,
                65536,
                1 << 21,
            ] {
                let mut load = [0_u32; 512];
                let mut tags = std::collections::HashSet::new();
                for n in 0..4096_usize {
                    let hash = hasher.hash(0x7f12_3456_7000 + n * stride);
                    load[hash.home(9)] += 1;
                    tags.insert(hash.with(0).tag());
                }
                let worst = load.iter().max().copied().unwrap_or(0);
                assert!(worst <= 32, "stride {stride}, seed {seed}: {worst} in one bucket");
                assert!(tags.len() > 1024, "stride {stride}, seed {seed}: {} tags", tags.len());
            }
        }
    }

    /// A parent's keys have as many homes as there are places, or buckets if those are fewer; and each key belongs to exactly
    /// one of them, by its home and by its tag.
    #[test]
    fn places_divide_a_parents_keys() {
        let is_in = |part: TagPart, key: KeyHash| key.tag() & part.mask == part.bits;
        let (hash, other) = (AddrHasher::new(3).hash(0x7000_0000_1230), AddrHasher::new(3).hash(8));
        for (places, ids) in [Places::USUAL, Places::APART].into_iter().zip([200, 70_000]) {
            for log2 in 0..12 {
                let of = Places::MOST.min(1 << log2);
                let mut homes = std::collections::HashSet::new();
                let mut of_others = 0;
                for index in (0..200_u32).chain(ids - 10..ids) {
                    let key = hash.with(places.salt(index));
                    let place_of = |&place: &usize| {
                        let start = hash.with(Places::start(place));
                        home(key.point, log2) == home(start.point, log2)
                    };
                    let by_home: Vec<_> = (0..of).filter(place_of).collect();
                    let tags = |place: usize| hash.shared_tag_bits(places, u64::from(ids), (place, of));
                    let by_tag: Vec<_> = (0..of).filter(|&place| is_in(tags(place), key)).collect();
                    assert_eq!(
                        (by_home.len(), &by_home),
                        (1, &by_tag),
                        "id {index} of {ids}, {of} places"
                    );
                    of_others += (0..of)
                        .filter(|&place| is_in(tags(place), other.with(places.salt(index))))
                        .count();
                    homes.insert(home(key.point, log2));
                }
                assert_eq!(homes.len(), of);
                assert!(ids > 1 << 16 || of_others == 0, "{of_others} of another parent");
            }
            assert_eq!(
                (places.used(0), places.used(1), places.used(1000)),
                (0, 1, Places::MOST)
            );
            assert!((0..200).all(|index| places.of(index as u16) < places.used(index + 1)));
        }
    }
}
