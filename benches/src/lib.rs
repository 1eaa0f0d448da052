//! Benchmarks of the shadow store and of live patching; see `benches/` and `ci/icount.sh`.

use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use livepatch::{ObjectPatch, Patch, patchable, registry, unit};

/// The function to call: its body costs almost nothing, and is opaque to the optimiser and not inlined.
#[inline(never)]
pub fn direct(number: u64) -> u64 {
    black_box(number)
}

/// Like [`direct`], as a patchable function, which adds 0, or 1 while it is [`Patched`].
#[patchable]
pub fn answer(number: u64) -> u64 {
    black_box(number)
}

/// While it exists, [`answer()`] is patched, and no transition is in progress.
#[derive(Debug)]
pub struct Patched(());

impl Patched {
    /// Enables the patch, and waits for the end of the transition.
    ///
    /// # Panics
    ///
    /// If the patch is enabled already.
    #[must_use]
    pub fn on() -> Self {
        let this = Self::begin();
        settle();
        this
    }

    /// Enables the patch, and does not wait for the end of the transition.
    ///
    /// # Panics
    ///
    /// If the patch is enabled already.
    #[must_use]
    pub fn begin() -> Self {
        let object = ObjectPatch::program().function::<answer>(|number| black_box(number) + 1);
        let patch = Patch::builder("bench").object(object).build().expect("a valid patch");
        registry().enable(&patch).expect("no other is enabled");
        Self(())
    }
}

impl Drop for Patched {
    fn drop(&mut self) {
        settle();
        registry().disable("bench").expect("it is enabled");
        settle();
    }
}

/// A unit on another thread, which delays transitions until this is dropped.
#[derive(Debug)]
pub struct Elsewhere {
    /// Dropped first: the thread waits for that.
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Elsewhere {
    /// Begins the unit.
    ///
    /// # Panics
    ///
    /// If the thread cannot be created.
    #[must_use]
    pub fn unit() -> Self {
        let (over, is_over) = mpsc::channel::<()>();
        let (inside, is_inside) = mpsc::channel();
        let thread = thread::spawn(move || {
            let _unit = unit();
            let _ = inside.send(());
            let _ = is_over.recv();
        });
        is_inside.recv().expect("the thread has begun");
        Self {
            over: Some(over),
            thread: Some(thread),
        }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.over.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits for the end of a transition.
///
/// # Panics
///
/// If the transition does not end.
pub fn settle() {
    registry()
        .wait(Duration::from_secs(60))
        .expect("no unit holds it up for long");
}

type Function = fn(u64) -> u64;

/// Other containers for a function that is to be replaceable.
#[derive(Debug)]
pub struct Other {
    pointer: AtomicPtr<()>,
    arc_swap: ArcSwap<Function>,
    rw_lock: RwLock<Function>,
}

impl Default for Other {
    fn default() -> Self {
        Self::new()
    }
}

impl Other {
    /// Returns containers that all hold [`direct`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            pointer: AtomicPtr::new(direct as Function as *mut ()),
            arc_swap: ArcSwap::from(Arc::new(direct as Function)),
            rw_lock: RwLock::new(direct),
        }
    }

    /// Calls through a pointer that is read for each call.
    #[inline]
    #[must_use]
    pub fn pointer(&self, number: u64) -> u64 {
        let pointer = self.pointer.load(Ordering::Relaxed);
        // SAFETY: the pointer is to a function of this type, as `new` stored it.
        let function: Function = unsafe { std::mem::transmute(pointer) };
        function(number)
    }

    /// Calls through an `Arc` that can be swapped, which is held during the call.
    #[inline]
    #[must_use]
    pub fn arc_swap(&self, number: u64) -> u64 {
        let function = self.arc_swap.load();
        function(number)
    }

    /// Calls under a reader lock, which is held during the call.
    ///
    /// # Panics
    ///
    /// Never: no thread panics while it holds the lock.
    #[inline]
    #[must_use]
    pub fn rw_lock(&self, number: u64) -> u64 {
        let function = self.rw_lock.read().expect("nobody panics under it");
        function(number)
    }
}

/// Polls a future that is ready at once.
///
/// # Panics
///
/// If it is not ready.
#[inline]
pub fn pollster<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a future that never waits"),
    }
}
