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
