//! The two sides, and the word of a record: which unit a task is in, and on which side.

/// In a word: on side 1.
pub(super) const SIDE: u64 = 1;
/// In a word: in a unit.
pub(super) const INSIDE: u64 = 2;
/// In a word: forced in the middle of this unit.
pub(super) const FORCED: u64 = 4;
/// What each unit adds to the unit number, the upper 61 bits of the record's word. No task exhausts them, and an overflow
/// would not carry into a flag.
pub(super) const UNIT: u64 = 8;

/// Returns the word of the unit that follows the one, now over, that had this word; without a side.
#[inline]
pub(super) fn next_unit(word: u64) -> u64 {
    word.wrapping_add(UNIT + INSIDE)
}

/// Returns the word of a task whose unit of this word is over.
#[inline]
pub(super) fn outside(word: u64) -> u64 {
    word & !(UNIT - 1)
}

/// Returns the word without the side: equal for a unit before and after it is forced.
pub(super) fn unit_of(word: u64) -> u64 {
    word & !(SIDE | FORCED)
}

/// One of the two functions of a patch point, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side(usize);

impl Side {
    /// Returns the side that a record's word names.
    #[inline]
    pub(super) fn of(word: u64) -> Self {
        Self((word & SIDE) as usize)
    }

    /// Returns the side of this index, of a record or of the world.
    #[inline(always)]
    pub(super) fn at(index: usize) -> Self {
        debug_assert!(index <= 1);
        Self(index)
    }

    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0
    }

    pub(crate) fn other(self) -> Self {
        Self(1 - self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No program gets this far; but if one did, the unit would be like any other.
    #[test]
    fn the_last_number_of_a_unit_carries_into_no_flag() {
        let last = !(UNIT - 1);
        for flags in [0, SIDE, SIDE | FORCED] {
            let over = |word: u64| outside(word | flags | INSIDE);
            assert_eq!(next_unit(over(last)), INSIDE);
            assert_eq!(next_unit(over(last - UNIT)), last | INSIDE);
        }
        assert_ne!(unit_of(last | INSIDE), unit_of(next_unit(last)));
    }
}
