//! A bucket's eight words looked at together.
//!
//! A snapshot is eight loads in no order. It says where to look; whatever is used is loaded again by
//! [`Table::load`](super::array::Table::load). Vector loads of words that others change are beyond what the language can
//! say, so on x86-64 they are inline assembly: there, each aligned 8-byte lane of a 16-byte load is read at once. Elsewhere
//! (and under loom) they are eight relaxed loads.

use super::array::BUCKET;
use super::hash::TagPart;
use crate::sync::AtomicU64;

/// What a bucket says beside its tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ends {
    pub(crate) empty: Lanes,
    /// MOVED or SEALED: a key may have gone on to the successor.
    pub(crate) closed: Lanes,
}

impl Ends {
    /// Whether a probe that found nothing here ends here: something is EMPTY, and nothing is closed.
    #[inline]
    pub(crate) fn probe(self) -> bool {
        self.empty.any() && !self.closed.any()
    }
}

/// A slot's position in its bucket: below [`BUCKET`] by construction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lane(u32);

impl Lane {
    #[inline]
    pub(crate) fn get(self) -> usize {
        self.0 as usize
    }
}

/// Lanes of a bucket, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lanes(u32);

impl Lanes {
    #[inline]
    pub(crate) fn any(self) -> bool {
        self.0 != 0
    }
}

impl Iterator for Lanes {
    type Item = Lane;

    #[inline]
    fn next(&mut self) -> Option<Lane> {
        if self.0 == 0 {
            return None;
        }
        let lane = Lane(self.0.trailing_zeros());
        self.0 &= self.0 - 1;
        Some(lane)
    }
}

#[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(shadow_loom), not(miri)))]
mod imp {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_castps_si128, _mm_castsi128_ps, _mm_cmpeq_epi16, _mm_cmpgt_epi16,
        _mm_movemask_epi8, _mm_or_si128, _mm_packs_epi16, _mm_packs_epi32, _mm_set1_epi16, _mm_set1_epi32,
        _mm_setzero_si128, _mm_shuffle_ps, _mm_srai_epi32,
    };

    use super::*;
    use crate::table::word::{FROZEN, KIND, LAST_OPEN, LINK};

    /// The words' high and low halves, four to a register.
    #[derive(Clone, Copy)]
    pub(crate) struct Group {
        high: [__m128i; 2],
        low: [__m128i; 2],
    }

    impl Group {
        #[inline]
        pub(crate) fn load(bucket: &[AtomicU64; BUCKET]) -> Self {
            let (a, b, c, d): (__m128i, __m128i, __m128i, __m128i);
            // SAFETY: the bucket is 64 readable bytes, aligned to 64 (`Slots`).
            unsafe {
                asm!(
                    "movdqa {a}, [{p}]",
                    "movdqa {b}, [{p} + 16]",
                    "movdqa {c}, [{p} + 32]",
                    "movdqa {d}, [{p} + 48]",
                    p = in(reg) bucket.as_ptr(),
                    a = lateout(xmm_reg) a,
                    b = lateout(xmm_reg) b,
                    c = lateout(xmm_reg) c,
                    d = lateout(xmm_reg) d,
                    options(nostack, preserves_flags, readonly),
                );
            }
            Self {
                high: [halves::<0xdd>(a, b), halves::<0xdd>(c, d)],
                low: [halves::<0x88>(a, b), halves::<0x88>(c, d)],
            }
        }

        #[inline]
        pub(crate) fn with_tag(&self, tag: u16) -> Lanes {
            Lanes(self.tag_mask(tag) & 0xff)
        }

        /// The first lane of [`with_tag`](Self::with_tag), in fewer steps.
        #[inline]
        pub(crate) fn first_with_tag(&self, tag: u16) -> Option<Lane> {
            Lanes(self.tag_mask(tag)).next()
        }

        /// The lanes with the tag, twice: in the low eight bits and in the next.
        #[inline]
        fn tag_mask(&self, tag: u16) -> u32 {
            // SAFETY: SSE2 is there (`cfg` above).
            unsafe {
                let tags = _mm_packs_epi32(_mm_srai_epi32::<16>(self.high[0]), _mm_srai_epi32::<16>(self.high[1]));
                let equal = _mm_cmpeq_epi16(tags, _mm_set1_epi16(tag as i16));
                _mm_movemask_epi8(_mm_packs_epi16(equal, equal)) as u32
            }
        }

        /// The lanes that are LINK or FROZEN, with a tag that has this part.
        #[inline]
        pub(crate) fn nodes_with(&self, part: TagPart) -> Lanes {
            // SAFETY: as above.
            unsafe {
                let tags = _mm_packs_epi32(_mm_srai_epi32::<16>(self.high[0]), _mm_srai_epi32::<16>(self.high[1]));
                let bits = _mm_and_si128(tags, _mm_set1_epi16(part.mask as i16));
                let equal = _mm_cmpeq_epi16(bits, _mm_set1_epi16(part.bits as i16));
                let kind = _mm_set1_epi32(KIND as i32);
                let kinds = _mm_packs_epi32(_mm_and_si128(self.low[0], kind), _mm_and_si128(self.low[1], kind));
                let link = _mm_cmpeq_epi16(kinds, _mm_set1_epi16(LINK as i16));
                let frozen = _mm_cmpeq_epi16(kinds, _mm_set1_epi16(FROZEN as i16));
                let nodes = _mm_and_si128(equal, _mm_or_si128(link, frozen));
                Lanes(_mm_movemask_epi8(_mm_packs_epi16(nodes, nodes)) as u32 & 0xff)
            }
        }

        #[inline]
        pub(crate) fn ends(&self) -> Ends {
            // SAFETY: as above.
            unsafe {
                let kind = _mm_set1_epi32(KIND as i32);
                let kinds = _mm_packs_epi32(_mm_and_si128(self.low[0], kind), _mm_and_si128(self.low[1], kind));
                let empty = _mm_cmpeq_epi16(kinds, _mm_setzero_si128());
                let closed = _mm_cmpgt_epi16(kinds, _mm_set1_epi16(LAST_OPEN as i16));
                let both = _mm_movemask_epi8(_mm_packs_epi16(empty, closed)) as u32;
                Ends {
                    empty: Lanes(both & 0xff),
                    closed: Lanes(both >> 8),
                }
            }
        }
    }

    /// The high (`0xdd`) or low (`0x88`) halves of four words.
    #[inline]
    fn halves<const WHICH: i32>(a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: as above.
        unsafe { _mm_castps_si128(_mm_shuffle_ps::<WHICH>(_mm_castsi128_ps(a), _mm_castsi128_ps(b))) }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2", not(shadow_loom), not(miri))))]
mod imp {
    use super::*;
    use crate::sync::Ordering;
    use crate::table::word::{FROZEN, KIND, LAST_OPEN, LINK, TAG_SHIFT};

    #[derive(Clone, Copy)]
    pub(crate) struct Group([u64; BUCKET]);

    impl Group {
        #[inline]
        pub(crate) fn load(bucket: &[AtomicU64; BUCKET]) -> Self {
            // Relaxed: see the module's documentation.
            Self(std::array::from_fn(|lane| bucket[lane].load(Ordering::Relaxed)))
        }

        #[inline]
        fn lanes(&self, is: impl Fn(u64) -> bool) -> Lanes {
            Lanes(
                self.0
                    .iter()
                    .enumerate()
                    .fold(0, |lanes, (lane, &word)| lanes | u32::from(is(word)) << lane),
            )
        }

        #[inline]
        pub(crate) fn with_tag(&self, tag: u16) -> Lanes {
            self.lanes(|word| (word >> TAG_SHIFT) as u16 == tag)
        }

        #[inline]
        pub(crate) fn first_with_tag(&self, tag: u16) -> Option<Lane> {
            self.with_tag(tag).next()
        }

        #[inline]
        pub(crate) fn nodes_with(&self, part: TagPart) -> Lanes {
            self.lanes(|word| {
                (word >> TAG_SHIFT) as u16 & part.mask == part.bits && (word & KIND == LINK || word & KIND == FROZEN)
            })
        }

        #[inline]
        pub(crate) fn ends(&self) -> Ends {
            Ends {
                empty: self.lanes(|word| word & KIND == 0),
                closed: self.lanes(|word| word & KIND > LAST_OPEN),
            }
        }
    }
}

pub(crate) use imp::Group;
