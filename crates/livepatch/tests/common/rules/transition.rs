//! How transitions proceed, and what is removed when they end.

use std::collections::BTreeMap;

use super::super::notation::Word;
use super::super::op::Spec;
use super::{Owner, Rules};

impl Rules {
    pub(super) fn start(&mut self) {
        let (_, patching) = self.transition.expect("a transition was prepared");
        // The initial state is the opposite of the target; a task that is outside switches at once.
        self.tasks.iter_mut().for_each(|task| task.patched = !patching);
        self.announce_start();
        self.complete_if_switched();
    }

    pub(super) fn announce_start(&mut self) {
        let (tp, (_, patching)) = (self.tp(), self.transition.expect("a transition runs"));
        self.list[tp].enabled = patching;
        let spec = self.list[tp].spec;
        self.say(&spec, if patching { "S+" } else { "S-" });
    }

    pub(super) fn complete_if_switched(&mut self) {
        let Some((_, patching)) = self.transition else { return };
        if self
            .tasks
            .iter()
            .all(|task| task.depth == 0 || task.patched == patching && !task.caught)
        {
            self.complete();
        }
    }

    pub(super) fn complete(&mut self) {
        let (tp, (_, patching)) = (self.tp(), self.transition.expect("a transition runs"));
        let spec = self.list[tp].spec;
        self.say(&spec, if patching { "C+" } else { "C-" });
        if patching {
            self.finish_patching(tp, &spec);
        } else {
            self.finish_unpatching(tp, &spec);
        }
        self.say(&spec, if patching { "D+" } else { "D-" });
        self.transition = None;
        // Only older patches are replaced: those enabled since stay, even if a disabling was reversed.
        let gone = match patching {
            true if spec.replace => 0..tp,
            true => 0..0,
            false => tp..tp + 1,
        };
        let gone: Vec<usize> = self.list[gone].iter().map(|entry| entry.number).collect();
        self.list.retain(|entry| !gone.contains(&entry.number));
        for (id, history) in &mut self.history {
            // It stays a former holder only if it has variables that no patch of the list that holds the state names.
            let holders = self
                .list
                .iter()
                .filter(|entry| entry.states.get(id).is_some_and(|state| state.0));
            let known: Vec<u64> = holders
                .filter_map(|entry| entry.spec.states[*id as usize - 1])
                .flat_map(|state| state.kind.shadows(*id))
                .collect();
            history.retain(|(number, shadows)| {
                !gone.contains(number) || !shadows.iter().all(|shadow| known.contains(shadow))
            });
        }
    }

    pub(super) fn finish_patching(&mut self, tp: usize, spec: &Spec) {
        if spec.replace {
            for older in &mut self.list[..tp] {
                older.enabled = false;
                older.objects.iter_mut().for_each(|object| object.patched = false);
            }
            for (holder, id) in self.dropped_by(tp) {
                let _ = self.call(holder, Owner::State(id), "postU");
                self.free(holder, id);
            }
        }
        for (place, object) in spec.objects().into_iter().enumerate() {
            if self.list[tp].objects[place].patched {
                let _ = self.call(tp, Owner::Object(object), "post");
            }
        }
        self.pay_post_patch(tp);
        // A stacked patch cannot revoke what another declared; one that replaces all others can.
        for (id, state) in spec.states() {
            if state.blocks {
                self.blocked.insert(id);
            } else if spec.replace {
                self.blocked.remove(&id);
            }
        }
    }

    pub(super) fn finish_unpatching(&mut self, tp: usize, spec: &Spec) {
        self.list[tp].enabled = false;
        self.list[tp]
            .objects
            .iter_mut()
            .for_each(|object| object.patched = false);
        for other in (0..self.list.len()).filter(|&other| other != tp) {
            self.pay_post_patch(other);
        }
        for (place, object) in spec.objects().into_iter().enumerate() {
            if std::mem::take(&mut self.list[tp].objects[place].owes_post_unpatch) {
                let _ = self.call(tp, Owner::Object(object), "postU");
            }
        }
        let (held, never): (Vec<u64>, Vec<u64>) = spec
            .states()
            .into_iter()
            .map(|(id, _)| id)
            .partition(|id| self.list[tp].states[id].0);
        for id in held {
            if self.holders(id) == [tp] {
                let _ = self.call(tp, Owner::State(id), "postU");
                self.free(tp, id);
            }
        }
        // Variables that a failed `pre_patch` has attached.
        for id in never {
            if self.holders(id).is_empty() {
                self.free(tp, id);
            }
        }
    }

    pub(super) fn pay_post_patch(&mut self, index: usize) {
        for (id, _) in self.list[index].spec.states() {
            let (held, due) = self.list[index].states[&id];
            self.list[index].states.insert(id, (held, false));
            if due {
                let _ = self.call(index, Owner::State(id), "post");
            }
        }
    }

    /// Frees the variables that no other state has: in the last holder's way, otherwise in that of the newest holder that
    /// named them.
    pub(super) fn free(&mut self, last: usize, id: u64) {
        let number = self.list[last].number;
        let mut history = match self.history.get(&id) {
            Some(history) if history.iter().any(|&(one, _)| one == number) => {
                self.blocked.remove(&id);
                self.history.remove(&id).expect("found")
            }
            _ => return,
        };
        let place = history.iter().position(|&(one, _)| one == number).expect("found");
        let own = history.remove(place);
        history.push(own);
        let ways: BTreeMap<u64, usize> = history
            .iter()
            .flat_map(|(one, shadows)| shadows.iter().map(move |&shadow| (shadow, *one)))
            .collect();
        for (shadow, way) in ways {
            let names = |others: &Vec<(usize, Vec<u64>)>| others.iter().any(|(_, shadows)| shadows.contains(&shadow));
            let shared = self.history.values().any(names);
            let count = self.variables.get(&shadow).copied().unwrap_or(0);
            if shared || count == 0 {
                continue;
            }
            self.variables.remove(&shadow);
            self.words.push(Word::plain(format!("free(s{id} {shadow:#x}*{count})")));
            let dtor = Word::of(format!("#{way}"), format!("dtor({shadow:#x})"));
            self.calls.extend(std::iter::repeat_n(dtor, count));
        }
    }
}
