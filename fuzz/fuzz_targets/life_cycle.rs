//! Hunts for a sequence of what can be done to patches, modules and units of work, after which anything that can be seen is
//! not as the rules say: answers, the order of events and callbacks, attributes, variables, or what a function is to a unit.
//! A run of the same bytes is the same run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shadow_vars_fuzz::{Input, LifeCycle, hunt};

fuzz_target!(|input: LifeCycle| hunt(|| input.run()));
