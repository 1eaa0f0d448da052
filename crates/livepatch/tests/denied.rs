//! A process that is denied the barrier after having used it: transitions wait for tasks that may not have seen them,
//! report that, and end when they can.

#![cfg(all(target_os = "linux", not(miri)))]

#[path = "../../shadow-vars/tests/support/deny.rs"]
mod deny;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use livepatch::{ObjectPatch, Patch, patchable, registry, unit};

const LONG: Duration = Duration::from_secs(60);

#[patchable]
fn answer() -> u32 {
    1
}

fn other_answer() -> u32 {
    2
}

/// The only test of this process, which it changes for good.
#[test]
fn a_denied_barrier_holds_transitions_up_until_all_have_fenced() {
    let patch = Patch::builder("other")
        .object(ObjectPatch::program().function::<answer>(other_answer))
        .build()
        .unwrap();
    assert_eq!(answer(), 1);
    // A thread that has begun a unit, and sleeps outside until it is told to begin another.
    let (ask, asked) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let sleeper = thread::spawn(move || {
        tell.send(answer()).unwrap();
        for () in asked {
            tell.send(answer()).unwrap();
        }
    });
    assert_eq!(told.recv().unwrap(), 1);
    // A thread that is in a unit for the whole test, and executes a barrier when it is told to.
    let (meet, met) = mpsc::channel::<()>();
    let (say, said) = mpsc::channel();
    let insider = thread::spawn(move || {
        let _unit = unit();
        say.send(answer()).unwrap();
        for () in met {
            let _ = registry().wait(Duration::ZERO);
            say.send(answer()).unwrap();
        }
    });
    assert_eq!(said.recv().unwrap(), 1);
    let was_there = deny::deny_membarrier();

    registry().enable(&patch).unwrap();
    // A unit that begins now is of the new version, whatever the transition waits for.
    assert_eq!(answer(), 2);
    if was_there {
        let error = registry().wait(Duration::from_millis(300)).unwrap_err();
        assert_eq!((error.tasks, error.unsettled), (1, 2), "{error}");
        assert!(error.to_string().contains("membarrier"), "{error}");
        let status = registry().status().transition.unwrap();
        assert_eq!((status.tasks_left, status.unsettled), (1, 2));
        registry().force("other").unwrap();
        assert!(
            registry().wait(Duration::from_millis(100)).is_err(),
            "forced, without a barrier"
        );
    }
    ask.send(()).unwrap();
    assert_eq!(told.recv().unwrap(), 2);
    if was_there {
        assert!(
            registry().wait(Duration::from_millis(100)).is_err(),
            "one has not come to a barrier"
        );
    } else {
        registry().force("other").unwrap();
    }
    // Units are forced once the barrier succeeds, not before.
    meet.send(()).unwrap();
    assert!([1, 2].contains(&said.recv().unwrap()));
    registry().wait(LONG).unwrap();
    meet.send(()).unwrap();
    assert_eq!(said.recv().unwrap(), 2);
    drop(meet);
    insider.join().unwrap();

    // From then on fences suffice.
    registry().disable("other").unwrap();
    registry().wait(LONG).unwrap();
    assert_eq!(answer(), 1);
    drop(ask);
    sleeper.join().unwrap();
}
