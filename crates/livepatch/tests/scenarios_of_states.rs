//! The scenarios of states with callbacks and shadow variables, as proposed for the kernel: a target module with a
//! function `welcome`, whose new text contains the value of a variable.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::session::Session;
use common::task::Task;
use livepatch::{
    CallbackKind, ChangeError, Context, EnableError, Incompatibility, ObjectPatch, Patch, RawPoint, State,
};
use livepatch::{patchable, points, registry};
use parking_lot::Mutex;
use shadow_vars::{ObjAddr, ShadowId, ShadowStore};

const APPLAUSE: ShadowId<Mutex<&'static str>> = ShadowId::new(10);
const ENCORE: ShadowId<Mutex<&'static str>> = ShadowId::new(11);
/// The variables belong to the whole system, not to an object.
const SYSTEM: ObjAddr = ObjAddr::new(0);

static STORE: std::sync::LazyLock<ShadowStore> = std::sync::LazyLock::new(ShadowStore::new);

#[patchable]
fn welcome() -> String {
    "original".to_owned()
}

#[patchable(name = "welcome")]
fn other_welcome() -> String {
    "original".to_owned()
}

fn patched_welcome() -> String {
    let pin = STORE.pin();
    let contents = pin.get(SYSTEM, APPLAUSE).map(|text| *text.lock());
    format!("livepatched {}", contents.unwrap_or("nothing"))
}

fn target() -> [&'static RawPoint; 1] {
    points![welcome]
}

/// The description of a patch of these scenarios.
#[derive(Clone, Default)]
struct Plan {
    /// Ids of the states. If empty, the patch has no state callbacks.
    states: Vec<u64>,
    replace: bool,
    version: u32,
    refuses: bool,
    blocks: bool,
    /// How often the destructors were called.
    freed: Arc<AtomicUsize>,
}

impl Plan {
    fn of(states: &[u64]) -> Self {
        Plan {
            states: states.to_vec(),
            ..Plan::default()
        }
    }

    fn freed(&self) -> usize {
        self.freed.load(Ordering::Relaxed)
    }

    fn build(&self, session: &Session, name: &str) -> Arc<Patch> {
        let target = ObjectPatch::module("target").function::<welcome>(patched_welcome);
        let mut builder = Patch::builder(name).replace(self.replace).object(target);
        for &id in &self.states {
            builder = builder.state(self.state(session, id));
        }
        builder.build().expect("a valid patch")
    }

    fn state(&self, session: &Session, id: u64) -> State {
        let variable: ShadowId<Mutex<&str>> = ShadowId::new(id);
        let freed = Arc::clone(&self.freed);
        let log = |kind| {
            let log = session.log.clone();
            move |context: &Context<'_>| log.call(kind, context)
        };
        let write = move |text| *STORE.pin().get(SYSTEM, variable).expect("attached by pre_patch").lock() = text;
        let (pre, post) = (log(CallbackKind::PrePatch), log(CallbackKind::PostPatch));
        let (pre_u, post_u) = (log(CallbackKind::PreUnpatch), log(CallbackKind::PostUnpatch));
        let refuses = self.refuses;
        let state = State::new(id, self.version)
            .owns_with(&*STORE, variable, move |_, _| {
                freed.fetch_add(1, Ordering::Relaxed);
            })
            .pre_patch(move |context| {
                pre(context);
                if refuses {
                    return Err("no such device".into());
                }
                STORE.pin().alloc(SYSTEM, variable, Mutex::new("[]"))?;
                Ok(())
            })
            .post_patch(move |context| {
                post(context);
                write("[APPLAUSE]");
            })
            .pre_unpatch(move |context| {
                pre_u(context);
                write("[]");
            })
            .post_unpatch(post_u);
        if self.blocks { state.block_disable() } else { state }
    }
}

fn patched(name: &str) -> bool {
    let status = registry().status();
    let patch = status.patches.iter().find(|patch| patch.name == name);
    patch.expect("the patch is enabled").objects[0].patched
}

#[test]
fn module_not_present() {
    let session = Session::new();
    session.load(&Plan::default().build(&session, "P"));
    assert!(!patched("P"));
    session.unload("P");
    session.expect("P: EN T+ S+ C+ D+ T- S- C- D-");
}

#[test]
fn module_enable_disable_livepatch() {
    let session = Session::new();
    session.load_module("target", &target());
    assert_eq!(welcome(), "original");
    session.load(&Plan::default().build(&session, "P"));
    assert_eq!(welcome(), "livepatched nothing");
    assert!(patched("P"));
    session.unload("P");
    assert_eq!(welcome(), "original");
    session.unload_module("target");
    session.expect("init(target) P: EN T+ S+ C+ D+ T- S- C- D- exit(target)");
}

#[test]
fn module_coming_hook() {
    let session = Session::new();
    session.load(&Plan::default().build(&session, "P"));
    assert!(!patched("P"));
    session.load_module("target", &target());
    assert!(patched("P"));
    assert_eq!(welcome(), "livepatched nothing");
    session.expect("P: EN T+ S+ C+ D+ APPLY(target) init(target)");
    session.unload("P");
    assert_eq!(welcome(), "original");
    session.unload_module("target");
    session.expect("P: T- S- C- D- exit(target)");
}

#[test]
fn module_going_hook() {
    let session = Session::new();
    session.load_module("target", &target());
    session.load(&Plan::default().build(&session, "P"));
    assert!(patched("P"));
    session.unload_module("target");
    assert!(!patched("P"));
    session.unload("P");
    session.expect("init(target) P: EN T+ S+ C+ D+ exit(target) REVERT(target) T- S- C- D-");
}

#[test]
fn module_coming_and_going_hooks() {
    let session = Session::new();
    session.load(&Plan::default().build(&session, "P"));
    session.load_module("target", &target());
    assert!(patched("P"));
    session.unload_module("target");
    assert!(!patched("P"));
    session.unload("P");
    session.expect("P: EN T+ S+ C+ D+ APPLY(target) init(target) exit(target) REVERT(target) T- S- C- D-");
}

/// Two modules have a function of the same name.
#[test]
fn multiple_target_modules() {
    let session = Session::new();
    session.load_module("target", &points![other_welcome]);
    fn new() -> String {
        "livepatched".to_owned()
    }
    let object = |module: &str| {
        // SAFETY: `fn() -> String` is a function pointer type.
        unsafe { ObjectPatch::module(module).function_named::<fn() -> String>("welcome", new) }
    };
    let patch = Patch::builder("P").object(object("target")).object(object("target2"));
    session.load(&patch.build().expect("a valid patch"));
    let flags = || -> Vec<bool> {
        let status = registry().status();
        status.patches[0].objects.iter().map(|object| object.patched).collect()
    };
    #[patchable(name = "welcome")]
    fn second_welcome() -> String {
        "original 2".to_owned()
    }
    assert_eq!(
        (flags(), other_welcome(), second_welcome()),
        (vec![true, false], new(), "original 2".to_owned())
    );
    session.load_module("target2", &points![second_welcome]);
    assert_eq!(
        (flags(), other_welcome(), second_welcome()),
        (vec![true, true], new(), new())
    );
    session.unload_module("target");
    assert_eq!((flags(), second_welcome()), (vec![false, true], new()));
    session.unload("P");
    session.unload_module("target2");
    session.expect(
        "init(target) P: EN T+ S+ C+ D+ APPLY(target2) init(target2) exit(target) REVERT(target) T- S- C- D- \
         exit(target2)",
    );
}

#[test]
fn livepatch_state_callbacks() {
    let session = Session::new();
    session.load_module("target", &target());
    let plan = Plan::of(&[10]);
    session.load(&plan.build(&session, "P"));
    session.expect("init(target) P: EN T+ pre(s10) S+ C+ post(s10) D+");
    assert_eq!(welcome(), "livepatched [APPLAUSE]");
    session.unload("P");
    session.expect("P: T- preU(s10) S- C- postU(s10) free(s10 0xa*1) D-");
    assert_eq!((welcome(), plan.freed(), STORE.len()), ("original".to_owned(), 1, 0));
    session.unload_module("target");
}

#[test]
fn failing_pre_patch_with_enodev() {
    let session = Session::new();
    session.load_module("target", &target());
    let plan = Plan {
        refuses: true,
        ..Plan::of(&[10])
    };
    let error = session.refuses(&plan.build(&session, "P"));
    assert_eq!(error.to_string(), "pre_patch of state 10 refused: no such device");
    session.expect("init(target) P: EN T+ pre(s10) failed(pre s10) refused CAN C- D-");
    assert_eq!((welcome(), plan.freed()), ("original".to_owned(), 0));
    session.unload_module("target");
}

#[test]
fn blocked_transition() {
    let session = Session::new();
    session.load_module("target", &target());
    let blocked = Task::new("blocked");
    blocked.enter();
    let plan = Plan::of(&[10]);
    registry()
        .enable(&plan.build(&session, "P"))
        .expect("the patch is enabled");
    session.expect("init(target) P: EN T+ pre(s10) S+");
    assert_eq!(welcome(), "livepatched []");
    assert_eq!(blocked.run(welcome), "original");
    session.unload("P");
    session.expect("P: REV- S- C- postU(s10) free(s10 0xa*1) D-");
    assert_eq!((welcome(), plan.freed()), ("original".to_owned(), 1));
    blocked.leave();
    session.unload_module("target");
}

#[test]
fn unblocked_transition() {
    let session = Session::new();
    session.load_module("target", &target());
    let blocked = Task::new("blocked");
    blocked.enter();
    let plan = Plan::of(&[10]);
    registry()
        .enable(&plan.build(&session, "P"))
        .expect("the patch is enabled");
    assert_eq!(welcome(), "livepatched []");
    session.expect("init(target) P: EN T+ pre(s10) S+");
    assert_eq!(blocked.run(welcome), "original"); // It finishes in the old code.
    blocked.leave();
    session.wait();
    session.expect("P: C+ post(s10) D+");
    assert_eq!(blocked.run(welcome), "livepatched [APPLAUSE]");
    session.unload("P");
    session.expect("P: T- preU(s10) S- C- postU(s10) free(s10 0xa*1) D-");
    session.unload_module("target");
}

/// 5: the patch is replaced by one with the same state: no callback at all.
#[test]
fn replaced_livepatch_with_the_same_state() {
    let session = Session::new();
    session.load_module("target", &target());
    let plan = Plan {
        replace: true,
        ..Plan::of(&[10])
    };
    let first = plan.build(&session, "P");
    session.load(&first);
    session.expect("init(target) P: EN T+ pre(s10) S+ C+ post(s10) D+");
    session.load(&plan.build(&session, "Q"));
    session.expect("Q: EN T+ S+ C+ D+");
    assert_eq!((welcome(), plan.freed()), ("livepatched [APPLAUSE]".to_owned(), 0));
    session.unload("Q");
    session.expect("Q: T- preU(s10) S- C- postU(s10) free(s10 0xa*1) D-");
    assert_eq!(plan.freed(), 1);
    session.unload_module("target");
}

#[test]
fn multiple_livepatches_in_parallel() {
    let session = Session::new();
    session.load_module("target", &target());
    let (p, q) = (Plan::of(&[APPLAUSE.get()]), Plan::of(&[ENCORE.get()]));
    session.load(&p.build(&session, "P"));
    session.load(&q.build(&session, "Q"));
    session.expect("init(target) P: EN T+ pre(s10) S+ C+ post(s10) D+ Q: EN T+ pre(s11) S+ C+ post(s11) D+");
    session.unload("Q");
    session.expect("Q: T- preU(s11) S- C- postU(s11) free(s11 0xb*1) D-");
    assert_eq!((p.freed(), q.freed()), (0, 1));
    assert_eq!(welcome(), "livepatched [APPLAUSE]");
    session.unload("P");
    session.expect("P: T- preU(s10) S- C- postU(s10) free(s10 0xa*1) D-");
    assert_eq!((p.freed(), q.freed()), (1, 1));
    session.unload_module("target");
}

#[test]
fn system_state_modification() {
    let session = Session::new();
    session.load(&Plan::of(&[10]).build(&session, "S1"));
    session.unload("S1");
    session.expect("S1: EN T+ pre(s10) S+ C+ post(s10) D+ T- preU(s10) S- C- postU(s10) free(s10 0xa*1) D-");
}

#[test]
fn taking_over_system_state_modification() {
    let session = Session::new();
    let plan = |version| Plan {
        replace: true,
        version,
        ..Plan::of(&[10])
    };
    session.load(&plan(1).build(&session, "S1"));
    session.expect("S1: EN T+ pre(s10) S+ C+ post(s10) D+");
    session.load(&plan(2).build(&session, "S2"));
    session.load(&plan(2).build(&session, "S3"));
    session.expect("S2: EN T+ S+ C+ D+ S3: EN T+ S+ C+ D+");
    session.unload("S3");
    session.expect("S3: T- preU(s10) S- C- postU(s10) free(s10 0xa*1) D-");
}

/// 4: a state that cannot be undone may be passed on, but not dropped; nor may its last holder be disabled.
#[test]
fn state_that_blocks_disabling() {
    let session = Session::new();
    let replacing = |states: &[u64], blocks| Plan {
        replace: true,
        blocks,
        ..Plan::of(states)
    };
    session.load(&replacing(&[10], true).build(&session, "S2"));
    session.expect("S2: EN T+ pre(s10) S+ C+ post(s10) D+");
    let error = session.refuses(&replacing(&[], false).build(&session, "S1"));
    assert!(
        matches!(&error, EnableError::Incompatible { with, why: Incompatibility::Blocked { state: 10 } } if with == "S2")
    );
    let blocked = registry().disable("S2").expect_err("its state cannot be undone");
    assert_eq!(
        blocked,
        ChangeError::Blocked {
            patch: "S2".to_owned(),
            state: 10
        }
    );
    session.expect("S1: refused");
    let last = replacing(&[10], false);
    session.load(&last.build(&session, "S1"));
    session.expect("S1: EN T+ S+ C+ D+");
    session.unload("S1");
    session.expect("S1: T- preU(s10) S- C- postU(s10) free(s10 0xa*1) D-");
    assert_eq!(last.freed(), 1);
}

/// Cancelling a running enable is not refused because of a state that blocks disabling.
#[test]
fn blocking_state_of_a_running_enable() {
    let session = Session::new();
    let blocked = Task::new("blocked");
    blocked.enter();
    let plan = Plan {
        blocks: true,
        ..Plan::of(&[10])
    };
    registry()
        .enable(&plan.build(&session, "P"))
        .expect("the patch is enabled");
    session.unload("P");
    session.expect("P: EN T+ pre(s10) S+ REV- S- C- postU(s10) free(s10 0xa*1) D-");
    assert_eq!((plan.freed(), STORE.len()), (1, 0));
    blocked.leave();
}
