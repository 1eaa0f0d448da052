//! Interfaces: the identity of what a service and its libraries share.

use std::fmt;

/// The identity of the crate that a service shares with its patches and modules. Made by [`interface!`](crate::interface).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interface {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) hash: &'static str,
}

/// The compiler that built this crate, and so everything that is linked to it.
pub(crate) const COMPILER: &str = env!("LIVEPATCH_COMPILER");
/// The target that it was built for.
pub(crate) const TARGET: &str = env!("LIVEPATCH_TARGET");

impl Interface {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(name: &'static str, version: &'static str, hash: &'static str) -> Self {
        Self { name, version, hash }
    }

    /// Returns the crate's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the crate's version.
    #[must_use]
    pub const fn version(&self) -> &'static str {
        self.version
    }

    /// Returns the hash of the crate's sources.
    #[must_use]
    pub const fn hash(&self) -> &'static str {
        self.hash
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.name, self.version, self.hash)
    }
}

/// Returns the [`Interface`] of the calling crate: its name, its version, and a hash of its manifest and the files in `src`.
///
/// ```
/// pub const INTERFACE: livepatch::Interface = livepatch::interface!();
/// # assert_eq!(INTERFACE.hash().len(), 32);
/// ```
///
/// The hash does not cover types from other crates of the same workspace. Name their directories or files, relative to
/// the crate's own directory: `interface!("../wire/src")`. The versions and features of crates from a registry are part
/// of their symbols' names: a difference shows as undefined symbols when a library is loaded.
#[macro_export]
macro_rules! interface {
    ($($also:literal),* $(,)?) => {
        $crate::Interface::new(
            ::core::env!("CARGO_PKG_NAME"),
            ::core::env!("CARGO_PKG_VERSION"),
            $crate::__library::source_hash!($($also),*),
        )
    };
}
