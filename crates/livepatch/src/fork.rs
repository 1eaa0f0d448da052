//! What happens to our locks and lists when the process forks: the child has one thread, and all the memory.
//!
//! - **Sections**: whoever takes a lock of the slow path is in a section, for moments and with none but our own code. A fork
//!   waits until no other thread is in one, so the child finds all of them free, and all that they protect whole.
//! - **Hooks**: each part that keeps something for threads lets go, in the child, of what belongs to those that are not there.
//!
//! `pthread_atfork` calls us, so `fork` of the C library is what is meant. A child that is made by the system call itself
//! has no such care; nor has one of `vfork`, which may not use what it shares with its parent anyway. Elsewhere than on
//! Linux, nothing is done.

use std::cell::Cell;
use std::thread;

use crate::sync::stat::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// What a part does about a fork.
pub(crate) struct Hook {
    /// Before, in the parent: may wait, but not for long, as the thread may hold what others wait for.
    pub(crate) prepare: fn(),
    /// After, in the parent.
    pub(crate) parent: fn(),
    /// After, in the child, whose only thread is the caller.
    pub(crate) child: fn(),
}

/// Whose hook it is. In the child they are called in this order.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    #[cfg_attr(shadow_loom, allow(dead_code, reason = "models do not fork"))]
    Tasks,
    Registry,
    #[cfg_attr(
        not(all(feature = "library", target_os = "linux")),
        allow(dead_code, reason = "only libraries are unloaded")
    )]
    Libraries,
}

/// By part.
static HOOKS: [AtomicPtr<Hook>; 3] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 3];
/// Sections that threads are in: one for each thread at most.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// Threads that are about to fork.
static FORKING: AtomicUsize = AtomicUsize::new(0);
/// Whether our handlers have run in the child of a fork.
static FORKED: AtomicBool = AtomicBool::new(false);

/// What each thread has: together, as a library that is shared asks the dynamic linker where it is.
struct Here {
    /// Sections that this thread is in, one in the other: bounded by its stack.
    depth: Cell<u32>,
    /// How often this thread is preparing a fork: once for each time that our handlers were registered.
    preparing: Cell<u32>,
    /// Which thread this is; 0: nobody has asked.
    number: Cell<u64>,
}

thread_local! {
    /// Has no destructor, so it is there to the thread's very end.
    static HERE: Here = const {
        Here { depth: Cell::new(0), preparing: Cell::new(0), number: Cell::new(0) }
    };
}

/// Tells one thread from all others that there ever were.
pub(crate) fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    HERE.with(|here| {
        if here.number.get() == 0 {
            // Relaxed: only unique.
            here.number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        here.number.get()
    })
}

/// While it lives, no other thread forks. Stays on its thread.
#[derive(Debug)]
pub(crate) struct Section(*const Here);

impl Section {
    #[inline]
    pub(crate) fn enter() -> Self {
        HERE.with(|here| {
            let depth = here.depth.get();
            if depth == 0 {
                // SeqCst, here and in `prepare`: either we see that somebody forks, or are seen inside.
                INSIDE.fetch_add(1, Ordering::SeqCst);
                if FORKING.load(Ordering::SeqCst) != 0 {
                    here.wait_for_forks();
                }
            }
            here.depth.set(depth + 1);
            Self(here)
        })
    }
}

impl Here {
    /// Waits until nobody forks, as one who is not inside meanwhile.
    #[cold]
    #[inline(never)]
    fn wait_for_forks(&self) {
        while FORKING.load(Ordering::SeqCst) != 0 && self.preparing.get() == 0 {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
            while FORKING.load(Ordering::SeqCst) != 0 {
                thread::yield_now();
            }
            INSIDE.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Section {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this thread's, which has no destructor: it is there as long as the thread is.
        let here = unsafe { &*self.0 };
        let depth = here.depth.get() - 1;
        here.depth.set(depth);
        if depth == 0 {
            // Release: with the load of `prepare`.
            INSIDE.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Whether this thread is in a section.
pub(crate) fn is_in_section() -> bool {
    depth() > 0
}

fn depth() -> u32 {
    HERE.with(|here| here.depth.get())
}

/// Whether this process is the child of a fork that our handlers know of, or a child of such a one.
pub(crate) fn is_child() -> bool {
    // Relaxed: set while there is one thread.
    FORKED.load(Ordering::Relaxed)
}

/// From now on, forks call this hook; unless there is no memory for that: the next call tries again.
pub(crate) fn watch(part: Part, hook: &'static Hook) {
    let place = &HOOKS[part as usize];
    if place.load(Ordering::Relaxed).is_null() && register() {
        // Release: with the Acquire of `each`.
        place.store(std::ptr::from_ref(hook).cast_mut(), Ordering::Release);
    }
}

fn each(call: impl Fn(&Hook)) {
    for place in &HOOKS {
        // SAFETY: null, or from a `&'static Hook`.
        if let Some(hook) = unsafe { place.load(Ordering::Acquire).as_ref() } {
            call(hook);
        }
    }
}

/// Lets the C library call us: whether it will. Maybe more than once, if threads come here at once: the handlers know.
#[cfg(all(target_os = "linux", not(miri)))]
fn register() -> bool {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if REGISTERED.load(Ordering::Acquire) {
        return true;
    }
    // Before ours, so that ours come first before a fork: whom they wait for may need a store.
    let _ = shadow_vars::follow_forks();
    // SAFETY: the handlers are there as long as this crate is, which is never unloaded, and unwind nowhere.
    let answer = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    // Without memory for it, forks are as they are without us.
    if answer == 0 {
        REGISTERED.store(true, Ordering::Release);
    }
    answer == 0
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn register() -> bool {
    // Nobody calls them.
    let _ = (
        prepare as extern "C" fn(),
        parent as extern "C" fn(),
        child as extern "C" fn(),
    );
    true
}

extern "C" fn prepare() {
    let times = HERE.with(|here| here.preparing.replace(here.preparing.get() + 1));
    if times > 0 {
        return;
    }
    each(|hook| (hook.prepare)());
    FORKING.fetch_add(1, Ordering::SeqCst);
    let own = usize::from(depth() > 0);
    while INSIDE.load(Ordering::SeqCst) != own {
        thread::yield_now();
    }
}

/// Whether this is the last of the handlers of one fork.
fn is_last() -> bool {
    HERE.with(|here| {
        let left = here.preparing.get().saturating_sub(1);
        here.preparing.set(left);
        left == 0
    })
}

extern "C" fn parent() {
    if is_last() {
        FORKING.fetch_sub(1, Ordering::SeqCst);
        each(|hook| (hook.parent)());
    }
}

extern "C" fn child() {
    if is_last() {
        INSIDE.store(usize::from(depth() > 0), Ordering::SeqCst);
        FORKING.store(0, Ordering::SeqCst);
        FORKED.store(true, Ordering::Relaxed);
        each(|hook| (hook.child)());
    }
}
