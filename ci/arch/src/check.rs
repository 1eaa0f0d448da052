//! Holds a crate to its list.

use std::collections::BTreeSet;

use crate::circles::circles;
use crate::list::{List, Row, covers, means};
use crate::modules::{Crate, Glob, Use};

/// Something that is not as ARCHITECTURE.md says.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) file: String,
    pub(crate) line: usize,
    /// One word.
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(file: &str, line: usize, rule: &'static str, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            rule,
            what: what.into(),
        }
    }
}

/// Where the list is.
pub(crate) const PAGE: &str = "ARCHITECTURE.md";

/// Of an entry that was needed: its row's line, and itself.
type Needed<'l> = BTreeSet<(usize, &'l str)>;

struct Check<'l> {
    of: &'l Crate,
    list: &'l List,
    /// Of each file, its row, if it has one: of a file of unit tests, that of its module.
    rows: Vec<Option<&'l Row>>,
    /// Of a file of unit tests, the row that names it, if one does.
    more: Vec<Option<&'l Row>>,
    needed: Needed<'l>,
    findings: Vec<Finding>,
}

/// What is wrong in a crate, and its circles as a text.
pub(crate) fn check(of: &Crate, list: &List) -> (Vec<Finding>, Vec<String>) {
    let mut this = Check {
        of,
        list,
        rows: vec![None; of.files.len()],
        more: vec![None; of.files.len()],
        needed: Needed::new(),
        findings: Vec::new(),
    };
    this.find_rows();
    this.entries_are_known();
    let circles = this.circles();
    this.own(&circles);
    this.foreign();
    of.globs.iter().for_each(|glob| this.glob(glob));
    this.nothing_is_unused();
    let known = list.circles.iter().map(|circle| {
        let names = circle.names.join(", ");
        format!("{}: known circle: {names}: {}", list.folder, circle.because)
    });
    (this.findings, known.collect())
}

impl<'l> Check<'l> {
    fn at(&mut self, at: &Use, rule: &'static str, what: String) {
        self.findings
            .push(Finding::new(&self.of.files[at.from].path, at.line, rule, what));
    }

    fn in_list(&mut self, line: usize, rule: &'static str, what: String) {
        self.findings
            .push(Finding::new(PAGE, line, rule, format!("{}: {what}", self.list.folder)));
    }

    fn label(&self, file: usize) -> &'l str {
        &self.of.files[file].label
    }

    /// The row of a file is the one that names it, or the longest pattern that means it.
    fn find_rows(&mut self) {
        let list = self.list;
        let mut used = BTreeSet::new();
        for file in 0..self.of.files.len() {
            let owner = self.of.owner(file);
            let label = self.label(owner);
            let names = list
                .rows
                .iter()
                .flat_map(|row| row.names.iter().map(move |name| (name, row)));
            let best = names
                .filter(|(name, _)| means(name, label))
                .max_by_key(|(name, _)| precise(name));
            if let Some((name, row)) = best {
                self.rows[file] = Some(row);
                if owner == file {
                    used.insert((row.line, name.as_str()));
                }
                let exact = list
                    .rows
                    .iter()
                    .find(|row| owner != file && row.names.iter().any(|name| name == self.label(file)));
                if let Some(row) = exact {
                    self.more[file] = Some(row);
                    used.insert((row.line, self.label(file)));
                }
            } else {
                let path = self.of.files[file].path.clone();
                let what = format!("`{label}` is not in the list of {PAGE}");
                self.findings.push(Finding::new(&path, 1, "unlisted", what));
            }
        }
        for row in &list.rows {
            for name in row
                .names
                .iter()
                .filter(|name| !used.contains(&(row.line, name.as_str())))
            {
                self.in_list(
                    row.line,
                    "unknown",
                    format!("there is no module `{name}`, or another line has it"),
                );
            }
        }
    }

    fn is_own(&self, entry: &str) -> bool {
        self.of.files.iter().any(|file| means(entry, &file.label))
    }

    fn is_foreign(&self, entry: &str) -> bool {
        let first = entry.split("::").next().unwrap_or(entry);
        ["std", "proc_macro"].contains(&first) || self.of.dependencies.contains(first)
    }

    fn all_rows(&self) -> impl Iterator<Item = &'l Row> + use<'l> {
        let list = self.list;
        list.rows.iter().chain([&list.everywhere, &list.tests])
    }

    fn entries_are_known(&mut self) {
        for row in self.all_rows() {
            for entry in &row.uses {
                if !self.is_own(entry) && !self.is_foreign(entry) {
                    self.in_list(
                        row.line,
                        "unknown",
                        format!("`{entry}` is neither a module nor a crate"),
                    );
                }
            }
        }
    }

    /// The rows that say what may be used there, the most general first.
    fn rows_for(&self, at: &Use) -> Vec<&'l Row> {
        let tests = at.test.then_some(&self.list.tests);
        [
            Some(&self.list.everywhere),
            self.rows[at.from],
            self.more[at.from],
            tests,
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Uses between files: each must be in the list, and go up the list, unless a known circle has both.
    fn own(&mut self, circles: &[BTreeSet<usize>]) {
        let of = self.of;
        for (&(from, to), uses) in &of.own {
            // Product first: what it may, its tests may.
            let Some(at) = uses.iter().min_by_key(|at| (at.test, at.line)) else {
                continue;
            };
            let (Some(row), Some(of_other)) = (self.rows[from], self.rows[to]) else {
                continue;
            };
            if row.line == of_other.line || of.files[to].test {
                continue;
            }
            let (label, other) = (self.label(of.owner(from)), self.label(to));
            let entries = self
                .rows_for(at)
                .into_iter()
                .flat_map(|row| row.uses.iter().map(move |entry| (row, entry)));
            let entries = entries.filter(|(_, entry)| self.is_own(entry) && means(entry, other));
            if let Some((row, entry)) = entries.max_by_key(|(_, entry)| precise(entry)) {
                self.needed.insert((row.line, entry));
            } else {
                let what = &at.what;
                self.at(at, "use", format!("`{label}` may not use `{other}`: {what}"));
            }
            let together = circles
                .iter()
                .any(|circle| circle.contains(&from) && circle.contains(&to));
            if of_other.line > row.line && !together && !at.test {
                self.at(
                    at,
                    "order",
                    format!("`{label}` uses `{other}`, which stands below it in {PAGE}"),
                );
            }
        }
    }

    /// Other crates: an entry stands for all in it, but for what has an entry of its own, somewhere in the list.
    fn foreign(&mut self) {
        let known: BTreeSet<_> = self
            .all_rows()
            .flat_map(|row| &row.uses)
            .filter(|entry| self.is_foreign(entry))
            .collect();
        let mut told = BTreeSet::new();
        for (at, path) in &self.of.foreign {
            let Some(row) = self.rows[at.from] else { continue };
            let entry = known
                .iter()
                .filter(|entry| covers(entry, path))
                .max_by_key(|entry| entry.len());
            let allowed = entry.and_then(|entry| {
                let row = self.rows_for(at).into_iter().find(|row| row.uses.contains(entry));
                row.map(|row| (row.line, entry.as_str()))
            });
            if let Some(needed) = allowed {
                self.needed.insert(needed);
            } else if told.insert((row.line, at.from, at.line, path)) {
                let label = self.label(self.of.owner(at.from));
                let by = entry.map(|entry| format!(", by `{entry}`")).unwrap_or_default();
                self.at(at, "use", format!("`{label}` may not use `{path}`{by}"));
            }
        }
    }

    fn glob(&mut self, glob: &Glob) {
        let hides = |entry: &String| entry != &glob.path && covers(&glob.path, entry);
        if !glob.foreign {
            self.at(
                &glob.of,
                "glob",
                format!("a glob hides what is used of `{}`", glob.path),
            );
        } else if let Some(entry) = self.all_rows().flat_map(|row| &row.uses).find(|entry| hides(entry)) {
            self.at(&glob.of, "glob", format!("a glob hides `{entry}`"));
        }
    }

    /// The circles that there are must be those that are known.
    fn circles(&mut self) -> Vec<BTreeSet<usize>> {
        let found = circles(self.of);
        let mut known = Vec::new();
        for circle in &self.list.circles {
            let names: BTreeSet<_> = circle.names.iter().map(String::as_str).collect();
            if circle.because.is_empty() {
                self.in_list(circle.line, "circle", format!("no reason for {names:?}"));
            }
            known.push((circle.line, names));
        }
        for circle in &found {
            let labels: BTreeSet<_> = circle.iter().map(|&file| self.label(file)).collect();
            if let Some(at) = known.iter().position(|(_, names)| *names == labels) {
                known.remove(at);
                continue;
            }
            // The nearest that is known, to say what is new in it.
            let nearest = known
                .iter()
                .map(|(_, names)| names)
                .max_by_key(|names| names.intersection(&labels).count());
            let nearest = nearest
                .filter(|names| !names.is_disjoint(&labels))
                .cloned()
                .unwrap_or_default();
            let (more, less) = (&labels - &nearest, &nearest - &labels);
            let what = match (nearest.is_empty(), less.is_empty()) {
                (true, _) => format!("new: {labels:?}"),
                (false, true) => format!("a known one grows by {more:?}"),
                (false, false) => format!("not as the list has it: now with {more:?}, without {less:?}"),
            };
            let new = circle.iter().copied().find(|&file| more.contains(self.label(file)));
            let path = &self.of.files[new.unwrap_or(circle.first().copied().unwrap_or(0))].path;
            self.findings.push(Finding::new(path, 1, "circle", what));
        }
        for (line, names) in known {
            if !found
                .iter()
                .any(|circle| circle.iter().any(|&file| names.contains(self.label(file))))
            {
                self.in_list(line, "circle", format!("there is none of {names:?} any more"));
            }
        }
        found
    }

    fn nothing_is_unused(&mut self) {
        for row in self.all_rows() {
            for entry in &row.uses {
                if !self.needed.contains(&(row.line, entry.as_str())) && (self.is_own(entry) || self.is_foreign(entry))
                {
                    let names = row.names.join(", ");
                    self.in_list(
                        row.line,
                        "unused",
                        format!("`{names}` does not use `{entry}`, or may by another line"),
                    );
                }
            }
        }
    }
}

/// Names before patterns, longer patterns before shorter.
fn precise(name: &str) -> (bool, usize) {
    (!name.ends_with('*'), name.len())
}
