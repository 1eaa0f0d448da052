//! Searches for a sequence of operations, by one thread, whose answers differ from those of a plain map, or that moves, loses,
//! leaks or drops a value twice. The same bytes give the same run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shadow_vars_fuzz::{Input, Sequence, hunt};

fuzz_target!(|input: Sequence| hunt(|| input.run()));
