//! Units of futures: tasks of their own, whatever threads poll them.

use std::any;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::current;
use super::record::{OUTSIDE, Place, Record, TaskKind};
use super::unit::{self, Awaited, WORLD};

/// [`in_unit`](Self::in_unit), for every future.
pub trait UnitExt: Future + Sized {
    /// Makes the whole future one unit of work, from its first poll until it is ready or dropped: all patchable functions
    /// that it calls are of one version, on whatever threads it is polled. It is a task of its own.
    ///
    /// If it is first polled inside another unit, it begins on the version of that one.
    ///
    /// ```
    /// use livepatch::UnitExt;
    /// # async fn read() -> u32 { 1 }
    /// # async fn answer(_: u32) {}
    /// async fn turn() {
    ///     let request = read().await; // outside: waits as long as it likes
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

/// The future's record, from its first poll to its end, and the record's era: in another, a fork's child has let go of the
/// future, which then begins anew.
#[derive(Debug)]
struct Task(Cell<Option<(&'static Record, u64)>>);

// SAFETY: whoever polls or drops the future has it alone, and executors hand it from thread to thread in order. Through a
// shared reference nothing here can be reached.
unsafe impl Send for Task {}
// SAFETY: as above.
unsafe impl Sync for Task {}

impl Task {
    /// A record for the future, inside a unit of its own.
    fn take(name: &'static str, place: &'static Location<'static>, outer: Option<&'static Record>) -> &'static Record {
        let record = WORLD.register(name.into(), TaskKind::Future);
        record.set_place(Place::of_guard(place));
        record.depth.set(0);
        match outer {
            Some(outer) => WORLD.begin_inside(record, outer),
            None => WORLD.begin_wholly(record),
        }
        record
    }

    fn get(&self) -> Option<&'static Record> {
        let (record, era) = self.0.get()?;
        (record.era() == era).then_some(record)
    }

    fn set(&self, record: &'static Record) {
        self.0.set(Some((record, record.era())));
    }

    fn end(&self) {
        let record = self.get();
        self.0.set(None);
        if let Some(record) = record {
            unit::leave_for_good(record);
        }
    }
}

/// While a future runs on this thread: its record is the running task's.
struct Running<'t> {
    on: &'static current::Running,
    task: &'t Task,
    record: &'static Record,
    /// The task that polls it.
    before: Option<(&'static Record, Awaited)>,
    name: &'static str,
    place: &'static Location<'static>,
}

impl<'t> Running<'t> {
    fn new<F>(task: &'t Task, place: &'static Location<'static>) -> Self {
        let name = any::type_name::<F>();
        let on = current::running();
        let (before, is_inside) = (on.record(), on.depth.get() != OUTSIDE);
        let record = if let Some(record) = task.get() {
            record.owned_here();
            record
        } else {
            let record = Task::take(name, place, before.filter(|_| is_inside));
            task.set(record);
            record
        };
        on.switch(Some(record));
        Self {
            on,
            task,
            record,
            before: before.map(|before| (before, Awaited::new(before))),
            name,
            place,
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.on.switch(self.before.as_ref().map(|(before, _)| *before));
        if self.record.depth.get() != 0 {
            // Guards that it left on this thread keep its record here; it goes on with a new one, on the same side.
            self.task.set(Task::take(self.name, self.place, Some(self.record)));
            unit::leave_for_good(self.record);
        }
    }
}

impl<F: Future> Future for InUnit<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is structurally pinned: never moved, dropped in place by `Drop`; the other fields are `Unpin`.
        let this = unsafe { self.get_unchecked_mut() };
        let running = Running::new::<F>(&this.task, this.place);
        // SAFETY: as above.
        let polled = unsafe { Pin::new_unchecked(&mut *this.future) }.poll(context);
        drop(running);
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
        // What the future drops still belongs to its unit.
        let _running = self.task.get().map(|_| Running::new::<F>(&self.task, self.place));
        // SAFETY: dropped once, here, and not used again.
        unsafe { ManuallyDrop::drop(&mut self.future) };
    }
}
