//! Searches for short programs, run by two to four threads, whose answers no sequential order explains, that find a dropped
//! value, or after which constructions and drops do not balance. The machine chooses the schedule, so an input that failed once
//! may have to be run many times.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shadow_vars_fuzz::{Input, Threads, hunt};

fuzz_target!(|input: Threads| hunt(|| input.run()));
