//! The guide: documentation without code.
//!
//! - [`operations`]: every operation, what it promises, what it may wait for.
//! - [`use_cases`]: the three ways in which shadow variables are used, as running examples.
//! - [`kernel`]: each function of the kernel's API and its counterpart here.
//! - [`limits`]: what to mind: address reuse, stalled guards, many ids on one parent, and more.
//! - [`processes`]: forks, sandboxes, signals, and a machine without memory.
//!
//! How the table works inside is explained in one page at the head of `src/table/mod.rs`
//! (`cargo doc --document-private-items`).

pub mod kernel;
pub mod limits;
pub mod operations;
pub mod processes;
pub mod use_cases;
