//! Snapshots of a bucket: its eight words, loaded together and compared in parallel.
//!
//! A snapshot is eight loads in no order. It only tells which slots to load again, by
//! [`Table::load`](super::array::Table::load). Vector loads of words that other threads change cannot be expressed in the
//! language, so on x86-64 they are inline assembly: there, each aligned 8-byte lane of a 16-byte load is read at once.
//! Elsewhere (and under loom) they are eight relaxed loads.

use super::hash::TagPart;
use crate::sync::AtomicU64;

/// Slots per bucket, which is a cache line. Two under loom, where every load is a scheduling point.
pub(crate) const BUCKET: usize = if cfg!(shadow_loom) { 2 } else { 8 };

/// The lanes of a bucket that belong to no key: a bit for each EMPTY lane, and from bit 8 on one for each lane that is MOVED
/// or SEALED.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ends(u32);

impl Ends {
    /// Returns whether a lane is MOVED or SEALED: a key may have been moved to the successor.
    #[inline]
    pub(crate) fn closed(self) -> bool {
        self.0 > 0xff
    }

    /// Returns the first EMPTY lane.
    #[inline]
    pub(crate) fn empty(self) -> Option<Lane> {
        let empty = self.0 & 0xff;
        (empty != 0).then(|| Lane(empty.trailing_zeros() * SLOT))
    }
}

/// Bytes of a slot: 8, but more under loom.
const SLOT: u32 = size_of::<AtomicU64>() as u32;

/// A slot's offset in its bucket, in bytes: that of one of the [`BUCKET`] slots by construction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lane(u32);

impl Lane {
    pub(crate) const FIRST: Self = Self(0);

    /// Returns the slot's position in the bucket.
    #[inline]
    pub(crate) fn get(self) -> usize {
        (self.0 / SLOT) as usize
    }

    #[inline]
    pub(crate) fn bytes(self) -> usize {
        self.0 as usize
    }
}

/// A set of lanes: every second bit stands for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lanes(u32);

impl Lanes {
    #[inline]
    pub(crate) fn first(self) -> Option<Lane> {
        (self.0 != 0).then(|| Lane(self.0.trailing_zeros() * (SLOT / 2)))
    }
}

impl Iterator for Lanes {
    type Item = Lane;

    #[inline]
    fn next(&mut self) -> Option<Lane> {
        let lane = self.first()?;
        self.0 &= self.0 - 1;
        Some(lane)
    }
}

#[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(shadow_loom), not(miri)))]
mod sse2 {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cmpeq_epi16, _mm_cmpeq_epi32, _mm_movemask_epi8, _mm_or_si128, _mm_packs_epi16,
        _mm_packs_epi32, _mm_set1_epi16, _mm_set1_epi32, _mm_setzero_si128, _mm_srai_epi32, _mm_xor_si128,
    };

    use super::*;
    use crate::table::word::{FROZEN, KIND, LINK, NO_KEY, TAG_BITS};

    /// All lanes.
    const ALL: u32 = 0x5555;

    /// The words' low halves, four to a register: tag, kind, and the lowest bits of the address.
    #[derive(Clone, Copy)]
    pub(crate) struct Group([__m128i; 2]);

    /// A tag, in every lane of a group.
    #[derive(Clone, Copy)]
    pub(crate) struct Tags(__m128i);

    impl Tags {
        /// Uses the low 16 bits of the argument; the others are ignored.
        #[inline]
        pub(crate) fn new(tag: u32) -> Self {
            // SAFETY: SSE2 is available (`cfg` above).
            Self(unsafe { _mm_set1_epi32(tag as i32) })
        }

        /// Register-allocation hint: makes the compiler compute the tags before `next` is used, so that computing with `next`
        /// may reuse the register that held the tag.
        #[inline]
        #[allow(
            clippy::pointers_in_nomem_asm_block,
            reason = "the assembly is empty: it reads nothing there"
        )]
        pub(crate) fn ordered_before<T>(mut self, next: &T) -> (Self, &T) {
            let mut next: *const T = next;
            // SAFETY: the assembly does nothing, so the pointer is still that of a reference.
            unsafe {
                asm!("/* {} {} */", inout(xmm_reg) self.0, inout(reg) next, options(pure, nomem, nostack, preserves_flags));
                (self, &*next)
            }
        }
    }

    impl Group {
        #[inline]
        pub(crate) fn load(bucket: &[AtomicU64; BUCKET]) -> Self {
            let (a, b): (__m128i, __m128i);
            // SAFETY: the bucket is 64 readable bytes, aligned to 64 (`Slots`).
            unsafe {
                asm!(
                    "movaps {a}, [{p}]",
                    "movaps {b}, [{p} + 32]",
                    "shufps {a}, [{p} + 16], 0x88",
                    "shufps {b}, [{p} + 48], 0x88",
                    p = in(reg) bucket.as_ptr(),
                    a = out(xmm_reg) a,
                    b = out(xmm_reg) b,
                    options(nostack, preserves_flags, readonly),
                );
            }
            Self([a, b])
        }

        // Returns the lanes with this tag.
        #[inline]
        pub(crate) fn with(&self, tags: Tags) -> Lanes {
            // SAFETY: SSE2 is available, as above.
            unsafe {
                let [a, b] = self.0.map(|low| _mm_cmpeq_epi16(low, tags.0));
                // The upper 16 bits of each half are ignored; whatever they are, packing leaves the comparison of the lower
                // ones in the low byte.
                Lanes(_mm_movemask_epi8(_mm_packs_epi32(a, b)) as u32 & ALL)
            }
        }

        /// Returns the lanes that are LINK or FROZEN, with a tag that has this part.
        #[inline]
        pub(crate) fn nodes_with(&self, part: TagPart) -> Lanes {
            let mask = (KIND as u32) << TAG_BITS | u32::from(part.mask);
            let bits = u32::from(part.bits);
            // SAFETY: SSE2 is available, as above.
            unsafe {
                let mask = _mm_set1_epi32(mask as i32);
                let link = _mm_set1_epi32(((LINK as u32) << TAG_BITS | bits) as i32);
                let frozen = _mm_set1_epi32(((FROZEN as u32) << TAG_BITS | bits) as i32);
                let [a, b] = self.0.map(|low| {
                    let seen = _mm_and_si128(low, mask);
                    _mm_or_si128(_mm_cmpeq_epi32(seen, link), _mm_cmpeq_epi32(seen, frozen))
                });
                Lanes(_mm_movemask_epi8(_mm_packs_epi32(a, b)) as u32 & ALL)
            }
        }

        /// Returns the EMPTY lanes: the only ones whose low half is 0, as all others have a kind, or a bit above it there.
        #[inline]
        pub(crate) fn empty(&self) -> Lanes {
            // SAFETY: SSE2 is available, as above.
            unsafe {
                let [a, b] = self.0.map(|low| _mm_cmpeq_epi32(low, _mm_setzero_si128()));
                Lanes(_mm_movemask_epi8(_mm_packs_epi32(a, b)) as u32 & ALL)
            }
        }

        #[inline]
        pub(crate) fn ends(&self) -> Ends {
            // SAFETY: SSE2 is available, as above.
            unsafe {
                let [a, b] = self.0.map(|low| _mm_srai_epi32::<{ TAG_BITS as i32 }>(low));
                let rest = _mm_packs_epi32(a, b);
                let kind = _mm_and_si128(rest, _mm_set1_epi16(KIND as i16));
                let no_key = _mm_cmpeq_epi16(kind, _mm_set1_epi16(NO_KEY as i16));
                // Of the words without a key, only EMPTY has no bit above the kind.
                let empty = _mm_cmpeq_epi16(rest, _mm_setzero_si128());
                let closed = _mm_xor_si128(no_key, empty);
                Ends(_mm_movemask_epi8(_mm_packs_epi16(empty, closed)) as u32)
            }
        }
    }
}

#[cfg(any(
    test,
    not(all(target_arch = "x86_64", target_feature = "sse2", not(shadow_loom), not(miri)))
))]
mod portable {
    use super::*;
    use crate::sync::Ordering;
    use crate::table::word::{Kind, Word};

    #[derive(Clone, Copy)]
    pub(crate) struct Tags(u16);

    impl Tags {
        #[inline]
        pub(crate) fn new(tag: u32) -> Self {
            Self(tag as u16)
        }

        #[inline]
        pub(crate) fn ordered_before<T>(self, next: &T) -> (Self, &T) {
            (self, next)
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Group([Word; BUCKET]);

    impl Group {
        #[inline]
        pub(crate) fn load(bucket: &[AtomicU64; BUCKET]) -> Self {
            // Relaxed: see the module's documentation.
            Self(std::array::from_fn(|lane| {
                Word::from_bits(bucket[lane].load(Ordering::Relaxed))
            }))
        }

        /// Returns a bit for each lane whose word satisfies `is`, with `stride` bits per lane.
        #[inline]
        fn lanes(&self, stride: usize, is: impl Fn(Word) -> bool) -> u32 {
            let lanes = self.0.iter().enumerate();
            lanes.fold(0, |lanes, (lane, &word)| lanes | u32::from(is(word)) << (lane * stride))
        }

        #[inline]
        pub(crate) fn with(&self, Tags(tag): Tags) -> Lanes {
            Lanes(self.lanes(2, |word| word.tag() == tag))
        }

        #[inline]
        pub(crate) fn nodes_with(&self, part: TagPart) -> Lanes {
            Lanes(self.lanes(2, |word| {
                word.tag() & part.mask == part.bits && matches!(word.kind(), Kind::Link(_) | Kind::Frozen(_))
            }))
        }

        #[inline]
        pub(crate) fn empty(&self) -> Lanes {
            Lanes(self.lanes(2, |word| word == Word::EMPTY))
        }

        #[inline]
        pub(crate) fn ends(&self) -> Ends {
            let empty = self.lanes(1, |word| word == Word::EMPTY);
            let closed = self.lanes(1, |word| matches!(word.kind(), Kind::Moved | Kind::Sealed));
            Ends(empty | closed << 8)
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2", not(shadow_loom), not(miri))))]
pub(crate) use portable::{Group, Tags};
#[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(shadow_loom), not(miri)))]
pub(crate) use sse2::{Group, Tags};

#[cfg(all(test, target_arch = "x86_64", target_feature = "sse2", not(shadow_loom), not(miri)))]
mod tests {
    use std::ptr::{self, NonNull};

    use super::*;
    use crate::table::hash::AddrHasher;
    use crate::table::word::Word;

    #[repr(align(64))]
    struct Bucket([AtomicU64; BUCKET]);

    /// Returns a word of any kind, with few tags and with addresses whose bits are mostly 0, to test adjacent fields.
    fn word(random: usize) -> Word {
        let tag = [0, 1, 7, 8, 0x7fff, 0x8000, 0xffff, (random >> 40) as u16][random >> 8 & 7];
        let addr = [
            8,
            16,
            1 << 15,
            1 << 16,
            1 << 20,
            1 << 47,
            0xffff_ffff_fff8,
            random & 0xffff_ffff_fff8,
        ][random >> 16 & 7];
        let node = NonNull::new(ptr::without_provenance_mut(addr)).unwrap_or(NonNull::dangling());
        match random >> 24 & 7 {
            0 | 1 => Word::EMPTY,
            2 => Word::MOVED,
            3 => Word::SEALED,
            4 => Word::link(node, tag),
            5 => Word::link(node, tag).frozen(),
            6 => Word::record(node, tag),
            _ => Word::tomb(addr, tag),
        }
    }

    #[test]
    fn both_forms_see_the_same() {
        let mut random = (0..).map(|n| AddrHasher::new(n).hash(n as usize + 1).with(0).point.rotate_left(32) as usize);
        for _ in 0..20_000 {
            let bucket = Bucket(std::array::from_fn(|_| word(random.next().unwrap()).bits().into()));
            let (sse2, portable) = (Group::load(&bucket.0), portable::Group::load(&bucket.0));
            let tag = random.next().unwrap() as u32;
            for tag in [0, 1, 7, 8, 0x7fff, 0x8000, 0xffff, tag].map(|low| tag << 16 | low & 0xffff) {
                let lanes = sse2.with(Tags::new(tag));
                assert_eq!(lanes, sse2.with(Tags::new(tag).ordered_before(&bucket).0));
                assert_eq!(lanes, portable.with(portable::Tags::new(tag).ordered_before(&bucket).0));
                for mask in [0, 0xf, 0xfff0, 0xffff] {
                    let part = TagPart {
                        bits: tag as u16 & mask,
                        mask,
                    };
                    assert_eq!(sse2.nodes_with(part), portable.nodes_with(part));
                }
            }
            assert_eq!(sse2.ends(), portable.ends());
            assert_eq!(sse2.empty(), portable.empty());
            let words = bucket.0.map(|word| Word::from_bits(word.into_inner()));
            let first = sse2.ends().empty().map(Lane::get);
            assert_eq!(first, words.iter().position(|&word| word == Word::EMPTY));
        }
    }
}
