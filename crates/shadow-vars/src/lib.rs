//! docs
#[cfg(test)]
extern crate self as shadow_vars;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a slot packs an address of 48 bits with a tag into 64: shadow-vars needs a 64-bit platform");

mod config;
mod ctor;
mod error;
mod events;
mod iter;
mod key;
mod mem;
#[cfg(feature = "rayon")]
mod par;
mod parent;
mod pinned;
mod raw;
mod reclaim;
mod registry;
mod stats;
mod store;
mod sync;
mod table;
#[cfg(test)]
mod tests;
mod wait;

pub use bytemuck::Zeroable;

#[doc(hidden)]
pub use config::Provoke;
pub use config::Builder;
pub use error::{AllocError, BuildError, CtorError, LayoutMismatch, StoreError, SyncError, TypeMismatch};
pub use iter::{Iter, VarRef};
pub use key::{ObjAddr, ShadowId};
#[cfg(feature = "rayon")]
pub use par::ParIter;
pub use parent::{Parent, StoreHandle};
pub use pinned::{OwnedPinned, Pinned};
pub use raw::{RawCtor, RawDtor, RawVar};
#[cfg(feature = "seize")]
pub use reclaim::Seize;
pub use reclaim::{Epoch, GuardKind, LocalGuard, OwnedGuard, Reclaim};
pub use stats::{IdStats, Stats};
pub use store::{ShadowStore, global};

/// The largest alignment of a value.
pub const MAX_ALIGN: usize = 4096;
