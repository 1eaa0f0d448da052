//! The kit that the tests, the crate's own unit tests and the fuzzers share.
//!
//! `op` names the operations on a store, `model` runs them on a store and on a plain map and compares, `rounds` runs them
//! from several threads, and `history` checks what these saw. `payload` counts every construction and drop, `configs` lists
//! the stores on which all of this runs.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of the kit")]

pub mod configs;
pub mod construct;
pub mod door;
pub mod history;
pub mod interpret;
pub mod model;
pub mod op;
pub mod payload;
pub mod random;
pub mod raw;
pub mod remove;
pub mod rounds;
pub mod strategy;
pub mod table;
pub mod worker;
