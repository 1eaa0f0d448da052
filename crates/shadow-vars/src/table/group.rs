//! A bucket's eight words looked at together.
//!
//! A snapshot is eight loads in no order. It says where to look; whatever is used is loaded again by
//! [`Table::load`](super::array::Table::load). Vector loads of words that others change are beyond what the language can
//! say, so on x86-64 they are inline assembly: there, each aligned 8-byte lane of a 16-byte load is read at once. Elsewhere
//! (and under loom) they are eight relaxed loads.

use super::array::BUCKET;
use crate::sync::AtomicU64;

impl Group {
    /// Whether a probe that found nothing here ends here: something is EMPTY, and nothing says that a key went on.
    #[inline]
    pub(crate) fn ends(&self) -> bool {
        self.empty().any() && !self.closed().any()
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
        __m128i, _mm_and_si128, _mm_castps_si128, _mm_castsi128_ps, _mm_cmpeq_epi16, _mm_cmpeq_epi32, _mm_cmpgt_epi32,
        _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32, _mm_set1_epi16, _mm_set1_epi32, _mm_setzero_si128,
        _mm_shuffle_ps, _mm_srai_epi32,
    };

    use super::*;

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
            // SAFETY: SSE2 is there (`cfg` above).
            unsafe {
                let tags = _mm_packs_epi32(_mm_srai_epi32::<16>(self.high[0]), _mm_srai_epi32::<16>(self.high[1]));
                lanes(_mm_cmpeq_epi16(tags, _mm_set1_epi16(tag as i16)))
            }
        }

        #[inline]
        pub(crate) fn empty(&self) -> Lanes {
            // SAFETY: as above.
            unsafe {
                let zero = _mm_setzero_si128();
                let [a, b] = self.kinds();
                lanes(_mm_packs_epi32(_mm_cmpeq_epi32(a, zero), _mm_cmpeq_epi32(b, zero)))
            }
        }

        #[inline]
        pub(crate) fn closed(&self) -> Lanes {
            // SAFETY: as above.
            unsafe {
                let last = _mm_set1_epi32(super::super::word::LAST_OPEN as i32);
                let [a, b] = self.kinds();
                lanes(_mm_packs_epi32(_mm_cmpgt_epi32(a, last), _mm_cmpgt_epi32(b, last)))
            }
        }

        #[inline]
        fn kinds(&self) -> [__m128i; 2] {
            // SAFETY: as above.
            unsafe {
                let kind = _mm_set1_epi32(super::super::word::KIND as i32);
                [_mm_and_si128(self.low[0], kind), _mm_and_si128(self.low[1], kind)]
            }
        }
    }

    /// The high (`0xdd`) or low (`0x88`) halves of four words.
    #[inline]
    fn halves<const WHICH: i32>(a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: as above.
        unsafe { _mm_castps_si128(_mm_shuffle_ps::<WHICH>(_mm_castsi128_ps(a), _mm_castsi128_ps(b))) }
    }

    /// Eight masks of 16 bits as one bit each.
    #[inline]
    fn lanes(masks: __m128i) -> Lanes {
        // SAFETY: as above.
        unsafe { Lanes(_mm_movemask_epi8(_mm_packs_epi16(masks, _mm_setzero_si128())) as u32) }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2", not(shadow_loom), not(miri))))]
mod imp {
    use super::*;
    use crate::sync::Ordering;
    use crate::table::word::{KIND, LAST_OPEN, TAG_SHIFT};

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
        pub(crate) fn empty(&self) -> Lanes {
            self.lanes(|word| word & KIND == 0)
        }

        #[inline]
        pub(crate) fn closed(&self) -> Lanes {
            self.lanes(|word| word & KIND > LAST_OPEN)
        }
    }
}

pub(crate) use imp::Group;
