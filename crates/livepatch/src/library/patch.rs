//! Loading patches.

use std::mem;
use std::path::Path;
use std::sync::Arc;

use super::export::{self, Enter, PatchEntry};
use super::file::Image;
use super::loaded::Library;
use super::{Interface, LibraryKind, LoadError, LoadFault, LoadOptions};
use crate::callout;
use crate::patch::{CallbackError, Patch};
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
    /// Each kind of obstacle has its own [`LoadFault`]; most are found before any code of the library runs.
    ///
    /// # Safety
    ///
    /// Code that is loaded can do anything, and what is unloaded must not be used. So, of this library:
    ///
    /// - it is built as [`library`](crate::library) says, from code that keeps Rust's rules;
    /// - nothing of it is used once its patch is dropped and no unit of work is left that called its functions: neither
    ///   functions, nor constants and texts (in the value of a variable that a later patch takes over, too, if its type has no
    ///   destructor), nor trait objects that it made, such as an error, a panic's payload, a [`state`](crate::State)'s data
    ///   that you took, or a future;
    /// - it has no threads then, and nothing can call it. What it can register itself with is found, as far as its imports
    ///   [tell](crate::library#what-stays-loaded), and keeps it loaded. What they do not tell: functions that it passed to
    ///   other libraries (C's and C++'s: loggers, allocators' hooks, callbacks of event loops), handlers that it registered
    ///   through such a library, by `dlsym` or a system call of its own; and statics of the interface in which it left a
    ///   function, a text, or a trait object. One that does such things says `unload: never`;
    /// - it allocates shadow variables only under ids that its states [own](crate::State::owns): the store drops values of an
    ///   id by the code of who last allocated under it, even if that found one there.
    ///
    /// What livepatch itself keeps for the patch needs no care: callbacks, states and the data in them, variables that they
    /// own, errors of its callbacks.
    pub unsafe fn load_patch(&self, path: impl AsRef<Path>, interface: &Interface) -> Result<Arc<Patch>, LoadError> {
        // SAFETY: by the caller's promise.
        unsafe { self.load_patch_with(path, interface, &LoadOptions::default()) }
    }

    /// As [`load_patch`](Self::load_patch), with other bounds on what may be loaded.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn load_patch_with(
        &self,
        path: impl AsRef<Path>,
        interface: &Interface,
        options: &LoadOptions,
    ) -> Result<Arc<Patch>, LoadError> {
        let path = path.as_ref();
        // SAFETY: by the caller's promise.
        unsafe { load(path, interface, options) }.map_err(|fault| LoadError::new(path, fault))
    }
}

/// See [`Registry::load_patch`].
///
/// # Safety
///
/// As there.
unsafe fn load(path: &Path, interface: &Interface, options: &LoadOptions) -> Result<Arc<Patch>, LoadFault> {
    let image = Image::read(path, options)?;
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

fn build(library: &Library, name: &str) -> Result<Arc<Patch>, LoadFault> {
    // SAFETY: `export_patch!` made it, for the description says that it is a patch.
    let entry: &PatchEntry = unsafe { enter(library) }?;
    let builder = run(|| (entry.build)(Patch::builder(name)))?;
    // What was built may be dropped here: then its code runs once more.
    match callout::guarded(|| builder.build()) {
        Ok(built) => built.map_err(LoadFault::Patch),
        Err(message) => Err(LoadFault::Panicked { message }),
    }
}

/// The entry of a library.
///
/// # Safety
///
/// It has one of this type.
pub(super) unsafe fn enter<E>(library: &Library) -> Result<&E, LoadFault> {
    let symbol = library.symbol(export::ENTRY)?;
    // SAFETY: the description is of our format, so the symbol is what our macro made: a function of this type.
    let enter: Enter = unsafe { mem::transmute(symbol) };
    let entry = enter(export::copy());
    // SAFETY: null, or the entry, which lives as long as the library. It has the layout that we know, as it was built with
    // our compiler against our copy of this crate.
    unsafe { entry.cast::<E>().as_ref() }.ok_or(LoadFault::OwnCopy)
}

/// Runs a function of a library that may fail. Nothing of the library is in the answer.
pub(super) fn run<T>(function: impl FnOnce() -> Result<T, CallbackError>) -> Result<T, LoadFault> {
    let ran = callout::guarded(|| {
        function().map_err(|error| error.to_string()) // The error is dropped here: its code is the library's.
    });
    match ran {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(message)) => Err(LoadFault::Refused { message }),
        Err(message) => Err(LoadFault::Panicked { message }),
    }
}
