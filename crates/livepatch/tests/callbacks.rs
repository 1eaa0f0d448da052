//! Callbacks and observers that misbehave: the patch is undone exactly, or enabled nevertheless; the registry is not
//! poisoned, and the process continues.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::notation::{off, on};
use common::session::Session;
use livepatch::{
    CallbackKind, EnableError, Event, ObjectPatch, Patch, Reentrant, RefusedHow, patchable, registry, unit,
};
use parking_lot::Mutex;

#[patchable]
fn answer() -> u32 {
    0
}

fn new_answer() -> u32 {
    42
}

fn program() -> ObjectPatch {
    ObjectPatch::program().function::<answer>(new_answer)
}

fn patch(object: ObjectPatch) -> Arc<Patch> {
    Patch::builder("P").object(object).build().expect("a valid patch")
}

/// A panic payload that is not a string, and panics itself when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("the payload too"));
    }
}

#[test]
fn panics_of_all_kinds() {
    let session = Session::new();
    session.lenient();
    let panicking = |kind: CallbackKind| {
        let object = program();
        match kind {
            CallbackKind::PrePatch => object.pre_patch(|_| std::panic::resume_unwind(Box::new(Bomb))),
            CallbackKind::PostPatch => object.post_patch(|_| std::panic::resume_unwind(Box::new(Bomb))),
            CallbackKind::PreUnpatch => object.pre_unpatch(|_| std::panic::resume_unwind(Box::new(Bomb))),
            CallbackKind::PostUnpatch => object.post_unpatch(|_| std::panic::resume_unwind(Box::new(Bomb))),
        }
    };
    let error = session.refuses(&patch(panicking(CallbackKind::PrePatch)));
    let EnableError::Refused(refusal) = error else {
        panic!("{error:?}")
    };
    assert!(matches!(refusal.how, RefusedHow::Panic(text) if text == "a panic with no text"));
    session.expect("P: EN T+ pre(v) failed(pre v) refused CAN C- D-");
    assert_eq!(answer(), 0);
    for (kind, expected) in [
        (
            CallbackKind::PostPatch,
            "P: EN T+ S+ C+ post(v) failed(post v) D+ T- S- C- D-",
        ),
        (
            CallbackKind::PreUnpatch,
            "P: EN T+ S+ C+ D+ T- preU(v) failed(preU v) S- C- D-",
        ),
        (
            CallbackKind::PostUnpatch,
            "P: EN T+ S+ C+ D+ T- S- C- postU(v) failed(postU v) D-",
        ),
    ] {
        session.load(&patch(panicking(kind)));
        assert_eq!(answer(), 42);
        session.unload("P");
        assert_eq!(answer(), 0);
        session.expect(expected);
    }
}

/// Messages of panics, as an operator finds them in the log.
#[test]
fn texts_of_panics() {
    let session = Session::new();
    session.lenient();
    let messages = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&messages);
    let _watch = registry().observe(move |event| {
        if event.is_failure() {
            seen.lock().push(event.to_string());
        }
    });
    session.load(&patch(
        program()
            .post_patch(|_| std::panic::resume_unwind(Box::new("a text")))
            .pre_unpatch(|_| std::panic::resume_unwind(Box::new("a string".to_owned()))),
    ));
    session.unload("P");
    assert_eq!(
        *messages.lock(),
        [
            "'P': post_patch of object `program` failed: panicked: a text",
            "'P': pre_unpatch of object `program` failed: panicked: a string",
        ]
    );
}

/// A callback may query, wait (which times out), call patched functions, and begin units.
#[test]
fn what_callbacks_may_do() {
    let session = Session::new();
    let log = session.log.clone();
    let object = session.log.object(program()).pre_patch(move |context| {
        log.call(CallbackKind::PrePatch, context);
        assert_eq!(answer(), 0);
        let _unit = unit();
        let status = registry().status();
        assert!(status.patches[0].transition && !status.patches[0].enabled);
        assert_eq!(
            status.transition.map(|transition| transition.patch).as_deref(),
            Some("P")
        );
        assert!(registry().wait(Duration::ZERO).is_err());
        Ok(())
    });
    let log = session.log.clone();
    let object = object.post_patch(move |context| {
        log.call(CallbackKind::PostPatch, context);
        assert_eq!(answer(), 42);
        let status = registry().status();
        assert!(status.patches[0].transition && status.patches[0].enabled && status.patches[0].objects[0].patched);
    });
    session.load(&patch(object));
    session.unload("P");
    session.expect(format!("{} {}", on("P", &["v"]), off("P", &["v"])));
}

#[test]
fn observers_that_meddle_and_panic() {
    let session = Session::new();
    let answers = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answers);
    let meddling = registry().observe(move |_| {
        if registry().poll() == Err(Reentrant) && registry().disable("P").is_err() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        std::panic::resume_unwind(Box::new("an observer"));
    });
    session.load(&patch(program()));
    assert_eq!(answers.load(Ordering::Relaxed), 5);
    drop(meddling);
    session.unload("P");
    assert_eq!(answers.load(Ordering::Relaxed), 5);
    session.expect("P: EN T+ S+ C+ D+ T- S- C- D-");
}

/// An observer may be removed from inside a callback, and by another observer.
#[test]
fn observers_that_come_and_go() {
    let session = Session::new();
    session.lenient();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let watch = registry().observe(move |event| notes.lock().push(event.clone()));
    let watch = Mutex::new(Some(watch));
    session.load(&patch(program().post_patch(move |_| drop(watch.lock().take()))));
    session.unload("P");
    let last = seen.lock().last().cloned();
    assert!(matches!(
        last,
        Some(Event::Callback {
            callback: CallbackKind::PostPatch,
            ..
        })
    ));
}

/// The contents of a patch are dropped after the change is over: their destructors may use the registry, and panic.
#[test]
fn patches_with_destructors() {
    struct Last(Arc<AtomicUsize>);
    impl Drop for Last {
        fn drop(&mut self) {
            if registry().poll().is_ok() && registry().patch("P").is_none() {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
            std::panic::resume_unwind(Box::new("a destructor"));
        }
    }
    let session = Session::new();
    session.lenient();
    let dropped = Arc::new(AtomicUsize::new(0));
    let last = Last(Arc::clone(&dropped));
    let built = patch(program().post_patch(move |_| {
        let _ = &last;
    }));
    session.load(&built);
    drop(built);
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    session.unload("P");
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    session.load(&patch(program()));
    session.unload("P");
}
