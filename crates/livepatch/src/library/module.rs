//! Loading modules, calling them, and unloading them.
//!
//! A call goes through a *gate*. The caller begins a unit and then checks whether the gate is open; the unloading thread
//! closes the gate and then checks which tasks are in a unit. The barriers in between are those of a flip (O2 of the page
//! on tasks): either the caller sees the gate closed, or its unit is seen inside and waited for.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::export::ModuleEntry;
use super::file::Image;
use super::loaded::Library;
use super::patch::{enter, run};
use super::{Interface, LibraryKind, LoadError, LoadFault, LoadOptions, Stays, UnloadError};
use crate::callout;
use crate::error::{ModuleError, ResolveError};
use crate::events::Event;
use crate::patch::code::Mapping;
use crate::point::{Call, RawPoint, Signature};
use crate::registry::Registry;
use crate::sync::Lock;
use crate::task::left::{is_inside, wait_for_units};

type Points = Vec<&'static RawPoint>;

/// A module that was loaded from a shared library. Dropping this does not unload it; the library then stays for good.
#[must_use = "only this can unload the module"]
pub struct Module {
    registry: &'static Registry,
    shared: Arc<Shared>,
    /// Whether its clean-up has run.
    exited: bool,
}

/// The state that a module shares with its functions.
struct Shared {
    name: String,
    /// Whether the module may be called: the gate.
    open: AtomicBool,
    /// `None` once it is unloaded.
    inside: Lock<Option<Inside>>,
}

/// The parts of a module that are in the library.
struct Inside {
    exit: fn(),
    points: Points,
    library: Library,
}

/// A function of a module, for the program to call. See [`Module::function`].
pub struct ModuleFunction<F> {
    shared: Arc<Shared>,
    /// In the library: valid as long as the gate is open.
    point: *const RawPoint,
    function: PhantomData<F>,
}

/// The module is unloaded, or being unloaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("module `{module}` is unloaded or being unloaded")]
pub struct ModuleGone {
    /// Its name.
    pub module: String,
}

/// A call in progress of a module's function, and the unit of work that it is part of. Dereferences to the function.
#[derive(Debug)]
#[must_use = "dropped, it ends the unit of work"]
pub struct ModuleCall<F: Copy> {
    function: F,
    _call: Call<F>,
}

impl Registry {
    /// Loads a module from a shared library: applies the patches that name it, and runs its initialisation.
    ///
    /// # Errors
    ///
    /// Each kind of obstacle has its own [`LoadFault`]; most are found before any code of the library runs.
    ///
    /// # Safety
    ///
    /// Same as [`load_patch`](Self::load_patch): nothing of the library is used once the module is
    /// [unloaded](Module::unload). Shadow variables of types that it declares, and its threads, must have ended when its
    /// `exit` returns.
    pub unsafe fn load_module(
        &'static self,
        path: impl AsRef<Path>,
        interface: &Interface,
    ) -> Result<Module, LoadError> {
        // SAFETY: the caller upholds the same contract.
        unsafe { self.load_module_with(path, interface, &LoadOptions::default()) }
    }

    /// Like [`load_module`](Self::load_module), with explicit limits on what may be loaded.
    ///
    /// # Errors
    ///
    /// Same as [`load_module`](Self::load_module).
    ///
    /// # Safety
    ///
    /// Same as [`load_module`](Self::load_module).
    pub unsafe fn load_module_with(
        &'static self,
        path: impl AsRef<Path>,
        interface: &Interface,
        options: &LoadOptions,
    ) -> Result<Module, LoadError> {
        let path = path.as_ref();
        // SAFETY: the caller upholds the same contract.
        unsafe { self.try_load_module(path, interface, options) }.map_err(|fault| LoadError::new(path, fault))
    }

    /// See [`load_module`](Self::load_module).
    ///
    /// # Safety
    ///
    /// Same as [`load_module`](Self::load_module).
    unsafe fn try_load_module(
        &'static self,
        path: &Path,
        interface: &Interface,
        options: &LoadOptions,
    ) -> Result<Module, LoadFault> {
        let image = Image::read(path, options)?;
        image.check(LibraryKind::Module, interface)?;
        // SAFETY: the caller guarantees that the library's code may be run.
        let library = unsafe { Library::open(&image, path) }?;
        // SAFETY: `check` has found that it is a module.
        match unsafe { self.register_module(&library, &image.info.name) } {
            Ok((entry, points)) => Ok(Module {
                registry: self,
                shared: Arc::new(Shared {
                    name: image.info.name,
                    open: AtomicBool::new(true),
                    inside: Lock::new(Some(Inside {
                        exit: entry.exit,
                        points,
                        library,
                    })),
                }),
                exited: false,
            }),
            Err(error) => {
                self.emit(&Event::ModuleRefused {
                    module: image.info.name,
                    message: callout::text(&error),
                });
                // SAFETY: the module was removed from the registry, and the error is text.
                unsafe { library.close_after(&error) };
                Err(error)
            }
        }
    }

    /// Adds a library's module to the registry, and runs its initialisation.
    ///
    /// # Safety
    ///
    /// The library's description says that it is a module.
    unsafe fn register_module<'l>(
        &self,
        library: &'l Library,
        name: &str,
    ) -> Result<(&'l ModuleEntry, Points), LoadFault> {
        // SAFETY: a module, by the caller's guarantee, so `export_module!` made its entry.
        let entry: &ModuleEntry = unsafe { enter(library) }?;
        let points = run(|| Ok((entry.points)()))?;
        self.module_coming(name, points.iter().copied())
            .map_err(LoadFault::Module)?;
        let live = run(|| (entry.init)()).and_then(|()| self.module_live(name).map_err(LoadFault::Module));
        if let Err(error) = live {
            // It was added just now, and the change lock is taken anew, so this cannot fail.
            let _ = self.module_going(name);
            return Err(error);
        }
        Ok((entry, points))
    }
}

impl Module {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the module's patchable function of this name and type.
    ///
    /// # Errors
    ///
    /// If the module has no such function, or it is of another type.
    ///
    /// # Safety
    ///
    /// `F` is a function pointer type, such as `fn(&str) -> usize`; and a pointer copied out of a [`ModuleCall`] is not
    /// called after the `ModuleCall` is dropped.
    pub unsafe fn function<F: Copy + 'static>(&self, name: &str) -> Result<ModuleFunction<F>, ResolveError> {
        let inside = self.shared.inside.lock();
        let points = inside.iter().flat_map(|inside| &inside.points);
        let point = points
            .copied()
            .find(|point| point.name() == name)
            .ok_or_else(|| ResolveError::UnknownPoint {
                object: self.shared.name.clone(),
                function: name.to_owned(),
            })?;
        if point.signature() != Signature::of::<F>() {
            return Err(ResolveError::Signature {
                object: self.shared.name.clone(),
                function: name.to_owned(),
                found: point.signature().name.to_owned(),
                replacement: Signature::of::<F>().name.to_owned(),
            });
        }
        Ok(ModuleFunction {
            shared: Arc::clone(&self.shared),
            point,
            function: PhantomData,
        })
    }

    /// Unloads the module: makes its functions return [`ModuleGone`], waits until no unit of work that may be inside is
    /// left, runs its `exit`, reverts all patches to it, and has the library unloaded by a separate thread.
    ///
    /// Waits for all units of work that run when it is called, for other changes of patches and modules, and for `exit`.
    ///
    /// # Errors
    ///
    /// If called in a unit of work, or when units have not ended in time. It can be retried; until then, if `exit` has
    /// not run, the module can be called as before.
    pub fn unload(&mut self, timeout: Duration) -> Result<(), UnloadError> {
        self.try_unload(timeout).inspect_err(|_| {
            if !self.exited {
                // Release: pairs with the Acquire of `enter`.
                self.shared.open.store(true, Ordering::Release);
            }
        })
    }

    fn try_unload(&mut self, timeout: Duration) -> Result<(), UnloadError> {
        let until = Instant::now().checked_add(timeout);
        if self.shared.inside.lock().is_none() {
            return Ok(()); // Already unloaded.
        }
        if is_inside() {
            return Err(UnloadError::Inside);
        }
        // SeqCst: before the units are scanned in `wait_for_units`.
        self.shared.open.store(false, Ordering::SeqCst);
        wait_for_units(until).map_err(|units| UnloadError::Busy { units })?;
        if !self.exited {
            let exit = self.shared.inside.lock().as_ref().map(|inside| inside.exit);
            self.exited = true;
            if let Some(Err(message)) = exit.map(callout::guarded) {
                if let Some(inside) = &*self.shared.inside.lock() {
                    inside.library.stay(Stays::ExitPanicked);
                }
                self.registry.emit(&Event::ModuleFailed {
                    module: self.shared.name.clone(),
                    message,
                });
            }
        }
        // `exit` may have closed other ways into the module than its functions: units that came that way are waited for too.
        wait_for_units(until).map_err(|units| UnloadError::Busy { units })?;
        match self.registry.module_going(&self.shared.name) {
            // Already removed through `Registry::module_going`.
            Ok(()) | Err(ModuleError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let inside = self.shared.inside.lock().take();
        drop(inside); // Unloads it.
        Ok(())
    }
}

impl<F: Copy + 'static> ModuleFunction<F> {
    /// Begins a unit of work, or continues the current one, to call the function: `(*function.enter()?)(argument)`.
    ///
    /// Progress: same as [`unit`](crate::unit).
    ///
    /// # Errors
    ///
    /// If the module is unloaded, or being unloaded.
    #[track_caller]
    pub fn enter(&self) -> Result<ModuleCall<F>, ModuleGone> {
        let _unit = crate::unit();
        // Acquire: makes the module's data visible. Ordered after the unit's light barrier, or the unit began before: see
        // the module's page.
        if !self.shared.open.load(Ordering::Acquire) {
            return Err(ModuleGone {
                module: self.shared.name.clone(),
            });
        }
        // SAFETY: the gate is open, and this unit is inside: the library stays loaded until it ends.
        let point = unsafe { &*self.point };
        // SAFETY: `F` is a function pointer type (`Module::function`), and the point's (its signature was compared).
        let call: Call<F> = unsafe { point.enter() };
        Ok(ModuleCall {
            // SAFETY: stored beside the call; a caller that copies it has promised not to outlive the call
            // (`Module::function`).
            function: unsafe { call.function() },
            _call: call,
        })
    }
}

// SAFETY: points are shared by all threads; `F` is only a type here.
unsafe impl<F> Send for ModuleFunction<F> {}
// SAFETY: as above.
unsafe impl<F> Sync for ModuleFunction<F> {}

impl<F> Clone for ModuleFunction<F> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            point: self.point,
            function: PhantomData,
        }
    }
}

impl<F: Copy> std::ops::Deref for ModuleCall<F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.function
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if let Some(inside) = &*self.shared.inside.lock() {
            inside.library.stay(Stays::ModuleDropped);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Still loaded: it cannot be called any more, but the registry has its points.
        if let Some(inside) = self.inside.lock().take() {
            std::mem::forget(inside);
        }
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for ModuleFunction<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModuleFunction")
            .field("module", &self.shared.name)
            .finish_non_exhaustive()
    }
}
