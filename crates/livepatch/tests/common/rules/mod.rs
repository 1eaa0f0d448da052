//! The rules, as plainly as possible: what should happen, and what each function should return in each task.
//!
//! Written after the kernel, not after the library: each task has a patch state, and a call searches the stack of patches
//! from the top, skipping the one in transition if the task has not switched to it.

mod seen;
mod transition;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use super::notation::Word;
use super::op::{Bad, Object, Spec, StateSpec, TASKS};
use super::pool::name;

/// The expected state of a registry.
#[derive(Default)]
pub struct Rules {
    /// Oldest first.
    list: Vec<Entry>,
    /// The patch in transition, by its number, and whether units switch to it.
    transition: Option<(usize, bool)>,
    modules: Vec<(Object, &'static str)>,
    tasks: [TaskState; TASKS as usize],
    /// The live variables.
    variables: BTreeMap<u64, usize>,
    /// For each held state: its present and former holders, and the variables that each of them named.
    history: BTreeMap<u64, Vec<(usize, Vec<u64>)>>,
    /// The states that cannot be undone, as declared by a patch that is or was in effect.
    blocked: BTreeSet<u64>,
    /// The patches from which a forced transition has moved units.
    forced: BTreeSet<usize>,
    pub words: Vec<Word>,
    pub calls: Vec<Word>,
}

struct Entry {
    number: usize,
    spec: Spec,
    enabled: bool,
    objects: Vec<ObjectState>,
    /// For each state: whether it is held, and whether `post_patch` is due.
    states: BTreeMap<u64, (bool, bool)>,
}

#[derive(Clone, Copy, Default)]
struct ObjectState {
    patched: bool,
    owes_post_unpatch: bool,
}

#[derive(Clone, Copy, Default)]
struct TaskState {
    depth: usize,
    patched: bool,
    /// Whether it was forced in the middle of its unit. Later transitions wait for it whatever it runs: it may be in an
    /// earlier call.
    caught: bool,
}

#[derive(Clone, Copy)]
enum Owner {
    State(u64),
    Object(Object),
}

type Answer = Result<(), String>;

impl Rules {
    /// `number` identifies the patch, whatever its name.
    pub fn enable(&mut self, number: usize, spec: &Spec) -> Answer {
        let answer = self.check(number, spec);
        if answer.is_err() {
            self.say(spec, "refused");
            return answer;
        }
        self.say(spec, "EN");
        self.say(spec, "T+");
        self.list.push(Entry {
            number,
            spec: *spec,
            enabled: false,
            objects: vec![ObjectState::default(); spec.objects().len()],
            states: spec.states().iter().map(|&(id, _)| (id, (false, false))).collect(),
        });
        self.transition = Some((number, true));
        if let Err(why) = self.prepare(spec) {
            self.say(spec, "refused");
            self.say(spec, "CAN");
            self.transition = Some((number, false));
            self.complete();
            return Err(why);
        }
        self.start();
        Ok(())
    }

    fn check(&self, number: usize, spec: &Spec) -> Answer {
        if self.list.iter().any(|entry| entry.number == number) {
            return Err("AlreadyEnabled".to_owned());
        }
        for entry in &self.list {
            for (id, old) in entry.spec.states() {
                let StateSpec { kind, blocks, version } = old;
                let with = name(entry.spec.name);
                match spec.states[id as usize - 1] {
                    Some(new) if new.version < version => {
                        return Err(format!("Older({with} s{id} {version}>{})", new.version));
                    }
                    None if spec.replace && (blocks || self.blocked.contains(&id)) => {
                        return Err(format!("Blocked({with} s{id})"));
                    }
                    // It could not be undone.
                    None if spec.replace && !kind.is_told() && kind.shadows(id).is_empty() => {
                        return Err(format!("Missing({with} s{id})"));
                    }
                    _ => {}
                }
            }
        }
        if self.list.iter().any(|entry| entry.spec.name == spec.name) {
            return Err("NameTaken".to_owned());
        }
        for object in spec.objects() {
            if self.is_there(object) {
                Self::resolve(spec, object)?;
            }
        }
        match self.transition {
            Some(_) => Err(format!("Busy({})", name(self.list[self.tp()].spec.name))),
            None => Ok(()),
        }
    }

    fn resolve(spec: &Spec, object: Object) -> Answer {
        match spec.bad(object) {
            None => Ok(()),
            Some(Bad::UnknownPoint) => Err(format!("UnknownPoint({})", object.short())),
            Some(Bad::Signature) => Err(format!("Signature({})", object.short())),
        }
    }

    fn prepare(&mut self, spec: &Spec) -> Answer {
        let new = self.list.len() - 1;
        for (id, state) in spec.states() {
            let first = self.holders(id).is_empty();
            let number = self.list[new].number;
            let history = self.history.entry(id).or_default();
            history.retain(|&(other, _)| other != number);
            history.push((number, state.kind.shadows(id)));
            if first {
                self.call(new, Owner::State(id), "pre")?;
            }
            self.list[new].states.insert(id, (true, first));
        }
        if spec.replace {
            for (holder, id) in self.dropped_by(new) {
                let _ = self.call(holder, Owner::State(id), "preU");
                self.list[holder].states.insert(id, (true, true));
            }
        }
        for (place, object) in spec.objects().into_iter().enumerate() {
            if self.is_there(object) {
                self.call(new, Owner::Object(object), "pre")?;
                self.list[new].objects[place] = ObjectState {
                    patched: true,
                    owes_post_unpatch: true,
                };
            }
        }
        Ok(())
    }

    pub fn disable(&mut self, patch: u8) -> Answer {
        let index = self.find(patch)?;
        if let Some((number, patching)) = self.transition {
            return match (self.list[index].number == number, patching) {
                (true, true) => self.reverse(patch),
                (true, false) => Err("AlreadyDisabled".to_owned()),
                (false, _) => Err(format!("Busy({})", name(self.list[self.tp()].spec.name))),
            };
        }
        let spec = self.list[index].spec;
        for (id, state) in spec.states() {
            if (state.blocks || self.blocked.contains(&id)) && self.holders(id) == [index] {
                return Err(format!("Blocked(s{id})"));
            }
        }
        self.transition = Some((self.list[index].number, false));
        self.say(&spec, "T-");
        for (id, _) in spec.states() {
            if self.holders(id) == [index] {
                let _ = self.call(index, Owner::State(id), "preU");
                self.list[index].states.insert(id, (true, true));
            }
        }
        for (place, object) in spec.objects().into_iter().enumerate() {
            if self.list[index].objects[place].patched {
                let _ = self.call(index, Owner::Object(object), "preU");
            }
        }
        self.start();
        Ok(())
    }

    pub fn reverse(&mut self, patch: u8) -> Answer {
        let index = self.find(patch)?;
        let (number, patching) = self.transition.ok_or("NotInTransition")?;
        if self.list[index].number != number {
            return Err("NotInTransition".to_owned());
        }
        self.transition = Some((number, !patching));
        let spec = self.list[index].spec;
        self.say(&spec, if patching { "REV-" } else { "REV+" });
        self.announce_start();
        self.complete_if_switched();
        Ok(())
    }

    pub fn force(&mut self, patch: u8) -> Answer {
        let index = self.find(patch)?;
        let (number, patching) = self.transition.ok_or("NotInTransition")?;
        if self.list[index].number != number {
            return Err("NotInTransition".to_owned());
        }
        if !patching {
            self.forced.insert(number);
        } else if self.list[index].spec.replace {
            let others = self.list[..index].iter().map(|entry| entry.number);
            self.forced.extend(others);
        }
        let mut units = 0;
        for task in self
            .tasks
            .iter_mut()
            .filter(|task| task.depth > 0 && task.patched != patching)
        {
            task.patched = patching;
            task.caught = true;
            units += 1;
        }
        let spec = self.list[index].spec;
        self.say(&spec, format!("FORCE({units})"));
        self.complete();
        Ok(())
    }

    pub fn coming(&mut self, module: Object) -> Answer {
        if self.is_there(module) {
            return Err("AlreadyThere".to_owned());
        }
        self.modules.push((module, "COMING"));
        for index in 0..self.list.len() {
            let Some(place) = self.place(index, module) else {
                continue;
            };
            if let Err(why) = self.apply(index, place, module) {
                self.words.push(Word::plain(format!("refused({})", module.short())));
                for before in 0..index {
                    self.revert(before, module);
                }
                self.modules.retain(|&(one, _)| one != module);
                return Err(format!("{}: {why}", name(self.list[index].spec.name)));
            }
        }
        Ok(())
    }

    fn apply(&mut self, index: usize, place: usize, module: Object) -> Answer {
        let spec = self.list[index].spec;
        Self::resolve(&spec, module)?;
        self.say(&spec, format!("APPLY({})", module.short()));
        self.call(index, Owner::Object(module), "pre")?;
        self.list[index].objects[place] = ObjectState {
            patched: true,
            owes_post_unpatch: true,
        };
        if !self.is_tp(index) {
            let _ = self.call(index, Owner::Object(module), "post");
        }
        Ok(())
    }

    fn revert(&mut self, index: usize, module: Object) {
        let Some(place) = self.place(index, module) else { return };
        if !self.is_tp(index) {
            let _ = self.call(index, Owner::Object(module), "preU");
        }
        let spec = self.list[index].spec;
        self.say(&spec, format!("REVERT({})", module.short()));
        let before = std::mem::take(&mut self.list[index].objects[place]);
        if before.owes_post_unpatch {
            let _ = self.call(index, Owner::Object(module), "postU");
        }
    }

    pub fn live(&mut self, module: Object) -> Answer {
        let found = self.modules.iter_mut().find(|(one, _)| *one == module);
        found.ok_or("Unknown")?.1 = "LIVE";
        Ok(())
    }

    pub fn going(&mut self, module: Object) -> Answer {
        let found = self.modules.iter_mut().find(|(one, _)| *one == module);
        found.ok_or("Unknown")?.1 = "GOING";
        for index in 0..self.list.len() {
            self.revert(index, module);
        }
        self.modules.retain(|&(one, _)| one != module);
        Ok(())
    }

    pub fn enter(&mut self, task: u8) {
        let target = self.transition.is_none_or(|(_, patching)| patching);
        let task = &mut self.tasks[usize::from(task)];
        if task.depth == 0 {
            task.patched = target;
            task.caught = false;
        }
        task.depth += 1;
    }

    pub fn leave(&mut self, task: u8) {
        self.tasks[usize::from(task)].depth -= 1;
        self.complete_if_switched();
    }

    pub fn attach(&mut self, shadow: u64) {
        *self.variables.entry(shadow).or_default() += 1;
    }
}
