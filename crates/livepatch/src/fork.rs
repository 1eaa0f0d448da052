//! What happens to our locks and lists when the process forks: the child has one thread, and a copy of all memory.
//!
//! - **Sections**: a thread that takes a lock of the slow path is in a section, briefly and running only our own code. A
//!   fork waits until no other thread is in one, so the child finds all locks free and the data under them consistent.
//! - **Hooks**: each part that keeps state for threads releases, in the child, the state of those that do not exist there.
//!
//! The hooks are registered with `pthread_atfork`, so they cover `fork` of the C library. A child made by the bare system
//! call is not covered; nor is one of `vfork`, which must not use the memory that it shares with its parent anyway. On
//! other systems than Linux, and in models, nothing is done.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// What a part of the crate does at a fork.
pub(crate) struct Hook {
    /// Before the fork, in the parent: may wait, but only briefly, as the thread may hold locks that others wait for.
    pub(crate) prepare: fn(),
    /// After the fork, in the parent.
    pub(crate) parent: fn(),
    /// After the fork, in the child, whose only thread is the caller.
    pub(crate) child: fn(),
}

/// The part that a hook belongs to. The child calls the hooks in this order.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Tasks,
    Registry,
    Libraries,
}

impl Part {
    const ALL: [Self; 3] = [Self::Tasks, Self::Registry, Self::Libraries];
}

/// The hooks, by part.
static HOOKS: [AtomicPtr<Hook>; Part::ALL.len()] = [const { AtomicPtr::new(std::ptr::null_mut()) }; Part::ALL.len()];
/// How many threads are in sections.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// How many threads are about to fork.
static FORKING: AtomicUsize = AtomicUsize::new(0);
/// Whether our handlers have run in the child of a fork.
static FORKED: AtomicBool = AtomicBool::new(false);

/// The state of each thread: in one variable, as each access from a shared library calls into the dynamic linker.
struct ThreadState {
    /// Nested sections that this thread is in: bounded by its stack.
    depth: Cell<u32>,
    /// How many `prepare` handlers of a fork have run on this thread: one for each time that they were registered.
    preparing: Cell<u32>,
    /// The thread's number; 0 until it is requested.
    number: Cell<u64>,
}

thread_local! {
    /// Has no destructor, so it is valid until the very end of the thread.
    static STATE: ThreadState = const {
        ThreadState { depth: Cell::new(0), preparing: Cell::new(0), number: Cell::new(0) }
    };
}

/// Returns a number that no other thread of this process ever had.
pub(crate) fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    STATE.with(|state| {
        if state.number.get() == 0 {
            // Relaxed: the numbers only have to be unique.
            state.number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        state.number.get()
    })
}

/// Prevents other threads from forking while it lives. Stays on its thread.
#[derive(Debug)]
pub(crate) struct Section(*const ThreadState);

impl Section {
    #[inline]
    pub(crate) fn enter() -> Self {
        STATE.with(|state| {
            let depth = state.depth.get();
            if depth == 0 {
                // SeqCst, here and in `prepare`: either this thread sees that another forks, or that one sees it inside.
                INSIDE.fetch_add(1, Ordering::SeqCst);
                if FORKING.load(Ordering::SeqCst) != 0 {
                    state.wait_for_forks();
                }
            }
            state.depth.set(depth + 1);
            Self(state)
        })
    }
}

impl ThreadState {
    /// Waits until no thread forks, and does not count as inside meanwhile.
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
        // SAFETY: this thread's, which has no destructor, so it is valid as long as the thread runs.
        let state = unsafe { &*self.0 };
        let depth = state.depth.get() - 1;
        state.depth.set(depth);
        if depth == 0 {
            // Release: pairs with the load of `prepare`.
            INSIDE.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Returns whether this thread is in a section.
pub(crate) fn is_in_section() -> bool {
    depth() > 0
}

fn depth() -> u32 {
    STATE.with(|state| state.depth.get())
}

/// Returns whether this process is the child of a fork that our handlers covered, or a descendant of one.
pub(crate) fn is_child() -> bool {
    // Relaxed: set while there is one thread.
    FORKED.load(Ordering::Relaxed)
}

/// Makes later forks call this hook. Has no effect if memory for that cannot be allocated; the next call tries again.
pub(crate) fn watch(part: Part, hook: &'static Hook) {
    let place = &HOOKS[part as usize];
    if place.load(Ordering::Relaxed).is_null() && register() {
        // Release: pairs with the Acquire of `each`.
        place.store(std::ptr::from_ref(hook).cast_mut(), Ordering::Release);
    }
}

fn each(call: impl Fn(&Hook)) {
    for part in Part::ALL {
        // SAFETY: null, or from a `&'static Hook`.
        if let Some(hook) = unsafe { HOOKS[part as usize].load(Ordering::Acquire).as_ref() } {
            call(hook);
        }
    }
}

/// Registers the handlers with the C library, and returns whether they are registered. Concurrent calls may register them
/// more than once, which the handlers account for.
#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
fn register() -> bool {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if REGISTERED.load(Ordering::Acquire) {
        return true;
    }
    // Before ours, so that ours run first before a fork: threads that they wait for may need a store.
    let _ = shadow_vars::follow_forks();
    // SAFETY: the handlers are in this crate, which is never unloaded, and do not unwind.
    let answer = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    // Without memory for them, forks are not handled.
    if answer == 0 {
        REGISTERED.store(true, Ordering::Release);
    }
    answer == 0
}

#[cfg(not(all(target_os = "linux", not(miri), not(shadow_loom))))]
fn register() -> bool {
    // They are never called.
    let _ = (
        prepare as extern "C" fn(),
        parent as extern "C" fn(),
        child as extern "C" fn(),
    );
    true
}

extern "C" fn prepare() {
    let times = STATE.with(|state| state.preparing.replace(state.preparing.get() + 1));
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

/// Returns whether this is the last of the handlers of one fork.
fn is_last() -> bool {
    STATE.with(|state| {
        let left = state.preparing.get().saturating_sub(1);
        state.preparing.set(left);
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
