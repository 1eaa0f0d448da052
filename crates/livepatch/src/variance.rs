//! The variance of the types, held by examples that must compile, and twins that must not.
//!
//! A patch point is invariant in its function's type: otherwise a `fn(&'static str)` could be put in as a replacement
//! where calls pass shorter-lived references. Types that only hand functions out are covariant.

/// ```compile_fail,E0308
/// use livepatch::PatchPoint;
/// fn narrow(any: &'static PatchPoint<for<'a> fn(&'a str)>) -> &'static PatchPoint<fn(&'static str)> { any }
/// ```
/// ```compile_fail,E0308
/// use livepatch::PatchPoint;
/// fn widen(only: &'static PatchPoint<fn(&'static str)>) -> &'static PatchPoint<for<'a> fn(&'a str)> { only }
/// ```
/// ```
/// use livepatch::PatchPoint;
/// fn same(any: &'static PatchPoint<for<'a> fn(&'a str)>) -> &'static PatchPoint<for<'a> fn(&'a str)> { any }
/// ```
struct OfPatchPoint;

/// A user's own type that implements `Patchable` has the function's exact type, too.
///
/// ```compile_fail,E0308
/// use livepatch::{ObjectPatch, PatchPoint, Patchable, patchable};
/// #[patchable]
/// fn keep(_: &str) {}
/// struct Mine;
/// impl Patchable for Mine {
///     type Fn = fn(&'static str);
///     fn point() -> &'static PatchPoint<fn(&'static str)> { <keep as Patchable>::point() }
/// }
/// fn stash(_: &'static str) {}
/// let _ = ObjectPatch::program().function::<Mine>(stash);
/// ```
/// ```
/// use livepatch::{ObjectPatch, PatchPoint, Patchable, patchable};
/// #[patchable]
/// fn keep(_: &str) {}
/// struct Mine;
/// impl Patchable for Mine {
///     type Fn = fn(&str);
///     fn point() -> &'static PatchPoint<fn(&str)> { <keep as Patchable>::point() }
/// }
/// fn stash(_: &str) {}
/// let _ = ObjectPatch::program().function::<Mine>(stash);
/// ```
struct OfPatchable;

/// ```compile_fail,E0308
/// use livepatch::Call;
/// fn widen(only: Call<fn(&'static str)>) -> Call<for<'a> fn(&'a str)> { only }
/// ```
/// ```
/// use livepatch::Call;
/// fn narrow(any: Call<for<'a> fn(&'a str)>) -> Call<fn(&'static str)> { any }
/// ```
struct OfCall;

/// ```compile_fail,E0308
/// use livepatch::library::ModuleFunction;
/// fn widen(only: ModuleFunction<fn(&'static str)>) -> ModuleFunction<for<'a> fn(&'a str)> { only }
/// ```
/// ```
/// use livepatch::library::ModuleFunction;
/// fn narrow(any: ModuleFunction<for<'a> fn(&'a str)>) -> ModuleFunction<fn(&'static str)> { any }
/// ```
#[cfg(all(feature = "library", target_os = "linux"))]
struct OfModuleFunction;

/// ```compile_fail,E0308
/// use livepatch::library::ModuleCall;
/// fn widen(only: ModuleCall<fn(&'static str)>) -> ModuleCall<for<'a> fn(&'a str)> { only }
/// ```
/// ```
/// use livepatch::library::ModuleCall;
/// fn narrow(any: ModuleCall<for<'a> fn(&'a str)>) -> ModuleCall<fn(&'static str)> { any }
/// ```
#[cfg(all(feature = "library", target_os = "linux"))]
struct OfModuleCall;

/// A future in a unit owns it, as a `Box` does; a context is borrowed.
///
/// ```
/// use livepatch::{Context, InUnit};
/// use std::future::Ready;
/// fn shorter<'a: 'b, 'b>(future: InUnit<Ready<&'a str>>) -> InUnit<Ready<&'b str>> { future }
/// fn context<'a: 'b, 'b>(context: Context<'a>) -> Context<'b> { context }
/// ```
/// ```compile_fail
/// use livepatch::InUnit;
/// use std::future::Ready;
/// fn longer<'a: 'b, 'b>(future: InUnit<Ready<&'b str>>) -> InUnit<Ready<&'a str>> { future }
/// ```
/// ```compile_fail
/// use livepatch::Context;
/// fn longer<'a: 'b, 'b>(context: Context<'b>) -> Context<'a> { context }
/// ```
struct OfFutureAndContext;
