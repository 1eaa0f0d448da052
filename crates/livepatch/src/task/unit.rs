//! Units of threads: the guard, and what a call of a patchable function does.

use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::Location;
use std::ptr;
use std::thread;

use super::record::{Record, TaskKind};
use super::world::World;
use crate::sync::stat;

/// The world that patch points and tasks of this process live in.
#[cfg(not(shadow_loom))]
pub(crate) static WORLD: World = World::new();
#[cfg(shadow_loom)]
loom::lazy_static! {
    pub(crate) static ref WORLD: World = World::new();
}

thread_local! {
    /// The record of the task that this thread runs: null until its first unit. Has no destructor, so it is there to the
    /// thread's very end.
    static CURRENT: Cell<*const Record> = const { Cell::new(ptr::null()) };
    /// Gives the thread's record back at its end.
    static GIVE_BACK: Cell<Option<Owner>> = const { Cell::new(None) };
}

/// A thread's own record.
struct Owner(&'static Record);

impl Drop for Owner {
    fn drop(&mut self) {
        if self.0.depth.get() == 0 {
            self.0.give_back();
            CURRENT.set(ptr::null());
        } else {
            self.0.orphan.set(true); // The last guard gives it back.
        }
    }
}

/// The record of the running task, which is the calling thread's or that of the future it polls.
#[inline]
pub(super) fn current() -> &'static Record {
    // SAFETY: null, or a record; they are never freed, and only the running task's is ever here.
    unsafe { CURRENT.get().as_ref() }.unwrap_or_else(|| register())
}

/// The record of the running task, if it ever was in a unit.
pub(super) fn known() -> Option<&'static Record> {
    // SAFETY: as above.
    unsafe { CURRENT.get().as_ref() }
}

/// Whether the running task is in a unit.
#[cfg(all(feature = "library", target_os = "linux"))]
pub(crate) fn is_inside() -> bool {
    known().is_some_and(|record| record.depth.get() > 0)
}

/// Makes another record the running task's, as a future is polled. The one that was.
pub(super) fn swap_current(record: *const Record) -> *const Record {
    CURRENT.replace(record)
}

#[cold]
#[inline(never)]
fn register() -> &'static Record {
    let thread = thread::current();
    let name = thread
        .name()
        .map_or_else(|| format!("{:?}", thread.id()), str::to_owned);
    let record = WORLD.register(&name, TaskKind::Thread);
    CURRENT.set(record);
    // Late in a thread's end there is nobody to give it back but its last guard.
    if GIVE_BACK.try_with(|owner| owner.set(Some(Owner(record)))).is_err() {
        record.orphan.set(true);
    }
    record
}

/// The running task begins a unit, or goes on with the one it is in. To be followed by [`leave`].
#[inline]
pub(crate) fn enter(place: &'static Location<'static>) -> &'static Record {
    let record = current();
    let depth = record.depth.get();
    record
        .depth
        .set(depth.checked_add(1).expect("less than 2^32 units in each other"));
    if depth == 0 {
        // Relaxed: for a status.
        record
            .place
            .store(ptr::from_ref(place).cast_mut(), stat::Ordering::Relaxed);
        WORLD.begin(record);
    }
    record
}

/// Takes one [`enter`] of this record back.
#[inline]
pub(crate) fn leave(record: &'static Record) {
    let depth = record.depth.get() - 1;
    record.depth.set(depth);
    if depth == 0 {
        let side = WORLD.leave(record);
        if crate::registry::is_left(side) {
            crate::registry::wake();
        }
        if record.orphan.get() {
            retire(record);
        }
    }
}

/// The last guard of a record whose task is gone.
#[cold]
fn retire(record: &'static Record) {
    if ptr::eq(CURRENT.get(), record) {
        CURRENT.set(ptr::null());
    }
    record.give_back();
}

/// Begins a unit of work on this thread, which lasts until the guard is dropped: all patchable functions that it calls are
/// of one version. Inside another unit, it is part of that.
///
/// Transitions of patches wait for units that are inside: keep them short, and mark long waits as
/// [`quiescent`](Unit::quiescent).
///
/// ```
/// # fn next_request() -> Option<u32> { None }
/// # fn answer(_: u32) {}
/// while let Some(request) = next_request() {
///     let _unit = livepatch::unit();
///     answer(request); // and whatever it calls: one version, from here to the end of the turn
/// }
/// ```
///
/// Progress: wait-free but for transitions that start meanwhile; a thread's first is lock-free, and allocates.
#[track_caller]
#[inline]
pub fn unit() -> Unit {
    Unit {
        record: enter(Location::caller()),
        _not_send: PhantomData,
    }
}

/// A unit of work of this thread, or of the future that it polls. See [`unit`].
#[derive(Debug)]
#[must_use = "the unit ends when the guard is dropped"]
pub struct Unit {
    record: &'static Record,
    _not_send: PhantomData<*const ()>,
}

impl Unit {
    /// Runs `idle`, a long wait, outside the unit, which begins anew after it: maybe of another version.
    ///
    /// Does no more than call `idle` if the unit is part of another, or was begun in a patchable function: the code to
    /// which it would return is of the version that it leaves.
    #[track_caller]
    pub fn quiescent<R>(&mut self, idle: impl FnOnce() -> R) -> R {
        struct Back(&'static Record, &'static Location<'static>);
        impl Drop for Back {
            fn drop(&mut self) {
                self.0
                    .place
                    .store(ptr::from_ref(self.1).cast_mut(), stat::Ordering::Relaxed);
                // Guards may have been left behind by `idle`; then the unit has begun already.
                if self.0.depth.replace(self.0.depth.get() + 1) == 0 {
                    WORLD.begin(self.0);
                }
            }
        }
        if self.record.depth.get() != 1 {
            return idle();
        }
        let _back = Back(self.record, Location::caller());
        leave_for_a_while(self.record);
        idle()
    }
}

/// As [`leave`], by a task that comes back.
fn leave_for_a_while(record: &'static Record) {
    record.depth.set(0);
    if crate::registry::is_left(WORLD.leave(record)) {
        crate::registry::wake();
    }
}

impl Drop for Unit {
    #[inline]
    fn drop(&mut self) {
        leave(self.record);
    }
}
