//! Units of threads: the guard, and what a call of a patchable function does.
//!
//! ```text
//! enter:  depth += 1                       leave:  depth -= 1
//!         was a unit running? go on                is a unit still running? go on
//!         try_begin: the side of before            World::leave
//!         else begin_slow                          a note? end_slow: wake the waiter, release the record
//! ```
//!
//! A unit or call increments the running task's depth ([`enter`]); at depth 0 it begins a unit of the [`World`]. Leaving
//! decrements the depth, and ends the unit at [`OUTSIDE`]. A record is released when its task has ended and no guard or
//! frame refers to it any more. Relies on T3, T5, O1 to O5.

use std::borrow::Cow;
use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::Location;
use std::ptr;
use std::thread;

use super::current::{self, Here, Running};
use super::record::{Note, OUTSIDE, Place, Record, TaskKind};
use super::side::Side;
use super::waiter;
use super::world::World;
use crate::fork::{self, Hook, Part};
use crate::sync::static_global;

static_global! {
    /// The world of this process's patch points and tasks.
    pub(crate) static WORLD: World = World::new();
}

/// Releases the records of tasks that a fork's child does not have (see the section "Forks" of the page).
static FORK: Hook = Hook {
    prepare: || {},
    parent: || {},
    child: || {
        // SAFETY: in a fork's child, before it starts a thread.
        unsafe { WORLD.after_fork() };
        waiter::after_fork();
    },
};

thread_local! {
    /// Releases the thread's record when the thread ends.
    static RELEASE: Cell<Option<Owner>> = const { Cell::new(None) };
}

/// A thread's own record.
struct Owner(&'static Record);

impl Drop for Owner {
    fn drop(&mut self) {
        // The last guard, or the last frame that returns to the record, releases it: possibly now.
        self.0.note(Note::Orphan);
        // SAFETY: this thread is the task, and ends.
        unsafe { retire(self.0) };
    }
}

/// Proof that the running task was in no unit and is counted as inside: its unit must begin now.
#[doc(hidden)]
#[derive(Debug)]
#[must_use]
pub struct Outside(Here);

/// Proof that the running task is in a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inside(Here);

impl Inside {
    #[inline(always)]
    pub(crate) fn record(self) -> &'static Record {
        // SAFETY: an `Inside` is only made for a task that is in a unit.
        unsafe { self.0.record_unchecked() }
    }
}

/// Begins a unit of the running task, or continues the one it is in. Must be followed by [`leave`] or [`leave_call`].
/// `place` is where the unit begins; only evaluated if one does.
#[inline(always)]
pub(crate) fn enter(place: impl Fn() -> Place) -> Inside {
    // SAFETY: `begin` follows.
    unsafe { enter_inside() }.unwrap_or_else(|outside| match try_begin(outside, &place) {
        Ok((inside, _)) => inside,
        Err(outside) => begin_slow(outside, place()),
    })
}

/// Continues the unit that the running task is in. If it is in none, the caller must begin one with [`try_begin`].
///
/// # Safety
///
/// If this is an error, [`try_begin`] follows before anything else here is called, and [`begin_slow`] if that fails too.
#[inline(always)]
pub(crate) unsafe fn enter_inside() -> Result<Inside, Outside> {
    let here = Here::new();
    if here.increment_depth() {
        Ok(Inside(here))
    } else {
        Err(Outside(here))
    }
}

/// Begins the running task's unit and returns its side. If this is an error, [`begin_slow`] must follow.
#[inline(always)]
pub(crate) fn try_begin(outside: Outside, place: impl FnOnce() -> Place) -> Result<(Inside, Side), Outside> {
    let Some(record) = outside.0.record_or_placeholder() else {
        return Err(outside);
    };
    record.set_place(place());
    match WORLD.try_begin(record) {
        Some(side) => Ok((Inside(outside.0), side)),
        None => Err(outside),
    }
}

/// Slow path of [`try_begin`]: a thread's first unit, or one that begins as the world changes its side.
#[cold]
#[inline(never)]
pub(crate) fn begin_slow(outside: Outside, place: Place) -> Inside {
    let Outside(here) = outside;
    match here.record() {
        Some(record) => WORLD.begin_slow(record),
        None => begin_first(here.running(), place),
    }
    Inside(here)
}

/// Begins a thread's first unit.
fn begin_first(running: &Running, place: Place) {
    // The code below may panic, or enter units itself, as an allocator can.
    running.depth.set(OUTSIDE);
    let thread = thread::current();
    let name = thread
        .name()
        .map_or_else(|| format!("{:?}", thread.id()), str::to_owned);
    let record = register(name.into(), TaskKind::Thread);
    // Late in a thread's exit only its last guard is left to release the record.
    if RELEASE.try_with(|owner| owner.set(Some(Owner(record)))).is_err() {
        record.note(Note::Orphan);
    }
    record.depth.set(0);
    running.switch(Some(record));
    record.set_place(place);
    WORLD.begin(record);
}

/// Returns a record for a new task of this process, outside every unit.
pub(super) fn register(name: Cow<'static, str>, kind: TaskKind) -> &'static Record {
    WORLD.register(name, kind, || {
        // Before the first record has an owner.
        fork::watch(Part::Tasks, &FORK);
        asymmetric_barrier::on_fence(on_fence);
    })
}

/// Reverts one [`enter`] of a call, which returns to the task that made it.
///
/// # Safety
///
/// The running task has entered this call, and has not left it.
#[inline(always)]
pub(crate) unsafe fn leave_call() {
    // The value that `enter` got: where both are in one function, the compiler knows that. Recomputing it costs less than
    // keeping it.
    let here = Here::new();
    if !here.decrement_depth() {
        // SAFETY: the task was inside until now, as the caller guarantees that it had entered.
        unsafe { end(here.record_unchecked()) };
    }
}

/// Reverts one [`enter`] of this record, whichever task runs.
///
/// # Safety
///
/// This thread has a guard or frame of the record's task, which has entered and not left.
#[inline]
pub(crate) unsafe fn leave(record: &'static Record) {
    let depth = current::running().depth_of(record);
    depth.set(depth.get() - 1);
    if depth.get() == OUTSIDE {
        // SAFETY: the caller's enter was the last one, so the unit runs until now.
        unsafe { end(record) };
    }
}

/// Reverts the task's own [`enter`] of this record. The task has ended and this thread does not run it: the record is
/// released, now or by the last guard or frame that still refers to it.
///
/// # Safety
///
/// The calling thread has polled the task last or drops it. The caller has its own [`enter`], and does not use the record
/// again.
#[inline]
pub(super) unsafe fn leave_for_good(record: &'static Record) {
    debug_assert!(current_record().is_none_or(|current| !ptr::eq(current, record)));
    let depth = &record.depth;
    if depth.get() != 0 || record.awaited.get() != 0 {
        record.note(Note::Orphan);
        // SAFETY: the task's own enter, which has not been left, as the caller guarantees.
        return unsafe { leave(record) };
    }
    depth.set(OUTSIDE);
    WORLD.leave(record);
    if record.has_notes() {
        waiter::wake(); // Nothing else is noted of a task that goes on.
    }
    // SAFETY: the task has ended, outside, and neither guards nor frames refer to it.
    unsafe { WORLD.release(record) };
}

/// Ends the owner's unit.
///
/// # Safety
///
/// The calling thread runs the record's task or has its last guard, and the task is in a unit.
#[inline(always)]
unsafe fn end(record: &'static Record) {
    WORLD.leave(record);
    if record.has_notes() {
        // SAFETY: the caller guarantees that this thread is the one that may access the record.
        unsafe { end_slow(record) };
    }
}

/// Slow path of [`end`]: acts on the record's notes.
///
/// # Safety
///
/// Same as [`retire`].
#[cold]
#[inline(never)]
unsafe fn end_slow(record: &'static Record) {
    if record.take_note(Note::HoldsUp) {
        waiter::wake();
    }
    if record.has_note(Note::Orphan) {
        // SAFETY: the note says that the task has ended; the caller guarantees that no other thread accesses the record.
        unsafe { retire(record) };
    }
}

/// Releases the record of a task that has ended, unless guards or frames still refer to it: the last of them will.
///
/// # Safety
///
/// Only this thread accesses the record's cells. If the task has ended, [`Note::Orphan`] is set, and the caller does not
/// use the record again.
#[cold]
pub(super) unsafe fn retire(record: &'static Record) {
    let running = current::running();
    if running.depth_of(record).get() == OUTSIDE && record.awaited.get() == 0 {
        if running.record().is_some_and(|current| ptr::eq(current, record)) {
            running.switch(None);
        }
        // SAFETY: outside, and neither guards nor frames refer to it; the task has ended, as the caller guarantees.
        unsafe { WORLD.release(record) };
    }
}

/// A frame that will return to a record: until then the record is not given to another task.
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
        if self.0.has_note(Note::Orphan) {
            // SAFETY: the frame is of this thread, which alone has frames and guards of a task that has ended.
            unsafe { retire(self.0) };
        }
    }
}

/// Notes that this thread fences, and so does the task that it runs.
pub(super) fn on_fence() {
    WORLD.on_fence(current_record());
}

/// Executes the running task's light barrier, where that is a fence: a thread that waits for a transition must not hold
/// it up.
pub(crate) fn fence() {
    if let Some(record) = current_record() {
        record.reader.light();
    }
}

/// Returns the record of the running task, if it was ever in a unit.
pub(crate) fn current_record() -> Option<&'static Record> {
    current::running().record()
}

/// Begins a unit of work on this thread, which lasts until the guard is dropped: all patchable functions that it calls
/// are of one version. Inside another unit, it is part of that unit.
///
/// Transitions of patches wait for units that are inside: keep them short, and mark long waits as
/// [`quiescent`](Unit::quiescent). **A guard that is held across an `await`**, as a single-threaded executor allows, is a
/// unit of the thread, not of the future: it lasts until that future resumes, whatever else the thread does meanwhile,
/// and if some future is always suspended inside one, no transition ever ends. Use [`in_unit`](crate::UnitExt::in_unit)
/// for code that awaits. [`Status`](crate::Status) reports unusual tasks
/// ([`TaskStatus::unusual`](crate::TaskStatus::unusual)), and a [`Watchdog`](crate::Watchdog) reports them unprompted.
///
/// ```
/// # fn next_request() -> Option<u32> { None }
/// # fn answer(_: u32) {}
/// while let Some(request) = next_request() {
///     let _unit = livepatch::unit();
///     answer(request); // and all that it calls: one version, to the end of this iteration
/// }
/// ```
///
/// Progress: wait-free but for transitions that start meanwhile; a thread's first unit briefly takes a lock, and allocates.
#[track_caller]
#[inline]
pub fn unit() -> Unit {
    let place = Place::of_guard(Location::caller());
    Unit {
        record: enter(|| place).record(),
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
    /// Runs `idle`, a long wait, outside the unit, which begins anew afterwards, possibly with another version.
    ///
    /// Only calls `idle` if the unit is part of another, or was begun in a patchable function: that code, to which it
    /// would return, is of the version that the unit would leave.
    #[track_caller]
    pub fn quiescent<R>(&mut self, idle: impl FnOnce() -> R) -> R {
        struct Back {
            record: &'static Record,
            place: Place,
            /// `idle` may drop the last guard that an orphan's record has.
            _awaited: Awaited,
        }
        impl Drop for Back {
            fn drop(&mut self) {
                let depth = current::running().depth_of(self.record);
                depth.set(depth.get() + 1);
                // `idle` may have leaked guards; then the unit has begun already.
                if depth.get() == 0 {
                    self.record.set_place(self.place);
                    WORLD.begin(self.record);
                }
            }
        }
        if current::running().depth_of(self.record).get() != 0 {
            return idle();
        }
        let _back = Back {
            record: self.record,
            place: Place::of_guard(Location::caller()),
            _awaited: Awaited::new(self.record),
        };
        // SAFETY: the guard's own enter; `Back` enters again before the guard can be dropped.
        unsafe { leave(self.record) };
        idle()
    }
}

impl Drop for Unit {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the guard has entered, on this thread, as it is not `Send`; it leaves once, here.
        unsafe { leave(self.record) };
    }
}
