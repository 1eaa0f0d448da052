//! The guide: documentation without code.
//!
//! - [`service`]: an asynchronous service that is patched while it serves: units of work, patches, shutdown.
//!
//! Patches that are built apart and loaded are described in the module `library`, the operators' side in `control`. How the
//! service attaches values to its connections is in the guide of [`shadow_vars`], page [`service`](shadow_vars::docs::service).

// Its examples need crates that this one does not depend on, so `crates/examples` of the repository compiles them.
#[cfg_attr(not(doctest), doc = include_str!("service.md"))]
pub mod service {}
