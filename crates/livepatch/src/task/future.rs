//! Units of futures, which are tasks of their own, whichever threads poll them.
//!
//! While a future is polled or dropped, [`Polling`] makes its record the one of the running task. The record is claimed
//! at the first poll, and released when the future is ready or dropped.
//!
//! ```text
//! first poll:  register    inside the unit of the polling task (T5), or a unit of its own
//! every poll:  Polling     the future's record runs; afterwards the polling task's again
//!              a guard is left on this thread?  the future goes on with a new record, on the same side
//! ready, or dropped:       the unit ends, and the record is released by the last guard or frame that refers to it
//! ```
//!
//! Relies on T3, T5.

use std::any;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::current;
use super::record::{OUTSIDE, Place, Record, TaskKind};
use super::unit::{self, Awaited, WORLD};

/// The method [`in_unit`](Self::in_unit), for every future.
pub trait UnitExt: Future + Sized {
    /// Makes the whole future one unit of work, from its first poll until it is ready or dropped: all patchable functions
    /// that it calls are of one version, whichever threads poll it. It is a task of its own.
    ///
    /// If it is first polled inside another unit, it begins on the version of that unit.
    ///
    /// ```
    /// use livepatch::UnitExt;
    /// # async fn read() -> u32 { 1 }
    /// # async fn answer(_: u32) {}
    /// async fn turn() {
    ///     let request = read().await; // outside: may wait for long
    ///     answer(request).in_unit().await;
    /// }
    /// ```
    #[track_caller]
    fn in_unit(self) -> InUnit<Self> {
        InUnit {
            place: Location::caller(),
            task: Task(Cell::new(None)),
            future: ManuallyDrop::new(self),
        }
    }
}

impl<F: Future> UnitExt for F {}

/// A future that is one unit of work. See [`UnitExt::in_unit`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct InUnit<F> {
    place: &'static Location<'static>,
    task: Task,
    future: ManuallyDrop<F>,
}

/// The future's record, from its first poll to its end, and the record's generation: if that has changed, a fork's child
/// has released the record, and the future begins anew.
#[derive(Debug)]
struct Task(Cell<Option<(&'static Record, u64)>>);

// SAFETY: the cell is only accessed while the future is polled or dropped, which is exclusive, and which executors order
// between threads. Nothing here can be reached through a shared reference.
unsafe impl Send for Task {}
// SAFETY: as above.
unsafe impl Sync for Task {}

impl Task {
    /// Returns a record for the future, inside a unit of its own.
    fn register(
        name: &'static str,
        place: &'static Location<'static>,
        outer: Option<&'static Record>,
    ) -> &'static Record {
        let record = unit::register(name.into(), TaskKind::Future);
        record.set_place(Place::of_guard(place));
        record.depth.set(0);
        match outer {
            Some(outer) => WORLD.begin_inside(record, outer),
            None => WORLD.begin(record),
        }
        record
    }

    fn get(&self) -> Option<&'static Record> {
        let (record, generation) = self.0.get()?;
        (record.generation() == generation).then_some(record)
    }

    fn set(&self, record: &'static Record) {
        self.0.set(Some((record, record.generation())));
    }

    fn end(&self) {
        let record = self.get();
        self.0.set(None);
        if let Some(record) = record {
            // SAFETY: the future is polled or dropped on this thread, has entered in `register`, and has let go of the
            // record just now.
            unsafe { unit::leave_for_good(record) };
        }
    }
}

/// Makes a future's record the running task's, while the future runs on this thread.
struct Polling<'t> {
    thread: &'static current::Running,
    task: &'t Task,
    record: &'static Record,
    /// The task that polls it.
    outer: Option<(&'static Record, Awaited)>,
    name: &'static str,
    place: &'static Location<'static>,
}

impl<'t> Polling<'t> {
    fn new<F>(task: &'t Task, place: &'static Location<'static>) -> Self {
        let name = any::type_name::<F>();
        let thread = current::running();
        let (outer, is_inside) = (thread.record(), thread.depth.get() != OUTSIDE);
        let record = if let Some(record) = task.get() {
            record.set_owner();
            record
        } else {
            let record = Task::register(name, place, outer.filter(|_| is_inside));
            task.set(record);
            record
        };
        thread.switch(Some(record));
        Self {
            thread,
            task,
            record,
            outer: outer.map(|outer| (outer, Awaited::new(outer))),
            name,
            place,
        }
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.thread.switch(self.outer.as_ref().map(|(outer, _)| *outer));
        if self.record.depth.get() != 0 {
            // Guards left on this thread keep the record here; the future continues with a new one, on the same side.
            self.task.set(Task::register(self.name, self.place, Some(self.record)));
            // SAFETY: the future was polled on this thread, has entered in `register`, and has another record now.
            unsafe { unit::leave_for_good(self.record) };
        }
    }
}

impl<F: Future> Future for InUnit<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is structurally pinned: never moved, dropped in place by `Drop`; the other fields are `Unpin`.
        let this = unsafe { self.get_unchecked_mut() };
        let polling = Polling::new::<F>(&this.task, this.place);
        // SAFETY: as above.
        let polled = unsafe { Pin::new_unchecked(&mut *this.future) }.poll(context);
        drop(polling);
        if polled.is_ready() {
            this.task.end();
        }
        polled
    }
}

impl<F> Drop for InUnit<F> {
    fn drop(&mut self) {
        /// Ends the unit, even if the future's drop panics.
        struct End<'t>(&'t Task);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.end();
            }
        }
        let _end = End(&self.task);
        // Destructors of the future's state still belong to its unit.
        let _polling = self.task.get().map(|_| Polling::new::<F>(&self.task, self.place));
        // SAFETY: dropped once, here, and not used again.
        unsafe { ManuallyDrop::drop(&mut self.future) };
    }
}
