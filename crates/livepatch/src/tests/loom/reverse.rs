//! Transitions that are reversed: two flips.

use super::{Service, explore, join, spawn};

#[test]
fn units_meet_a_transition_that_is_reversed() {
    explore(3, || {
        let service = Service::new();
        let record = service.task();
        let units = spawn(&service, move |service| {
            service.unit(record);
            service.unit(record);
        });
        service.start(1);
        let left = service.reverse();
        if service.try_complete(left) || service.try_complete(left) {
            service.unload(1);
        }
        join(units);
        assert_eq!(service.unit(record), 0);
    });
}

#[test]
fn a_unit_meets_a_reversal_and_the_transition_after_it() {
    explore(2, || {
        let service = Service::new();
        let record = service.task();
        let unit = spawn(&service, move |service| service.unit(record));
        service.start(1);
        let left = service.reverse();
        if service.try_complete(left) {
            service.unload(1);
            if service.switch(2) {
                service.unload(0);
            }
        }
        join(unit);
    });
}

#[test]
fn a_unit_meets_three_flips() {
    explore(2, || {
        let service = Service::new();
        let record = service.task();
        let unit = spawn(&service, move |service| service.unit(record));
        service.start(1);
        service.reverse();
        let left = service.reverse();
        if service.try_complete(left) {
            service.unload(0);
        }
        join(unit);
    });
}

#[test]
fn a_new_task_meets_a_reversal() {
    explore(2, || {
        let service = Service::new();
        let task = spawn(&service, |service| {
            let record = service.task();
            service.unit(record)
        });
        service.start(1);
        let left = service.reverse();
        if service.try_complete(left) {
            service.unload(1);
        }
        join(task);
    });
}
