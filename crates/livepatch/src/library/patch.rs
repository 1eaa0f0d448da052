//! Loading patches.

use std::mem;
use std::path::Path;
use std::sync::Arc;

use super::export::{self, Enter, PatchEntry};
use super::file::Image;
use super::loaded::Library;
use super::{Interface, LibraryKind, LoadError, LoadFault, LoadOptions};
use crate::callout;
use crate::patch::code::Code;
use crate::patch::{CallbackError, Patch};
use crate::registry::Registry;

impl Registry {
    /// Loads a patch from a shared library, to be [enabled](Self::enable). The library is unloaded some time after the
    /// patch has been dropped, which the registry does last when the patch is disabled or replaced: see
    /// [`library`](crate::library).
    ///
    /// The name of the file does not matter. If the same file is loaded again, that is another copy of it.
    ///
    /// # Errors
    ///
    /// Each kind of obstacle has its own [`LoadFault`]; most are found before any code of the library runs.
    ///
    /// # Safety
    ///
    /// Loaded code can do anything, and unloaded code must not be used. So, for this library:
    ///
    /// - it is built as described in [`library`](crate::library), from code that upholds Rust's rules;
    /// - nothing of it is used once its patch is dropped and no unit of work is left that called its functions: neither
    ///   functions, nor constants and string literals (including those in the value of a variable that a later patch
    ///   takes over, if its type has no destructor), nor trait objects that it made, such as an error, a panic's payload,
    ///   a [`state`](crate::State)'s data that you took, or a future;
    /// - it has no threads then, and nothing can call it. Where it may have registered itself is detected as far as its
    ///   imports [show](crate::library#what-stays-loaded), and keeps it loaded. They do not show: functions that it
    ///   passed to other libraries (in C and C++: loggers, allocator hooks, callbacks of event loops); handlers that it
    ///   registered through such a library, by `dlsym` or by a direct system call; and statics of the interface in which
    ///   it left a function, a string literal, or a trait object. A library that does such things is to be declared
    ///   `unload: never`;
    /// - it allocates shadow variables only under ids that its states [own](crate::State::owns): the store drops values
    ///   of an id with the code of the library that last allocated under it, even if that call found an existing
    ///   variable.
    ///
    /// What livepatch itself retains for the patch needs no care: callbacks, states and the data in them, variables that
    /// they own, errors of its callbacks.
    pub unsafe fn load_patch(&self, path: impl AsRef<Path>, interface: &Interface) -> Result<Arc<Patch>, LoadError> {
        // SAFETY: the caller upholds the same contract.
        unsafe { self.load_patch_with(path, interface, &LoadOptions::default()) }
    }

    /// Like [`load_patch`](Self::load_patch), with explicit limits on what may be loaded.
    ///
    /// # Errors
    ///
    /// Same as [`load_patch`](Self::load_patch).
    ///
    /// # Safety
    ///
    /// Same as [`load_patch`](Self::load_patch).
    pub unsafe fn load_patch_with(
        &self,
        path: impl AsRef<Path>,
        interface: &Interface,
        options: &LoadOptions,
    ) -> Result<Arc<Patch>, LoadError> {
        let path = path.as_ref();
        // SAFETY: the caller upholds the same contract.
        unsafe { load(path, interface, options) }.map_err(|fault| LoadError::new(path, fault))
    }
}

/// See [`Registry::load_patch`].
///
/// # Safety
///
/// Same as [`Registry::load_patch`].
unsafe fn load(path: &Path, interface: &Interface, options: &LoadOptions) -> Result<Arc<Patch>, LoadFault> {
    let image = Image::read(path, options)?;
    image.check(LibraryKind::Patch, interface)?;
    // SAFETY: the caller guarantees that the library's code may be run.
    let library = unsafe { Library::open(&image, path) }?;
    // SAFETY: `check` has found that it is a patch.
    match unsafe { build(&library, &image.info.name) } {
        Ok(mut patch) => {
            let new = Arc::get_mut(&mut patch).expect("the patch is not shared yet");
            new.code = Code::new(Some(Arc::new(library)));
            Ok(patch)
        }
        Err(error) => {
            // SAFETY: nothing was built, and the error is text.
            unsafe { library.close_after(&error) };
            Err(error)
        }
    }
}

/// Builds the patch of a library.
///
/// # Safety
///
/// The library's description says that it is a patch.
unsafe fn build(library: &Library, name: &str) -> Result<Arc<Patch>, LoadFault> {
    // SAFETY: a patch, by the caller's guarantee, so `export_patch!` made its entry.
    let entry: &PatchEntry = unsafe { enter(library) }?;
    let builder = run(|| (entry.build)(Patch::builder(name)))?;
    // The builder's parts may be dropped here, which runs the library's code again.
    match callout::guarded(|| builder.build()) {
        Ok(built) => built.map_err(LoadFault::Patch),
        Err(message) => Err(LoadFault::Panicked { message }),
    }
}

/// Returns the entry of a library.
///
/// # Safety
///
/// The library has an entry of this type.
pub(super) unsafe fn enter<E>(library: &Library) -> Result<&E, LoadFault> {
    let symbol = library.symbol(export::ENTRY)?;
    // SAFETY: the description has our format, so our macro made the symbol: a function of this type.
    let enter: Enter = unsafe { mem::transmute(symbol) };
    let entry = enter(export::copy());
    // SAFETY: null, or the entry, which is valid as long as the library is loaded. Its layout is the one known here, as
    // it was built with the same compiler against the same copy of this crate.
    unsafe { entry.cast::<E>().as_ref() }.ok_or(LoadFault::OwnCopy)
}

/// Runs a fallible function of a library. The result does not refer to the library.
pub(super) fn run<T>(function: impl FnOnce() -> Result<T, CallbackError>) -> Result<T, LoadFault> {
    let ran = callout::guarded(|| {
        function().map_err(|error| error.to_string()) // The error is dropped here, as its code is in the library.
    });
    match ran {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(message)) => Err(LoadFault::Refused { message }),
        Err(message) => Err(LoadFault::Panicked { message }),
    }
}
