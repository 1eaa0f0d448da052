//! Tasks, old and new, against one transition; and unloading the code that it replaced.

use std::sync::Arc;

use super::{Service, explore, explore_with, join, spawn};
use crate::sync::{AtomicUsize, Ordering};

#[test]
fn units_meet_a_transition_and_the_end_of_old_code() {
    explore(3, || {
        let service = Service::new();
        let record = service.task();
        let units = spawn(&service, move |service| {
            let first = service.unit(record);
            let second = service.unit(record);
            assert!(first <= second, "a task went back with no reversal");
        });
        if service.switch(1) {
            service.unload(0);
        }
        join(units);
        assert_eq!(service.unit(record), 1, "a unit that began after the flip");
    });
}

#[test]
fn a_new_task_meets_a_transition_and_the_end_of_old_code() {
    explore(3, || {
        let service = Service::new();
        let task = spawn(&service, |service| {
            let record = service.task();
            service.unit(record)
        });
        if service.switch(1) {
            service.unload(0);
        }
        join(task);
    });
}

#[test]
fn two_tasks_meet_a_transition_and_the_end_of_old_code() {
    explore(2, || {
        let service = Service::new();
        let one = service.task();
        let other = service.task();
        let one = spawn(&service, move |service| service.unit(one));
        let other = spawn(&service, move |service| service.unit(other));
        if service.switch(1) {
            service.unload(0);
        }
        join(one);
        join(other);
    });
}

#[test]
fn units_meet_two_transitions() {
    explore(2, || {
        let service = Service::new();
        let record = service.task();
        let units = spawn(&service, move |service| {
            let first = service.unit(record);
            let second = service.unit(record);
            assert!(first <= second, "a task went back with no reversal");
        });
        if service.switch(1) {
            service.unload(0);
            if service.switch(2) {
                service.unload(1);
            }
        }
        join(units);
    });
}

#[test]
fn a_later_task_has_the_record_of_an_earlier_one() {
    explore(1, || {
        let service = Service::new();
        let first = service.task();
        let tasks = spawn(&service, move |service| {
            service.unit(first);
            // SAFETY: the task has ended, outside, and has no guards.
            unsafe { service.world.release(first) };
        });
        let later = spawn(&service, |service| {
            let record = service.task();
            service.unit(record);
        });
        if service.switch(1) {
            service.unload(0);
        }
        join(tasks);
        join(later);
        assert!(service.world.records().count() <= 2);
    });
}

/// Two tasks use one record, one after the other: a scan that sees the second must have acquired the end of the first.
#[test]
fn a_record_passes_from_task_to_task_in_a_transition() {
    explore(3, || {
        let service = Service::new();
        let first = service.task();
        let tasks = spawn(&service, move |service| {
            service.unit(first);
            // SAFETY: the task has ended, outside, and has no guards.
            unsafe { service.world.release(first) };
            let next = service.task();
            service.unit(next);
        });
        if service.switch(1) {
            service.unload(0);
        }
        join(tasks);
        assert_eq!(service.world.records().count(), 1);
    });
}

/// O3: the scan sees a unit of the new side, and the one before it ran old code. A light barrier is not a fence here, so
/// only the word orders the end of that unit. The race that barriers prevent does not occur: loads see the newest store,
/// and the unit is over before the flip.
#[test]
fn a_scan_meets_the_unit_after_one_of_the_old_side() {
    explore_with(&[true], 3, || {
        let service = Service::without_barriers();
        let record = service.task();
        let over = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&over);
        let units = spawn(&service, move |service| {
            service.unit(record);
            // Relaxed: must not order anything.
            told.store(1, Ordering::Relaxed);
            service.unit(record);
        });
        if over.load(Ordering::Relaxed) == 1 && service.switch(1) {
            service.unload(0);
        }
        join(units);
    });
}
