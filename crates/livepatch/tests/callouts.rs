//! A panic planted at every call of foreign code, one after another: callbacks, observers, subscribers of `tracing`,
//! texts and destructors of errors, data, variables and closures, stores that are borrowed. No panic escapes from a
//! change, none leaves the registry in an intermediate state, and the thread that ends transitions survives.

mod common;
mod solo;

use std::borrow::Borrow;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::task::Task;
use livepatch::{Event, ObjectPatch, Patch, State, Watchdog, patchable, points, registry};
use shadow_vars::{ShadowId, ShadowStore};
use solo::alone;

const LONG: Duration = Duration::from_secs(60);

#[patchable]
fn answer() -> usize {
    0
}

#[patchable]
fn of_module() -> usize {
    0
}

/// The number of calls so far, and which of them panics.
static CALLS: AtomicUsize = AtomicUsize::new(0);
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Whether the observer was notified that a transition is overdue.
static OVERDUE: AtomicBool = AtomicBool::new(false);

/// Counts a call of foreign code, and panics if it is the chosen one.
fn called() {
    let number = CALLS.fetch_add(1, Ordering::SeqCst) + 1;
    if number == PANICS.load(Ordering::SeqCst) && !thread::panicking() {
        panic::resume_unwind(Box::new(Endless));
    }
}

/// A payload that panics with another of its kind when it is dropped.
struct Endless;

impl Drop for Endless {
    fn drop(&mut self) {
        panic::resume_unwind(Box::new(Self));
    }
}

/// A value whose destructor is such a call.
struct Owned;

impl Drop for Owned {
    fn drop(&mut self) {
        called();
    }
}

struct Refusing(#[allow(dead_code, reason = "it is dropped")] Owned);

impl fmt::Debug for Refusing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        called();
        f.write_str("Refusing")
    }
}

impl fmt::Display for Refusing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        called();
        f.write_str("not today")
    }
}

impl std::error::Error for Refusing {}

/// A handle to a store.
#[derive(Clone)]
struct Store(Arc<ShadowStore>);

impl Borrow<ShadowStore> for Store {
    fn borrow(&self) -> &ShadowStore {
        called();
        &self.0
    }
}

const VARIABLE: ShadowId<Owned> = ShadowId::new(0x90);

/// Returns a patch all of whose parts are such calls.
fn patch(name: &str, replace: bool, refuses: bool, store: &Store) -> Arc<Patch> {
    let plain = || {
        let owned = Owned;
        move |_: &livepatch::Context<'_>| {
            let _ = &owned;
            called();
        }
    };
    let object = |object: ObjectPatch| {
        let (owned, post) = (Owned, plain());
        object
            .pre_patch(move |_| {
                let _ = &owned;
                called();
                Ok(())
            })
            .post_patch(post)
            .pre_unpatch(plain())
            .post_unpatch(plain())
    };
    let owned = Owned;
    let state = State::new(7, 1)
        .with_data(Arc::new(Owned))
        .pre_patch(move |context| {
            let _ = &owned;
            called();
            drop(context.state().and_then(|state| state.set_data(Arc::new(Owned))));
            Ok(())
        })
        .post_patch(plain())
        .pre_unpatch(plain())
        .post_unpatch(plain())
        .owns_with(store.clone(), VARIABLE, |_, _| called());
    let mut builder = Patch::builder(name)
        .replace(replace)
        .object(object(ObjectPatch::program().function::<answer>(|| 1)))
        .object(object(ObjectPatch::module("m").function::<of_module>(|| 1)))
        .state(state);
    if refuses {
        builder = builder.object(ObjectPatch::module("late").pre_patch(|_| Err(Box::new(Refusing(Owned)))));
    }
    builder.build().expect("a valid patch")
}

/// Calls the registry, from which no panic may escape.
#[track_caller]
fn holds<R>(call: impl FnOnce() -> R) -> R {
    panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        panic!("a panic came out, at call {}", PANICS.load(Ordering::SeqCst))
    })
}

/// Runs the test's own code, which may panic.
fn ours(call: impl FnOnce()) {
    let _ = panic::catch_unwind(AssertUnwindSafe(call)).map_err(std::mem::forget);
}

/// Enables the patch, and checks that it is enabled if and only if that succeeds.
#[track_caller]
fn enable(build: impl FnOnce() -> Arc<Patch>) -> bool {
    // Building it runs the caller's code.
    let Ok(patch) = panic::catch_unwind(AssertUnwindSafe(build)).map_err(std::mem::forget) else {
        return false;
    };
    let name = patch.name().to_owned();
    let enabled = holds(|| registry().enable(&patch));
    let is_enabled = enabled.is_ok();
    ours(|| drop(enabled));
    let known = holds(|| registry().patch(&name));
    assert_eq!(known.is_some(), is_enabled, "call {}", PANICS.load(Ordering::SeqCst));
    drop(known);
    ours(|| drop(patch));
    is_enabled
}

#[track_caller]
fn disable(name: &str) {
    if registry().patch(name).is_some() {
        holds(|| registry().disable(name)).expect("it is enabled");
        settled();
    }
    assert!(registry().patch(name).is_none());
}

#[track_caller]
fn settled() {
    let waited = holds(|| registry().wait(LONG));
    waited.unwrap_or_else(|late| panic!("call {}: {late}", PANICS.load(Ordering::SeqCst)));
}

/// Runs everything that calls foreign code, at least once.
fn scenario() {
    let store = Store(Arc::new(ShadowStore::new()));
    let attach = |number: usize| ours(|| drop(store.0.pin().alloc(number * 64, VARIABLE, Owned)));
    let owned = Owned;
    let observation = registry().observe(move |event| {
        let _ = &owned;
        OVERDUE.fetch_or(matches!(event, Event::Overdue { .. }), Ordering::SeqCst);
        called();
    });
    let task = Task::new("holds it up");

    // Refused by a callback, in the middle of a change.
    holds(|| registry().module_coming("late", [])).expect("no patch names it");
    let refused = enable(|| patch("refused", false, true, &store));
    assert!(!refused);
    holds(|| registry().module_going("late")).expect("it is there");
    // Ended by the registry's thread; a module is loaded and unloaded.
    task.enter();
    if enable(|| patch("P", false, false, &store)) {
        attach(1);
        task.leave();
        settled();
        assert_eq!(answer(), 1);
    } else {
        task.leave();
    }
    let came = holds(|| registry().module_coming("m", points![of_module]));
    if came.is_ok() {
        holds(|| registry().module_live("m")).expect("it came");
        let patched = registry().patch("P").is_some();
        assert_eq!(of_module(), usize::from(patched));
        // Replaced, reversed, and replaced again, with the module.
        task.enter();
        if enable(|| patch("Q", true, false, &store)) {
            holds(|| registry().reverse("Q")).expect("it is in transition");
            settled();
        }
        task.leave();
        holds(|| registry().module_going("m")).expect("it is there");
    }
    ours(|| drop(came));
    assert_eq!(of_module(), 0);
    task.enter();
    if enable(|| patch("Q", true, false, &store)) {
        attach(2);
        holds(|| registry().force("Q")).expect("it is in transition");
        settled();
    }
    task.leave();
    // The watchdog reports.
    OVERDUE.store(false, Ordering::SeqCst);
    registry().set_watchdog(Some(Watchdog::after(Duration::from_millis(1))));
    task.enter();
    if enable(|| patch("R", true, false, &store)) {
        let begun = Instant::now();
        while !OVERDUE.load(Ordering::SeqCst) {
            assert!(begun.elapsed() < LONG, "call {}", PANICS.load(Ordering::SeqCst));
            thread::sleep(Duration::from_millis(1));
        }
    }
    registry().set_watchdog(None);
    task.leave();
    settled();
    ours(|| drop(observation));
    // Refuses a module.
    if enable(|| patch("late", false, true, &store)) {
        settled();
        let refused = holds(|| registry().module_coming("late", []));
        assert!(refused.is_err());
        ours(|| drop(refused));
        disable("late");
    }
    for name in ["P", "Q", "R"] {
        disable(name);
    }
    assert_eq!(store.0.len(), 0, "call {}", PANICS.load(Ordering::SeqCst));
}

#[cfg(feature = "tracing")]
mod subscriber {
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    /// A subscriber for which every access to an event is such a call.
    pub(super) struct Calls;

    impl Subscriber for Calls {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            if metadata.target() == "livepatch" {
                super::called();
            }
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            super::called();
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }
}

#[test]
fn a_panic_at_every_call_out() {
    let _alone = alone();
    #[cfg(feature = "tracing")]
    tracing::subscriber::set_global_default(subscriber::Calls).expect("no other subscriber is set");
    let mut planted = 0;
    loop {
        planted += 1;
        CALLS.store(0, Ordering::SeqCst);
        PANICS.store(planted, Ordering::SeqCst);
        if let Err(payload) = panic::catch_unwind(scenario) {
            let why = payload.downcast_ref::<String>().cloned();
            std::mem::forget(payload); // It may be one of this test's.
            panic!("at call {planted}: {why:?}");
        }
        PANICS.store(0, Ordering::SeqCst);
        let status = registry().status();
        assert!(
            status.patches.is_empty() && status.modules.is_empty(),
            "call {planted}: {status:?}"
        );
        assert!(status.transition.is_none(), "call {planted}");
        // The registry works as before: its thread ends a transition that a unit held up.
        let task = Task::new("after");
        task.enter();
        let plain = Patch::builder("after").object(ObjectPatch::program().function::<answer>(|| 2));
        registry()
            .enable(&plain.build().expect("a valid patch"))
            .expect("it is enabled");
        assert_eq!((answer(), task.run(answer)), (2, 0));
        task.leave();
        settled();
        disable("after");
        assert_eq!(answer(), 0);
        if CALLS.load(Ordering::SeqCst) < planted {
            break;
        }
    }
    assert!(planted > 150, "{planted} calls");
}
