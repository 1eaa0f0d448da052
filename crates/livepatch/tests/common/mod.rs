//! The kit that the tests and the fuzzer share.
//!
//! `session` records what happens to patches, in the notation of `notation`; `task` has threads whose units are entered
//! and left on demand. `op` defines the operations on a registry, `rules` their expected effects, `pool` has the
//! functions and builds the patches, and `driver` carries out operations and compares.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of the kit")]

pub mod driver;
pub mod notation;
pub mod op;
pub mod pool;
pub mod rules;
pub mod session;
pub mod task;
