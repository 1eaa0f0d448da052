//! Patch points, by name and by address, and the functions that patches have given to each.
//!
//! They have a lock of their own, which a status does not need: a change of a patch with many functions holds it for as
//! long as it takes. The work is proportional to the functions of the patches that change, whatever else is enabled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::ResolveError;
use crate::patch::{Function, PROGRAM, Target};
use crate::point::{Address, RawPoint};
use crate::task::Side;

/// The points that a patch changes in one object, each with its function.
pub(super) type Applied = Arc<[(&'static RawPoint, Address)]>;

/// All points, and the functions that patches have given them.
#[derive(Default)]
pub(super) struct Points {
    program: ObjectPoints,
    modules: BTreeMap<String, ObjectPoints>,
    /// How many modules have each point.
    module_points: BTreeMap<usize, usize>,
    /// The functions that patches gave to each point, by the patch's number.
    functions: BTreeMap<usize, BTreeMap<u64, Address>>,
}

/// Counts a function that is looked up, set, or copied: for tests.
fn count_step() {
    #[cfg(all(test, not(shadow_loom)))]
    super::tests::count_step();
}

/// The points of one object.
#[derive(Default)]
struct ObjectPoints {
    /// The first point of each name.
    by_name: BTreeMap<&'static str, &'static RawPoint>,
    keys: BTreeSet<usize>,
}

/// Which patches are visible, by number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Visible {
    All,
    /// All but the patch in transition.
    Without(u64),
    /// The patch in transition, which replaces all earlier ones, and later patches.
    From(u64),
}

fn key(point: &'static RawPoint) -> usize {
    std::ptr::from_ref(point).addr()
}

impl ObjectPoints {
    fn add(&mut self, point: &'static RawPoint) -> bool {
        let new = self.keys.insert(key(point));
        if new {
            self.by_name.entry(point.name()).or_insert(point);
        }
        new
    }
}

impl Points {
    pub(super) const fn new() -> Self {
        Self {
            program: ObjectPoints {
                by_name: BTreeMap::new(),
                keys: BTreeSet::new(),
            },
            modules: BTreeMap::new(),
            module_points: BTreeMap::new(),
            functions: BTreeMap::new(),
        }
    }

    /// Registers points of the program.
    pub(super) fn announce(&mut self, points: Vec<&'static RawPoint>) {
        for point in points {
            count_step();
            self.program.add(point);
        }
    }

    /// Adds a module that is being loaded, with its points.
    pub(super) fn add_module(&mut self, module: &str, points: Vec<&'static RawPoint>) {
        let mut named = ObjectPoints::default();
        for point in points {
            count_step();
            if named.add(point) {
                *self.module_points.entry(key(point)).or_default() += 1;
            }
        }
        self.modules.insert(module.to_owned(), named);
    }

    /// Removes a module that is being unloaded, and its points.
    pub(super) fn remove_module(&mut self, module: &str) {
        let Some(named) = self.modules.remove(module) else {
            return;
        };
        for point in named.keys {
            count_step();
            if let Some(modules) = self.module_points.get_mut(&point) {
                *modules -= 1;
                if *modules == 0 {
                    self.module_points.remove(&point);
                }
            }
        }
    }

    /// Resolves the points of an object's functions, each with its replacement.
    pub(super) fn resolve(&self, object: &str, functions: &[Function]) -> Result<Applied, ResolveError> {
        functions
            .iter()
            .map(|function| Ok((self.find(object, function)?, function.new)))
            .collect()
    }

    fn find(&self, object: &str, function: &Function) -> Result<&'static RawPoint, ResolveError> {
        count_step();
        let unknown = || ResolveError::UnknownPoint {
            object: object.to_owned(),
            function: function.name().to_owned(),
        };
        let module = (object != PROGRAM).then(|| self.modules.get(object)).flatten();
        match &function.target {
            Target::Point(point) => {
                // The program's points need not be announced; but points that a module announced are not the program's.
                let known = match module {
                    Some(module) => module.keys.contains(&key(point)),
                    None => !self.module_points.contains_key(&key(point)),
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

    /// Adds a patch's functions to points. They are not called before they are [published](Self::publish).
    pub(super) fn add_functions(&mut self, number: u64, applied: &Applied) {
        for (point, function) in applied.iter() {
            count_step();
            self.functions
                .entry(key(point))
                .or_default()
                .entry(number)
                .or_insert(*function);
        }
    }

    /// Removes a patch's functions from points.
    pub(super) fn remove_functions(&mut self, number: u64, applied: &Applied) {
        for (point, _) in applied.iter() {
            count_step();
            if let Some(given) = self.functions.get_mut(&key(point)) {
                given.remove(&number);
                if given.is_empty() {
                    self.functions.remove(&key(point));
                }
            }
        }
    }

    /// Sets the functions of points: those after the transition on the side `target`, those before it on the other.
    ///
    /// # Safety
    ///
    /// No unit is on the side `target` nor can begin there, and the other already has its functions (T2); or nothing calls
    /// these points now, and both views are of the same patches or a transition runs (T1).
    pub(super) unsafe fn publish(&self, applied: &Applied, (after, before): (Visible, Visible), target: Side) {
        for (point, _) in applied.iter() {
            count_step();
            // SAFETY: the original or a function that was resolved for this point, whose type was compared (`find`) or is
            // that of the point's own type (`ObjectPatch::function`). The caller guarantees T2.
            unsafe {
                point.set(target, self.function_of(point, after));
                point.set(target.other(), self.function_of(point, before));
            }
        }
    }

    /// Copies the functions of the other side to `to` (T1).
    pub(super) fn equalise(&self, applied: &Applied, to: Side) {
        for (point, _) in applied.iter() {
            count_step();
            point.copy(to.other(), to);
        }
    }

    /// Returns the function of the newest visible patch that replaces this one, or the original.
    fn function_of(&self, point: &'static RawPoint, visible: Visible) -> Address {
        let given = self.functions.get(&key(point));
        let newest = given.and_then(|given| match visible {
            Visible::All => given.last_key_value(),
            Visible::Without(number) => given.iter().rev().find(|(one, _)| **one != number),
            Visible::From(number) => given.range(number..).next_back(),
        });
        newest.map_or(point.original(), |(_, function)| *function)
    }
}
