//! Carries out operations, on the registry and by the rules, and compares everything observable after each.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use livepatch::{CallbackOwner, Direction, PROGRAM, ResolveError, registry};
use livepatch::{ChangeError, EnableError, Incompatibility, ModuleError, ModuleState, Patch, Refusal, RefusedHow};

use super::notation::render;
use super::op::{LAST, Object, Op, SHADOWS, Spec, TASKS};
use super::pool::{self, attach, attached, build, name, points_of, read, read_in_unit};
use super::rules::Rules;
use super::session::{Session, is_let_go};
use super::task::Task;

/// The tasks, with names that are unique in this process.
static TASK: LazyLock<[Task; TASKS as usize]> = LazyLock::new(|| [0, 1, 2].map(|number| Task::new(&task_name(number))));

/// A sequence of operations that is being carried out.
pub struct Driver {
    session: Session,
    rules: Rules,
    /// The last patch of each name, by its number.
    last: BTreeMap<u8, (usize, Spec)>,
    patches: Vec<Arc<Patch>>,
    done: Vec<Op>,
}

/// Carries out the operations, and then removes everything again.
pub fn check(ops: &[Op]) {
    let mut driver = Driver::new();
    for op in ops {
        driver.step(*op);
    }
    driver.finish();
}

impl Driver {
    pub fn new() -> Self {
        let session = Session::new();
        registry().announce_points(points_of(Object::Program));
        Driver {
            session,
            rules: Rules::default(),
            last: BTreeMap::new(),
            patches: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Carries out one operation. One that is not possible, such as leaving a unit that was never entered, has no effect.
    pub fn step(&mut self, op: Op) {
        self.done.push(op);
        let (found, ruled) = match op {
            Op::Enter(task) => {
                TASK[usize::from(task)].enter();
                self.rules.enter(task);
                return self.compare(Ok(()), Ok(()));
            }
            Op::Leave(task) if self.rules.depth(task) > 0 => {
                TASK[usize::from(task)].leave();
                self.rules.leave(task);
                return self.compare(Ok(()), Ok(()));
            }
            Op::Attach(which) => {
                let shadow = SHADOWS[usize::from(which)];
                attach(shadow);
                self.rules.attach(shadow);
                return self.compare(Ok(()), Ok(()));
            }
            Op::Enable(spec) => {
                let number = self.patches.len();
                self.patches.push(build(&self.session.log, number, &spec));
                self.last.insert(spec.name, (number, spec));
                self.enable(number, &spec)
            }
            Op::Again(patch) => match self.last.get(&patch).copied() {
                Some((number, spec)) => self.enable(number, &spec),
                None => return,
            },
            Op::Disable(patch) => (change(registry().disable(&name(patch))), self.rules.disable(patch)),
            Op::Reverse(patch) => (change(registry().reverse(&name(patch))), self.rules.reverse(patch)),
            Op::Force(patch) => (change(registry().force(&name(patch))), self.rules.force(patch)),
            Op::Coming(of) => {
                let found = registry().module_coming(of.name(), points_of(of));
                (module(found), self.rules.coming(of))
            }
            Op::Live(of) => (module(registry().module_live(of.name())), self.rules.live(of)),
            Op::Going(of) => (module(registry().module_going(of.name())), self.rules.going(of)),
            Op::Leave(_) => return,
        };
        self.compare(found, ruled);
    }

    fn enable(&mut self, number: usize, spec: &Spec) -> (Answer, Answer) {
        let found = registry()
            .enable(&self.patches[number])
            .map_err(|error| enable_error(&error));
        (found, self.rules.enable(number, spec))
    }

    /// Returns the expected state.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    fn compare(&mut self, found: Answer, ruled: Answer) {
        // A unit that left may have made the transition end: this ends it, unless another thread has.
        registry().poll().expect("this is no callback");
        let done = Done(&self.done);
        assert_eq!(found, ruled, "answer, after {done}");
        let (words, calls) = self.session.log.take();
        let ruled_words = std::mem::take(&mut self.rules.words);
        assert_eq!(render(&words), render(&ruled_words), "events, after {done}");
        let ruled_calls = std::mem::take(&mut self.rules.calls);
        assert_eq!(render(&calls), render(&ruled_calls), "calls, after {done}");
        for shadow in SHADOWS {
            let variables = (shadow, attached(shadow));
            assert_eq!(
                variables,
                (shadow, self.rules.variables(shadow)),
                "variables, after {done}"
            );
        }
        for (number, patch) in self.patches.iter().enumerate() {
            assert_eq!(
                patch.is_forced(),
                self.rules.is_forced(number),
                "{patch:?} is forced, after {done}"
            );
        }
        self.compare_status();
        self.compare_functions();
    }

    fn compare_status(&self) {
        let status = registry().status();
        let done = Done(&self.done);
        let mut text = String::new();
        for patch in &status.patches {
            text += &format!(
                "{} enabled={} transition={} forced={} replace={} order={}",
                patch.name, patch.enabled, patch.transition, patch.forced, patch.replace, patch.stack_order
            );
            for object in &patch.objects {
                text += &format!(" {}={}", short(&object.name), object.patched);
            }
            for state in &patch.states {
                text += &format!(" s{}={}{:?}", state.id, state.version, state.shadows);
            }
            text += "; ";
        }
        for module in &status.modules {
            let state = match module.state {
                ModuleState::Coming => "COMING",
                ModuleState::Live => "LIVE",
                ModuleState::Going => "GOING",
            };
            text += &format!("{} {state}; ", module.name);
        }
        if let Some(transition) = &status.transition {
            text += &format!("{} {}", transition.patch, transition.direction == Direction::Patching);
        }
        assert_eq!(text, self.rules.status(), "status, after {done}");
        for number in 0..TASKS {
            let name = task_name(number);
            let found = status.tasks.iter().find(|task| task.name == name);
            let inside = found.is_some_and(|task| task.inside.is_some());
            assert_eq!(inside, self.rules.depth(number) > 0, "{name} is inside, after {done}");
            let Some(found) = found else { continue };
            let (state, holds_up) = self.rules.task(number);
            assert_eq!(found.state, state, "{name}, after {done}");
            let switched = found.inside.as_ref().is_none_or(|inside| inside.switched);
            assert_eq!(switched, !holds_up, "{name} has switched, after {done}");
        }
    }

    /// Compares what each function returns inside every unit, in a new one, and outside.
    fn compare_functions(&self) {
        let there = |object: &Object| self.rules.is_there(*object);
        let functions: Vec<usize> = Object::ALL
            .into_iter()
            .filter(there)
            .flat_map(Object::functions)
            .collect();
        let done = Done(&self.done);
        let outside = self.rules.read(None, &functions);
        assert_eq!(read(&functions), outside, "outside, after {done}");
        assert_eq!(read_in_unit(&functions), outside, "in a new unit, after {done}");
        for number in (0..TASKS).filter(|&number| self.rules.depth(number) > 0) {
            let all = functions.clone();
            let found = TASK[usize::from(number)].run(move || read(&all));
            let ruled = self.rules.read(Some(number), &functions);
            assert_eq!(found, ruled, "in {}, after {done}", task_name(number));
        }
    }

    /// Leaves all units, disables all patches, unloads all modules, and checks that nothing is left.
    pub fn finish(mut self) {
        for task in 0..TASKS {
            while self.rules.depth(task) > 0 {
                self.step(Op::Leave(task));
            }
        }
        for patch in self.rules.names() {
            self.step(Op::Disable(patch));
        }
        // Patches that cannot be disabled are replaced by one that can.
        if !self.rules.names().is_empty() {
            self.step(Op::Enable(Spec::last()));
            self.step(Op::Disable(LAST));
        }
        for object in [Object::M, Object::N] {
            self.step(Op::Going(object));
        }
        assert!(self.rules.names().is_empty());
        self.rules.forget_variables();
        pool::free_all();
        for patch in &self.patches {
            assert!(is_let_go(patch), "{patch:?} is let go, after {}", Done(&self.done));
        }
    }
}

impl Drop for Driver {
    /// After a failure, cleans up for the next sequence.
    fn drop(&mut self) {
        for (number, task) in (0..TASKS).zip(TASK.iter()) {
            for _ in 0..self.rules.depth(number) {
                task.leave();
            }
        }
        pool::free_all();
    }
}

type Answer = Result<(), String>;

/// Displays a sequence in a failure.
struct Done<'o>(&'o [Op]);

impl fmt::Display for Done<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|op| write!(f, "\n  {op:?},"))
    }
}

fn task_name(number: u8) -> String {
    format!("driven {number}")
}

fn short(object: &str) -> &str {
    if object == PROGRAM { "v" } else { object }
}

fn change(answer: Result<(), ChangeError>) -> Answer {
    answer.map_err(|error| match error {
        ChangeError::Unknown { .. } => "Unknown".to_owned(),
        ChangeError::AlreadyDisabled { .. } => "AlreadyDisabled".to_owned(),
        ChangeError::Busy { patch } => format!("Busy({patch})"),
        ChangeError::NotInTransition { .. } => "NotInTransition".to_owned(),
        ChangeError::Blocked { state, .. } => format!("Blocked(s{state})"),
        other => format!("{other:?}"),
    })
}

fn module(answer: Result<(), ModuleError>) -> Answer {
    answer.map_err(|error| match error {
        ModuleError::AlreadyThere { .. } => "AlreadyThere".to_owned(),
        ModuleError::Unknown { .. } => "Unknown".to_owned(),
        ModuleError::Resolve { patch, why } => format!("{patch}: {}", resolve_error(&why)),
        ModuleError::Refused { patch, why } => format!("{patch}: {}", refusal(&why)),
        other => format!("{other:?}"),
    })
}

fn enable_error(error: &EnableError) -> String {
    match error {
        EnableError::AlreadyEnabled { .. } => "AlreadyEnabled".to_owned(),
        EnableError::NameTaken { .. } => "NameTaken".to_owned(),
        EnableError::Busy { patch } => format!("Busy({patch})"),
        EnableError::Incompatible { with, why } => match why {
            Incompatibility::Older { state, old, new } => format!("Older({with} s{state} {old}>{new})"),
            Incompatibility::Missing { state } => format!("Missing({with} s{state})"),
            Incompatibility::Blocked { state } => format!("Blocked({with} s{state})"),
            other => format!("{other:?}"),
        },
        EnableError::Resolve(why) => resolve_error(why),
        EnableError::Refused(why) => refusal(why),
        other => format!("{other:?}"),
    }
}

fn resolve_error(error: &ResolveError) -> String {
    match error {
        ResolveError::UnknownPoint { object, .. } => format!("UnknownPoint({})", short(object)),
        ResolveError::Signature { object, .. } => format!("Signature({})", short(object)),
        other => format!("{other:?}"),
    }
}

fn refusal(refusal: &Refusal) -> String {
    let how = match refusal.how {
        RefusedHow::Error(_) => "Error",
        RefusedHow::Panic(_) => "Panic",
    };
    let of = match &refusal.of {
        CallbackOwner::Object(object) => short(object).to_owned(),
        CallbackOwner::State(id) => format!("s{id}"),
    };
    format!(
        "{how}({} {of})",
        refusal.callback.to_string().trim_end_matches("_patch")
    )
}
