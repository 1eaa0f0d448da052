//! Hunts for a sequence of operations, by one thread, whose answers are not those of a plain map, or which moves, loses,
//! leaks or drops a value twice. A run of the same bytes is the same run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shadow_vars_fuzz::{Input, Sequence, hunt};

fuzz_target!(|input: Sequence| hunt(|| input.run()));
