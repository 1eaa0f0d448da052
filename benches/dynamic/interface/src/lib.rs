//! The interface that the program shares with patch libraries.

use std::hint::black_box;

use livepatch::patchable;

/// The function to call: its body costs almost nothing, and is opaque to the optimiser and not inlined.
#[inline(never)]
pub fn direct(number: u64) -> u64 {
    black_box(number)
}

/// Like [`direct`], as a patchable function.
#[patchable]
pub fn answer(number: u64) -> u64 {
    black_box(number)
}
