//! What the program shares with patch libraries.

use std::hint::black_box;

use livepatch::patchable;

/// What is called: its body costs next to nothing, and is neither inlined nor seen through.
#[inline(never)]
pub fn direct(number: u64) -> u64 {
    black_box(number)
}

/// The same as a patchable function.
#[patchable]
pub fn answer(number: u64) -> u64 {
    black_box(number)
}
