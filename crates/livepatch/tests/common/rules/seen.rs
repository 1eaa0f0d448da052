//! The observable state.

use super::super::op::{Object, SHADOWS};
use super::super::pool::name;
use super::Rules;

impl Rules {
    /// Returns what these functions return in a task that is in a unit; or outside every unit.
    pub fn read(&self, task: Option<u8>, functions: &[usize]) -> Vec<u32> {
        let target = self.transition.is_none_or(|(_, patching)| patching);
        let patched = match task {
            Some(task) if self.depth(task) > 0 && self.transition.is_some() => self.tasks[usize::from(task)].patched,
            _ => target,
        };
        functions
            .iter()
            .map(|&function| self.dispatch(function, patched))
            .collect()
    }

    fn dispatch(&self, function: usize, patched: bool) -> u32 {
        for (index, entry) in self.list.iter().enumerate().rev() {
            if self.is_tp(index) && !patched {
                continue;
            }
            for (object, state) in entry.spec.objects().into_iter().zip(&entry.objects) {
                if state.patched && entry.spec.functions_of(object).contains(&function) {
                    return u32::from(entry.spec.name) + 1;
                }
            }
            if entry.spec.replace && self.is_tp(index) {
                return 0; // A no-op.
            }
        }
        0
    }

    pub fn depth(&self, task: u8) -> usize {
        self.tasks[usize::from(task)].depth
    }

    /// Returns the kernel's `patch_state` of a task, in a unit or not; and whether it holds up the transition.
    pub fn task(&self, task: u8) -> (livepatch::TaskState, bool) {
        let task = self.tasks[usize::from(task)];
        match self.transition {
            None => (livepatch::TaskState::None, false),
            Some((_, patching)) => {
                let patched = if task.depth > 0 { task.patched } else { patching };
                let state = if patched {
                    livepatch::TaskState::Patched
                } else {
                    livepatch::TaskState::Unpatched
                };
                (state, task.depth > 0 && (task.patched != patching || task.caught))
            }
        }
    }

    /// Returns the attributes of patches and modules, in one line.
    pub fn status(&self) -> String {
        let mut text = String::new();
        for (index, entry) in self.list.iter().enumerate() {
            text += &format!(
                "{} enabled={} transition={} forced={} replace={} order={}",
                name(entry.spec.name),
                entry.enabled,
                self.is_tp(index),
                self.forced.contains(&entry.number),
                entry.spec.replace,
                index + 1
            );
            for (object, state) in entry.spec.objects().into_iter().zip(&entry.objects) {
                text += &format!(" {}={}", object.short(), state.patched);
            }
            for (id, state) in entry.spec.states() {
                text += &format!(" s{id}={}{:?}", state.version, state.kind.shadows(id));
            }
            text += "; ";
        }
        for (module, state) in &self.modules {
            text += &format!("{} {state}; ", module.short());
        }
        if let Some((_, patching)) = self.transition {
            text += &format!("{} {patching}", name(self.list[self.tp()].spec.name));
        }
        text
    }

    /// Returns whether units were moved away from the patch of this number in the middle of their work.
    pub fn is_forced(&self, number: usize) -> bool {
        self.forced.contains(&number)
    }

    pub fn is_in_transition(&self) -> bool {
        self.transition.is_some()
    }

    pub fn is_there(&self, object: Object) -> bool {
        object == Object::Program || self.modules.iter().any(|&(module, _)| module == object)
    }

    pub fn names(&self) -> Vec<u8> {
        self.list.iter().map(|entry| entry.spec.name).collect()
    }

    pub fn variables(&self, shadow: u64) -> usize {
        self.variables.get(&shadow).copied().unwrap_or(0)
    }

    pub fn forget_variables(&mut self) {
        assert!(SHADOWS.iter().all(|shadow| !self.history.contains_key(shadow)));
        self.variables.clear();
    }
}
