//! Interfaces: what a service and its libraries share, and how one is told from another.

use std::fmt;

/// What identifies the crate that a service shares with its patches and modules. Made by [`interface!`](crate::interface).
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

    /// The crate's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The crate's version.
    #[must_use]
    pub const fn version(&self) -> &'static str {
        self.version
    }

    /// A hash over the crate's sources.
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

/// The [`Interface`] of the crate that says it: its name, its version, and a hash over its manifest and the files in `src`.
///
/// ```
/// pub const INTERFACE: livepatch::Interface = livepatch::interface!();
/// # assert_eq!(INTERFACE.hash().len(), 32);
/// ```
///
/// Types that come from other crates of the same workspace are not seen by that hash. Name their folders or files, from
/// the crate's own folder: `interface!("../wire/src")`. What comes from a package registry, and with which features, is
/// part of the symbols' names: there, a difference is found as undefined symbols when a library is loaded.
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
