//! The modules of one crate, and which of them use which: what files name is resolved here.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::facts::{Facts, How, Of, Path, Receiver};

/// From a crate's root: `["lib", "table", "find"]`.
type Module = Vec<String>;

/// A type of the crate: its module, and its name there.
type Type = (Module, String);

/// Imports of imports are followed so far.
const HOPS: usize = 12;

/// A file of a crate.
pub(crate) struct File {
    /// In the repository.
    pub(crate) path: String,
    /// As the list names it: `table/find`, and `table` for `table/mod.rs`.
    pub(crate) label: String,
    /// Compiled for tests only.
    pub(crate) test: bool,
    module: Module,
    facts: Rc<Facts>,
}

/// A use of something, as it is written.
#[derive(Clone)]
pub(crate) struct Use {
    pub(crate) from: usize,
    pub(crate) line: usize,
    pub(crate) what: String,
    /// In unit tests.
    pub(crate) test: bool,
}

/// All names of a module.
pub(crate) struct Glob {
    pub(crate) of: Use,
    pub(crate) path: String,
    /// Of another crate.
    pub(crate) foreign: bool,
}

/// A crate: its files, and what they use.
#[derive(Default)]
pub(crate) struct Crate {
    /// The name by which others import it.
    pub(crate) name: String,
    /// Names of crates that it may import.
    pub(crate) dependencies: BTreeSet<String>,
    pub(crate) files: Vec<File>,
    /// Between files: (from, to).
    pub(crate) own: BTreeMap<(usize, usize), Vec<Use>>,
    /// Paths that begin with the name of a crate.
    pub(crate) foreign: Vec<(Use, String)>,
    pub(crate) globs: Vec<Glob>,
    /// Of each module, the scopes with its names: (file, scope).
    modules: BTreeMap<Module, (usize, usize)>,
}

enum Found {
    /// Something of a module, which is the rest of the path.
    Own(Module, Vec<String>),
    Foreign(Vec<String>),
}

impl Crate {
    /// Of the sources in `folder`/src. Unit tests in src/tests may name everything, and are left out.
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

    /// Whose unit tests a file is, if it is nothing else; or itself.
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
                let of = Use {
                    from,
                    line: name.line,
                    what: written,
                    test: name.test || file.test,
                };
                for found in self.resolve(&here, &name.path, HOPS, name.how != How::Code) {
                    match found {
                        Found::Own(module, rest) => {
                            let (to, _) = self.modules[&module];
                            // What a module shows of those in it is no use of them.
                            let shows = name.how == How::Export && is_below(&self.files[to].module, &file.module);
                            if to == from || shows {
                                continue;
                            }
                            own.push((to, of.clone()));
                            if rest == ["*"] && !of.test {
                                let path = self.files[to].label.clone();
                                globs.push(Glob {
                                    of: of.clone(),
                                    path,
                                    foreign: false,
                                });
                            }
                            if let [of_type, method, ..] = &*rest {
                                let of_type = (module, of_type.clone());
                                own.extend(methods.homes(&of_type, method).map(|home| (home, of.clone())));
                            }
                        }
                        Found::Foreign(path) => {
                            let path = path.join("::");
                            if let Some(path) = path.strip_suffix("::*") {
                                globs.push(Glob {
                                    of: of.clone(),
                                    path: path.to_owned(),
                                    foreign: true,
                                });
                            }
                            foreign.push((of.clone(), path));
                        }
                    }
                }
            }
            for call in &file.facts.calls {
                let here = below(&file.module, &file.facts.scopes[call.scope].inside);
                let test = call.test || file.test;
                let of = Use {
                    from,
                    line: call.line,
                    what: format!("{}()", call.name),
                    test,
                };
                let homes = match &call.receiver {
                    Receiver::Itself(path) => {
                        let of_type = self.type_of(&here, path);
                        let known = of_type.filter(|of_type| methods.homes(of_type, &call.name).next().is_some());
                        known.map_or_else(
                            || methods.guess(None, &call.name),
                            |of_type| methods.homes(&of_type, &call.name).collect(),
                        )
                    }
                    Receiver::Named(on) => methods.guess(Some(on), &call.name),
                    Receiver::Other => methods.guess(None, &call.name),
                };
                own.extend(homes.into_iter().map(|home| (home, of.clone())));
            }
        }
        for (to, of) in own {
            if to != of.from {
                self.own.entry((of.from, to)).or_default().push(of);
            }
        }
        (self.foreign, self.globs) = (foreign, globs);
    }

    fn resolve(&self, here: &[String], path: &Path, hops: usize, import: bool) -> Vec<Found> {
        let Some((first, mut rest)) = path.segments.split_first().filter(|_| hops > 0) else {
            return Vec::new();
        };
        if path.absolute {
            return self.of_another(&path.segments).unwrap_or_default();
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
                // An import of what nobody knows is one of a crate that nobody has declared.
                here.or_else(|| self.of_another(&path.segments))
                    .or_else(|| import.then(|| vec![Found::Foreign(path.segments.clone())]))
                    .unwrap_or_default()
            }
        }
    }

    /// A path that begins with the name of a crate, if this does.
    fn of_another(&self, path: &[String]) -> Option<Vec<Found>> {
        let (first, rest) = path.split_first()?;
        let std = ["std", "core", "proc_macro"].contains(&first.as_str());
        if *first == self.name {
            let root = ["lib".to_owned()];
            return self
                .modules
                .contains_key(&root[..])
                .then(|| self.walk(&root, rest, HOPS));
        }
        let first = if first == "core" { "std" } else { first };
        (std || self.dependencies.contains(first)).then(|| {
            let path = [first].into_iter().chain(rest.iter().map(String::as_str));
            vec![Found::Foreign(path.map(str::to_owned).collect())]
        })
    }

    /// What a path leads to, from a module.
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
        // What comes from elsewhere is of the module that shows it.
        if own.is_empty() { stop() } else { own }
    }

    /// What a name of a module leads to, if it has one.
    fn lookup(&self, module: &[String], name: &str, rest: &[String], hops: usize) -> Option<Vec<Found>> {
        let &(file, scope) = self.modules.get(module).filter(|_| hops > 0)?;
        let scope = &self.files[file].facts.scopes[scope];
        let child = below(module, [name]);
        if self.modules.contains_key(&child) {
            return Some(self.walk(&child, rest, hops - 1));
        }
        // A module whose file is not in src is no module of its own here.
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
                |alias| match (&alias.path, self.of_another(&with(&alias.path, rest).segments)) {
                    // `use a::a`, `use a`: not by itself.
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

    /// A type of the crate.
    fn type_of(&self, here: &[String], path: &Path) -> Option<Type> {
        self.resolve(here, path, HOPS, false)
            .into_iter()
            .find_map(|found| match found {
                Found::Own(module, rest) => Some((module, rest.into_iter().next()?)),
                Found::Foreign(_) => None,
            })
    }
}

/// The inherent methods of types that have them in several files: a call is a use of the file that has the method.
struct Methods {
    homes: BTreeMap<Type, BTreeMap<String, BTreeSet<usize>>>,
    /// Who has a method of this name: types and traits, as far as they are known.
    owners: BTreeMap<String, BTreeSet<Type>>,
}

impl Methods {
    fn new(of: &Crate) -> Self {
        let mut this = Self {
            homes: BTreeMap::new(),
            owners: BTreeMap::new(),
        };
        for (at, file) in of.files.iter().enumerate() {
            for method in &file.facts.methods {
                let here = below(&file.module, &file.facts.scopes[method.scope].inside);
                let owner = match &method.of {
                    Of::Type { path, .. } => of.type_of(&here, path),
                    Of::Trait => None,
                };
                let inherent = matches!(method.of, Of::Type { inherent: true, .. });
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

    /// The files that have a method of a type.
    fn homes(&self, of: &Type, method: &str) -> impl Iterator<Item = usize> {
        self.homes
            .get(of)
            .and_then(|methods| methods.get(method))
            .into_iter()
            .flatten()
            .copied()
    }

    /// The same, of what has a name, or is not known: that of a variable says its type (`core` is a `Core`), and so does that
    /// of a method that nobody else has.
    fn guess(&self, on: Option<&str>, method: &str) -> Vec<usize> {
        // Of std's types, too.
        const AMBIGUOUS: [&str; 9] = [
            "all", "contains", "find", "finish", "for_each", "insert", "len", "push", "remove",
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
        types.flat_map(|of| self.homes(of, method)).collect()
    }
}

/// `RetireLists` as a variable would be called.
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
