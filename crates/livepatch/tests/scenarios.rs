//! The kernel's own scenarios: callbacks, states, functions, load, attributes. Each test has the name of its scenario, and
//! compares the exact log; the notation is that of `common/notation.rs`.

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use common::notation::{off, on};
use common::session::{Log, Session};
use common::task::Task;
use livepatch::{EnableError, Incompatibility, ModuleError, ObjectPatch, Patch, RefusedHow};
use livepatch::{patchable, points, registry, unit};

#[patchable]
fn cmdline() -> &'static str {
    "original"
}

#[patchable]
fn meminfo() -> &'static str {
    "original"
}

#[patchable]
fn getpid() -> &'static str {
    "original"
}

#[patchable]
fn busymod_work() -> &'static str {
    "original"
}

fn livepatched() -> &'static str {
    "livepatched"
}

/// The demo patch of the callback scenarios: the program, a module without functions, and the busy module.
fn demo(session: &Session) -> Arc<Patch> {
    demo_refusing(session, false, false)
}

fn demo_refusing(session: &Session, program: bool, module: bool) -> Arc<Patch> {
    let log = &session.log;
    let object = |object, refuses| match refuses {
        true => log.refusing(object, "no such device"),
        false => log.object(object),
    };
    Patch::builder("P1")
        .object(object(ObjectPatch::program(), program))
        .object(object(ObjectPatch::module("m"), module))
        .object(log.object(ObjectPatch::module("b").function::<busymod_work>(livepatched)))
        .build()
        .expect("a valid patch")
}

/// The second demo patch: the program only.
fn demo2(log: &Log, replace: bool) -> Arc<Patch> {
    Patch::builder("P2")
        .replace(replace)
        .object(log.object(ObjectPatch::program()))
        .build()
        .expect("a valid patch")
}

fn busy_points() -> [&'static livepatch::RawPoint; 1] {
    points![busymod_work]
}

mod callbacks {
    use super::*;

    #[test]
    fn target_module_before_livepatch() {
        let session = Session::new();
        session.load_module("m", &[]);
        session.load(&demo(&session));
        session.unload("P1");
        session.unload_module("m");
        let (on, off) = (on("P1", &["v", "m LIVE"]), off("P1", &["v", "m LIVE"]));
        session.expect(format!("init(m) {on} {off} exit(m)"));
    }

    #[test]
    fn module_coming_notifier() {
        let session = Session::new();
        session.load(&demo(&session));
        session.expect(on("P1", &["v"]));
        session.load_module("m", &[]);
        session.expect("P1: APPLY(m) pre(m COMING) post(m COMING) init(m)");
        session.unload("P1");
        session.unload_module("m");
        session.expect(format!("{} exit(m)", off("P1", &["v", "m LIVE"])));
    }

    #[test]
    fn module_going_notifier() {
        let session = Session::new();
        session.load_module("m", &[]);
        session.load(&demo(&session));
        session.expect(format!("init(m) {}", on("P1", &["v", "m LIVE"])));
        session.unload_module("m");
        session.expect("exit(m) P1: preU(m GOING) REVERT(m) postU(m GOING)");
        session.unload("P1");
        session.expect(off("P1", &["v"]));
    }

    #[test]
    fn module_coming_and_module_going_notifiers() {
        let session = Session::new();
        session.load(&demo(&session));
        session.expect(on("P1", &["v"]));
        session.load_module("m", &[]);
        session.unload_module("m");
        session
            .expect("P1: APPLY(m) pre(m COMING) post(m COMING) init(m) exit(m) preU(m GOING) REVERT(m) postU(m GOING)");
        session.unload("P1");
        session.expect(off("P1", &["v"]));
    }

    #[test]
    fn target_module_not_present() {
        let session = Session::new();
        session.load(&demo(&session));
        session.unload("P1");
        session.expect(format!("{} {}", on("P1", &["v"]), off("P1", &["v"])));
    }

    #[test]
    fn pre_patch_callback_enodev() {
        let session = Session::new();
        session.load_module("m", &[]);
        let error = session.refuses(&demo_refusing(&session, true, false));
        let EnableError::Refused(refusal) = &error else {
            panic!("{error:?}")
        };
        assert!(matches!(&refusal.how, RefusedHow::Error(why) if why.to_string() == "no such device"));
        assert_eq!(
            error.to_string(),
            "pre_patch of object `program` refused: no such device"
        );
        session.unload_module("m");
        session.expect("init(m) P1: EN T+ pre(v) failed(pre v) refused CAN C- D- exit(m)");
        assert!(registry().patch("P1").is_none());
    }

    /// 7
    #[test]
    fn module_coming_and_pre_patch_callback_enodev() {
        let session = Session::new();
        session.load(&demo_refusing(&session, false, true));
        session.expect(on("P1", &["v"]));
        let error = session.try_load_module("m", &[]).expect_err("the patch refuses it");
        assert!(matches!(&error, ModuleError::Refused { patch, .. } if patch == "P1"));
        session.expect("P1: APPLY(m) pre(m COMING) failed(pre m) refused(m)");
        session.unload("P1");
        session.expect(off("P1", &["v"]));
    }

    #[test]
    fn multiple_target_modules() {
        let session = Session::new();
        session.load_module("b", &busy_points());
        assert_eq!(busymod_work(), "original");
        session.load(&demo(&session));
        session.expect(format!("init(b) {}", on("P1", &["v", "b LIVE"])));
        assert_eq!(busymod_work(), "livepatched");
        session.load_module("m", &[]);
        session.unload_module("m");
        session
            .expect("P1: APPLY(m) pre(m COMING) post(m COMING) init(m) exit(m) preU(m GOING) REVERT(m) postU(m GOING)");
        session.unload("P1");
        session.unload_module("b");
        session.expect(format!("{} exit(b)", off("P1", &["v", "b LIVE"])));
    }

    /// 9: a unit of the busy module holds up the transition, which is then reversed.
    #[test]
    fn busy_target_module() {
        let session = Session::new();
        session.load_module("b", &busy_points());
        let busy = Task::new("busy");
        busy.enter();
        registry().enable(&demo(&session)).expect("the patch is enabled");
        session.expect("init(b) P1: EN T+ pre(v) pre(b LIVE) S+");
        assert_eq!(busy.run(busymod_work), "original");
        assert_eq!(busymod_work(), "livepatched");
        session.load_module("m", &[]);
        session.unload_module("m");
        session.expect("P1: APPLY(m) pre(m COMING) init(m) exit(m) REVERT(m) postU(m GOING)");
        session.unload("P1");
        session.expect("P1: REV- S- C- postU(v) postU(b LIVE) D-");
        assert_eq!(busy.run(busymod_work), "original");
        busy.leave();
        session.unload_module("b");
        session.expect("exit(b)");
    }

    #[test]
    fn multiple_livepatches() {
        let session = Session::new();
        session.load(&demo(&session));
        session.load(&demo2(&session.log, false));
        session.unload("P2");
        session.unload("P1");
        session.expect([on("P1", &["v"]), on("P2", &["v"]), off("P2", &["v"]), off("P1", &["v"])].join(" "));
    }

    #[test]
    fn atomic_replace() {
        let session = Session::new();
        session.load(&demo(&session));
        session.load(&demo2(&session.log, true));
        assert!(registry().patch("P1").is_none());
        session.unload("P2");
        session.expect([on("P1", &["v"]), on("P2", &["v"]), off("P2", &["v"])].join(" "));
    }
}

/// A service-wide setting that patches change and restore, as the kernel's state modules do with its console level.
mod states {
    use super::*;
    use livepatch::{Context, State};
    use parking_lot::Mutex;

    const CONSOLE: u64 = 1;
    const USUAL: u32 = 7;

    /// The setting that is changed.
    static LEVEL: Mutex<u32> = Mutex::new(USUAL);

    /// Returns the data of an earlier patch's state, if there is one.
    fn before(context: &Context<'_>) -> Option<Arc<u32>> {
        Some(
            context
                .prev_state(CONSOLE)?
                .data::<u32>()
                .expect("an earlier patch saved the level"),
        )
    }

    fn own<'c>(context: &Context<'c>) -> &'c State {
        context.patch().state(CONSOLE).expect("the patch has the state")
    }

    fn state_patch(session: &Session, name: &str, version: u32) -> Arc<Patch> {
        session.lenient();
        let say = |what: &'static str| {
            let log = session.log.clone();
            move || log.say(what)
        };
        let (allocating, there) = (say("a"), say("al"));
        let (fixing, taking_over) = (say("f"), say("to"));
        let (restoring, freeing) = (say("r"), say("fr"));
        let object = ObjectPatch::program()
            .pre_patch(move |context| {
                if before(context).is_some() {
                    there();
                } else {
                    allocating();
                    own(context).set_data(Arc::new(*LEVEL.lock()));
                }
                Ok(())
            })
            .post_patch(move |context| match before(context) {
                Some(saved) => {
                    taking_over();
                    own(context).set_data(saved);
                }
                None => {
                    fixing();
                    *LEVEL.lock() = 10;
                }
            })
            .pre_unpatch(move |context| {
                assert!(before(context).is_none());
                restoring();
                *LEVEL.lock() = *own(context).data::<u32>().expect("saved by pre_patch, or taken over");
            })
            .post_unpatch(move |context| {
                if before(context).is_none() {
                    freeing();
                }
                own(context).take_data();
            });
        Patch::builder(name)
            .replace(true)
            .object(object)
            .state(State::new(CONSOLE, version))
            .build()
            .expect("a valid patch")
    }

    fn on(name: &str, pre: &str, post: &str) -> String {
        format!("{name}: EN T+ pre(v) {pre} S+ C+ post(v) {post} D+")
    }

    fn off(name: &str) -> String {
        format!("{name}: T- preU(v) r S- C- postU(v) fr D-")
    }

    fn level() -> u32 {
        *LEVEL.lock()
    }

    #[test]
    fn system_state_modification() {
        let session = Session::new();
        session.load(&state_patch(&session, "S1", 1));
        session.expect(on("S1", "a", "f"));
        assert_eq!(level(), 10);
        session.unload("S1");
        session.expect(off("S1"));
        assert_eq!(level(), USUAL);
    }

    #[test]
    fn taking_over_system_state_modification() {
        let session = Session::new();
        let first = state_patch(&session, "S1", 1);
        session.load(&first);
        session.load(&state_patch(&session, "S2", 2));
        session.expect(format!("{} {}", on("S1", "a", "f"), on("S2", "al", "to")));
        // "unload S1": nothing refers to it any more.
        assert_eq!(Arc::strong_count(&first), 1);
        assert_eq!(level(), 10);
        session.unload("S2");
        session.expect(off("S2"));
        assert_eq!(level(), USUAL);
    }

    /// 3
    #[test]
    fn compatible_cumulative_livepatches() {
        let session = Session::new();
        let second = state_patch(&session, "S2", 2);
        session.load(&second);
        session.load(&state_patch(&session, "S3", 2));
        session.load(&second);
        session.expect([on("S2", "a", "f"), on("S3", "al", "to"), on("S2", "al", "to")].join(" "));
        session.unload("S2");
        session.expect(off("S2"));
        assert_eq!(level(), USUAL);
    }

    #[test]
    fn incompatible_cumulative_livepatches() {
        let session = Session::new();
        session.load(&state_patch(&session, "S2", 2));
        let error = session.refuses(&state_patch(&session, "S1", 1));
        let EnableError::Incompatible { with, why } = &error else {
            panic!("{error:?}")
        };
        let older = Incompatibility::Older {
            state: CONSOLE,
            old: 2,
            new: 1,
        };
        assert_eq!((with.as_str(), why), ("S2", &older));
        session.expect(format!("{} S1: refused", on("S2", "a", "f")));
        session.unload("S2");
        session.expect(off("S2"));
    }
}

mod livepatches {
    use super::*;

    fn patch(name: &str, replace: bool, object: ObjectPatch) -> Arc<Patch> {
        let builder = Patch::builder(name).replace(replace).object(object);
        builder.build().expect("a valid patch")
    }

    fn l1() -> Arc<Patch> {
        patch("L1", false, ObjectPatch::program().function::<cmdline>(livepatched))
    }

    fn r(replace: bool) -> Arc<Patch> {
        patch("R", replace, ObjectPatch::program().function::<meminfo>(livepatched))
    }

    #[test]
    fn basic_function_patching() {
        let session = Session::new();
        session.load(&l1());
        assert_eq!(cmdline(), "livepatched");
        session.unload("L1");
        assert_eq!(cmdline(), "original");
        session.expect("L1: EN T+ S+ C+ D+ T- S- C- D-");
    }

    #[test]
    fn multiple_livepatches() {
        let session = Session::new();
        session.load(&l1());
        assert_eq!((cmdline(), meminfo()), ("livepatched", "original"));
        session.load(&r(false));
        assert_eq!((cmdline(), meminfo()), ("livepatched", "livepatched"));
        session.unload("R");
        assert_eq!((cmdline(), meminfo()), ("livepatched", "original"));
        session.unload("L1");
        assert_eq!((cmdline(), meminfo()), ("original", "original"));
        session.expect("L1: EN T+ S+ C+ D+ R: EN T+ S+ C+ D+ T- S- C- D- L1: T- S- C- D-");
    }

    #[test]
    fn atomic_replace_livepatch() {
        let session = Session::new();
        session.load(&l1());
        session.load(&patch(
            "L2",
            false,
            ObjectPatch::program().function::<getpid>(livepatched),
        ));
        session.load(&demo(&session));
        assert_eq!(registry().status().patches.len(), 3);
        session.expect(format!("L1: EN T+ S+ C+ D+ L2: EN T+ S+ C+ D+ {}", on("P1", &["v"])));
        session.load(&r(true));
        assert_eq!(
            (cmdline(), getpid(), meminfo()),
            ("original", "original", "livepatched")
        );
        let left: Vec<_> = registry()
            .status()
            .patches
            .into_iter()
            .map(|patch| patch.name)
            .collect();
        assert_eq!(left, ["R"]);
        session.unload("R");
        assert_eq!(meminfo(), "original");
        session.expect("R: EN T+ S+ C+ D+ T- S- C- D-");
    }

    #[test]
    fn module_function_patching() {
        let session = Session::new();
        session.load_module("target", &points![cmdline]);
        assert_eq!(cmdline(), "original");
        let patch = patch(
            "T",
            false,
            ObjectPatch::module("target").function::<cmdline>(livepatched),
        );
        session.load(&patch);
        assert_eq!(cmdline(), "livepatched");
        session.unload("T");
        assert_eq!(cmdline(), "original");
        session.unload_module("target");
        session.expect("init(target) T: EN T+ S+ C+ D+ T- S- C- D- exit(target)");
    }

    /// 5: the module is loaded after its patch, unloaded, and loaded again.
    #[test]
    fn module_target_reloaded() {
        let session = Session::new();
        session.load(&patch(
            "T",
            false,
            ObjectPatch::module("target").function::<cmdline>(livepatched),
        ));
        for _ in 0..2 {
            session.load_module("target", &points![cmdline]);
            assert_eq!(cmdline(), "livepatched");
            session.unload_module("target");
        }
        session.unload("T");
        session.expect(
            "T: EN T+ S+ C+ D+ APPLY(target) init(target) exit(target) REVERT(target) \
             APPLY(target) init(target) exit(target) REVERT(target) T- S- C- D-",
        );
        assert_eq!(cmdline(), "original");
    }
}

/// At least one busy thread per processor, each of which only calls the function.
#[test]
fn patch_getpid_while_heavily_hammered() {
    let session = Session::new();
    let threads = 2 + thread::available_parallelism().map_or(1, usize::from);
    let (stop, pending) = (AtomicBool::new(false), AtomicUsize::new(threads));
    let started = Barrier::new(threads + 1);
    let patch = Patch::builder("L2")
        .object(
            session
                .log
                .object(ObjectPatch::program().function::<getpid>(livepatched)),
        )
        .build()
        .expect("a valid patch");
    thread::scope(|scope| {
        for number in 0..threads {
            let (stop, pending, started) = (&stop, &pending, &started);
            scope.spawn(move || {
                let mut seen = false;
                assert_eq!(getpid(), "original");
                started.wait();
                while !stop.load(Ordering::Relaxed) {
                    let one = match number % 2 {
                        0 => getpid(),
                        _ => {
                            let _unit = unit();
                            let (one, two) = (getpid(), getpid());
                            assert_eq!(one, two, "one version in a unit");
                            one
                        }
                    };
                    assert!(!seen || one == "livepatched", "back in the old function");
                    if one == "livepatched" && !seen {
                        seen = true;
                        pending.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            });
        }
        started.wait();
        session.load(&patch);
        while pending.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
    });
    session.unload("L2");
    assert_eq!(getpid(), "original");
    session.expect(format!("{} {}", on("L2", &["v"]), off("L2", &["v"])));
}
