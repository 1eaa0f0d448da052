//! Many clients, and the end of the service's socket while they are there.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn many_clients_at_once() {
    let service = Service::new();
    let barrier = Barrier::new(16);
    let work = |number: usize| {
        let mut client = service.client();
        barrier.wait();
        for _ in 0..25 {
            assert!(client.status().is_ok());
            // Whatever the others do: it is done, or refused for a reason.
            let name = format!("/p{}", number % 3);
            for result in [client.load(&name, None), client.disable(&name[1..], Some(LONG))] {
                match result {
                    Ok(_) => {}
                    Err(ClientError::Refused(refused)) => assert_ne!(refused.code, ErrorCode::Internal, "{refused}"),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    thread::scope(|scope| (0..16).for_each(|number| drop(scope.spawn(move || work(number)))));
}

#[test]
fn too_many_are_refused_until_some_go() {
    let service = Service::with(|builder| builder.max_clients(2));
    let mut open: Vec<_> = (0..2).map(|_| service.client()).collect();
    open.iter_mut().for_each(|client| drop(client.status().unwrap()));
    for _ in 0..3 {
        assert_eq!(code(service.client().status()), ErrorCode::TooManyClients);
    }
    assert!(open[0].status().is_ok());
    drop(open);
    // The service sees their end soon.
    let refused = |_: &u32| service.client().status().is_err();
    let tries = (0..).take_while(|tried| {
        thread::sleep(Duration::from_millis(1));
        assert!(*tried < 60_000, "never let in again");
        refused(tried)
    });
    tries.for_each(drop);
}

#[test]
fn a_drop_disconnects_all() {
    let mut service = Service::new();
    registry().enable(&patch("p")).unwrap();
    registry().wait(LONG).unwrap();
    let _busy = Busy::new("slow");
    let mut idle = service.client();
    idle.status().unwrap();
    let watch = service.client().watch(None, None).unwrap();
    let waiting = {
        let mut client = service.client();
        thread::spawn(move || client.disable("p", Some(Duration::from_secs(3600))))
    };
    // It waits for the transition once it shows up as disabled.
    while registry().status().patches[0].enabled {
        thread::yield_now();
    }
    drop(service.control.take());
    assert!(!service.path().exists());
    assert!(idle.status().is_err());
    for answer in watch {
        assert!(matches!(
            answer,
            Ok(livepatch::control::Answer::Transition { .. } | livepatch::control::Answer::Event { .. })
        ));
    }
    assert!(waiting.join().unwrap().is_err());
}

#[test]
fn a_drop_waits_for_the_loader() {
    static STARTED: Barrier = Barrier::new(2);
    static DONE: AtomicBool = AtomicBool::new(false);
    let mut service = Service::with(|builder| {
        builder.loader(|_| {
            STARTED.wait();
            thread::sleep(Duration::from_millis(50));
            DONE.store(true, Ordering::SeqCst);
            Err("no".into())
        })
    });
    let mut client = service.client();
    let loading = thread::spawn(move || client.load("/p", None));
    STARTED.wait();
    drop(service.control.take());
    assert!(DONE.load(Ordering::SeqCst));
    assert!(loading.join().unwrap().is_err());
}

#[test]
fn it_may_be_dropped_by_a_callback_and_by_the_loader() {
    // By the loader: on a session's own thread.
    let held: Arc<Mutex<Option<Control>>> = Arc::default();
    let mut service = Service::with(|builder| {
        let held = Arc::clone(&held);
        builder.loader(move |_| {
            drop(held.lock().unwrap().take());
            Err("dropped".into())
        })
    });
    *held.lock().unwrap() = service.control.take();
    assert!(service.client().load("/p", None).is_err());
    assert!(!service.path().exists());
    drop(service);
    // By a callback, while a client waits for that very change to end.
    let mut service = Service::new();
    let control = Mutex::new(service.control.take());
    let path = service.path();
    let in_callback = move |_: &livepatch::Context<'_>| {
        let mut client = Client::connect(&path).unwrap();
        let other = thread::spawn(move || client.disable("x", None));
        thread::sleep(Duration::from_millis(20));
        drop(control.lock().unwrap().take());
        assert!(other.join().unwrap().is_err());
        Ok(())
    };
    let program = ObjectPatch::program().function::<answer>(mended).pre_patch(in_callback);
    let patch = Patch::builder("c").object(program).build().unwrap();
    registry().enable(&patch).unwrap();
    assert!(!service.path().exists());
}
