//! Many clients, and the end of the service's socket while they are connected.

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
            // Whatever the other clients do, it is carried out, or refused for a reason.
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

/// Returns everything that a connection receives without sending more.
fn rest(mut stream: UnixStream) -> String {
    let mut told = String::new();
    let _ = stream.read_to_string(&mut told);
    told
}

#[test]
fn silent_clients_make_room_for_the_operator() {
    let service = Service::new();
    // Far more than the limit: clients that have sent nothing, or half a request, or all that they wanted to.
    let silent: Vec<_> = (0..100).map(|_| service.stream()).collect();
    let half: Vec<_> = (0..100).map(|_| service.stream()).collect();
    half.iter()
        .for_each(|mut stream| drop(stream.write_all(b"{\"v\":1,\"requ")));
    let mut idle: Vec<_> = (0..100).map(|_| service.client()).collect();
    idle.iter_mut().for_each(|client| drop(client.status()));
    let mut operator = service.client();
    assert_eq!(operator.load("/p", Some(LONG)).unwrap().patch, "p");
    operator.disable("p", Some(LONG)).unwrap();
    // The earliest ones were disconnected first, and told why.
    let told = rest(silent.into_iter().next().unwrap());
    assert!(told.is_empty() || told.contains("too_many_clients"), "{told}");
    assert!(idle[0].status().is_err());
    assert!(idle.last_mut().unwrap().status().is_ok());
}

#[test]
fn nobody_is_refused_while_others_make_room() {
    let service = Service::with(|builder| builder.max_clients(1));
    for _ in 0..100 {
        let silent: Vec<_> = (0..5).map(|_| service.stream()).collect();
        service.client().status().unwrap();
        drop(silent);
    }
}

#[test]
fn who_never_asked_makes_room_before_who_did() {
    let service = Service::with(|builder| builder.max_clients(3));
    let mut first = service.client();
    first.status().unwrap();
    let silent = [service.stream(), service.stream()];
    for _ in 0..10 {
        service.client().status().unwrap();
        assert!(first.status().is_ok(), "it came first, and asks");
    }
    silent.into_iter().for_each(|stream| drop(rest(stream)));
}

#[test]
fn requests_that_are_carried_out_make_no_room() {
    let service = Service::with(|builder| builder.max_clients(2).loader(load));
    registry().enable(&patch("p")).unwrap();
    registry().wait(LONG).unwrap();
    let busy = Busy::new("slow");
    let wait = |request: &'static [u8]| {
        let mut stream = service.stream();
        stream.write_all(request).unwrap();
        stream
    };
    let one = wait(b"{\"v\":1,\"request\":\"disable\",\"patch\":\"p\",\"wait_ms\":60000}\n");
    while registry().status().patches[0].enabled {
        thread::yield_now();
    }
    // The other place is available to all later clients.
    for _ in 0..5 {
        service.client().status().unwrap();
    }
    let mut other = service.client();
    let waiting = thread::spawn(move || other.load("/q", None));
    assert_eq!(code(waiting.join().unwrap()), ErrorCode::Busy);
    drop(busy);
    let mut answer = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(one), &mut answer).unwrap();
    assert!(answer.contains("changed"), "{answer}");
}

#[test]
fn too_many_that_ask_are_refused_until_some_go() {
    static STARTED: Barrier = Barrier::new(3);
    static GO: Barrier = Barrier::new(3);
    let service = Service::with(|builder| {
        builder.max_clients(2).loader(|_| {
            STARTED.wait();
            GO.wait();
            Err("no".into())
        })
    });
    let asking: Vec<_> = (0..2)
        .map(|_| {
            let mut client = service.client();
            thread::spawn(move || client.load("/p", None))
        })
        .collect();
    STARTED.wait();
    for _ in 0..3 {
        assert_eq!(code(service.client().status()), ErrorCode::TooManyClients);
    }
    GO.wait();
    for asking in asking {
        assert_eq!(code(asking.join().unwrap()), ErrorCode::LoadFailed);
    }
    assert!(service.client().status().is_ok());
}

#[test]
fn a_flood_of_watchers_leaves_room_to_ask() {
    let service = Service::with(|builder| builder.max_watchers(3).loader(load));
    let mut watching: Vec<_> = (0..3).map(|_| service.client().watch(None, None).unwrap()).collect();
    watching
        .iter_mut()
        .for_each(|watch| drop(watch.next().unwrap().unwrap()));
    for _ in 0..64 {
        let mut refused = service.client().watch(None, None).unwrap();
        assert_eq!(code(refused.next().unwrap()), ErrorCode::TooManyWatchers);
    }
    let mut operator = service.client();
    operator.load("/p", Some(LONG)).unwrap();
    assert!(watching[0].next().unwrap().is_ok());
    // The place of a watcher that disconnects is soon free.
    drop(watching.pop());
    let again = || service.client().watch(None, None).unwrap().next().unwrap().is_ok();
    let tries = (0..60_000).position(|_| {
        thread::sleep(Duration::from_millis(1));
        again()
    });
    assert!(tries.is_some(), "never let in again");
}

#[test]
fn a_first_request_has_a_time_of_its_own() {
    let service = Service::with(|builder| builder.first_timeout(Duration::from_millis(30)).timeout(LONG));
    let mut asked = service.client();
    asked.status().unwrap();
    let told = rest(service.stream());
    assert!(told.contains("timed_out"), "{told}");
    assert!(asked.status().is_ok(), "it has the longer time by now");
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
    // It is waiting for the transition once the patch shows as disabled.
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
    // Dropped by the loader, on a session's own thread.
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
    // Dropped by a callback, while a client waits for that very change to end.
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
