//! Units of threads: the guard, and what a call of a patchable function does.

use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::Location;
use std::ptr;
use std::thread;

use super::leaving;
use super::record::{Record, TaskKind};
use super::world::World;

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
        // The last guard, or the last frame that comes back to it, gives it back: maybe now.
        self.0.orphan.set(true);
        retire(self.0);
    }
}

/// The running task begins a unit, or goes on with the one it is in. To be followed by [`leave`]. `place` is where it
/// begins: not looked for otherwise.
#[inline]
pub(crate) fn enter(place: impl FnOnce() -> &'static Location<'static>) -> &'static Record {
    // SAFETY: null, or a record; they are never freed, and only the running task's is ever here.
    let Some(record) = (unsafe { CURRENT.get().as_ref() }) else {
        return enter_first(place());
    };
    enter_in(record, place);
    record
}

/// [`enter`] by the running task, whose record is known.
#[inline]
fn enter_in(record: &'static Record, place: impl FnOnce() -> &'static Location<'static>) {
    let depth = record.depth.get();
    record.depth.set(depth + 1);
    if depth == 0 {
        record.set_place(place());
        WORLD.begin(record);
    }
}

/// A thread's first [`enter`].
#[cold]
#[inline(never)]
fn enter_first(place: &'static Location<'static>) -> &'static Record {
    let thread = thread::current();
    let name = thread
        .name()
        .map_or_else(|| format!("{:?}", thread.id()), str::to_owned);
    let record = WORLD.register(name.into(), TaskKind::Thread);
    CURRENT.set(record);
    // Late in a thread's end there is nobody to give it back but its last guard.
    if GIVE_BACK.try_with(|owner| owner.set(Some(Owner(record)))).is_err() {
        record.orphan.set(true);
    }
    enter_in(record, || place);
    record
}

/// Takes one [`enter`] of this record back.
#[inline]
pub(crate) fn leave(record: &'static Record) {
    let depth = record.depth.get() - 1;
    record.depth.set(depth);
    if depth == 0 {
        end(record);
        if record.orphan.get() {
            retire(record);
        }
    }
}

/// The owner's unit is over.
#[inline]
fn end(record: &'static Record) {
    leaving::left(WORLD.leave(record));
}

/// Gives the record of a task that is gone back, unless guards or frames still have it: the last of them will.
#[cold]
pub(super) fn retire(record: &'static Record) {
    if record.depth.get() == 0 && record.awaited.get() == 0 {
        if ptr::eq(CURRENT.get(), record) {
            CURRENT.set(ptr::null());
        }
        WORLD.give_back(record);
    }
}

/// A frame that will come back to a record: until then it is not given to another task.
pub(super) struct Awaited(&'static Record);

impl Awaited {
    pub(super) fn new(record: &'static Record) -> Self {
        record.awaited.set(record.awaited.get() + 1);
        Self(record)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.awaited.set(self.0.awaited.get() - 1);
        if self.0.orphan.get() {
            retire(self.0);
        }
    }
}

/// The record of the running task, if it ever was in a unit.
pub(crate) fn known() -> Option<&'static Record> {
    // SAFETY: as in `enter`.
    unsafe { CURRENT.get().as_ref() }
}

/// Whether the running task is in a unit.
#[cfg(all(feature = "library", target_os = "linux"))]
pub(crate) fn is_inside() -> bool {
    known().is_some_and(|record| record.depth.get() > 0)
}

/// Makes another record the running task's, as a future is polled.
pub(super) fn set_current(record: Option<&'static Record>) {
    CURRENT.set(record.map_or(ptr::null(), ptr::from_ref));
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
    let place = Location::caller();
    Unit {
        record: enter(|| place),
        _not_send: PhantomData,
    }
}

/// A unit of work of this thread, or of the future that it polls. See [`unit()`].
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
        struct Back {
            record: &'static Record,
            place: &'static Location<'static>,
            /// `idle` may have the last guard that an orphan knows of.
            _awaited: Awaited,
        }
        impl Drop for Back {
            fn drop(&mut self) {
                // Guards may have been left behind by `idle`; then the unit has begun already.
                enter_in(self.record, || self.place);
            }
        }
        if self.record.depth.get() != 1 {
            return idle();
        }
        let _back = Back {
            record: self.record,
            place: Location::caller(),
            _awaited: Awaited::new(self.record),
        };
        self.record.depth.set(0);
        end(self.record);
        idle()
    }
}

impl Drop for Unit {
    #[inline]
    fn drop(&mut self) {
        leave(self.record);
    }
}
