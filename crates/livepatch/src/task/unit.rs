//! Units of threads: the guard, and what a call of a patchable function does.

use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::Location;
use std::ptr;
use std::thread;

use super::record::{Note, OUTSIDE, Place, Record, TaskKind};
use super::world::{Side, World};
use super::{
    current::{self, Here, Running},
    leaving,
};

/// The world that patch points and tasks of this process live in.
#[cfg(not(shadow_loom))]
pub(crate) static WORLD: World = World::new();
#[cfg(shadow_loom)]
loom::lazy_static! {
    pub(crate) static ref WORLD: World = World::new();
}

thread_local! {
    /// Gives the thread's record back at its end.
    static GIVE_BACK: Cell<Option<Owner>> = const { Cell::new(None) };
}

/// A thread's own record.
struct Owner(&'static Record);

impl Drop for Owner {
    fn drop(&mut self) {
        // The last guard, or the last frame that comes back to it, gives it back: maybe now.
        self.0.note(Note::Orphan);
        retire(self.0);
    }
}

/// The running task, which was in no unit and is counted as inside: it must begin its unit now.
#[doc(hidden)]
#[derive(Debug)]
#[must_use]
pub struct Outside(Here);

/// The running task, which is in a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inside(Here);

impl Inside {
    #[inline(always)]
    pub(crate) fn record(self) -> &'static Record {
        // SAFETY: it is inside.
        unsafe { self.0.inside() }
    }
}

/// The running task begins a unit, or goes on with the one it is in. To be followed by [`leave`], or [`leave_call`]. `place`
/// is where it begins: not looked for otherwise.
#[inline(always)]
pub(crate) fn enter(place: impl Fn() -> Place) -> Inside {
    // SAFETY: `begin` follows.
    unsafe { enter_inside() }.unwrap_or_else(|outside| match begin(outside, &place) {
        Ok((inside, _)) => inside,
        Err(outside) => begin_seldom(outside, place()),
    })
}

/// The running task goes on with the unit it is in; else [`begin`] is to follow.
///
/// # Safety
///
/// If this is an error, [`begin`] follows before anything else here is called, and [`begin_seldom`] if that is one too.
#[inline(always)]
pub(crate) unsafe fn enter_inside() -> Result<Inside, Outside> {
    let here = Here::new();
    if here.deeper() {
        Ok(Inside(here))
    } else {
        Err(Outside(here))
    }
}

/// The running task begins its unit. On which side; else [`begin_seldom`] is to follow.
#[inline(always)]
pub(crate) fn begin(outside: Outside, place: impl FnOnce() -> Place) -> Result<(Inside, Side), Outside> {
    let Some(record) = outside.0.known_or_nobody() else {
        return Err(outside);
    };
    record.set_place(place());
    match WORLD.begin(record) {
        Some(side) => Ok((Inside(outside.0), side)),
        None => Err(outside),
    }
}

/// A thread's first unit, or one that began while the world went to its other side.
#[cold]
#[inline(never)]
pub(crate) fn begin_seldom(outside: Outside, place: Place) -> Inside {
    let Outside(here) = outside;
    match here.known() {
        Some(record) => WORLD.begin_anew(record),
        None => begin_first(here.running(), place),
    }
    Inside(here)
}

/// A thread's first unit.
fn begin_first(running: &Running, place: Place) {
    // What follows may panic, or be in units itself, as an allocator can.
    running.depth.set(OUTSIDE);
    let thread = thread::current();
    let name = thread
        .name()
        .map_or_else(|| format!("{:?}", thread.id()), str::to_owned);
    let record = WORLD.register(name.into(), TaskKind::Thread);
    // Late in a thread's end there is nobody to give it back but its last guard.
    if GIVE_BACK.try_with(|owner| owner.set(Some(Owner(record)))).is_err() {
        record.note(Note::Orphan);
    }
    record.depth.set(0);
    running.switch(Some(record));
    record.set_place(place);
    WORLD.begin_wholly(record);
}

/// Takes one [`enter`] back: that of a call, which returns to the task that made it.
#[inline(always)]
pub(crate) fn leave_call() {
    // The same as that of `enter`: where they are in one function, the compiler knows it. To ask costs less than to keep it.
    let here = Here::new();
    if !here.back() {
        // SAFETY: it was inside until now.
        end(unsafe { here.inside() });
    }
}

/// Takes one [`enter`] of this record back, whatever task runs.
#[inline]
pub(crate) fn leave(record: &'static Record) {
    let depth = current::running().depth_of(record);
    depth.set(depth.get() - 1);
    if depth.get() == OUTSIDE {
        end(record);
    }
}

/// Takes one [`enter`] of this record back, the task's own, which is at its end and which this thread does not run: the record
/// is given back, now or by the last guard or frame that still has it.
#[inline]
pub(super) fn leave_for_good(record: &'static Record) {
    debug_assert!(known().is_none_or(|current| !ptr::eq(current, record)));
    let depth = &record.depth;
    if depth.get() != 0 || record.awaited.get() != 0 {
        record.note(Note::Orphan);
        return leave(record);
    }
    depth.set(OUTSIDE);
    WORLD.leave(record);
    if record.is_noted() {
        leaving::wake(); // Nothing else is noted of a task that goes on.
    }
    WORLD.give_back(record);
}

/// The owner's unit is over.
#[inline(always)]
fn end(record: &'static Record) {
    WORLD.leave(record);
    if record.is_noted() {
        end_noted(record);
    }
}

/// The owner's unit is over, and somebody wanted to know that.
#[cold]
#[inline(never)]
fn end_noted(record: &'static Record) {
    if record.take_note(Note::HoldsUp) {
        leaving::wake();
    }
    if record.has_note(Note::Orphan) {
        retire(record);
    }
}

/// Gives the record of a task that is gone back, unless guards or frames still have it: the last of them will.
#[cold]
pub(super) fn retire(record: &'static Record) {
    let running = current::running();
    if running.depth_of(record).get() == OUTSIDE && record.awaited.get() == 0 {
        if running.record().is_some_and(|current| ptr::eq(current, record)) {
            running.switch(None);
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
        if self.0.has_note(Note::Orphan) {
            retire(self.0);
        }
    }
}

/// This thread fences: so does the task that it runs.
pub(super) fn on_fence() {
    WORLD.on_fence(known());
}

/// The light barrier of the running task where that is a fence: who waits for a transition shall not hold it up.
pub(crate) fn fence() {
    if let Some(record) = known() {
        record.reader.light();
    }
}

/// The record of the running task, if it ever was in a unit.
pub(crate) fn known() -> Option<&'static Record> {
    current::running().record()
}

/// Whether the running task is in a unit.
#[cfg(all(feature = "library", target_os = "linux"))]
pub(crate) fn is_inside() -> bool {
    current::running().depth.get() != OUTSIDE
}

/// Begins a unit of work on this thread, which lasts until the guard is dropped: all patchable functions that it calls are
/// of one version. Inside another unit, it is part of that.
///
/// Transitions of patches wait for units that are inside: keep them short, and mark long waits as
/// [`quiescent`](Unit::quiescent). **A guard that is held across an `await`**, as an executor of one thread lets one do, is a
/// unit of the thread, not of the future: it lasts until that future goes on, whatever else the thread does meanwhile, and if
/// another is always waiting, no transition ever ends. Use [`in_unit`](crate::UnitExt::in_unit) for what awaits. A
/// [`Status`](crate::Status) says what is unusual ([`TaskStatus::unusual`](crate::TaskStatus::unusual)), and a
/// [`Watchdog`](crate::Watchdog) tells without being asked.
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
/// Progress: wait-free but for transitions that start meanwhile; a thread's first takes a lock for moments, and allocates.
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
    /// Runs `idle`, a long wait, outside the unit, which begins anew after it: maybe of another version.
    ///
    /// Does no more than call `idle` if the unit is part of another, or was begun in a patchable function: the code to
    /// which it would return is of the version that it leaves.
    #[track_caller]
    pub fn quiescent<R>(&mut self, idle: impl FnOnce() -> R) -> R {
        struct Back {
            record: &'static Record,
            place: Place,
            /// `idle` may have the last guard that an orphan knows of.
            _awaited: Awaited,
        }
        impl Drop for Back {
            fn drop(&mut self) {
                let depth = current::running().depth_of(self.record);
                depth.set(depth.get() + 1);
                // Guards may have been left behind by `idle`; then the unit has begun already.
                if depth.get() == 0 {
                    self.record.set_place(self.place);
                    WORLD.begin_wholly(self.record);
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
        leave(self.record);
        idle()
    }
}

impl Drop for Unit {
    #[inline]
    fn drop(&mut self) {
        leave(self.record);
    }
}
