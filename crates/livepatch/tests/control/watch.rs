//! Watching.

use livepatch::control::{Answer, Watch};
use livepatch::{Direction, Event};

use super::*;

/// Reads up to the first answer for which `find` returns a value.
fn until<T>(watch: &mut Watch, find: impl FnMut(Answer) -> Option<T>) -> T {
    watch.map(Result::unwrap).find_map(find).expect("it comes")
}

fn running(answer: Answer) -> Option<(String, Direction, Vec<String>)> {
    match answer {
        Answer::Transition { transition, held_up_by } => {
            let names = held_up_by.into_iter().map(|task| task.name).collect();
            transition.map(|transition| (transition.patch, transition.direction, names))
        }
        _ => None,
    }
}

fn over(answer: Answer) -> Option<()> {
    matches!(answer, Answer::Transition { transition: None, .. }).then_some(())
}

#[test]
fn a_transition_is_told_from_its_beginning_to_its_end() {
    let service = Service::new();
    let mut watch = service.client().watch(None, Some(Duration::from_millis(10))).unwrap();
    until(&mut watch, over);
    let busy = Busy::new("slow");
    registry().enable(&patch("p")).unwrap();
    let (name, direction, tasks) = until(&mut watch, running);
    assert_eq!((name.as_str(), direction), ("p", Direction::Patching));
    assert_eq!(tasks, ["slow"]);
    // Repeatedly while it runs.
    until(&mut watch, running);
    until(&mut watch, running);
    drop(busy);
    let complete = until(&mut watch, |answer| match answer {
        Answer::Event {
            event: event @ Event::Complete { .. },
        } => Some(event),
        Answer::Transition { transition: None, .. } => panic!("the event comes before the end"),
        _ => None,
    });
    assert_eq!(complete.patch(), Some("p"));
    until(&mut watch, over);
}

#[test]
fn all_events_come_in_order() {
    let service = Service::new();
    let log: Arc<Mutex<Vec<Event>>> = Arc::default();
    let _observation = registry().observe({
        let log = Arc::clone(&log);
        move |event| log.lock().unwrap().push(event.clone())
    });
    let mut watch = service.client().watch(None, None).unwrap();
    until(&mut watch, over);
    for _ in 0..20 {
        registry().enable(&patch("p")).unwrap();
        registry().wait(LONG).unwrap();
        registry().disable("p").unwrap();
        registry().wait(LONG).unwrap();
    }
    let log = std::mem::take(&mut *log.lock().unwrap());
    let seen: Vec<_> = watch
        .filter_map(|answer| match answer.unwrap() {
            Answer::Event { event } => Some(event),
            Answer::Missed { .. } => panic!("there was room"),
            _ => None,
        })
        .take(log.len())
        .collect();
    assert_eq!(seen, log);
}

#[test]
fn one_patch_can_be_watched() {
    let service = Service::new();
    let mut watch = service.client().watch(Some("q"), None).unwrap();
    until(&mut watch, over);
    for name in ["p", "q"] {
        registry().enable(&patch(name)).unwrap();
        registry().wait(LONG).unwrap();
    }
    let first = until(&mut watch, |answer| match answer {
        Answer::Event { event } => Some(event),
        _ => None,
    });
    assert_eq!(first, Event::Enabling { patch: "q".to_owned() });
}

#[test]
fn what_its_states_own_is_freed_before_the_eyes_of_who_watches_a_patch() {
    const ID: shadow_vars::ShadowId<u32> = shadow_vars::ShadowId::new(0x77);
    let service = Service::new();
    let mut watch = service.client().watch(Some("p"), None).unwrap();
    until(&mut watch, over);
    let state = livepatch::State::new(9, 1).owns(shadow_vars::global(), ID);
    let program = ObjectPatch::program().function::<answer>(mended);
    let patch = Patch::builder("p").object(program).state(state).build().unwrap();
    registry().enable(&patch).unwrap();
    registry().wait(LONG).unwrap();
    let object = Box::new(0_u64);
    shadow_vars::global().pin().alloc(&*object, ID, 1).map(drop).unwrap();
    registry().disable("p").unwrap();
    registry().wait(LONG).unwrap();
    let (patch, variables) = until(&mut watch, |answer| match answer {
        Answer::Event {
            event: Event::Freed { patch, variables, .. },
        } => Some((patch, variables)),
        _ => None,
    });
    assert_eq!((patch.as_str(), variables), ("p", 1));
}

#[test]
fn a_running_transition_is_told_first() {
    let service = Service::new();
    let _busy = Busy::new("slow");
    registry().enable(&patch("p")).unwrap();
    let first = service.client().watch(None, None).unwrap().next().unwrap().unwrap();
    assert_eq!(running(first).map(|(name, ..)| name), Some("p".to_owned()));
    let other = service
        .client()
        .watch(Some("q"), None)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(over(other), Some(()));
}

/// A watcher that reads nothing neither stops the service nor fills its memory, and is told how many events it missed.
#[test]
fn who_is_slow_misses_events_and_is_told() {
    let service = Service::with(|builder| builder.max_events(10).timeout(LONG));
    let mut watch = service.client().watch(None, None).unwrap();
    until(&mut watch, over);
    let emitted = Arc::new(Mutex::new(0_u64));
    let observation = registry().observe({
        let emitted = Arc::clone(&emitted);
        move |_| *emitted.lock().unwrap() += 1
    });
    // More than the socket holds.
    for _ in 0..500 {
        registry().enable(&patch("p")).unwrap();
        registry().wait(LONG).unwrap();
        registry().disable("p").unwrap();
        registry().wait(LONG).unwrap();
    }
    drop(observation);
    let emitted = *emitted.lock().unwrap();
    let (mut taken, mut missed) = (0, 0);
    while taken + missed < emitted {
        match watch.next().unwrap().unwrap() {
            Answer::Event { .. } => taken += 1,
            Answer::Missed { events } => missed += events,
            _ => {}
        }
    }
    assert_eq!(taken + missed, emitted);
    assert!(missed > 0 && taken >= 10, "{taken} taken, {missed} missed");
}

#[test]
fn who_takes_nothing_for_long_is_dropped() {
    let service = Service::with(|builder| builder.timeout(Duration::from_millis(50)).max_watchers(1));
    let mut stream = service.stream();
    stream.write_all(b"{\"v\":1,\"request\":\"watch\"}\n").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let mut rounds = 0;
    // Its place is free once it is dropped.
    let refused = || service.client().watch(None, None).unwrap().next().unwrap().is_err();
    while refused() {
        registry().enable(&patch("p")).unwrap();
        registry().wait(LONG).unwrap();
        registry().disable("p").unwrap();
        registry().wait(LONG).unwrap();
        rounds += 1;
        assert!(rounds < 100_000, "it is never dropped");
    }
}

/// A client that has closed its sending half, as in a shell's pipe, still receives.
#[test]
fn half_closed_is_not_gone() {
    let service = Service::new();
    let mut stream = service.stream();
    stream.write_all(b"{\"v\":1,\"request\":\"watch\"}\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    registry().enable(&patch("p")).unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("complete") {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).unwrap();
        assert_ne!(read, 0, "closed");
        seen.extend_from_slice(&chunk[..read]);
    }
}
