//! States for which callbacks of objects do the work: the five situations that every patch must handle, each as an
//! example; and which earlier states are visible in which phase.

mod common;

use std::sync::Arc;

use common::session::Session;
use common::task::Task;
use livepatch::{Context, NoTransition, ObjectPatch, Patch, State, StateData, patchable, registry};
use parking_lot::Mutex;

/// The setting that is changed: how many requests a client may have open.
static LIMIT: Mutex<u32> = Mutex::new(10);
const LIMIT_STATE: u64 = 0x1001;

#[patchable]
fn refusal() -> &'static str {
    "too many requests"
}

fn polite_refusal() -> &'static str {
    "please wait"
}

fn limit() -> u32 {
    *LIMIT.lock()
}

/// Returns the limit before any patch changed it: the data of the state.
fn before(context: &Context<'_>) -> Option<Arc<u32>> {
    context.prev_state(LIMIT_STATE)?.data::<u32>()
}

/// Returns a cumulative patch that sets the limit, and restores it. Handles all five situations.
fn limiting(name: &str, version: u32, limit: u32) -> Arc<Patch> {
    limiting_with(name, version, limit, |object| object)
}

fn limiting_with(name: &str, version: u32, limit: u32, more: impl FnOnce(ObjectPatch) -> ObjectPatch) -> Arc<Patch> {
    let object = ObjectPatch::program()
        .function::<refusal>(polite_refusal)
        .pre_patch(|context| {
            // The only place that may refuse: everything that can fail is done here, and nothing is changed yet.
            let data: StateData = match before(context) {
                Some(original) => original,
                None => Arc::new(*LIMIT.lock()),
            };
            own(context).set_data(data);
            Ok(())
        })
        .post_patch(move |_| *LIMIT.lock() = limit)
        .pre_unpatch(|context| *LIMIT.lock() = *own(context).data::<u32>().expect("put there by pre_patch"))
        .post_unpatch(|context| {
            own(context).take_data();
        });
    let builder = Patch::builder(name).replace(true).object(more(object));
    builder
        .object(ObjectPatch::module("late").pre_patch(|_| Err("not here".into())))
        .state(State::new(LIMIT_STATE, version))
        .build()
        .expect("a valid patch")
}

fn own<'c>(context: &Context<'c>) -> &'c State {
    context.patch().state(LIMIT_STATE).expect("the patch has it")
}

/// 1. No patch had changed the state: it is modified.
/// 3. And restored when the patch is disabled.
#[test]
fn modify_and_restore() {
    let session = Session::new();
    let patch = limiting("P", 1, 5);
    session.load(&patch);
    assert_eq!((limit(), refusal()), (5, "please wait"));
    let state = patch.state(LIMIT_STATE).expect("the patch has it");
    assert_eq!(state.data::<u32>().as_deref(), Some(&10));
    assert!(state.data::<String>().is_none(), "of another type");
    session.unload("P");
    assert_eq!((limit(), refusal()), (10, "too many requests"));
    assert!(state.any_data().is_none());
}

/// 2. A patch that is replaced had changed it: it is taken over, with the data that the first had saved.
#[test]
fn take_over() {
    let session = Session::new();
    session.load(&limiting("P", 1, 5));
    session.load(&limiting("Q", 2, 3));
    assert_eq!(limit(), 3);
    session.load(&limiting("R", 2, 4)); // The same version.
    assert_eq!(limit(), 4);
    session.unload("R");
    assert_eq!(limit(), 10);
}

/// 4. The transition is reversed: the state is what it was before, the original or the replaced patch's.
#[test]
fn reverse() {
    let session = Session::new();
    let task = Task::new("stays");
    task.enter();
    registry().enable(&limiting("P", 1, 5)).expect("the patch is enabled");
    registry().reverse("P").expect("it is in transition");
    session.wait();
    assert_eq!(limit(), 10);
    task.leave();

    session.load(&limiting("P", 1, 5));
    task.enter();
    registry().enable(&limiting("Q", 2, 3)).expect("the patch is enabled");
    assert_eq!(limit(), 5, "all units must run the new functions first");
    registry().reverse("Q").expect("it is in transition");
    session.wait();
    assert_eq!((limit(), task.run(refusal)), (5, "please wait"));
    task.leave();

    // Also of a disabling: `post_patch` redoes what `pre_unpatch` has undone.
    task.enter();
    registry().disable("P").expect("the patch is disabled");
    assert_eq!(limit(), 10);
    registry().reverse("P").expect("it is in transition");
    session.wait();
    assert_eq!(limit(), 5);
    task.leave();
    session.unload("P");
    assert_eq!(limit(), 10);
}

/// States that only the replaced patch has are undone before the transition, while units still run its functions.
/// Reversing redoes them; what is undone in `post_unpatch` stays until no unit runs these functions.
#[test]
fn a_stalled_replace_has_undone_and_does_again() {
    static DONE: Mutex<[bool; 2]> = Mutex::new([false; 2]);
    let session = Session::new();
    let task = Task::new("stays");
    let early = State::new(0x1101, 1)
        .post_patch(|_| DONE.lock()[0] = true)
        .pre_unpatch(|_| DONE.lock()[0] = false);
    let late = State::new(0x1102, 1)
        .post_patch(|_| DONE.lock()[1] = true)
        .post_unpatch(|_| DONE.lock()[1] = false);
    let program = || ObjectPatch::program().function::<refusal>(polite_refusal);
    let old = Patch::builder("old").object(program()).state(early).state(late);
    session.load(&old.build().expect("a valid patch"));
    assert_eq!(*DONE.lock(), [true, true]);

    let new = || {
        let object = ObjectPatch::program().post_patch(|_| ());
        let builder = Patch::builder("new").replace(true).object(object);
        builder.build().expect("a valid patch")
    };
    task.enter();
    registry().enable(&new()).expect("the patch is enabled");
    assert_eq!(task.run(refusal), "please wait", "it runs the old patch's functions");
    assert_eq!(*DONE.lock(), [false, true]);
    registry().reverse("new").expect("it is in transition");
    session.wait();
    assert_eq!((*DONE.lock(), task.run(refusal)), ([true, true], "please wait"));

    registry().enable(&new()).expect("the patch is enabled");
    assert_eq!(*DONE.lock(), [false, true]);
    task.leave();
    session.wait();
    assert_eq!((*DONE.lock(), task.run(refusal)), ([false, false], "too many requests"));
    session.unload("new");
}

/// 5. Enabling fails: the changes are undone, and the replaced patch's state stays.
#[test]
fn undo_on_error() {
    let session = Session::new();
    session.load_module("late", &[]);
    let error = session.refuses(&limiting("Q", 2, 3));
    assert_eq!(error.to_string(), "pre_patch of object `late` refused: not here");
    assert_eq!((limit(), refusal()), (10, "too many requests"));
    session.unload_module("late");

    session.load(&limiting("P", 1, 5));
    let second = limiting_with("Q", 2, 3, |object| object.pre_patch(|_| Err("no memory".into())));
    session.refuses(&second);
    assert_eq!((limit(), refusal()), (5, "please wait"));
    assert!(
        second
            .state(LIMIT_STATE)
            .is_some_and(|state| state.any_data().is_none())
    );
    session.unload("P");
    assert_eq!(limit(), 10);
}

mod earlier_states {
    use super::*;

    const ID: u64 = 7;

    /// Returns a patch that notes, at each callback, whose state it finds.
    fn noting(session: &Session, name: &'static str, replace: bool, modules: &[&'static str]) -> Arc<Patch> {
        session.lenient();
        let look = |when: &'static str| {
            let log = session.log.clone();
            move |context: &Context<'_>| {
                let found = context.prev_state(ID).map(|state| state.patch().name().to_owned());
                let object = context.object().expect("an object's callback");
                log.say(format!("{object}.{when}<{}", found.as_deref().unwrap_or("-")));
            }
        };
        let object = |object: ObjectPatch| {
            let pre = look("pre");
            object
                .pre_patch(move |context| {
                    pre(context);
                    Ok(())
                })
                .post_patch(look("post"))
                .pre_unpatch(look("preU"))
                .post_unpatch(look("postU"))
        };
        let mut builder = Patch::builder(name)
            .replace(replace)
            .object(object(ObjectPatch::program()));
        for &module in modules {
            builder = builder.object(object(ObjectPatch::module(module)));
        }
        builder.state(State::new(ID, 1)).build().expect("a valid patch")
    }

    /// Asserts what the callbacks found, without the events.
    #[track_caller]
    fn found(session: &Session, expected: &str) {
        let (words, _) = session.log.take();
        let found: Vec<String> = words
            .into_iter()
            .filter(|word| word.patch.is_none())
            .map(|word| word.text)
            .collect();
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn of_stacked_patches() {
        let session = Session::new();
        for name in ["A", "B", "C"] {
            session.load(&noting(&session, name, false, &[]));
        }
        found(
            &session,
            "program.pre<- program.post<- program.pre<A program.post<A program.pre<B program.post<B",
        );
        session.unload("C"); // Sees the one below.
        session.unload("A"); // Not the one above.
        session.unload("B");
        found(
            &session,
            "program.preU<B program.postU<B program.preU<- program.postU<- program.preU<- program.postU<-",
        );
    }

    #[test]
    fn of_replaced_patches() {
        let session = Session::new();
        session.load(&noting(&session, "A", false, &[]));
        session.load(&noting(&session, "B", true, &[]));
        session.unload("B"); // There is no earlier patch.
        found(
            &session,
            "program.pre<- program.post<- program.pre<A program.post<A program.preU<- program.postU<-",
        );
    }

    #[test]
    fn of_reversed_and_canceled_ones() {
        let session = Session::new();
        let task = Task::new("stays");
        session.load(&noting(&session, "A", false, &[]));
        task.enter();
        registry()
            .enable(&noting(&session, "B", true, &[]))
            .expect("the patch is enabled");
        session.unload("B");
        found(&session, "program.pre<- program.post<- program.pre<A program.postU<A");
        task.leave();

        session.load_module("m", &[]);
        let failing = Patch::builder("C").replace(true);
        let log = session.log.clone();
        let first = ObjectPatch::program().post_unpatch(move |context| {
            let earlier = context.prev_state(ID).expect("the first patch is still there");
            log.say(format!("canceled<{}", earlier.patch().name()));
        });
        let failing = failing.object(first).state(State::new(ID, 1));
        let failing = failing.object(ObjectPatch::module("m").pre_patch(|_| Err("no".into())));
        session.refuses(&failing.build().expect("a valid patch"));
        found(&session, "init(m) canceled<A");
        session.unload_module("m");
        session.unload("A");
    }

    #[test]
    fn as_modules_come_and_go() {
        let session = Session::new();
        session.load(&noting(&session, "A", false, &["m"]));
        session.load(&noting(&session, "B", false, &["m"]));
        session.log.take();
        // Outside transitions there is no "earlier" patch.
        session.load_module("m", &[]);
        found(&session, "m.pre<- m.post<- m.pre<- m.post<- init(m)");
        session.unload_module("m");
        found(&session, "exit(m) m.preU<- m.postU<- m.preU<- m.postU<-");
        // Inside one, it is relative to the patch in transition, whichever callback queries it.
        let task = Task::new("stays");
        task.enter();
        registry().disable("B").expect("the patch is disabled");
        session.load_module("m", &[]);
        found(&session, "program.preU<A m.pre<A m.post<A m.pre<A init(m)");
        task.leave();
        session.wait();
        found(&session, "program.postU<A m.postU<A");
        session.unload_module("m");
        session.unload("A");
    }

    #[test]
    fn outside_callbacks() {
        let session = Session::new();
        let task = Task::new("stays");
        session.load(&noting(&session, "A", false, &[]));
        assert_eq!(registry().prev_state(ID).err(), Some(NoTransition));
        task.enter();
        registry()
            .enable(&noting(&session, "B", false, &[]))
            .expect("the patch is enabled");
        let earlier = registry()
            .prev_state(ID)
            .expect("a transition runs")
            .expect("the first has it");
        assert_eq!((earlier.patch().name(), earlier.version()), ("A", 1));
        assert!(registry().prev_state(ID + 1).expect("a transition runs").is_none());
        task.leave();
        session.wait();
        assert_eq!(registry().prev_state(ID).err(), Some(NoTransition));
        session.unload("B");
        session.unload("A");
        // The returned state keeps the patch alive.
        assert_eq!(earlier.patch().name(), "A");
    }
}
