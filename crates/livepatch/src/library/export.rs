//! The exports of a library: its description and its entry.

use std::sync::atomic::AtomicU8;

use crate::patch::{CallbackError, PatchBuilder};
use crate::point::RawPoint;

pub use super::LibraryKind;
pub use super::description::Said;
pub use livepatch_macros::source_hash;

/// The symbol of a library's entry. Called with the address of the caller's [`COPY`], it returns the library's
/// [`PatchEntry`] or [`ModuleEntry`], or null if the library has its own copy of this crate.
pub(super) const ENTRY: &str = "__livepatch_entry";

/// The entry's type.
pub(super) type Enter = extern "C" fn(copy: *const ()) -> *const ();

/// Distinguishes copies of this crate by its address.
static COPY: AtomicU8 = AtomicU8::new(0);

/// Returns the address of this copy of the crate.
#[must_use]
pub fn copy() -> *const () {
    std::ptr::from_ref(&COPY).cast()
}

/// The functions of a patch's library.
#[derive(Debug)]
pub struct PatchEntry {
    /// Builds the patch.
    pub build: fn(PatchBuilder) -> Result<PatchBuilder, CallbackError>,
}

/// The functions of a module's library.
#[derive(Debug)]
pub struct ModuleEntry {
    /// Returns its patch points.
    pub points: fn() -> Vec<&'static RawPoint>,
    /// Initialises the module.
    pub init: fn() -> Result<(), CallbackError>,
    /// Cleans up.
    pub exit: fn(),
}

/// Returns the [`Interface`](crate::Interface) of the calling crate: its name, its version, and a hash of its manifest and the files in `src`.
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

/// Makes a library (`crate-type = ["cdylib"]`) a patch, which [`Registry::load_patch`](crate::Registry::load_patch) loads.
///
/// ```
/// use livepatch::{Interface, ObjectPatch, PatchBuilder, patchable};
///
/// // Both of these are in the interface crate.
/// pub const INTERFACE: Interface = livepatch::interface!();
/// #[patchable]
/// pub fn answer() -> u32 { 41 }
///
/// fn fixed() -> u32 { 42 }
///
/// fn patch(patch: PatchBuilder) -> Result<PatchBuilder, std::io::Error> {
///     Ok(patch.object(ObjectPatch::program().function::<answer>(fixed)))
/// }
///
/// livepatch::export_patch! {
///     interface: INTERFACE,
///     patch: patch,
/// }
/// # fn main() {}
/// ```
///
/// - `interface`: the interface crate's constant.
/// - `name`, optional: the patch's name; by default, the name of the package.
/// - `patch`: a function that gets a builder with that name and returns it, or an error.
/// - `unload: never`, optional: the library stays loaded for good. See [`library`](crate::library#what-stays-loaded).
///
/// A library contains one patch or module.
#[macro_export]
macro_rules! export_patch {
    (interface: $interface:expr, patch: $patch:expr $(, unload: $never:ident)? $(,)?) => {
        $crate::export_patch! {
            interface: $interface, name: ::core::env!("CARGO_PKG_NAME"), patch: $patch $(, unload: $never)?
        }
    };
    (interface: $interface:expr, name: $name:expr, patch: $patch:expr $(, unload: $never:ident)? $(,)?) => {
        $crate::__livepatch_export! {
            $interface, $name, Patch, [$($never)?],
            $crate::__library::PatchEntry { build: |patch| $patch(patch).map_err(::core::convert::Into::into) },
            $crate::__library::PatchEntry
        }
    };
}

/// Makes a library (`crate-type = ["cdylib"]`) a module, which [`Registry::load_module`](crate::Registry::load_module)
/// loads.
///
/// ```
/// use livepatch::{Interface, patchable};
///
/// // In the interface crate.
/// pub const INTERFACE: Interface = livepatch::interface!();
///
/// #[patchable(name = "decode")]
/// fn decode(text: &str) -> usize { text.len() }
///
/// fn init() -> Result<(), std::io::Error> { Ok(()) }
/// fn exit() {}
///
/// livepatch::export_module! {
///     interface: INTERFACE,
///     name: "codec",
///     points: [decode],
///     init: init,
///     exit: exit,
/// }
/// # fn main() {}
/// ```
///
/// - `interface`: the interface crate's constant.
/// - `name`, optional: the module's name; by default, the name of the package.
/// - `points`: the patchable functions through which the program calls the module, and which patches may replace.
/// - `init`: runs once patches are applied to the module, before any of its functions is called; an error refuses the module.
/// - `exit`: runs before the module is unloaded, when no unit is inside. It must end whatever `init` began, threads above
///   all.
/// - `unload: never`, optional: the library stays loaded for good. See [`library`](crate::library#what-stays-loaded).
#[macro_export]
macro_rules! export_module {
    (
        interface: $interface:expr, points: [$($points:path),* $(,)?], init: $init:expr, exit: $exit:expr
        $(, unload: $never:ident)? $(,)?
    ) => {
        $crate::export_module! {
            interface: $interface, name: ::core::env!("CARGO_PKG_NAME"), points: [$($points),*], init: $init, exit: $exit
            $(, unload: $never)?
        }
    };
    (
        interface: $interface:expr, name: $name:expr, points: [$($points:path),* $(,)?], init: $init:expr,
        exit: $exit:expr $(, unload: $never:ident)? $(,)?
    ) => {
        $crate::__livepatch_export! {
            $interface, $name, Module, [$($never)?],
            $crate::__library::ModuleEntry {
                points: || ::std::vec::Vec::from($crate::points![$($points),*]),
                init: || $init().map_err(::core::convert::Into::into),
                exit: || $exit(),
            },
            $crate::__library::ModuleEntry
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __livepatch_export {
    ($interface:expr, $name:expr, $kind:ident, [$($never:ident)?], $entry:expr, $type:ty) => {
        const _: () = {
            const SAID: $crate::__library::Said = $crate::__library::Said {
                kind: $crate::__library::LibraryKind::$kind,
                stays: $crate::__livepatch_export!(@stays $($never)?),
                name: $name,
                interface: $interface,
            };

            #[used]
            #[allow(unsafe_code, reason = "the section is the library's own")]
            #[unsafe(link_section = ".livepatch")]
            static DESCRIPTION: [u8; SAID.len()] = SAID.bytes();

            #[allow(unsafe_code, reason = "the name is the library's own")]
            #[unsafe(no_mangle)]
            extern "C" fn __livepatch_entry(copy: *const ()) -> *const () {
                static ENTRY: $type = $entry;
                // Referenced by exported code: otherwise some linkers drop it.
                ::core::hint::black_box(&DESCRIPTION);
                if ::core::ptr::eq(copy, $crate::__library::copy()) {
                    ::core::ptr::from_ref(&ENTRY).cast()
                } else {
                    ::core::ptr::null()
                }
            }
        };
    };
    (@stays) => { false };
    (@stays never) => { true };
}
