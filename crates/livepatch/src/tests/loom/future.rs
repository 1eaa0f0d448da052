//! Units that begin inside another task's unit (T5).

use super::{Service, explore, join, spawn};

#[test]
fn a_unit_begun_inside_another_meets_a_transition() {
    explore(3, || {
        let service = Service::new();
        let outer = service.task();
        let inner = service.task();
        let task = spawn(&service, move |service| {
            service.world.begin(outer);
            let version = service.work(outer);
            service.world.begin_inside(inner, outer);
            service.world.leave(outer);
            assert_eq!(service.work(inner), version, "the inner unit is of another version");
            service.world.leave(inner);
        });
        if service.switch(1) {
            service.unload(0);
        }
        join(task);
    });
}

#[test]
fn a_future_begins_inside_a_unit_and_ends_elsewhere() {
    explore(2, || {
        let service = Service::new();
        let outer = service.task();
        let inner = service.task();
        service.world.begin(outer);
        service.world.begin_inside(inner, outer);
        let future = spawn(&service, move |service| {
            assert_eq!(service.work(inner), 0);
            service.world.leave(inner);
        });
        let other = spawn(&service, |service| {
            let left = service.start(1);
            if service.try_complete(left) {
                service.unload(0);
            }
        });
        assert_eq!(service.work(outer), 0);
        service.world.leave(outer);
        join(future);
        join(other);
    });
}

#[test]
fn a_unit_begun_inside_another_meets_a_reversal() {
    explore(2, || {
        let service = Service::new();
        let outer = service.task();
        let inner = service.task();
        let task = spawn(&service, move |service| {
            service.world.begin(outer);
            let version = service.call(0, outer);
            service.world.begin_inside(inner, outer);
            service.world.leave(outer);
            assert_eq!(service.call(1, inner), version, "the inner unit is of another version");
            service.world.leave(inner);
        });
        service.start(1);
        let left = service.reverse();
        if service.try_complete(left) {
            service.unload(1);
        }
        join(task);
    });
}
