//! The guide: documentation without code.
//!
//! - [`operations`]: every operation, its progress guarantee, and what it may wait for.
//! - [`use_cases`]: the three ways in which shadow variables are used, as running examples.
//! - [`kernel`]: the functions of the kernel's API and their counterparts here.
//! - [`limits`]: pitfalls: address reuse, stalled guards, many ids on one parent, and more.
//! - [`processes`]: forks, sandboxes, signals, and lack of memory.
//!
//! The internals of the table are explained on one page, at the head of `src/table/mod.rs`
//! (`cargo doc --document-private-items`).

pub mod kernel;
pub mod limits;
pub mod operations;
pub mod processes;
pub mod use_cases;
