//! Loading patches.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;

use super::export::{self, Enter, PatchEntry};
use super::file::Image;
use super::loaded::Library;
use super::{Interface, LibraryKind, LoadError};
use crate::patch::{CallbackError, Patch, panic_message};
use crate::registry::Registry;

impl Registry {
    /// Loads a patch from a shared library, to be [enabled](Self::enable). The library is unloaded some time after the
    /// patch has been dropped, which the registry does last when it is disabled or replaced: see
    /// [`library`](crate::library).
    ///
    /// Nothing is asked of the file's name. The same file can be loaded again: that is another copy of it.
    ///
    /// # Errors
    ///
    /// Each kind of obstacle has its own [`LoadError`]; most are found before any code of the library runs.
    ///
    /// # Safety
    ///
    /// Code that is loaded can do anything, and what is unloaded must not be used. So, of this library:
    ///
    /// - it is built as [`library`](crate::library) says, from code that keeps Rust's rules;
    /// - nothing of it is used once its patch is dropped and no unit of work is left that called its functions: neither
    ///   functions, nor constants and texts, nor trait objects that it made, such as an error, a panic's payload, a
    ///   [`state`](crate::State)'s data or a future. It has no threads then, and has registered itself nowhere: as panic
    ///   hook, signal handler, logger, `tracing` call site. One that must do such things says `unload: never`;
    /// - it allocates shadow variables only under ids that its states [own](crate::State::owns): the store drops values of an
    ///   id by the code of who last allocated under it, even if that found one there.
    ///
    /// What livepatch itself keeps for the patch needs no care: callbacks, states and the data in them, variables that they
    /// own, errors of its callbacks.
    pub unsafe fn load_patch(&self, path: impl AsRef<Path>, interface: &Interface) -> Result<Arc<Patch>, LoadError> {
        let path = path.as_ref();
        let image = Image::read(path)?;
        image.check(LibraryKind::Patch, interface)?;
        // SAFETY: by the caller's promise.
        let library = unsafe { Library::open(&image, path) }?;
        match build(&library, &image.info.name) {
            Ok(mut patch) => {
                let new = Arc::get_mut(&mut patch).expect("nobody else has it yet");
                new.code.came_in(Arc::new(library));
                Ok(patch)
            }
            Err(error) => {
                library.close_after(&error);
                Err(error)
            }
        }
    }
}

fn build(library: &Library, name: &str) -> Result<Arc<Patch>, LoadError> {
    // SAFETY: `export_patch!` made it, for the description says that it is a patch.
    let entry: &PatchEntry = unsafe { enter(library) }?;
    let builder = run(|| (entry.build)(Patch::builder(name)))?;
    // What was built may be dropped here: then its code runs once more.
    match panic::catch_unwind(AssertUnwindSafe(|| builder.build())) {
        Ok(built) => built.map_err(LoadError::Patch),
        Err(payload) => Err(LoadError::Panicked {
            message: panic_message(payload),
        }),
    }
}

/// The entry of a library.
///
/// # Safety
///
/// It has one of this type.
pub(super) unsafe fn enter<E>(library: &Library) -> Result<&E, LoadError> {
    let symbol = library.symbol(export::ENTRY)?;
    // SAFETY: the description is of our format, so the symbol is what our macro made: a function of this type.
    let enter: Enter = unsafe { mem::transmute(symbol) };
    let entry = enter(export::copy());
    // SAFETY: null, or the entry, which lives as long as the library. It has the layout that we know, as it was built with
    // our compiler against our copy of this crate.
    unsafe { entry.cast::<E>().as_ref() }.ok_or(LoadError::OwnCopy)
}

/// Runs a function of a library that may fail. Nothing of the library is in the answer.
pub(super) fn run<T>(function: impl FnOnce() -> Result<T, CallbackError>) -> Result<T, LoadError> {
    let ran = panic::catch_unwind(AssertUnwindSafe(|| {
        function().map_err(|error| error.to_string()) // The error is dropped here: its code is the library's.
    }));
    match ran {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(message)) => Err(LoadError::Refused { message }),
        Err(payload) => Err(LoadError::Panicked {
            message: panic_message(payload),
        }),
    }
}
