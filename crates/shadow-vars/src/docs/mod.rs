//! The guide: documentation without code.
//!
//! How it is used:
//!
//! - [`use_cases`]: the three ways in which shadow variables are used, as running examples.
//! - [`service`]: an asynchronous service: values of connections, references across awaits, shutdown.
//! - [`monitoring`]: metrics and logs, and what to watch.
//! - [`backends`]: choosing a reclamation backend.
//! - [`memory`]: what to do about memory, and about the time when values are dropped.
//! - [`forks`]: worker processes and signal handlers.
//! - [`fuzzing`]: fuzzing a program that uses the store.
//! - [`gates`]: regression gates for one's own hot path.
//!
//! What is guaranteed:
//!
//! - [`operations`]: every operation, its progress guarantee, and what it may wait for.
//! - [`kernel`]: the functions of the kernel's API and their counterparts here.
//! - [`limits`]: pitfalls: address reuse, stalled guards, many ids on one parent, and more.
//! - [`processes`]: forks, sandboxes, signals, and lack of memory.
//!
//! Whole programs are in `crates/examples` of the repository: `cargo run --example service`, `metrics`, `tracing`, `fuzz` and
//! `gate`.
//!
//! The internals of the table are explained on one page, at the head of `src/table/mod.rs`
//! (`cargo doc --document-private-items`).

pub mod backends;
pub mod forks;
pub mod gates;
pub mod kernel;
pub mod limits;
pub mod memory;
pub mod operations;
pub mod processes;
pub mod use_cases;

// The examples of these pages need crates that this one does not depend on, so `crates/examples` compiles them.
#[cfg_attr(not(doctest), doc = include_str!("fuzzing.md"))]
pub mod fuzzing {}
#[cfg_attr(not(doctest), doc = include_str!("monitoring.md"))]
pub mod monitoring {}
#[cfg_attr(not(doctest), doc = include_str!("service.md"))]
pub mod service {}
