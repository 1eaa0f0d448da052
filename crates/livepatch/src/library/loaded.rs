//! Libraries that are loaded, and how they are unloaded.

use std::ffi::{CStr, c_int, c_void};
use std::mem::{self, ManuallyDrop};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};
use shadow_vars::SyncError;

use super::file::Image;
use super::module::left;
use super::{LibraryKind, LibraryStatus, LoadFault, Needed, Stays, StillLoaded};
use crate::callout;
use crate::events::Event;
use crate::fork::{self, Hook, Part};
use crate::patch::Listed;
use crate::registry::{Registry, registry};
use crate::sync::{Lock, Locked};
use crate::task::WORLD;

/// How long who unloads a library waits for a barrier that is denied, and sleeps between tries.
const PATIENCE: Duration = Duration::from_secs(10);
const NAP: Duration = Duration::from_millis(50);

/// Waits until a store has run the destructors that it owes.
pub(crate) type Synchronize = Arc<dyn Fn() -> Result<(), SyncError> + Send + Sync>;

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
    /// The name by which the dynamic linker knows it.
    path: PathBuf,
    owed: Lock<Vec<Synchronize>>,
}

/// All that are loaded, and who waits for one to go.
static LOADED: Lock<Ledger> = Lock::new(Ledger {
    libraries: Vec::new(),
    waiting: Vec::new(),
});
/// Threads that are in the dynamic linker for us.
static LINKING: AtomicUsize = AtomicUsize::new(0);
/// The process was forked while another thread was there.
static TORN: AtomicBool = AtomicBool::new(false);

struct Ledger {
    libraries: Vec<Loaded>,
    waiting: Vec<Thread>,
}

struct Loaded {
    number: u64,
    kind: LibraryKind,
    name: String,
    path: String,
    /// Which it is to the dynamic linker.
    handle: usize,
    stays: Option<Stays>,
    is_unloading: bool,
}

static FORK: Hook = Hook {
    prepare: || {},
    parent: || {},
    child: || {
        // Ours are none of them: who forks in a library's constructor is in the linker itself.
        if LINKING.swap(0, Ordering::Relaxed) != 0 {
            TORN.store(true, Ordering::Relaxed);
        }
        let mut loaded = LOADED.lock();
        loaded.waiting.clear();
        let unloading = loaded.libraries.iter_mut().filter(|one| one.is_unloading);
        unloading.for_each(|one| {
            one.stays.get_or_insert(Stays::Forked);
        });
    },
};

/// While it lives, this thread is in the dynamic linker.
struct Linking;

impl Linking {
    fn enter() -> Result<Self, LoadFault> {
        fork::watch(Part::Libraries, &FORK);
        // Relaxed: only a fork looks, which orders what was before it.
        LINKING.fetch_add(1, Ordering::Relaxed);
        let this = Self;
        match TORN.load(Ordering::Relaxed) {
            true => Err(LoadFault::Forked),
            false => Ok(this),
        }
    }
}

impl Drop for Linking {
    fn drop(&mut self) {
        // Relaxed: as above. In a child that was forked inside, it is 0.
        let _ = LINKING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |linking| linking.checked_sub(1));
    }
}

impl Library {
    /// Loads a library that was checked.
    ///
    /// # Safety
    ///
    /// Its code may run: see [`Registry::load_patch`].
    pub(super) unsafe fn open(image: &Image, path: &Path) -> Result<Self, LoadFault> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only unique.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let linking = Linking::enter()?;
        let sealed = image.seal()?;
        let open = || {
            let name = sealed.path(number);
            // SAFETY: by the caller's promise.
            let handle = unsafe { Handle::open(Some(&name), RTLD_NOW | RTLD_LOCAL) };
            handle
                .map(|handle| (handle, name.clone()))
                .map_err(|error| text(&error).replace(&*name.to_string_lossy(), &path.to_string_lossy()))
        };
        let (handle, name) = on_a_thread(open).map_err(|message| match message {
            message if message.contains("undefined symbol") || message.contains("symbol not found") => {
                LoadFault::Symbols { message }
            }
            message => LoadFault::Link { message },
        })?;
        drop(linking);
        drop(sealed); // The mapping keeps the file.
        let raw = handle.into_raw();
        // SAFETY: from just above.
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
                message: "it takes it for another library that is loaded".to_owned(),
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
                owed: Lock::new(Vec::new()),
            }),
        })
    }

    /// Its place in the list.
    pub(crate) fn number(&self) -> u64 {
        self.open.number
    }

    /// The address of a symbol.
    pub(super) fn symbol(&self, name: &str) -> Result<*const (), LoadFault> {
        // SAFETY: only its address is taken.
        let symbol = unsafe { self.open.handle.get::<*const ()>(name) };
        symbol
            .map(|symbol| symbol.as_raw_ptr().cast_const().cast())
            .map_err(|error| LoadFault::Link { message: text(&error) })
    }

    /// To be waited for before it is unloaded.
    pub(crate) fn owe(&self, owed: impl IntoIterator<Item = Synchronize>) {
        let owed: Vec<_> = owed.into_iter().collect();
        self.open.owed.lock().extend(owed);
    }

    /// It must not be unloaded.
    pub(crate) fn stay(&self, why: Stays) {
        if let Some(loaded) = of(&mut LOADED.lock(), self.open.number) {
            loaded.stays.get_or_insert(why);
        }
    }

    /// Unloads it now, on this thread: after a failure, when nobody has seen anything of it.
    pub(super) fn close_after(self, error: &LoadFault) {
        if let LoadFault::OwnCopy = error {
            // Nothing of it ran that could be a reason to stay.
            if let Some(own) = of(&mut LOADED.lock(), self.open.number) {
                own.stays = None;
            }
        }
        let mut this = ManuallyDrop::new(self);
        // SAFETY: not used again, nor dropped.
        let open = unsafe { ManuallyDrop::take(&mut this.open) };
        open.close();
    }
}

/// The dynamic linker keeps the name under which a library was loaded, which leads through a descriptor that is closed then.
/// By a thread's own name for it, that leads nowhere once the thread has ended, and to no other file that has the number
/// then: for who wants to read symbols of a backtrace, for one. Where there can be no thread, the caller does it.
fn on_a_thread<R: Send>(work: impl Fn() -> Result<R, String> + Send + Sync) -> Result<R, String> {
    thread::scope(|scope| {
        let loader = thread::Builder::new().name("livepatch-load".to_owned());
        match loader.spawn_scoped(scope, &work) {
            Ok(loader) => match loader.join() {
                Ok(done) => done,
                Err(payload) => Err(format!("it panicked as it was loaded: {}", callout::message(payload))),
            },
            Err(_) => work(),
        }
    })
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: not used again.
        let open = unsafe { ManuallyDrop::take(&mut self.open) };
        let open = ManuallyDrop::new(open); // If there can be no thread, it stays.
        let number = open.number;
        if let Some(loaded) = of(&mut LOADED.lock(), number) {
            loaded.is_unloading = true;
        }
        let unload = thread::Builder::new().name("livepatch-unload".to_owned());
        if unload.spawn(move || ManuallyDrop::into_inner(open).close()).is_err() {
            told(number, Some(Stays::NoThread));
        }
    }
}

impl Open {
    /// Waits until nothing of the library is owed, and unloads it.
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
        told(number, stays); // Who waits for it has been told the event.
    }

    /// Why it stays, if it does.
    fn try_close(self) -> Option<Stays> {
        let mut this = ManuallyDrop::new(self);
        let stays = of(&mut LOADED.lock(), this.number)?.stays.clone();
        if stays.is_some() {
            return stays;
        }
        let owed = mem::take(&mut *this.owed.lock());
        let synchronized = || owed.iter().all(is_synchronized);
        // A unit that was freeing a variable may have counted it as gone, and handed it on since.
        let paid = owed.is_empty() || synchronized() && left(None).is_ok() && synchronized();
        if !paid {
            mem::forget(owed); // They are the library's.
            return Some(Stays::Unsynchronized);
        }
        if callout::guarded(|| drop(owed)).is_err() {
            return Some(Stays::DestructorPanicked);
        }
        WORLD.forget_places();
        let Ok(_linking) = Linking::enter() else {
            return Some(Stays::Forked);
        };
        // SAFETY: forgotten above, and not used again.
        let open = unsafe { ManuallyDrop::take(&mut this) };
        let closed = open.handle.close();
        (closed.is_err() || is_loaded(&open.path)).then_some(Stays::Linker)
    }
}

/// Waits until a store has run what it owes: whether it did. A barrier that is denied is mostly a matter of threads that have
/// yet to pin, or to end: they have some time.
fn is_synchronized(owed: &Synchronize) -> bool {
    let until = Instant::now() + PATIENCE;
    loop {
        match callout::guarded(|| owed()) {
            Ok(Err(SyncError::NoBarrier)) if Instant::now() < until => thread::sleep(NAP),
            done => return matches!(done, Ok(Ok(()))),
        }
    }
}

/// Whether the dynamic linker has a library of this name.
fn is_loaded(name: &Path) -> bool {
    /// What is looked for, and whether it was found.
    type Search<'n> = (&'n [u8], bool);
    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, search: *mut c_void) -> c_int {
        // SAFETY: what `is_loaded` passes on, which nobody else uses meanwhile.
        let search = unsafe { &mut *search.cast::<Search<'_>>() };
        // SAFETY: the linker passes on one of its own, good for as long as this call.
        let name = unsafe { (*info).dlpi_name };
        // SAFETY: null, or a text of the linker's.
        search.1 |= !name.is_null() && unsafe { CStr::from_ptr(name) }.to_bytes() == search.0;
        c_int::from(search.1)
    }
    let mut search: Search<'_> = (name.as_os_str().as_bytes(), false);
    // SAFETY: `look` is what it should be, and unwinds nowhere.
    unsafe { libc::dl_iterate_phdr(Some(look), std::ptr::from_mut(&mut search).cast()) };
    search.1
}

fn of<'l>(loaded: &'l mut Locked<'_, Ledger>, number: u64) -> Option<&'l mut Loaded> {
    loaded.libraries.iter_mut().find(|one| one.number == number)
}

/// Notes that a library is not loaded any more, or that it stays.
fn told(number: u64, stays: Option<Stays>) {
    let waiting = {
        let mut loaded = LOADED.lock();
        match stays {
            None => loaded.libraries.retain(|one| one.number != number),
            Some(why) => {
                if let Some(one) = of(&mut loaded, number) {
                    one.stays = Some(why);
                    one.is_unloading = false;
                }
            }
        }
        mem::take(&mut loaded.waiting)
    };
    waiting.iter().for_each(Thread::unpark);
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

/// All that are loaded, oldest first. Why, as far as it can be told here.
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
    /// If one still is when the time is over; at once if it is known to stay for good.
    pub fn wait_unloaded(&self, name: &str, timeout: Duration) -> Result<(), StillLoaded> {
        let until = Instant::now().checked_add(timeout);
        let this = thread::current();
        loop {
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            {
                let mut loaded = LOADED.lock();
                loaded.waiting.retain(|one| one.id() != this.id());
                let mut named = loaded.libraries.iter().filter(|one| one.name == name).peekable();
                if named.peek().is_none() {
                    return Ok(());
                }
                let stays = named.find_map(|one| one.stays.clone());
                if left.is_zero() || stays.is_some() {
                    return Err(StillLoaded {
                        name: name.to_owned(),
                        stays,
                    });
                }
                loaded.waiting.push(this.clone());
            }
            thread::park_timeout(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_barrier_is_tried_again_and_nothing_else_is() {
        let tries = |answer: fn(usize) -> Result<(), SyncError>| {
            let tried = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&tried);
            let owed: Synchronize = Arc::new(move || answer(count.fetch_add(1, Ordering::Relaxed)));
            (is_synchronized(&owed), tried.load(Ordering::Relaxed))
        };
        let passing = |tried| if tried < 3 { Err(SyncError::NoBarrier) } else { Ok(()) };
        assert_eq!(tries(passing), (true, 4));
        assert_eq!(tries(|_| Err(SyncError::Forked)), (false, 1));
        assert_eq!(tries(|_| panic!("a store that cannot be found")), (false, 1));
    }
}
