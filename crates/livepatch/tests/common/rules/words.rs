//! The words of callbacks, and small queries.

use super::super::notation::Word;
use super::super::op::{Manner, Object, Spec};
use super::super::pool::name;
use super::{Answer, Entry, Owner, Rules};

impl Rules {
    pub(super) fn call(&mut self, index: usize, owner: Owner, kind: &str) -> Answer {
        let spec = self.list[index].spec;
        let (number, of, is_there) = match owner {
            Owner::State(id) => {
                let place = spec
                    .states()
                    .iter()
                    .position(|&(one, _)| one == id)
                    .expect("the patch has it");
                let told = spec.states()[place].1.kind.is_told();
                (place, format!("s{id}"), told)
            }
            Owner::Object(object) => {
                let place = self.place(index, object).expect("the patch has it");
                let kind = ["pre", "post", "preU", "postU"]
                    .iter()
                    .position(|&one| one == kind)
                    .expect("a kind");
                (
                    spec.states().len() + place,
                    object.short().to_owned(),
                    spec.callbacks[kind],
                )
            }
        };
        if !is_there {
            return Ok(());
        }
        let module = match owner {
            Owner::Object(object) => self.modules.iter().find(|(one, _)| *one == object),
            Owner::State(_) => None,
        };
        let module = module.map_or(String::new(), |(_, state)| format!(" {state}"));
        let mut word = Word::of(name(spec.name), format!("{kind}({of}{module})"));
        self.words.push(word.clone());
        for id in 1..=3 {
            if let Some(earlier) = self.prev_state(id) {
                word.text += &format!("[{id}<{}]", name(earlier));
            }
        }
        self.calls.push(word);
        let fails = match (kind, spec.manner) {
            ("pre", Manner::Refuses(which)) if spec.is_meant(which, number) => Some("Error"),
            ("pre", Manner::Panics(which)) if spec.is_meant(which, number) => Some("Panic"),
            ("post" | "preU" | "postU", Manner::Trembles) => Some("Panic"),
            _ => None,
        };
        match fails {
            None => Ok(()),
            Some(how) => {
                self.say(&spec, format!("failed({kind} {of})"));
                Err(format!("{how}({kind} {of})"))
            }
        }
    }

    /// Returns the last patch with this state, up to the one in transition.
    pub(super) fn prev_state(&self, id: u64) -> Option<u8> {
        let (number, _) = self.transition?;
        let before = self.list.iter().take_while(|entry| entry.number != number);
        let has = |entry: &&Entry| entry.spec.states[id as usize - 1].is_some();
        before.filter(has).last().map(|entry| entry.spec.name)
    }

    pub(super) fn say(&mut self, spec: &Spec, text: impl Into<String>) {
        self.words.push(Word::of(name(spec.name), text));
    }

    pub(super) fn find(&self, patch: u8) -> Result<usize, String> {
        let found = self.list.iter().position(|entry| entry.spec.name == patch);
        found.ok_or("Unknown".to_owned())
    }

    pub(super) fn tp(&self) -> usize {
        let (number, _) = self.transition.expect("a transition runs");
        let found = self.list.iter().position(|entry| entry.number == number);
        found.expect("it is in the list")
    }

    pub(super) fn is_tp(&self, index: usize) -> bool {
        self.transition
            .is_some_and(|(number, _)| self.list[index].number == number)
    }

    pub(super) fn place(&self, index: usize, object: Object) -> Option<usize> {
        self.list[index].spec.objects().iter().position(|&one| one == object)
    }

    pub(super) fn holders(&self, id: u64) -> Vec<usize> {
        let holds = |index: &usize| self.list[*index].states.get(&id).is_some_and(|&(held, _)| held);
        (0..self.list.len()).filter(holds).collect()
    }

    /// Returns the states that a replacing patch lacks, each with its newest holder, newest first.
    pub(super) fn dropped_by(&self, new: usize) -> Vec<(usize, u64)> {
        let mut dropped: Vec<(usize, u64)> = Vec::new();
        for index in (0..new).rev() {
            for (id, _) in self.list[index].spec.states() {
                let has = self.list[new].spec.states[id as usize - 1].is_some();
                if !has && dropped.iter().all(|&(_, one)| one != id) {
                    dropped.push((index, id));
                }
            }
        }
        dropped
    }
}
