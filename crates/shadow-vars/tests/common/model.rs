//! The plain model of a store, and the comparison of a store with it.
//!
//! Proves, for one thread and any sequence of operations: every answer of the store is the map's answer, a value does not
//! move until it is freed, every constructor and destructor runs exactly when it should, and in the end every value has been
//! dropped once. [`check`] runs one sequence on one store; the meaning of each operation is in `interpret`.

use std::alloc::Layout;
use std::any::type_name;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use shadow_vars::{Reclaim, ShadowStore};

use super::configs::Config;
use super::interpret::Interpreter;
use super::op::Op;
use super::payload::{Counters, hush};

/// Runs the operations on a store of every configuration and backend.
pub fn check_everywhere(ops: &[Op]) {
    for config in Config::all() {
        check_backends(&config, ops);
    }
}

/// Runs the operations on a store of this configuration, once with every backend.
pub fn check_backends(config: &Config, ops: &[Op]) {
    check::<shadow_vars::Asymmetric>(config, ops);
    check::<shadow_vars::Epoch>(config, ops);
    check::<shadow_vars::Eras>(config, ops);
    #[cfg(feature = "seize")]
    check::<shadow_vars::Seize>(config, ops);
}

/// Runs the operations on one store and on the model; panics at the first difference, and says where it was.
pub fn check<R: Reclaim>(config: &Config, ops: &[Op]) {
    check_store(config.name, || config.build::<R>(), ops, Lie::None);
}

/// Like [`check`], with a given store and a model that may be wrong on purpose.
pub fn check_store<R: Reclaim>(name: &'static str, build: impl FnOnce() -> ShadowStore<R>, ops: &[Op], lie: Lie) {
    hush();
    let place = Place {
        store: name,
        backend: type_name::<R>(),
        step: Cell::new(None),
    };
    let counters = Counters::new(256 + ops.len() * 80);
    let store = build();
    let mut interpreter = Interpreter::new(&store, &counters, Model::new(lie));
    for (index, op) in ops.iter().enumerate() {
        place.step.set(Some((index, *op)));
        interpreter.apply(op);
    }
    place.step.set(None);
    interpreter.finish();
    drop(store);
    counters.assert_balanced();
}

/// The current position of the comparison, for the message when it fails.
struct Place {
    store: &'static str,
    backend: &'static str,
    step: Cell<Option<(usize, Op)>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            match self.step.get() {
                Some((index, op)) => eprintln!("in step {index}, {op:?}, on {} with {}", self.store, self.backend),
                None => eprintln!("at the end, on {} with {}", self.store, self.backend),
            }
        }
    }
}

/// The model's state of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    pub serial: u64,
    /// The address at which it was first seen, and must always be.
    pub at: Option<*const ()>,
    /// Whether the register of payloads counts it.
    pub counted: bool,
    /// How often it was changed.
    pub hits: u64,
    /// Raw memory, with this layout.
    pub layout: Option<Layout>,
}

impl Value {
    pub fn new(serial: u64, counted: bool) -> Self {
        Value {
            serial,
            at: None,
            counted,
            hits: 0,
            layout: None,
        }
    }
}

/// What is known of an id's type. If every creation of an id failed, it may or may not have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    Untried,
    Tried,
    Bound,
}

/// A way for the model to be wrong, to show that a wrong answer is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    None,
    KeepsFreed,
    ForgetsCreated,
    ChangesValues,
    ExpectsLeak,
}

/// The map to which the store is compared.
pub struct Model {
    map: BTreeMap<(usize, u64), Value>,
    bindings: BTreeMap<u64, Binding>,
    pub created: u64,
    pub freed: u64,
    pub failed: u64,
    /// The existing fillers: from the first number up to the second.
    pub fillers: (usize, usize),
    lie: Lie,
}

impl Model {
    pub fn new(lie: Lie) -> Self {
        Model {
            map: BTreeMap::new(),
            bindings: BTreeMap::new(),
            created: 0,
            freed: 0,
            failed: 0,
            fillers: (0, 0),
            lie,
        }
    }

    pub fn get(&self, obj: usize, id: u64) -> Option<Value> {
        self.map.get(&(obj, id)).copied()
    }

    pub fn get_mut(&mut self, obj: usize, id: u64) -> Option<&mut Value> {
        self.map.get_mut(&(obj, id))
    }

    pub fn insert(&mut self, obj: usize, id: u64, mut value: Value) {
        self.bindings.insert(id, Binding::Bound);
        self.created += 1;
        match self.lie {
            Lie::ForgetsCreated => return,
            Lie::ChangesValues => value.serial ^= 1,
            _ => {}
        }
        let before = self.map.insert((obj, id), value);
        assert!(before.is_none(), "the kit creates what exists");
    }

    pub fn remove(&mut self, obj: usize, id: u64) -> Option<Value> {
        if self.lie == Lie::KeepsFreed {
            return self.get(obj, id);
        }
        let value = self.map.remove(&(obj, id))?;
        self.freed += 1;
        Some(value)
    }

    /// Removes all that match, and returns them.
    pub fn remove_all(&mut self, matches: impl Fn(usize, u64) -> bool) -> BTreeMap<(usize, u64), Value> {
        let keys: Vec<_> = self.map.keys().copied().filter(|&(obj, id)| matches(obj, id)).collect();
        keys.into_iter()
            .filter_map(|(obj, id)| self.remove(obj, id).map(|value| ((obj, id), value)))
            .collect()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn len_of(&self, id: u64) -> usize {
        self.map.keys().filter(|key| key.1 == id).count()
    }

    /// Sorted.
    pub fn ids_of(&self, obj: usize) -> Vec<u64> {
        self.map
            .range((obj, 0)..=(obj, u64::MAX))
            .map(|(key, _)| key.1)
            .collect()
    }

    pub fn keys(&self) -> BTreeSet<(usize, u64)> {
        self.map.keys().copied().collect()
    }

    /// Returns what was seen of each variable, as an iteration should report it.
    pub fn serials(&self) -> BTreeMap<(usize, u64), u64> {
        self.map.iter().map(|(&key, value)| (key, value.serial)).collect()
    }

    /// Returns the counted values that exist, sorted.
    pub fn counted(&self) -> Vec<u64> {
        let mut serials: Vec<_> = self
            .map
            .values()
            .filter(|value| value.counted)
            .map(|value| value.serial)
            .collect();
        if self.lie == Lie::ExpectsLeak {
            serials.push(u64::MAX);
        }
        serials.sort_unstable();
        serials
    }

    pub fn binding(&self, id: u64) -> Binding {
        self.bindings.get(&id).copied().unwrap_or(Binding::Untried)
    }

    /// Records that a creation under this id was attempted.
    pub fn tried(&mut self, id: u64) {
        self.bindings.entry(id).or_insert(Binding::Tried);
    }
}
