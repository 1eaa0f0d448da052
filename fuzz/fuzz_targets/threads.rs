//! Hunts for short programs, run by two to four threads, whose answers no order of instants explains, which find a value
//! that has been dropped, or after which constructions and drops do not balance. The schedule is the machine's, so an input
//! that failed once may have to be run many times.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shadow_vars_fuzz::{Input, Threads, hunt};

fuzz_target!(|input: Threads| hunt(|| input.run()));
