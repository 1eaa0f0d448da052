//! The kit that the tests, the crate's own unit tests and the fuzzers share.
//!
//! `op` names what can be done to a store, `model` does it to a store and to a plain map and compares, `rounds` does it
//! from several threads and `history` judges what they saw. `payload` counts every construction and drop, `configs`
//! lists the stores that all of this runs on.

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
