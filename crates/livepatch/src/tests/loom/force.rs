//! Transitions that are forced.

use std::sync::Arc;

use super::{Service, explore, join, spawn};
use crate::sync::{AtomicUsize, Ordering};

/// A forced unit may see both versions, in any order; the next unit is an ordinary one. Code that the forced unit may
/// still run is not unloaded.
#[test]
fn a_leaving_unit_is_forced() {
    explore(3, || {
        let service = Service::of(true);
        let record = service.task();
        let units = spawn(&service, move |service| {
            for _ in 0..2 {
                service.world.begin(record);
                service.call(0, record);
                service.call(1, record);
                service.world.leave(record);
            }
        });
        let left = service.start(1);
        service.world.force(left);
        // A scan may see a unit that begins meanwhile on its way to the other side.
        service.complete_if_empty(left, true);
        join(units);
        assert!(service.complete_if_empty(left, true), "force ends a transition");
        assert!(service.world.is_empty(left, false), "a unit that left is seen inside");
        assert!(
            service.world.is_empty(left.other(), false),
            "a unit that left is seen inside"
        );
        assert_eq!(service.unit(record), 1);
    });
}

/// T6: the forced call reads its function late; the transition after the forced one is reversed.
#[test]
fn a_forced_unit_holds_up_the_reversal_of_the_next_transition() {
    explore(3, || {
        let service = Service::of(true);
        let record = service.task();
        service.world.begin(record);
        let unit = spawn(&service, move |service| {
            service.call(0, record);
            service.world.leave(record);
        });
        let left = service.start(1);
        service.world.force(left);
        assert!(service.complete_if_empty(left, true), "force ends a transition");
        service.start(2);
        let left = service.reverse();
        if service.try_complete(left) {
            service.unload(2);
        }
        join(unit);
    });
}

#[test]
fn a_forced_unit_holds_up_the_next_transition() {
    explore(3, || {
        let service = Service::of(true);
        let record = service.task();
        service.world.begin(record);
        let unit = spawn(&service, move |service| {
            service.call(0, record);
            service.call(1, record);
            service.world.leave(record);
        });
        let left = service.start(1);
        service.world.force(left);
        assert!(service.complete_if_empty(left, true), "force ends a transition");
        if service.switch(2) {
            service.unload(1);
        }
        join(unit);
    });
}

/// The end of a forced unit against the beginning of the next.
#[test]
fn a_unit_is_forced_as_it_begins() {
    explore(3, || {
        let service = Service::of(true);
        let record = service.task();
        let unit = spawn(&service, move |service| {
            service.world.begin(record);
            service.call(0, record);
            service.call(1, record);
            service.world.leave(record);
        });
        let left = service.start(1);
        let forced = service.world.force(left);
        assert!(forced <= 1);
        service.complete_if_empty(left, true);
        join(unit);
        assert!(service.complete_if_empty(left, true), "force ends a transition");
        assert_eq!(service.unit(record), 1);
        assert!(service.switch(2), "no unit is inside");
        service.unload(1);
        assert_eq!(service.unit(record), 2);
    });
}

/// T7: the calls of a forced unit use its new side, where the next transition stores nothing.
#[test]
fn a_forced_unit_does_not_meet_what_the_next_transition_brings() {
    explore(2, || {
        let service = Service::of(true);
        let record = service.task();
        service.world.begin(record);
        let left = service.start(1);
        assert_eq!(service.world.force(left), 1);
        assert!(service.complete_if_empty(left, true), "force ends a transition");
        let next = spawn(&service, |service| service.start(2));
        assert_eq!(service.work(record), 1);
        service.world.leave(record);
        join(next);
    });
}

/// T7: the forced unit leaves, and the next begins while its side is being changed.
#[test]
fn a_unit_begins_while_the_one_before_is_forced() {
    explore(3, || {
        let service = Service::of(true);
        let record = service.task();
        service.world.begin(record);
        let left = service.start(1);
        let units = spawn(&service, move |service| {
            service.world.leave(record);
            service.unit(record)
        });
        service.world.force(left);
        if service.complete_if_empty(left, true) && service.world.is_empty(left, false) && service.switch(2) {
            service.unload(1);
        }
        join(units);
    });
}

/// T7: a unit stores its side, or finds it unchanged, while it is forced. Its calls after that use the new side. (A call
/// that has read its side before may still be about to read the function.)
#[test]
fn a_unit_that_is_forced_as_it_begins_does_not_meet_what_the_next_transition_brings() {
    explore(3, || {
        let service = Service::of(true);
        let record = service.task();
        let forced = Arc::new(AtomicUsize::new(0));
        let unit = spawn(&service, {
            let forced = forced.clone();
            move |service| {
                service.world.begin(record);
                if forced.load(Ordering::Acquire) == 1 {
                    let versions = [service.call(0, record), service.call(1, record)];
                    // Both calls, if it was forced before it had checked the world: then it begins again.
                    assert!(versions == [2, 2] || !versions.contains(&2), "a unit saw {versions:?}");
                }
                service.world.leave(record);
            }
        });
        let left = service.start(1);
        if service.world.force(left) == 1 && service.complete_if_empty(left, true) {
            forced.store(1, Ordering::Release);
            service.start(2);
        }
        join(unit);
    });
}
