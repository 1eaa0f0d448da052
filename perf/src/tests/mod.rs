//! Tests. The sizes are tiny: what is tested is that answers are right and options are understood, not how fast.

mod alone;
mod cli;
pub(crate) mod conformance;
mod freed;
mod gate;
mod keys;
mod quiet;
mod record;
mod report;
mod trace;
mod workloads;
