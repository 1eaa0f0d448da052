//! Checks one crate against its list.

use std::collections::BTreeSet;

use crate::circles::circles;
use crate::list::{List, Row, covers, matches_module};
use crate::modules::{Crate, Glob, Use};

/// A difference between the sources and ARCHITECTURE.md.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) file: String,
    pub(crate) line: usize,
    /// The rule that is broken, in one word.
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

/// The file with the lists.
pub(crate) const PAGE: &str = "ARCHITECTURE.md";

/// The list entries that some use needs: the line of the row, and the entry.
type Needed<'l> = BTreeSet<(usize, &'l str)>;

struct Check<'l> {
    krate: &'l Crate,
    list: &'l List,
    /// For each file, its row, if it has one; for a file of unit tests, the row of its module.
    rows: Vec<Option<&'l Row>>,
    /// For a file of unit tests, the row that names the file itself, if there is one.
    own_rows: Vec<Option<&'l Row>>,
    needed: Needed<'l>,
    findings: Vec<Finding>,
}

/// Returns the findings of a crate, and its known circles as text.
pub(crate) fn check(krate: &Crate, list: &List) -> (Vec<Finding>, Vec<String>) {
    let mut this = Check {
        krate,
        list,
        rows: vec![None; krate.files.len()],
        own_rows: vec![None; krate.files.len()],
        needed: Needed::new(),
        findings: Vec::new(),
    };
    this.find_rows();
    this.check_entries();
    let circles = this.check_circles();
    this.check_own_uses(&circles);
    this.check_foreign_uses();
    krate.globs.iter().for_each(|glob| this.check_glob(glob));
    this.report_unused();
    let known = list.circles.iter().map(|circle| {
        let names = circle.names.join(", ");
        format!("{}: known circle: {names}: {}", list.folder, circle.because)
    });
    (this.findings, known.collect())
}

impl<'l> Check<'l> {
    fn report_use(&mut self, at: &Use, rule: &'static str, what: String) {
        self.findings
            .push(Finding::new(&self.krate.files[at.from].path, at.line, rule, what));
    }

    fn report_in_list(&mut self, line: usize, rule: &'static str, what: String) {
        self.findings
            .push(Finding::new(PAGE, line, rule, format!("{}: {what}", self.list.folder)));
    }

    fn label(&self, file: usize) -> &'l str {
        &self.krate.files[file].label
    }

    /// Finds the row of each file: the one that names it, or else the one with the longest pattern that matches it.
    fn find_rows(&mut self) {
        let list = self.list;
        let mut used = BTreeSet::new();
        for file in 0..self.krate.files.len() {
            let owner = self.krate.owner(file);
            let label = self.label(owner);
            let names = list
                .rows
                .iter()
                .flat_map(|row| row.names.iter().map(move |name| (name, row)));
            let best = names
                .filter(|(name, _)| matches_module(name, label))
                .max_by_key(|(name, _)| specificity(name));
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
                    self.own_rows[file] = Some(row);
                    used.insert((row.line, self.label(file)));
                }
            } else {
                let path = self.krate.files[file].path.clone();
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
                self.report_in_list(
                    row.line,
                    "unknown",
                    format!("there is no module `{name}`, or another line has it"),
                );
            }
        }
    }

    fn is_own(&self, entry: &str) -> bool {
        self.krate.files.iter().any(|file| matches_module(entry, &file.label))
    }

    fn is_foreign(&self, entry: &str) -> bool {
        let first = entry.split("::").next().unwrap_or(entry);
        ["std", "proc_macro"].contains(&first) || self.krate.dependencies.contains(first)
    }

    fn all_rows(&self) -> impl Iterator<Item = &'l Row> + use<'l> {
        let list = self.list;
        list.rows.iter().chain([&list.everywhere, &list.tests])
    }

    fn check_entries(&mut self) {
        for row in self.all_rows() {
            for entry in &row.uses {
                if !self.is_own(entry) && !self.is_foreign(entry) {
                    self.report_in_list(
                        row.line,
                        "unknown",
                        format!("`{entry}` is neither a module nor a crate"),
                    );
                }
            }
        }
    }

    /// Returns the rows whose entries may be used there, the most general first.
    fn rows_for(&self, at: &Use) -> Vec<&'l Row> {
        let tests = at.test.then_some(&self.list.tests);
        [
            Some(&self.list.everywhere),
            self.rows[at.from],
            self.own_rows[at.from],
            tests,
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Checks uses between files: each must be in the list, and must go up the list, unless a known circle contains both files.
    fn check_own_uses(&mut self, circles: &[BTreeSet<usize>]) {
        let krate = self.krate;
        for (&(from, to), uses) in &krate.own {
            // Product code first: what it may use, its unit tests may use, too.
            let Some(at) = uses.iter().min_by_key(|at| (at.test, at.line)) else {
                continue;
            };
            let (Some(row), Some(other_row)) = (self.rows[from], self.rows[to]) else {
                continue;
            };
            if row.line == other_row.line || krate.files[to].test {
                continue;
            }
            let (label, other) = (self.label(krate.owner(from)), self.label(to));
            let entries = self
                .rows_for(at)
                .into_iter()
                .flat_map(|row| row.uses.iter().map(move |entry| (row, entry)));
            let entries = entries.filter(|(_, entry)| self.is_own(entry) && matches_module(entry, other));
            if let Some((row, entry)) = entries.max_by_key(|(_, entry)| specificity(entry)) {
                self.needed.insert((row.line, entry));
            } else {
                let what = &at.what;
                self.report_use(at, "use", format!("`{label}` may not use `{other}`: {what}"));
            }
            let in_one_circle = circles
                .iter()
                .any(|circle| circle.contains(&from) && circle.contains(&to));
            if other_row.line > row.line && !in_one_circle && !at.test {
                self.report_use(
                    at,
                    "order",
                    format!("`{label}` uses `{other}`, which stands below it in {PAGE}"),
                );
            }
        }
    }

    /// Checks uses of other crates. An entry covers everything in a crate or module, except what has an entry of its own anywhere
    /// in the list.
    fn check_foreign_uses(&mut self) {
        let known: BTreeSet<_> = self
            .all_rows()
            .flat_map(|row| &row.uses)
            .filter(|entry| self.is_foreign(entry))
            .collect();
        let mut reported = BTreeSet::new();
        for (at, path) in &self.krate.foreign {
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
            } else if reported.insert((row.line, at.from, at.line, path)) {
                let label = self.label(self.krate.owner(at.from));
                let by = entry.map(|entry| format!(", by `{entry}`")).unwrap_or_default();
                self.report_use(at, "use", format!("`{label}` may not use `{path}`{by}"));
            }
        }
    }

    fn check_glob(&mut self, glob: &Glob) {
        let hides = |entry: &String| entry != &glob.path && covers(&glob.path, entry);
        if !glob.foreign {
            self.report_use(
                &glob.at,
                "glob",
                format!("a glob hides what is used of `{}`", glob.path),
            );
        } else if let Some(entry) = self.all_rows().flat_map(|row| &row.uses).find(|entry| hides(entry)) {
            self.report_use(&glob.at, "glob", format!("a glob hides `{entry}`"));
        }
    }

    /// Compares the circles in the sources with the known ones, and returns the former.
    fn check_circles(&mut self) -> Vec<BTreeSet<usize>> {
        let found = circles(self.krate);
        let mut known = Vec::new();
        for circle in &self.list.circles {
            let names: BTreeSet<_> = circle.names.iter().map(String::as_str).collect();
            if circle.because.is_empty() {
                self.report_in_list(circle.line, "circle", format!("no reason for {names:?}"));
            }
            known.push((circle.line, names));
        }
        for circle in &found {
            let labels: BTreeSet<_> = circle.iter().map(|&file| self.label(file)).collect();
            if let Some(at) = known.iter().position(|(_, names)| *names == labels) {
                known.remove(at);
                continue;
            }
            // The most similar known circle: the message says how this one differs from it.
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
            let path = &self.krate.files[new.unwrap_or(circle.first().copied().unwrap_or(0))].path;
            self.findings.push(Finding::new(path, 1, "circle", what));
        }
        for (line, names) in known {
            if !found
                .iter()
                .any(|circle| circle.iter().any(|&file| names.contains(self.label(file))))
            {
                self.report_in_list(line, "circle", format!("there is none of {names:?} any more"));
            }
        }
        found
    }

    fn report_unused(&mut self) {
        for row in self.all_rows() {
            for entry in &row.uses {
                if !self.needed.contains(&(row.line, entry.as_str())) && (self.is_own(entry) || self.is_foreign(entry))
                {
                    let names = row.names.join(", ");
                    self.report_in_list(
                        row.line,
                        "unused",
                        format!("`{names}` does not use `{entry}`, or may by another line"),
                    );
                }
            }
        }
    }
}

/// Names are more specific than patterns, and longer patterns than shorter ones.
fn specificity(name: &str) -> (bool, usize) {
    (!name.ends_with('*'), name.len())
}
