//! States own shadow variables: these are freed, with their destructors, exactly once, when the last holder is removed,
//! in whichever way; and stay while any holder is left.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::session::Session;
use common::task::Task;
use livepatch::{ObjectPatch, Patch, State, registry};
use shadow_vars::{ShadowId, ShadowStore};

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

const VARIABLE: ShadowId<Counted> = ShadowId::new(0x70);

/// A store with variables in it, and the record of their destruction.
struct Variables {
    store: Arc<ShadowStore>,
    dropped: Arc<AtomicUsize>,
    /// The patches whose destructors were called.
    destroyed: Arc<parking_lot::Mutex<Vec<&'static str>>>,
}

impl Variables {
    fn new(count: usize) -> Self {
        let variables = Variables {
            store: Arc::new(ShadowStore::new()),
            dropped: Arc::default(),
            destroyed: Arc::default(),
        };
        (0..count).for_each(|number| variables.attach(number));
        variables
    }

    fn attach(&self, number: usize) {
        let value = Counted(Arc::clone(&self.dropped));
        assert!(self.store.pin().alloc(number * 64, VARIABLE, value).is_ok());
    }

    fn state(&self, patch: &'static str, id: u64) -> State {
        let destroyed = Arc::clone(&self.destroyed);
        State::new(id, 1).owns_with(Arc::clone(&self.store), VARIABLE, move |_, _| {
            destroyed.lock().push(patch)
        })
    }

    /// Asserts that `count` variables were freed, once each, by `patch`; and that none is left.
    #[track_caller]
    fn freed(&self, count: usize, patch: &'static str) {
        assert_eq!(*self.destroyed.lock(), vec![patch; count]);
        assert_eq!(self.store.len(), 0);
        self.store.synchronize().expect("no guard is held");
        assert_eq!(self.dropped.load(Ordering::Relaxed), count);
    }

    #[track_caller]
    fn kept(&self, count: usize) {
        assert_eq!((self.store.len(), self.destroyed.lock().len()), (count, 0));
    }
}

fn patch(name: &str, replace: bool, states: impl IntoIterator<Item = State>) -> Arc<Patch> {
    let mut builder = Patch::builder(name).replace(replace);
    for state in states {
        builder = builder.state(state);
    }
    let builder = builder.object(ObjectPatch::program().pre_unpatch(|_| ()));
    builder
        .object(ObjectPatch::module("never").pre_patch(|_| Err("not with this module".into())))
        .build()
        .expect("a valid patch")
}

#[test]
fn by_disable() {
    let session = Session::new();
    let variables = Variables::new(3);
    session.lenient();
    session.load(&patch("P", false, [variables.state("P", 7)]));
    variables.kept(3);
    session.unload("P");
    variables.freed(3, "P");
    session.expect("P: EN T+ S+ C+ D+ T- preU(v) S- C- free(s7 0x70*3) D-");
}

#[test]
fn by_replace() {
    let session = Session::new();
    session.lenient();
    let variables = Variables::new(3);
    session.load(&patch("P", false, [variables.state("P", 7)]));
    session.load(&patch("Q", true, []));
    variables.freed(3, "P");
    session.expect("P: EN T+ S+ C+ D+ Q: EN T+ S+ C+ free(s7 0x70*3) D+");
    session.unload("Q");
}

/// The `pre_patch` of a state attaches variables; then that of an object refuses.
#[test]
fn by_a_canceled_enabling() {
    let session = Session::new();
    session.lenient();
    session.load_module("never", &[]);
    let variables = Variables::new(0);
    let (store, dropped) = (Arc::clone(&variables.store), Arc::clone(&variables.dropped));
    let state = variables.state("P", 7).pre_patch(move |_| {
        assert!(store.pin().alloc(64, VARIABLE, Counted(Arc::clone(&dropped))).is_ok());
        Ok(())
    });
    session.refuses(&patch("P", false, [state]));
    variables.freed(1, "P");
    session.expect("init(never) P: EN T+ pre(s7) pre(never LIVE) failed(pre never) refused CAN C- free(s7 0x70*1) D-");
    session.unload_module("never");
}

/// The `pre_patch` of the state itself attaches variables, and then refuses.
#[test]
fn by_its_own_pre_patch_that_refuses() {
    let session = Session::new();
    session.lenient();
    let variables = Variables::new(0);
    let (store, dropped) = (Arc::clone(&variables.store), Arc::clone(&variables.dropped));
    let state = variables.state("P", 7).pre_patch(move |_| {
        assert!(store.pin().alloc(64, VARIABLE, Counted(Arc::clone(&dropped))).is_ok());
        Err("too late".into())
    });
    // A later state, which was not reached, is left alone.
    let later = Variables::new(2);
    let id = later.state("P", 8);
    session.refuses(&patch("P", false, [state, id]));
    variables.freed(1, "P");
    later.kept(2);
    session.expect("P: EN T+ pre(s7) failed(pre s7) refused CAN C- free(s7 0x70*1) D-");
}

#[test]
fn by_a_reversed_enabling() {
    let session = Session::new();
    session.lenient();
    let task = Task::new("stays");
    task.enter();
    let variables = Variables::new(0);
    registry()
        .enable(&patch("P", false, [variables.state("P", 7)]))
        .expect("the patch is enabled");
    variables.attach(1); // By a unit that runs the new functions.
    variables.kept(1);
    session.unload("P");
    variables.freed(1, "P");
    task.leave();
}

#[test]
fn not_while_a_holder_is_left() {
    let session = Session::new();
    session.lenient();
    let variables = Variables::new(2);
    let holder = |name, replace| patch(name, replace, [variables.state(name, 7)]);
    session.load(&holder("P", false));
    session.load(&holder("Q", false));
    session.unload("P"); // Q still holds it.
    variables.kept(2);
    session.load(&holder("R", true)); // R has taken it over.
    variables.kept(2);
    let task = Task::new("stays");
    task.enter();
    registry().enable(&holder("S", true)).expect("the patch is enabled");
    session.unload("S"); // Reversed: R still holds it.
    variables.kept(2);
    task.leave();
    session.unload("R");
    variables.freed(2, "R");
}

/// Of two replaced patches, neither may leave the freeing to the other.
#[test]
fn once_for_two_replaced_holders() {
    let session = Session::new();
    session.lenient();
    let variables = Variables::new(2);
    for name in ["P", "Q"] {
        session.load(&patch(name, false, [session.log.state(variables.state(name, 7))]));
    }
    session.log.take();
    session.load(&patch("R", true, []));
    variables.freed(2, "Q");
    session.expect("R: EN T+ Q: preU(s7) R: S+ C+ Q: postU(s7) free(s7 0x70*2) R: D+");
    session.unload("R");
}

/// A patch that failed to take a state over does not decide how its variables are freed.
#[test]
fn not_by_who_only_tried() {
    let session = Session::new();
    session.lenient();
    let variables = Variables::new(2);
    session.load(&patch("P", false, [variables.state("P", 7)]));
    let refusing = Patch::builder("Q").state(variables.state("Q", 7));
    let refusing = refusing.object(ObjectPatch::program().pre_patch(|_| Err("no".into())));
    session.refuses(&refusing.build().expect("a valid patch"));
    variables.kept(2);
    session.unload("P");
    variables.freed(2, "P");
}

/// An id that two states name is freed with the last of them.
#[test]
fn of_an_id_of_two_states() {
    let session = Session::new();
    session.lenient();
    let variables = Variables::new(2);
    session.load(&patch("P", false, [variables.state("P", 7)]));
    session.load(&patch("Q", false, [variables.state("Q", 8)]));
    session.unload("P");
    variables.kept(2);
    session.unload("Q");
    variables.freed(2, "Q");

    // Also within one patch.
    let variables = Variables::new(2);
    session.load(&patch("R", false, [variables.state("R", 7), variables.state("R", 8)]));
    session.unload("R");
    variables.freed(2, "R");
}

/// The same id in two stores means two kinds of variables.
#[test]
fn of_two_stores() {
    let session = Session::new();
    session.lenient();
    let (one, two) = (Variables::new(1), Variables::new(2));
    session.load(&patch("P", false, [one.state("P", 7)]));
    session.load(&patch("Q", false, [two.state("Q", 8)]));
    session.unload("P");
    one.freed(1, "P");
    two.kept(2);
    session.unload("Q");
    two.freed(2, "Q");
}

#[test]
fn with_a_destructor_that_panics() {
    let session = Session::new();
    session.lenient();
    let (variables, others) = (Variables::new(3), Variables::new(2));
    let destroyed = Arc::clone(&variables.destroyed);
    let state = State::new(7, 1)
        .owns_with(Arc::clone(&variables.store), VARIABLE, move |obj, _| {
            destroyed.lock().push("P");
            if obj.get() == 64 {
                std::panic::resume_unwind(Box::new("boom"));
            }
        })
        .post_unpatch(|_| ());
    let patch = patch("P", false, [state, others.state("P", 8)]);
    session.load(&patch);
    session.unload("P");
    variables.freed(3, "P");
    others.freed(2, "P");
    session.expect("P: EN T+ S+ C+ D+ T- preU(v) S- C- postU(s7) unfreed(s7 0x70) free(s8 0x70*2) P: D-");
    assert_eq!(Arc::strong_count(&patch), 1);
    // The registry still works.
    session.load(&patch);
    session.unload("P");
}

/// A patch is retained for the variables that only it can free, and for no others.
#[test]
fn patches_live_as_long_as_only_they_can_free_variables() {
    let session = Session::new();
    session.lenient();
    let variables = Variables::new(2);
    let first = patch("P", false, [variables.state("P", 7), State::new(9, 1)]);
    session.load(&first);
    let second = patch("Q", true, [variables.state("Q", 7), State::new(9, 1)]);
    session.load(&second);
    assert_eq!(Arc::strong_count(&first), 1, "Q can free them");
    let third = patch("R", false, [State::new(7, 1)]);
    session.load(&third);
    session.unload("Q");
    variables.kept(2);
    assert_eq!(Arc::strong_count(&second), 2, "R holds the state, and cannot");
    // Even if the state is removed, as long as another has its variables.
    let fourth = patch("S", false, [variables.state("S", 8)]);
    session.load(&fourth);
    session.unload("R");
    variables.kept(2);
    assert_eq!(Arc::strong_count(&second), 1, "S can");
    session.unload("S");
    variables.freed(2, "S");
    for patch in [third, fourth] {
        assert_eq!(Arc::strong_count(&patch), 1);
    }
}
