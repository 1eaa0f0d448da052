//! Searches for a sequence of operations on patches, modules and units of work after which an observation breaks the rules:
//! answers, the order of events and callbacks, attributes, variables, or the function that a unit calls. The same bytes give the
//! same run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shadow_vars_fuzz::{Input, LifeCycle, hunt};

fuzz_target!(|input: LifeCycle| hunt(|| input.run()));
