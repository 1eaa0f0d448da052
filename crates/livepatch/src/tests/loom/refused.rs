//! The system refuses its barrier: light barriers become fences (O5).

use super::{Service, explore, join, spawn};
use crate::task::model::Refusal;
use crate::task::record::Record;

impl Service {
    /// Executes a light barrier of the task's thread that belongs to no unit.
    fn fence_elsewhere(&self, record: &Record) {
        if self.world.model.refusal.as_ref().is_some_and(Refusal::is_fences) {
            self.world.on_fence(Some(record));
        }
    }
}

/// A task that has begun units by compiler fences fences elsewhere, as when its thread pins: that settles it.
#[test]
fn units_meet_a_transition_and_the_refusal() {
    explore(1, || {
        let service = Service::refused();
        let record = service.task();
        let units = spawn(&service, move |service| {
            service.fence_elsewhere(record);
            service.unit(record);
            service.unit(record);
        });
        let (left, fenced) = service.start_unsettled(1);
        if (fenced || service.world.settle()) && service.try_complete(left) {
            service.unload(0);
        }
        join(units);
        // The transition ends, with the task's next unit at the latest.
        assert_eq!(service.unit(record), 1);
        assert!(service.world.settle(), "a task that has fenced is not settled");
        assert!(service.try_complete(left));
    });
}

/// Also in the transition after the one in which the barrier was refused: all tasks are settled, and fence.
#[test]
fn units_meet_the_transition_after_the_refusal() {
    explore(2, || {
        let service = Service::refused();
        let record = service.task();
        let (left, fenced) = service.start_unsettled(1);
        assert!(!fenced, "a task that has not fenced is settled");
        service.fence_elsewhere(record);
        assert!(service.world.settle());
        assert!(service.try_complete(left));
        service.unload(0);
        assert_eq!(service.unit(record), 1);
        // Two more flips, which return to the task's side.
        assert!(service.switch(2) && service.switch(1));
        let units = spawn(&service, move |service| {
            service.unit(record);
            service.unit(record);
        });
        if service.switch(2) {
            service.unload(1);
        }
        join(units);
    });
}
