//! Every error, produced by its cause, with its message as an operator reads it.

mod common;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use common::session::Session;
use common::task::Task;
use livepatch::{
    ChangeError, EnableError, Incompatibility, ModuleError, NoTransition, ObjectPatch, Patch, PatchBuilder,
};
use livepatch::{MAX_NAME, PatchError, Reentrant, ResolveError, State, patchable, points, registry};

#[patchable(name = "answer")]
fn answer() -> u32 {
    0
}

#[patchable(name = "question")]
fn question(number: u32) -> u32 {
    number
}

fn new_answer() -> u32 {
    42
}

fn program() -> ObjectPatch {
    ObjectPatch::program().function::<answer>(new_answer)
}

fn build(builder: PatchBuilder) -> Arc<Patch> {
    builder.build().expect("a valid patch")
}

fn patch(name: &str) -> Arc<Patch> {
    build(Patch::builder(name).object(program()))
}

fn with_state(name: &str, replace: bool, state: State) -> Arc<Patch> {
    build(Patch::builder(name).replace(replace).object(program()).state(state))
}

#[track_caller]
fn says(error: &impl Error, expected: &str) {
    assert_eq!(error.to_string(), expected);
}

mod of_building {
    use super::*;

    #[track_caller]
    fn refused(builder: PatchBuilder, kind: &PatchError, expected: &str) {
        let error = builder.build().expect_err("no valid patch");
        assert_eq!(&error, kind);
        says(&error, expected);
    }

    #[test]
    fn no_name() {
        let expected = "a patch, an object or a function has an empty name";
        refused(Patch::builder("").object(program()), &PatchError::NoName, expected);
        let nameless = ObjectPatch::module("").post_patch(|_| ());
        refused(Patch::builder("P").object(nameless), &PatchError::NoName, expected);
        // SAFETY: a function pointer type.
        let function = unsafe { ObjectPatch::program().function_named::<fn() -> u32>("", new_answer) };
        refused(Patch::builder("P").object(function), &PatchError::NoName, expected);
    }

    #[test]
    fn bad_name() {
        let bad = |name: &str| PatchError::BadName { name: name.to_owned() };
        refused(
            Patch::builder("two\nlines").object(program()),
            &bad("two\nlines"),
            r#"the name "two\nlines" is longer than 255 bytes, or has control characters"#,
        );
        let long = "x".repeat(MAX_NAME + 1);
        let error = Patch::builder(&long).object(program()).build().expect_err("too long");
        assert_eq!(error, bad(&long[1..]));
        let wide = "ß".repeat(MAX_NAME / 2 + 1);
        let object = ObjectPatch::module(&wide).post_patch(|_| ());
        assert_eq!(
            Patch::builder("P").object(object).build().expect_err("too long"),
            bad(&wide)
        );
        assert!(Patch::builder(&long[1..]).object(program()).build().is_ok());
    }

    #[test]
    fn no_objects() {
        refused(Patch::builder("P"), &PatchError::NoObjects, "the patch names no object");
    }

    #[test]
    fn empty_object() {
        let empty = PatchError::EmptyObject { object: "m".to_owned() };
        let builder = Patch::builder("P").object(program()).object(ObjectPatch::module("m"));
        refused(builder, &empty, "object `m` has neither functions nor callbacks");
    }

    #[test]
    fn duplicate_object() {
        let twice = PatchError::DuplicateObject {
            object: "program".to_owned(),
        };
        let builder = Patch::builder("P").object(program()).object(program());
        refused(builder, &twice, "object `program` is named twice");
    }

    #[test]
    fn duplicate_function() {
        let twice = PatchError::DuplicateFunction {
            object: "program".to_owned(),
            function: "answer".to_owned(),
        };
        // SAFETY: a function pointer type.
        let object = unsafe { program().function_named::<fn() -> u32>("answer", new_answer) };
        refused(
            Patch::builder("P").object(object),
            &twice,
            "function `answer` of object `program` is replaced twice",
        );
    }

    #[test]
    fn states() {
        let builder = || Patch::builder("P").object(program());
        refused(
            builder().state(State::new(0, 1)),
            &PatchError::StateIdZero,
            "a state has the id 0",
        );
        let twice = PatchError::DuplicateState { state: 7 };
        let builder = builder().state(State::new(7, 1)).state(State::new(7, 2));
        refused(builder, &twice, "state 7 is named twice");
    }
}

mod of_enabling {
    use super::*;

    #[test]
    fn already_enabled_and_name_taken() {
        let session = Session::new();
        let first = patch("P");
        session.load(&first);
        let error = session.refuses(&first);
        assert!(matches!(&error, EnableError::AlreadyEnabled { patch } if patch == "P"));
        says(&error, "patch `P` is already enabled");
        let error = session.refuses(&patch("P"));
        assert!(matches!(&error, EnableError::NameTaken { patch } if patch == "P"));
        says(&error, "another patch named `P` is enabled");
        session.unload("P");
        session.expect("P: EN T+ S+ C+ D+ refused refused T- S- C- D-");
    }

    #[test]
    fn busy() {
        let session = Session::new();
        let task = Task::new("busy");
        task.enter();
        registry().enable(&patch("P")).expect("the patch is enabled");
        let error = session.refuses(&patch("Q"));
        assert!(matches!(&error, EnableError::Busy { patch } if patch == "P"));
        says(&error, "patch `P` is in transition");
        session.unload("P");
        task.leave();
        session.expect("P: EN T+ S+ Q: refused P: REV- S- C- D-");
    }

    #[test]
    fn incompatible() {
        let session = Session::new();
        let told = State::new(8, 2).post_unpatch(|_| ());
        let first = Patch::builder("P")
            .object(program())
            .state(State::new(7, 2))
            .state(told);
        session.load(&build(first));
        let why = |patch: &Arc<Patch>| match session.refuses(patch) {
            EnableError::Incompatible { with, why } => {
                assert_eq!(with, "P");
                let error = EnableError::Incompatible { with, why: why.clone() };
                (why, error.to_string())
            }
            other => panic!("{other:?}"),
        };
        let (older, text) = why(&with_state("Q", false, State::new(7, 1)));
        assert_eq!(
            older,
            Incompatibility::Older {
                state: 7,
                old: 2,
                new: 1
            }
        );
        assert_eq!(
            text,
            "not compatible with patch `P`: state 7 has version 1, but version 2 is in effect"
        );
        let (missing, text) = why(&with_state("Q", true, State::new(8, 2)));
        assert_eq!(missing, Incompatibility::Missing { state: 7 });
        assert_eq!(
            text,
            "not compatible with patch `P`: it replaces a patch with state 7, which it lacks and which does not define how \
             it is undone"
        );
        // This one has callbacks, which can undo it.
        session.load(&with_state("Q", true, State::new(7, 2)));
        session.unload("Q");

        session.load(&with_state("P", false, State::new(9, 1).block_disable()));
        let (blocked, text) = why(&build(Patch::builder("Q").replace(true).object(program())));
        assert_eq!(blocked, Incompatibility::Blocked { state: 9 });
        assert_eq!(
            text,
            "not compatible with patch `P`: it replaces a patch with state 9, which it lacks and which cannot be undone"
        );
        session.load(&with_state("Q", true, State::new(9, 1)));
        session.unload("Q");
    }

    #[test]
    fn unknown_point() {
        let session = Session::new();
        // SAFETY: a function pointer type.
        let object = unsafe { ObjectPatch::program().function_named::<fn() -> u32>("nowhere", new_answer) };
        let error = session.refuses(&build(Patch::builder("P").object(object)));
        assert!(matches!(
            &error,
            EnableError::Resolve(ResolveError::UnknownPoint { .. })
        ));
        says(&error, "object `program` has no patch point named `nowhere`");
        // A module's function is not the program's, nor vice versa.
        session.load_module("m", &points![question]);
        let stranger = ObjectPatch::program().function::<question>(|number| number + 1);
        let error = session.refuses(&build(Patch::builder("P").object(stranger)));
        says(&error, "object `program` has no patch point named `question`");
        let stranger = ObjectPatch::module("m").function::<answer>(new_answer);
        let error = session.refuses(&build(Patch::builder("P").object(stranger)));
        says(&error, "object `m` has no patch point named `answer`");
        session.unload_module("m");
        session.expect("P: refused init(m) refused refused exit(m)");
    }

    #[test]
    fn signature() {
        let session = Session::new();
        registry().announce_points(points![answer]);
        // SAFETY: a function pointer type.
        let object = unsafe { ObjectPatch::program().function_named::<fn(u32) -> u32>("answer", |number| number) };
        let error = session.refuses(&build(Patch::builder("P").object(object)));
        assert!(matches!(&error, EnableError::Resolve(ResolveError::Signature { .. })));
        says(
            &error,
            "patch point `answer` of object `program` is a fn() -> u32, its replacement a fn(u32) -> u32",
        );
        session.expect("P: refused");
    }

    #[test]
    fn refused_and_panicked() {
        let session = Session::new();
        let refusing = session.log.refusing(program(), "the disk is full");
        let error = session.refuses(&build(Patch::builder("P").object(refusing)));
        says(&error, "pre_patch of object `program` refused: the disk is full");
        let panicking = session.log.panicking(program(), "index out of bounds");
        let error = session.refuses(&build(Patch::builder("P").object(panicking)));
        says(&error, "pre_patch of object `program` panicked: index out of bounds");
        let state = session.log.refusing_state(State::new(7, 1), "not now");
        let error = session.refuses(&with_state("P", false, state));
        says(&error, "pre_patch of state 7 refused: not now");
        session.expect(
            "P: EN T+ pre(v) failed(pre v) refused CAN C- D- EN T+ pre(v) failed(pre v) refused CAN C- D- \
             EN T+ pre(s7) failed(pre s7) refused CAN C- D-",
        );
        assert_eq!(answer(), 0);
    }
}

mod of_changes {
    use super::*;

    fn name() -> String {
        "P".to_owned()
    }

    #[test]
    fn unknown() {
        let _session = Session::new();
        let unknown = ChangeError::Unknown { patch: name() };
        assert_eq!(registry().disable("P"), Err(unknown.clone()));
        assert_eq!(registry().reverse("P"), Err(unknown.clone()));
        assert_eq!(registry().force("P"), Err(unknown.clone()));
        says(&unknown, "no patch named `P` is enabled");
    }

    #[test]
    fn in_and_out_of_transition() {
        let session = Session::new();
        session.load(&patch("P"));
        session.load(&patch("Q"));
        let none = ChangeError::NotInTransition { patch: name() };
        assert_eq!(registry().reverse("P"), Err(none.clone()));
        assert_eq!(registry().force("P"), Err(none.clone()));
        says(&none, "patch `P` is not in transition");

        let task = Task::new("stays");
        task.enter();
        registry().disable("P").expect("the patch is disabled");
        let already = ChangeError::AlreadyDisabled { patch: name() };
        assert_eq!(registry().disable("P"), Err(already.clone()));
        says(&already, "patch `P` is already being disabled");
        let busy = ChangeError::Busy { patch: name() };
        assert_eq!(registry().disable("Q"), Err(busy.clone()));
        says(&busy, "patch `P` is in transition");
        let other = ChangeError::NotInTransition { patch: "Q".to_owned() };
        assert_eq!(registry().reverse("Q"), Err(other.clone()));
        assert_eq!(registry().force("Q"), Err(other));

        let late = registry().wait(Duration::ZERO).expect_err("the task is inside");
        assert_eq!((late.patch.as_str(), late.tasks), ("P", 1));
        says(&late, "patch `P` is still in transition, held up by 1 tasks");
        task.leave();
        session.wait();
        session.unload("Q");
        assert_eq!(registry().prev_state(7).err(), Some(NoTransition));
        says(&NoTransition, "no patch is in transition");
    }

    #[test]
    fn blocked() {
        let session = Session::new();
        session.load(&with_state("P", false, State::new(7, 1).block_disable()));
        let blocked = ChangeError::Blocked {
            patch: name(),
            state: 7,
        };
        assert_eq!(registry().disable("P"), Err(blocked.clone()));
        says(&blocked, "patch `P` cannot be disabled: state 7 cannot be undone");
        session.load(&with_state("Q", false, State::new(7, 1)));
        session.unload("P"); // Not the last holder.
        // Q declares nothing about the state, and yet holds one that cannot be undone.
        let blocked = ChangeError::Blocked {
            patch: "Q".to_owned(),
            state: 7,
        };
        assert_eq!(registry().disable("Q"), Err(blocked));
        // R takes over the state, and declares that it can be undone.
        session.load(&with_state("R", true, State::new(7, 1)));
        session.unload("R");
    }
}

mod of_modules {
    use super::*;

    #[test]
    fn bad_name() {
        let _session = Session::new();
        for name in ["", "program", "two\nlines", &"x".repeat(MAX_NAME + 1)] {
            let error = registry().module_coming(name, []).expect_err("no name of a module");
            assert!(matches!(&error, ModuleError::BadName { module } if module == name));
            says(&error, &format!("`{name}` cannot be the name of a module"));
        }
    }

    #[test]
    fn unknown_and_already_there() {
        let session = Session::new();
        for error in [registry().module_live("m"), registry().module_going("m")] {
            let error = error.expect_err("it is not there");
            assert!(matches!(&error, ModuleError::Unknown { module } if module == "m"));
            says(&error, "there is no module `m`");
        }
        session.load_module("m", &[]);
        let error = session.try_load_module("m", &[]).expect_err("it is there");
        assert!(matches!(&error, ModuleError::AlreadyThere { module } if module == "m"));
        says(&error, "module `m` is already present");
        session.unload_module("m");
    }

    #[test]
    fn duplicate_point() {
        #[patchable(name = "answer")]
        fn second() -> u32 {
            0
        }
        let session = Session::new();
        let error = session.try_load_module("m", &points![answer, second]);
        let error = error.expect_err("two functions have one name");
        assert!(matches!(&error, ModuleError::DuplicatePoint { .. }));
        says(&error, "module `m` has two patch points named `answer`");
        session.expect("");
    }

    #[test]
    fn patches_that_cannot_be_applied() {
        let session = Session::new();
        // SAFETY: function pointer types.
        let [unknown, wrong] = unsafe {
            [
                ObjectPatch::module("m").function_named::<fn() -> u32>("nowhere", new_answer),
                ObjectPatch::module("m").function_named::<fn(u32) -> u32>("answer", |number| number),
            ]
        };
        let why = |object| {
            session.load(&build(Patch::builder("P").object(object)));
            let error = session.try_load_module("m", &points![answer]);
            session.unload("P");
            error.expect_err("the patch cannot be applied")
        };
        let error = why(unknown);
        assert!(matches!(&error, ModuleError::Resolve { patch, .. } if patch == "P"));
        says(
            &error,
            "patch `P` cannot be applied: object `m` has no patch point named `nowhere`",
        );
        says(
            &why(wrong),
            "patch `P` cannot be applied: patch point `answer` of object `m` is a fn() -> u32, its replacement a \
             fn(u32) -> u32",
        );
        let error = why(session.log.refusing(ObjectPatch::module("m"), "not this one"));
        assert!(matches!(&error, ModuleError::Refused { patch, .. } if patch == "P"));
        says(
            &error,
            "patch `P` refused the module: pre_patch of object `m` refused: not this one",
        );
        assert!(registry().status().modules.is_empty());
    }
}

/// Every operation called from a callback fails with the same error.
#[test]
fn reentrant() {
    let session = Session::new();
    let (sender, answers) = std::sync::mpsc::channel();
    let asking = program().pre_patch(move |context| {
        let _ = sender.send((
            registry().enable(context.patch()),
            registry().disable("P"),
            registry().module_live("m"),
        ));
        Ok(())
    });
    session.load(&build(Patch::builder("P").object(asking)));
    session.unload("P");
    let (enable, change, module) = answers.recv().expect("the callback ran");
    let expected = "called from a callback: patches and modules cannot be changed from within a change";
    says(&enable.expect_err("refused"), expected);
    says(&change.expect_err("refused"), expected);
    says(&module.expect_err("refused"), expected);
    says(&Reentrant, expected);
}
