//! The types and functions that the access point and its patches share.
//!
//! The types are those that the first version of the code was built with; no patch changes them. The functions of
//! [`power_save`] are patchable. A patch adds data to a station as shadow variables.

pub mod counted;
pub mod frame;
pub mod power_save;
pub mod station;

/// The interface that a patch is checked against before it is loaded.
pub const INTERFACE: livepatch::Interface = livepatch::interface!();

/// The data of the state that the power-save patches hold: each patch passes it on to the next.
#[derive(Debug)]
pub struct Repair {
    /// When the first of them took effect.
    pub since: std::time::Instant,
    /// How many of them there have been.
    pub generations: u32,
}
