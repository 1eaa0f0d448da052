//! What the access point and its patches share.
//!
//! The types are those that the first version of the code was built with; no patch changes them. The functions of
//! [`power_save`] are patchable. What a patch adds to a station lives beside it, as shadow variables.

pub mod counted;
pub mod frame;
pub mod power_save;
pub mod station;

/// What a patch is checked against before it is loaded.
pub const INTERFACE: livepatch::Interface = livepatch::interface!();

/// The data of the state that the power-save patches hold: what each tells the next.
#[derive(Debug)]
pub struct Repair {
    /// When the first of them came into effect.
    pub since: std::time::Instant,
    /// How many of them there have been, one after the other.
    pub generations: u32,
}
