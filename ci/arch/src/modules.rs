//! The modules of one crate, and which of them uses which: the paths and calls in the facts of its files are resolved here.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::facts::{Facts, MethodOwner, Path, PathKind, Receiver};

/// A module's path from the root of its crate: `["lib", "table", "find"]`.
type Module = Vec<String>;

/// A type of the crate: its module, and its name.
type Type = (Module, String);

/// How many imports are followed to resolve a name.
const MAX_HOPS: usize = 12;

/// A file of a crate.
pub(crate) struct File {
    /// Its path in the repository.
    pub(crate) path: String,
    /// Its name in the list: `table/find`, and `table` for `table/mod.rs`.
    pub(crate) label: String,
    /// Whether it is compiled for tests only.
    pub(crate) test: bool,
    module: Module,
    facts: Rc<Facts>,
}

/// One use of a module or crate.
#[derive(Clone)]
pub(crate) struct Use {
    pub(crate) from: usize,
    pub(crate) line: usize,
    pub(crate) what: String,
    /// Whether it is in unit tests.
    pub(crate) test: bool,
}

/// A glob import.
pub(crate) struct Glob {
    pub(crate) at: Use,
    pub(crate) path: String,
    /// Whether it imports from another crate.
    pub(crate) foreign: bool,
}

/// A crate: its files, and what they use.
#[derive(Default)]
pub(crate) struct Crate {
    /// The name by which other crates import it.
    pub(crate) name: String,
    /// The names of the crates that it may import.
    pub(crate) dependencies: BTreeSet<String>,
    pub(crate) files: Vec<File>,
    /// Uses between files: (from, to).
    pub(crate) own: BTreeMap<(usize, usize), Vec<Use>>,
    /// Uses of other crates, as paths that begin with the name of the crate.
    pub(crate) foreign: Vec<(Use, String)>,
    pub(crate) globs: Vec<Glob>,
    /// For each module, the scope that defines its names: (file, scope).
    modules: BTreeMap<Module, (usize, usize)>,
}

enum Found {
    /// A module of this crate, and the rest of the path, which is not resolved.
    Own(Module, Vec<String>),
    Foreign(Vec<String>),
}

impl Crate {
    /// Reads the sources in `folder`/src, except for the tests in src/tests, which may use everything.
    pub(crate) fn new(
        folder: &str,
        name: &str,
        dependencies: BTreeSet<String>,
        sources: Vec<(String, Rc<Facts>)>,
    ) -> Self {
        let is = |label: &str| {
            sources
                .iter()
                .any(|(path, _)| path == &format!("{folder}/src/{label}.rs"))
        };
        let root = if is("lib") { "lib" } else { "main" };
        let mut this = Self {
            name: name.to_owned(),
            dependencies,
            ..Self::default()
        };
        for (path, facts) in sources {
            let label = path[folder.len()..].trim_start_matches("/src/").trim_end_matches(".rs");
            let label = label.trim_end_matches("/mod").to_owned();
            if label == "tests" || label.starts_with("tests/") {
                continue;
            }
            let module = match label.as_str() {
                "lib" | "main" => vec![label.clone()],
                label if label.starts_with("bin/") => vec![label.to_owned()],
                label => [root].into_iter().chain(label.split('/')).map(str::to_owned).collect(),
            };
            this.files.push(File {
                path,
                label,
                test: false,
                module,
                facts,
            });
        }
        let mut tests = BTreeSet::new();
        for (at, file) in this.files.iter().enumerate() {
            for (scope, of) in file.facts.scopes.iter().enumerate() {
                let module = below(&file.module, &of.inside);
                tests.extend(
                    of.children
                        .iter()
                        .filter(|child| child.test)
                        .map(|child| below(&module, [&child.name])),
                );
                this.modules.insert(module, (at, scope));
            }
        }
        for file in &mut this.files {
            file.test = (1..=file.module.len()).any(|length| tests.contains(&file.module[..length]));
        }
        this.find_uses();
        this
    }

    /// Returns the file whose unit tests are in `file`, or `file` itself if it is not a file of unit tests only.
    pub(crate) fn owner(&self, file: usize) -> usize {
        let mut module = &*self.files[file].module;
        while let [around @ .., _] = module {
            match self.modules.get(module) {
                Some(&(at, _)) if !self.files[at].test => return at,
                _ => module = around,
            }
        }
        file
    }

    fn find_uses(&mut self) {
        let methods = Methods::new(self);
        let (mut own, mut foreign, mut globs) = (Vec::new(), Vec::new(), Vec::new());
        for (from, file) in self.files.iter().enumerate() {
            for name in &file.facts.names {
                let here = below(&file.module, &file.facts.scopes[name.scope].inside);
                let written = name.path.segments.join("::");
                let at = Use {
                    from,
                    line: name.line,
                    what: written,
                    test: name.test || file.test,
                };
                for found in self.resolve(&here, &name.path, MAX_HOPS, name.kind != PathKind::Code) {
                    match found {
                        Found::Own(module, rest) => {
                            let (to, _) = self.modules[&module];
                            // A re-export of an inner module does not count as a use of it.
                            let is_reexport =
                                name.kind == PathKind::Export && is_below(&self.files[to].module, &file.module);
                            if to == from || is_reexport {
                                continue;
                            }
                            own.push((to, at.clone()));
                            if rest == ["*"] && !at.test {
                                let path = self.files[to].label.clone();
                                globs.push(Glob {
                                    at: at.clone(),
                                    path,
                                    foreign: false,
                                });
                            }
                            if let [of_type, method, ..] = &*rest {
                                let of_type = (module, of_type.clone());
                                own.extend(methods.files_with(&of_type, method).map(|home| (home, at.clone())));
                            }
                        }
                        Found::Foreign(path) => {
                            let path = path.join("::");
                            if let Some(path) = path.strip_suffix("::*") {
                                globs.push(Glob {
                                    at: at.clone(),
                                    path: path.to_owned(),
                                    foreign: true,
                                });
                            }
                            foreign.push((at.clone(), path));
                        }
                    }
                }
            }
            for call in &file.facts.calls {
                let here = below(&file.module, &file.facts.scopes[call.scope].inside);
                let test = call.test || file.test;
                let at = Use {
                    from,
                    line: call.line,
                    what: format!("{}()", call.name),
                    test,
                };
                let homes = match &call.receiver {
                    Receiver::SelfType(path) => {
                        let of_type = self.type_of(&here, path);
                        let known = of_type.filter(|of_type| methods.files_with(of_type, &call.name).next().is_some());
                        known.map_or_else(
                            || methods.files_by_name(None, &call.name),
                            |of_type| methods.files_with(&of_type, &call.name).collect(),
                        )
                    }
                    Receiver::Named(on) => methods.files_by_name(Some(on), &call.name),
                    Receiver::Other => methods.files_by_name(None, &call.name),
                };
                own.extend(homes.into_iter().map(|home| (home, at.clone())));
            }
        }
        for (to, at) in own {
            if to != at.from {
                self.own.entry((at.from, to)).or_default().push(at);
            }
        }
        (self.foreign, self.globs) = (foreign, globs);
    }

    fn resolve(&self, here: &[String], path: &Path, hops: usize, import: bool) -> Vec<Found> {
        let Some((first, mut rest)) = path.segments.split_first().filter(|_| hops > 0) else {
            return Vec::new();
        };
        if path.absolute {
            return self.resolve_foreign(&path.segments).unwrap_or_default();
        }
        let root = &here[..1];
        match first.as_str() {
            "crate" => self.walk(root, rest, hops),
            "self" => self.walk(here, rest, hops),
            "super" => {
                let mut around = &here[..here.len().saturating_sub(1).max(1)];
                while let Some((_, below)) = rest.split_first().filter(|(first, _)| *first == "super") {
                    (around, rest) = (&around[..around.len().saturating_sub(1).max(1)], below);
                }
                self.walk(around, rest, hops)
            }
            _ => {
                let here = self.lookup(here, first, rest, hops);
                // An import of an unknown name: a crate that the manifest does not declare.
                here.or_else(|| self.resolve_foreign(&path.segments))
                    .or_else(|| import.then(|| vec![Found::Foreign(path.segments.clone())]))
                    .unwrap_or_default()
            }
        }
    }

    /// Resolves a path that begins with the name of a crate; returns `None` if it does not.
    fn resolve_foreign(&self, path: &[String]) -> Option<Vec<Found>> {
        let (first, rest) = path.split_first()?;
        let std = ["std", "core", "proc_macro"].contains(&first.as_str());
        if *first == self.name {
            let root = ["lib".to_owned()];
            return self
                .modules
                .contains_key(&root[..])
                .then(|| self.walk(&root, rest, MAX_HOPS));
        }
        let first = if first == "core" { "std" } else { first };
        (std || self.dependencies.contains(first)).then(|| {
            let path = [first].into_iter().chain(rest.iter().map(String::as_str));
            vec![Found::Foreign(path.map(str::to_owned).collect())]
        })
    }

    /// Resolves `rest` from a module.
    fn walk(&self, module: &[String], rest: &[String], hops: usize) -> Vec<Found> {
        let stop = || vec![Found::Own(module.to_vec(), rest.to_vec())];
        let Some((next, tail)) = rest.split_first() else {
            return stop();
        };
        let Some(found) = self.lookup(module, next, tail, hops) else {
            return stop();
        };
        let own: Vec<_> = found
            .into_iter()
            .filter(|found| matches!(found, Found::Own(..)))
            .collect();
        // An item of another crate counts as one of the module that re-exports it.
        if own.is_empty() { stop() } else { own }
    }

    /// Resolves a name that a module defines, declares or imports, with the rest of the path; returns `None` if it has no such
    /// name.
    fn lookup(&self, module: &[String], name: &str, rest: &[String], hops: usize) -> Option<Vec<Found>> {
        let &(file, scope) = self.modules.get(module).filter(|_| hops > 0)?;
        let scope = &self.files[file].facts.scopes[scope];
        let child = below(module, [name]);
        if self.modules.contains_key(&child) {
            return Some(self.walk(&child, rest, hops - 1));
        }
        // A module whose file is not in src counts as an item of the module that declares it.
        if scope.items.contains(name) || scope.children.iter().any(|child| child.name == name) {
            let rest = [name].into_iter().chain(rest.iter().map(String::as_str));
            return Some(vec![Found::Own(module.to_vec(), rest.map(str::to_owned).collect())]);
        }
        let with = |path: &Path, rest: &[String]| Path {
            absolute: path.absolute,
            segments: path.segments.iter().chain(rest).cloned().collect(),
        };
        let aliases = scope.aliases.iter().filter(|alias| alias.name == name);
        let mut found: Vec<Found> = aliases
            .flat_map(
                |alias| match (&alias.path, self.resolve_foreign(&with(&alias.path, rest).segments)) {
                    // `use a::a`, `use a`: the name must not resolve to itself.
                    (path, Some(found)) if path.segments[0] == name => found,
                    (path, None) if path.segments[0] == name => Vec::new(),
                    (path, _) => self.resolve(module, &with(path, rest), hops - 1, true),
                },
            )
            .collect();
        if found.is_empty() && scope.aliases.iter().all(|alias| alias.name != name) {
            for glob in &scope.globs {
                for of in self.resolve(module, glob, hops - 1, true) {
                    if let Found::Own(of, inner) = of
                        && inner.is_empty()
                        && of != module
                    {
                        found.extend(self.lookup(&of, name, rest, hops - 1).into_iter().flatten());
                    }
                }
            }
        }
        (!found.is_empty()).then_some(found)
    }

    /// Returns those paths and methods in `facts` that do not exist, if the code stands in the file at `path`; if the crate has
    /// no such file, in its root. What is in other crates, and methods called on anything but `self`, counts as existing.
    pub(crate) fn unknown_names(&self, path: &str, facts: &Facts) -> Vec<String> {
        let file = self
            .files
            .iter()
            .find(|file| file.path == path)
            .unwrap_or(&self.files[0]);
        let module = if file.path == path {
            &file.module[..]
        } else {
            &file.module[..1]
        };
        let here = |scope: usize| below(module, &facts.scopes[scope].inside);
        let in_macro = |module: &Module, name: &String| {
            let scope = self.modules.get(module);
            scope.is_some_and(|&(file, scope)| self.files[file].facts.scopes[scope].in_macros.contains(name))
        };
        let exists = |found: &Found| match found {
            Found::Own(module, rest) => rest.first().is_none_or(|name| {
                name == "*" || self.lookup(module, name, &[], MAX_HOPS).is_some() || in_macro(module, name)
            }),
            Found::Foreign(path) => self.resolve_foreign(path).is_some(),
        };
        let paths = facts.names.iter().filter(|name| {
            let found = self.resolve(&here(name.scope), &name.path, MAX_HOPS, name.kind != PathKind::Code);
            found.is_empty() || !found.iter().all(exists)
        });
        let methods = Methods::new(self);
        let calls = facts.calls.iter().filter(|call| match &call.receiver {
            Receiver::SelfType(path) => {
                let owner = self.type_of(&here(call.scope), path);
                let owners = methods.owners.get(&call.name);
                owner.is_none_or(|owner| owners.is_none_or(|owners| !owners.contains(&owner)))
            }
            Receiver::Named(_) | Receiver::Other => false,
        });
        let paths = paths.map(|name| name.path.segments.join("::"));
        paths.chain(calls.map(|call| format!("{}()", call.name))).collect()
    }

    /// Returns the type of the crate that a path leads to, if it leads to one.
    fn type_of(&self, here: &[String], path: &Path) -> Option<Type> {
        self.resolve(here, path, MAX_HOPS, false)
            .into_iter()
            .find_map(|found| match found {
                Found::Own(module, rest) => Some((module, rest.into_iter().next()?)),
                Found::Foreign(_) => None,
            })
    }
}

/// The inherent methods of types that have them in several files: a call is a use of the file that defines the method.
struct Methods {
    homes: BTreeMap<Type, BTreeMap<String, BTreeSet<usize>>>,
    /// The known types and traits that have a method of a name.
    owners: BTreeMap<String, BTreeSet<Type>>,
}

impl Methods {
    fn new(krate: &Crate) -> Self {
        let mut this = Self {
            homes: BTreeMap::new(),
            owners: BTreeMap::new(),
        };
        for (at, file) in krate.files.iter().enumerate() {
            for method in &file.facts.methods {
                let here = below(&file.module, &file.facts.scopes[method.scope].inside);
                let owner = match &method.owner {
                    MethodOwner::Type { path, .. } => krate.type_of(&here, path),
                    MethodOwner::Trait => None,
                };
                let inherent = matches!(method.owner, MethodOwner::Type { inherent: true, .. });
                let test = method.test || file.test;
                if let (Some(owner), true, false) = (&owner, inherent, test) {
                    let homes = this.homes.entry(owner.clone()).or_default();
                    homes.entry(method.name.clone()).or_default().insert(at);
                }
                let unknown = || (here.clone(), format!("a trait, or a foreign type, of {}", file.path));
                this.owners
                    .entry(method.name.clone())
                    .or_default()
                    .insert(owner.unwrap_or_else(unknown));
            }
        }
        this.homes
            .retain(|_, methods| methods.values().flatten().collect::<BTreeSet<_>>().len() > 1);
        this
    }

    /// Returns the files that define a method of a type.
    fn files_with(&self, of: &Type, method: &str) -> impl Iterator<Item = usize> {
        self.homes
            .get(of)
            .and_then(|methods| methods.get(method))
            .into_iter()
            .flatten()
            .copied()
    }

    /// Returns the files that define the method for a receiver whose type is not known. A variable is taken to be of the type it
    /// is named like (`core` is a `Core`); otherwise the method's name decides if only one type has it.
    fn files_by_name(&self, on: Option<&str>, method: &str) -> Vec<usize> {
        // Methods of types of std have these names, too.
        const AMBIGUOUS: [&str; 10] = [
            "all", "contains", "find", "finish", "for_each", "insert", "last", "len", "push", "remove",
        ];
        let types = self.homes.keys().filter(|of| {
            let named = on.is_some_and(|on| snake(&of.1) == on);
            let others = self
                .owners
                .get(method)
                .into_iter()
                .flatten()
                .filter(|owner| owner != of);
            if named {
                others.clone().all(|other| other.1 != of.1)
            } else {
                !AMBIGUOUS.contains(&method) && others.count() == 0
            }
        });
        types.flat_map(|of| self.files_with(of, method)).collect()
    }
}

/// Returns a type's name as a variable would be named: `retire_lists` for `RetireLists`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

fn below<'a, S: AsRef<str> + 'a + ?Sized>(module: &[String], inside: impl IntoIterator<Item = &'a S>) -> Module {
    module
        .iter()
        .cloned()
        .chain(inside.into_iter().map(|name| name.as_ref().to_owned()))
        .collect()
}

fn is_below(module: &[String], around: &[String]) -> bool {
    module.len() > around.len() && module.starts_with(around)
}
