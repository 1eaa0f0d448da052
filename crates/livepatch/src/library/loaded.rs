//! Libraries that are loaded, and how they are unloaded.

use std::mem::ManuallyDrop;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libloading::os::unix::{Library as Handle, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW};
use parking_lot::{Condvar, Mutex};
use shadow_vars::SyncError;

use super::file::{Image, Sealed};
use super::{LibraryKind, LoadError, StillLoaded};
use crate::events::Event;
use crate::registry::{Registry, registry};
use crate::task::WORLD;

/// Waits until a store has run the destructors that it owes.
pub(crate) type Synchronize = Arc<dyn Fn() -> Result<(), SyncError> + Send + Sync>;

/// `dlopen` with this flag finds what is loaded, and loads nothing.
const RTLD_NOLOAD: std::ffi::c_int = 4;

/// A library that is loaded. Once dropped, it is unloaded by a thread of its own.
#[derive(Debug)]
pub(crate) struct Library {
    open: ManuallyDrop<Open>,
}

/// What is needed to unload a library.
struct Open {
    number: u64,
    name: String,
    handle: Handle,
    sealed: Sealed,
    owed: Mutex<Vec<Synchronize>>,
}

/// All that are loaded.
static LOADED: Mutex<Vec<Loaded>> = Mutex::new(Vec::new());
/// One was unloaded, or will stay for good.
static CHANGED: Condvar = Condvar::new();

struct Loaded {
    number: u64,
    kind: LibraryKind,
    name: String,
    path: String,
    stays: Option<&'static str>,
}

/// A library that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LibraryStatus {
    /// What it holds.
    pub kind: LibraryKind,
    /// The patch's or module's name.
    pub name: String,
    /// The file that it was read from.
    pub path: String,
    /// Why it stays loaded for good, if it does.
    pub stays: Option<&'static str>,
}

impl Library {
    /// Loads a library that was checked.
    ///
    /// # Safety
    ///
    /// Its code may run: see [`Registry::load_patch`].
    pub(super) unsafe fn open(image: &Image, path: &Path) -> Result<Self, LoadError> {
        let sealed = image.seal()?;
        let name = sealed.path();
        // SAFETY: by the caller's promise.
        let handle = unsafe { Handle::open(Some(&name), RTLD_NOW | RTLD_LOCAL) };
        let handle = handle.map_err(|error| LoadError::Link {
            message: text(&error).replace(&*name.to_string_lossy(), &path.to_string_lossy()),
        })?;
        let stays = match () {
            () if image.info.stays => Some("it asks for that"),
            () if image.thread_locals => Some("it has thread-local variables"),
            () => None,
        };
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only unique.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        LOADED.lock().push(Loaded {
            number,
            kind: image.info.kind,
            name: image.info.name.clone(),
            path: path.to_string_lossy().into_owned(),
            stays,
        });
        Ok(Self {
            open: ManuallyDrop::new(Open {
                number,
                name: image.info.name.clone(),
                handle,
                sealed,
                owed: Mutex::new(Vec::new()),
            }),
        })
    }

    /// The address of a symbol.
    pub(super) fn symbol(&self, name: &str) -> Result<*const (), LoadError> {
        // SAFETY: only its address is taken.
        let symbol = unsafe { self.open.handle.get::<*const ()>(name) };
        symbol
            .map(|symbol| symbol.as_raw_ptr().cast_const().cast())
            .map_err(|error| LoadError::Link { message: text(&error) })
    }

    /// To be waited for before it is unloaded.
    pub(crate) fn owe(&self, owed: impl IntoIterator<Item = Synchronize>) {
        self.open.owed.lock().extend(owed);
    }

    /// It must not be unloaded.
    pub(crate) fn stay(&self, why: &'static str) {
        if let Some(loaded) = LOADED.lock().iter_mut().find(|one| one.number == self.open.number) {
            loaded.stays.get_or_insert(why);
        }
    }

    /// Unloads it now, on this thread: after a failure, when nobody has seen anything of it.
    pub(super) fn close_after(self, error: &LoadError) {
        if let LoadError::OwnCopy = error {
            // Nothing of it ran that could be a reason to stay.
            let mut loaded = LOADED.lock();
            let own = loaded.iter_mut().find(|one| one.number == self.open.number);
            own.into_iter().for_each(|one| one.stays = None);
        }
        let mut this = ManuallyDrop::new(self);
        // SAFETY: not used again, nor dropped.
        let open = unsafe { ManuallyDrop::take(&mut this.open) };
        open.close();
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: not used again.
        let open = unsafe { ManuallyDrop::take(&mut self.open) };
        let open = ManuallyDrop::new(open); // If there can be no thread, it stays.
        let number = open.number;
        let unload = thread::Builder::new().name("livepatch-unload".to_owned());
        if unload.spawn(move || ManuallyDrop::into_inner(open).close()).is_err() {
            told(number, Some("there is no thread to unload it"));
        }
    }
}

impl Open {
    /// Waits until nothing of the library is owed, and unloads it.
    fn close(self) {
        let number = self.number;
        let name = self.name.clone();
        let stays = self.try_close();
        let event = match stays {
            None => Event::Unloaded { library: name },
            Some(why) => Event::StaysLoaded {
                library: name,
                why: why.to_owned(),
            },
        };
        registry().emit(&event);
        told(number, stays); // Who waits for it has been told the event.
    }

    /// Why it stays, if it does.
    fn try_close(self) -> Option<&'static str> {
        let mut this = ManuallyDrop::new(self);
        let stays = LOADED.lock().iter().find(|one| one.number == this.number)?.stays;
        if stays.is_some() {
            return stays;
        }
        let owed = std::mem::take(&mut *this.owed.lock());
        for synchronize in &owed {
            match panic::catch_unwind(AssertUnwindSafe(|| synchronize())) {
                Ok(Ok(())) => {}
                _ => {
                    std::mem::forget(owed); // They are the library's.
                    return Some("a store did not tell whether destructors are owed");
                }
            }
        }
        if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(owed))) {
            std::mem::forget(payload);
            return Some("a destructor panicked");
        }
        WORLD.forget_places();
        // SAFETY: forgotten above, and not used again.
        let open = unsafe { ManuallyDrop::take(&mut this) };
        let name = open.sealed.path();
        let closed = open.handle.close();
        // SAFETY: nothing is loaded.
        let still = unsafe { Handle::open(Some(&name), RTLD_NOLOAD | RTLD_LAZY) };
        if closed.is_err() || still.is_ok() {
            std::mem::forget(open.sealed); // See `Sealed`.
            return Some("the dynamic linker keeps it");
        }
        None
    }
}

/// Notes that a library is not loaded any more, or that it stays.
fn told(number: u64, stays: Option<&'static str>) {
    let mut loaded = LOADED.lock();
    match stays {
        None => loaded.retain(|one| one.number != number),
        Some(why) => loaded
            .iter_mut()
            .filter(|one| one.number == number)
            .for_each(|one| one.stays = Some(why)),
    }
    CHANGED.notify_all();
}

/// What the dynamic linker says.
fn text(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Registry {
    /// The libraries that are loaded, oldest first: of patches and modules, and of those that are gone and have not been
    /// unloaded yet, or stay for good.
    pub fn libraries(&self) -> Vec<LibraryStatus> {
        let status = |one: &Loaded| LibraryStatus {
            kind: one.kind,
            name: one.name.clone(),
            path: one.path.clone(),
            stays: one.stays,
        };
        LOADED.lock().iter().map(status).collect()
    }

    /// Waits until no library of this patch or module is loaded.
    ///
    /// # Errors
    ///
    /// If one still is when the time is over; at once if it is known to stay for good.
    pub fn wait_unloaded(&self, name: &str, timeout: Duration) -> Result<(), StillLoaded> {
        let until = Instant::now().checked_add(timeout);
        let mut loaded = LOADED.lock();
        let mut timed_out = false;
        loop {
            let mut named = loaded.iter().filter(|one| one.name == name).peekable();
            if named.peek().is_none() {
                return Ok(());
            }
            let stays = named.find_map(|one| one.stays);
            if timed_out || stays.is_some() {
                return Err(StillLoaded {
                    name: name.to_owned(),
                    stays,
                });
            }
            match until {
                Some(until) => timed_out = CHANGED.wait_until(&mut loaded, until).timed_out(),
                None => CHANGED.wait(&mut loaded),
            }
        }
    }
}
