//! Patch points, by name and by place, and the functions that patches have given to each.
//!
//! Behind a lock of its own, which a status does not need: who changes a patch of many functions holds it for as long as
//! that takes. What is done is proportional to the functions of the patches that change, whatever else is enabled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::ResolveError;
use crate::patch::{Function, PROGRAM, Target};
use crate::point::{Address, RawPoint};
use crate::task::Side;

/// Where functions of a patch go.
pub(super) type Applied = Arc<[(&'static RawPoint, Address)]>;

/// All of it.
#[derive(Default)]
pub(super) struct Points {
    program: Named,
    modules: BTreeMap<String, Named>,
    /// How many modules have a point.
    of_modules: BTreeMap<usize, usize>,
    /// Of each point that a patch gave a function: which, by the patch's number.
    given: BTreeMap<usize, BTreeMap<u64, Address>>,
    /// Functions that were looked for, set, or copied.
    #[cfg(test)]
    pub(super) work: std::cell::Cell<usize>,
}

/// The points of one object.
#[derive(Default)]
struct Named {
    /// The first of each name.
    by_name: BTreeMap<&'static str, &'static RawPoint>,
    known: BTreeSet<usize>,
}

/// Which patches count, by number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sees {
    All,
    /// All but the patch in transition.
    Without(u64),
    /// The patch in transition, which replaces those before it, and later ones.
    From(u64),
}

fn place(point: &'static RawPoint) -> usize {
    std::ptr::from_ref(point).addr()
}

impl Named {
    fn add(&mut self, point: &'static RawPoint) -> bool {
        let new = self.known.insert(place(point));
        if new {
            self.by_name.entry(point.name()).or_insert(point);
        }
        new
    }
}

impl Points {
    pub(super) const fn new() -> Self {
        Self {
            program: Named {
                by_name: BTreeMap::new(),
                known: BTreeSet::new(),
            },
            modules: BTreeMap::new(),
            of_modules: BTreeMap::new(),
            given: BTreeMap::new(),
            #[cfg(test)]
            work: std::cell::Cell::new(0),
        }
    }

    fn worked(&self) {
        #[cfg(test)]
        self.work.set(self.work.get() + 1);
    }

    /// The program has these points.
    pub(super) fn announce(&mut self, points: Vec<&'static RawPoint>) {
        for point in points {
            self.worked();
            self.program.add(point);
        }
    }

    /// A module with these points comes.
    pub(super) fn come(&mut self, module: &str, points: Vec<&'static RawPoint>) {
        let mut named = Named::default();
        for point in points {
            self.worked();
            if named.add(point) {
                *self.of_modules.entry(place(point)).or_default() += 1;
            }
        }
        self.modules.insert(module.to_owned(), named);
    }

    /// A module goes, and its points with it.
    pub(super) fn go(&mut self, module: &str) {
        let Some(named) = self.modules.remove(module) else {
            return;
        };
        for point in named.known {
            self.worked();
            if let Some(modules) = self.of_modules.get_mut(&point) {
                *modules -= 1;
                if *modules == 0 {
                    self.of_modules.remove(&point);
                }
            }
        }
    }

    /// The points of an object's functions, and what they should call.
    pub(super) fn resolve(&self, object: &str, functions: &[Function]) -> Result<Applied, ResolveError> {
        functions
            .iter()
            .map(|function| Ok((self.find(object, function)?, function.new)))
            .collect()
    }

    fn find(&self, object: &str, function: &Function) -> Result<&'static RawPoint, ResolveError> {
        self.worked();
        let unknown = || ResolveError::UnknownPoint {
            object: object.to_owned(),
            function: function.name().to_owned(),
        };
        let module = (object != PROGRAM).then(|| self.modules.get(object)).flatten();
        match &function.target {
            Target::Point(point) => {
                // The program's points need not be announced; but what a module announced is not the program's.
                let known = match module {
                    Some(module) => module.known.contains(&place(point)),
                    None => !self.of_modules.contains_key(&place(point)),
                };
                if known { Ok(point) } else { Err(unknown()) }
            }
            Target::Named { name, signature } => {
                let names = &module.unwrap_or(&self.program).by_name;
                let point = names.get(name.as_str()).copied().ok_or_else(unknown)?;
                if point.signature() != *signature {
                    return Err(ResolveError::Signature {
                        object: object.to_owned(),
                        function: name.clone(),
                        found: point.signature().name.to_owned(),
                        replacement: signature.name.to_owned(),
                    });
                }
                Ok(point)
            }
        }
    }

    /// The patch of this number gives points functions. Nobody calls them before they are [published](Self::publish).
    pub(super) fn give(&mut self, number: u64, applied: &Applied) {
        for (point, function) in applied.iter() {
            self.worked();
            self.given
                .entry(place(point))
                .or_default()
                .entry(number)
                .or_insert(*function);
        }
    }

    /// The patch of this number gives them none any more.
    pub(super) fn take_back(&mut self, number: u64, applied: &Applied) {
        for (point, _) in applied.iter() {
            self.worked();
            if let Some(given) = self.given.get_mut(&place(point)) {
                given.remove(&number);
                if given.is_empty() {
                    self.given.remove(&place(point));
                }
            }
        }
    }

    /// Gives points the functions that patches say: `target` those after the transition, the other side those before it (T2:
    /// nobody reads the one, and the other has them already); both the same if none runs (T1).
    pub(super) fn publish(&self, applied: &Applied, (after, before): (Sees, Sees), target: Side) {
        for (point, _) in applied.iter() {
            self.worked();
            point.set(target, self.function_of(point, after));
            point.set(target.other(), self.function_of(point, before));
        }
    }

    /// Gives `to` what the other side has (T1).
    pub(super) fn even(&self, applied: &Applied, to: Side) {
        for (point, _) in applied.iter() {
            self.worked();
            point.copy(to.other(), to);
        }
    }

    /// The function of the newest patch that counts and replaces this one; else the original.
    fn function_of(&self, point: &'static RawPoint, sees: Sees) -> Address {
        let given = self.given.get(&place(point));
        let newest = given.and_then(|given| match sees {
            Sees::All => given.last_key_value(),
            Sees::Without(number) => given.iter().rev().find(|(one, _)| **one != number),
            Sees::From(number) => given.range(number..).next_back(),
        });
        newest.map_or(point.original(), |(_, function)| *function)
    }
}
