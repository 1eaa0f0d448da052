//! The list of loaded libraries, and how they are unloaded.
//!
//! A [`Library`] keeps its library loaded. Dropping it starts a thread that waits for the destructors that stores owe it,
//! and then unloads it, unless it must stay ([`Open::try_close`]).

use std::ffi::{CStr, c_int, c_void};
use std::mem::{self, ManuallyDrop};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};
use shadow_vars::SyncError;

use super::file::Image;
use super::{LibraryKind, LibraryStatus, LoadFault, Needed, Stays, StillLoaded};
use crate::callout;
use crate::events::Event;
use crate::fork::{self, Hook, Part};
use crate::patch::Listed;
use crate::patch::code::Mapping;
use crate::patch::data::Synchronize;
use crate::registry::{Registry, registry};
use crate::sync::{Lock, Locked};
use crate::task::WORLD;
use crate::task::left::wait_for_units;

/// How long an unloading thread waits for a barrier that is denied, and how long it sleeps between attempts.
const BARRIER_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// A loaded library. Once dropped, it is unloaded by a separate thread.
#[derive(Debug)]
pub(crate) struct Library {
    open: ManuallyDrop<Open>,
}

/// The data needed to unload a library.
struct Open {
    number: u64,
    name: String,
    handle: Handle,
    /// The name by which the dynamic linker knows it.
    path: PathBuf,
    pending: Lock<Vec<Synchronize>>,
}

/// All loaded libraries, and the threads that wait for one to be unloaded.
static LOADED: Lock<Ledger> = Lock::new(Ledger {
    libraries: Vec::new(),
    waiting: Vec::new(),
});
/// How many threads are in the dynamic linker on our behalf.
static LINKING: AtomicUsize = AtomicUsize::new(0);
/// The process was forked while another thread was in the dynamic linker.
static POISONED: AtomicBool = AtomicBool::new(false);

struct Ledger {
    libraries: Vec<Loaded>,
    waiting: Vec<Thread>,
}

struct Loaded {
    number: u64,
    kind: LibraryKind,
    name: String,
    path: String,
    /// The linker's handle, which identifies it there.
    handle: usize,
    stays: Option<Stays>,
    is_unloading: bool,
}

static FORK: Hook = Hook {
    prepare: || {},
    parent: || {},
    child: || {
        // The forking thread is not one of them: in a library's constructor it is inside the linker itself.
        if LINKING.swap(0, Ordering::Relaxed) != 0 {
            POISONED.store(true, Ordering::Relaxed);
        }
        let mut loaded = LOADED.lock();
        loaded.waiting.clear();
        let unloading = loaded.libraries.iter_mut().filter(|one| one.is_unloading);
        unloading.for_each(|one| {
            one.stays.get_or_insert(Stays::Forked);
        });
    },
};

/// Marks this thread as being in the dynamic linker.
struct Linking;

impl Linking {
    fn enter() -> Result<Self, LoadFault> {
        fork::watch(Part::Libraries, &FORK);
        // Relaxed: only read at a fork, which orders what was before it.
        LINKING.fetch_add(1, Ordering::Relaxed);
        let this = Self;
        match POISONED.load(Ordering::Relaxed) {
            true => Err(LoadFault::Forked),
            false => Ok(this),
        }
    }
}

impl Drop for Linking {
    fn drop(&mut self) {
        // Relaxed: as above. The count is 0 in a child that was forked inside.
        let _ = LINKING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |linking| linking.checked_sub(1));
    }
}

impl Library {
    /// Loads a library that was checked.
    ///
    /// # Safety
    ///
    /// The library's code may be run: see [`Registry::load_patch`].
    pub(super) unsafe fn open(image: &Image, path: &Path) -> Result<Self, LoadFault> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Relaxed: the numbers only have to be unique.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let linking = Linking::enter()?;
        let sealed = image.seal()?;
        let open = || {
            let name = sealed.path(number);
            // SAFETY: the caller guarantees that the library's code may be run.
            let handle = unsafe { Handle::open(Some(&name), RTLD_NOW | RTLD_LOCAL) };
            handle
                .map(|handle| (handle, name.clone()))
                .map_err(|error| text(&error).replace(&*name.to_string_lossy(), &path.to_string_lossy()))
        };
        let (handle, name) = on_temporary_thread(open).map_err(|message| match message {
            message if message.contains("undefined symbol") || message.contains("symbol not found") => {
                LoadFault::Symbols { message }
            }
            message => LoadFault::Link { message },
        })?;
        drop(linking);
        drop(sealed); // The mapping keeps the file.
        let raw = handle.into_raw();
        // SAFETY: from the line above.
        let handle = unsafe { Handle::from_raw(raw) };
        let stays = match () {
            () if image.info.stays => Some(Stays::Asked),
            () if image.thread_locals => Some(Stays::ThreadLocals),
            () => image
                .info
                .reaches_back
                .clone()
                .map(|function| Stays::Imports { function }),
        };
        let mut loaded = LOADED.lock();
        if loaded.libraries.iter().any(|one| one.handle == raw.addr()) {
            drop(loaded);
            drop(handle);
            return Err(LoadFault::Link {
                message: "it identified it with another library that is loaded".to_owned(),
            });
        }
        loaded.libraries.push(Loaded {
            number,
            kind: image.info.kind,
            name: image.info.name.clone(),
            path: path.to_string_lossy().into_owned(),
            handle: raw.addr(),
            stays,
            is_unloading: false,
        });
        drop(loaded);
        Ok(Self {
            open: ManuallyDrop::new(Open {
                number,
                name: image.info.name.clone(),
                handle,
                path: name,
                pending: Lock::new(Vec::new()),
            }),
        })
    }

    /// Returns the address of a symbol.
    pub(super) fn symbol(&self, name: &str) -> Result<*const (), LoadFault> {
        // SAFETY: only its address is taken.
        let symbol = unsafe { self.open.handle.get::<*const ()>(name) };
        symbol
            .map(|symbol| symbol.as_raw_ptr().cast_const().cast())
            .map_err(|error| LoadFault::Link { message: text(&error) })
    }

    /// Unloads it now, on this thread, after a failure.
    ///
    /// # Safety
    ///
    /// Nothing refers to its code or its memory.
    pub(super) unsafe fn close_after(self, error: &LoadFault) {
        if let LoadFault::OwnCopy = error {
            // No code of it ran that could be a reason to stay.
            if let Some(own) = find(&mut LOADED.lock(), self.open.number) {
                own.stays = None;
            }
        }
        let mut this = ManuallyDrop::new(self);
        // SAFETY: neither used nor dropped again.
        let open = unsafe { ManuallyDrop::take(&mut this.open) };
        open.close();
    }
}

impl Mapping for Library {
    fn number(&self) -> u64 {
        self.open.number
    }

    fn stay(&self, why: Stays) {
        if let Some(loaded) = find(&mut LOADED.lock(), self.open.number) {
            loaded.stays.get_or_insert(why);
        }
    }

    fn wait_for(&self, pending: Vec<Synchronize>) {
        self.open.pending.lock().extend(pending);
    }
}

/// Runs `work` on a temporary thread. The dynamic linker retains the name under which a library was loaded, a path
/// through a descriptor that is closed afterwards. As the path also goes through the thread's own directory, it is
/// invalid once the thread has ended, and never leads to another file that gets the descriptor's number, for instance
/// when symbols of a backtrace are read. If no thread can be created, the caller runs `work`.
fn on_temporary_thread<R: Send>(work: impl Fn() -> Result<R, String> + Send + Sync) -> Result<R, String> {
    thread::scope(|scope| {
        let loader = thread::Builder::new().name("livepatch-load".to_owned());
        match loader.spawn_scoped(scope, &work) {
            Ok(loader) => match loader.join() {
                Ok(done) => done,
                Err(payload) => Err(format!("it panicked while being loaded: {}", callout::message(payload))),
            },
            Err(_) => work(),
        }
    })
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: not used again.
        let open = unsafe { ManuallyDrop::take(&mut self.open) };
        let open = ManuallyDrop::new(open); // If no thread can be created, it stays loaded.
        let number = open.number;
        if let Some(loaded) = find(&mut LOADED.lock(), number) {
            loaded.is_unloading = true;
        }
        let unload = thread::Builder::new().name("livepatch-unload".to_owned());
        if unload.spawn(move || ManuallyDrop::into_inner(open).close()).is_err() {
            set_outcome(number, Some(Stays::NoThread));
        }
    }
}

impl Open {
    /// Waits until stores have run their pending destructors, and unloads the library.
    fn close(self) {
        let number = self.number;
        let name = self.name.clone();
        let stays = self.try_close();
        let event = match &stays {
            None => Event::Unloaded { library: name },
            Some(why) => Event::StaysLoaded {
                library: name,
                why: why.to_string(),
            },
        };
        registry().emit(&event);
        set_outcome(number, stays); // After the event, so that waiting threads have seen it.
    }

    /// Unloads it, or returns the reason why it stays.
    fn try_close(self) -> Option<Stays> {
        let mut this = ManuallyDrop::new(self);
        let stays = find(&mut LOADED.lock(), this.number)?.stays.clone();
        if stays.is_some() {
            return stays;
        }
        let pending = mem::take(&mut *this.pending.lock());
        let all_synchronized = || pending.iter().all(is_synchronized);
        // A unit that was freeing a variable may have counted it as freed, and retired it since.
        let ready = pending.is_empty() || all_synchronized() && wait_for_units(None).is_ok() && all_synchronized();
        if !ready {
            mem::forget(pending); // Dropping them may need the library.
            return Some(Stays::Unsynchronized);
        }
        if callout::guarded(|| drop(pending)).is_err() {
            return Some(Stays::DestructorPanicked);
        }
        WORLD.forget_places();
        let Ok(_linking) = Linking::enter() else {
            return Some(Stays::Forked);
        };
        // SAFETY: in a `ManuallyDrop` since the beginning, and not used again.
        let open = unsafe { ManuallyDrop::take(&mut this) };
        let closed = open.handle.close();
        (closed.is_err() || is_loaded(&open.path)).then_some(Stays::Linker)
    }
}

/// Waits until a store has run its pending destructors, and returns whether it did. A barrier that is denied usually
/// means that threads have yet to pin or to end: they are given some time.
fn is_synchronized(pending: &Synchronize) -> bool {
    let until = Instant::now() + BARRIER_TIMEOUT;
    loop {
        match callout::guarded(|| pending()) {
            Ok(Err(SyncError::NoBarrier)) if Instant::now() < until => thread::sleep(RETRY_INTERVAL),
            done => return matches!(done, Ok(Ok(()))),
        }
    }
}

/// Returns whether the dynamic linker has a library of this name.
fn is_loaded(name: &Path) -> bool {
    /// The name to search for, and whether it was found.
    type Search<'n> = (&'n [u8], bool);
    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, search: *mut c_void) -> c_int {
        // SAFETY: passed on from `is_loaded`, which does not use it meanwhile.
        let search = unsafe { &mut *search.cast::<Search<'_>>() };
        // SAFETY: the linker passes a structure that is valid during this call.
        let name = unsafe { (*info).dlpi_name };
        // SAFETY: null, or a string of the linker.
        search.1 |= !name.is_null() && unsafe { CStr::from_ptr(name) }.to_bytes() == search.0;
        c_int::from(search.1)
    }
    let mut search: Search<'_> = (name.as_os_str().as_bytes(), false);
    // SAFETY: `look` has the required signature, and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(look), std::ptr::from_mut(&mut search).cast()) };
    search.1
}

fn find<'l>(loaded: &'l mut Locked<'_, Ledger>, number: u64) -> Option<&'l mut Loaded> {
    loaded.libraries.iter_mut().find(|one| one.number == number)
}

/// Records the outcome of unloading a library, and wakes waiting threads. `None`: it is unloaded.
fn set_outcome(number: u64, stays: Option<Stays>) {
    let waiting = {
        let mut loaded = LOADED.lock();
        match stays {
            None => loaded.libraries.retain(|one| one.number != number),
            Some(why) => {
                if let Some(one) = find(&mut loaded, number) {
                    one.stays = Some(why);
                    one.is_unloading = false;
                }
            }
        }
        mem::take(&mut loaded.waiting)
    };
    waiting.iter().for_each(Thread::unpark);
}

/// Returns the message of the dynamic linker.
fn text(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// Returns all loaded libraries, oldest first, with the reasons that are known here.
pub(crate) fn listed() -> Vec<Listed> {
    let listed = |one: &Loaded| Listed {
        number: one.number,
        status: LibraryStatus {
            kind: one.kind,
            name: one.name.clone(),
            path: one.path.clone(),
            stays: one.stays.clone(),
            needed: one.is_unloading.then_some(Needed::Unloading).into_iter().collect(),
        },
    };
    LOADED.lock().libraries.iter().map(listed).collect()
}

impl Registry {
    /// Waits until no library of this patch or module is loaded.
    ///
    /// # Errors
    ///
    /// If one still is when the time is up; immediately if it is known to stay for good.
    pub fn wait_unloaded(&self, name: &str, timeout: Duration) -> Result<(), StillLoaded> {
        let until = Instant::now().checked_add(timeout);
        let this = thread::current();
        loop {
            let remaining = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            {
                let mut loaded = LOADED.lock();
                loaded.waiting.retain(|one| one.id() != this.id());
                let mut named = loaded.libraries.iter().filter(|one| one.name == name).peekable();
                if named.peek().is_none() {
                    return Ok(());
                }
                let stays = named.find_map(|one| one.stays.clone());
                if remaining.is_zero() || stays.is_some() {
                    return Err(StillLoaded {
                        name: name.to_owned(),
                        stays,
                    });
                }
                loaded.waiting.push(this.clone());
            }
            thread::park_timeout(remaining);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_denied_barrier_is_tried_again_and_nothing_else_is() {
        let tries = |answer: fn(usize) -> Result<(), SyncError>| {
            let tried = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&tried);
            let pending: Synchronize = Arc::new(move || answer(count.fetch_add(1, Ordering::Relaxed)));
            (is_synchronized(&pending), tried.load(Ordering::Relaxed))
        };
        let passing = |tried| if tried < 3 { Err(SyncError::NoBarrier) } else { Ok(()) };
        assert_eq!(tries(passing), (true, 4));
        assert_eq!(tries(|_| Err(SyncError::Forked)), (false, 1));
        assert_eq!(tries(|_| panic!("a store that cannot be found")), (false, 1));
    }
}
