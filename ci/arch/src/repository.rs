//! The whole repository: its crates and their lists.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::check::{Finding, PAGE, check};
use crate::facts::{self, Facts};
use crate::list::{self, List};
use crate::modules::Crate;
use crate::packages;
use crate::tree::Tree;

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, rule, what } = self;
        write!(f, "{file}:{line}: {rule}: {what}")
    }
}

/// The result of a check, and the numbers of what was checked.
#[derive(Clone, Default)]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    /// The known circles.
    pub(crate) circles: Vec<String>,
    pub(crate) files: usize,
    pub(crate) uses: usize,
}

/// The source files of a crate, by their paths.
type Sources = Vec<(String, Rc<str>)>;

/// The results for files and crates, which are reused while their sources do not change.
#[derive(Default)]
pub(crate) struct Cache {
    facts: BTreeMap<String, (Rc<str>, Rc<Facts>)>,
    crates: BTreeMap<String, (Sources, String, Report)>,
}

impl Cache {
    fn facts(&mut self, path: &str, text: &Rc<str>) -> Result<Rc<Facts>, Finding> {
        match self.facts.get(path) {
            Some((known, facts)) if Rc::ptr_eq(known, text) => Ok(facts.clone()),
            _ => {
                let facts = facts::read(text);
                let facts = Rc::new(facts.map_err(|(line, what)| Finding::new(path, line, "syntax", what))?);
                self.facts.insert(path.to_owned(), (text.clone(), facts.clone()));
                Ok(facts)
            }
        }
    }

    fn read_crate(&mut self, sources: &Sources, folder: &str, manifest: &str) -> Result<Crate, Finding> {
        let facts = sources
            .iter()
            .map(|(path, text)| Ok((path.clone(), self.facts(path, text)?)));
        let facts = facts.collect::<Result<_, _>>()?;
        let name = packages::package(manifest).unwrap_or_default().replace('-', "_");
        Ok(Crate::new(folder, &name, packages::dependencies(manifest), facts))
    }

    fn check(&mut self, sources: Sources, folder: &str, manifest: &str, list: &List) -> Report {
        let page = format!("{manifest}{list:?}");
        let same = |known: &Sources| {
            let pairs = known.iter().zip(&sources);
            known.len() == sources.len() && pairs.into_iter().all(|(a, b)| a.0 == b.0 && Rc::ptr_eq(&a.1, &b.1))
        };
        if let Some((_, _, report)) = self
            .crates
            .get(folder)
            .filter(|(known, of, _)| *of == page && same(known))
        {
            return report.clone();
        }
        let report = match self.read_crate(&sources, folder, manifest) {
            Ok(krate) => {
                let (findings, circles) = check(&krate, list);
                let uses = krate.own.values().map(Vec::len).sum::<usize>() + krate.foreign.len();
                Report {
                    findings,
                    circles,
                    files: 0,
                    uses,
                }
            }
            Err(finding) => Report {
                findings: vec![finding],
                ..Report::default()
            },
        };
        self.crates
            .entry(folder.to_owned())
            .or_insert((sources, page, report.clone()));
        report
    }
}

/// Returns the crates with more than one file, which need a list, with their manifests.
fn crates(tree: &Tree) -> impl Iterator<Item = (&str, &str, Sources)> {
    let crates = tree.manifests().filter(|(path, _)| !path.contains("/tests/"));
    crates.filter_map(|(path, manifest)| {
        let folder = path.strip_suffix("/Cargo.toml")?;
        let under = format!("{folder}/src/");
        let sources: Sources = tree
            .sources(&under)
            .map(|(path, text)| (path.clone(), text.clone()))
            .collect();
        (sources.len() > 1).then_some((folder, &**manifest, sources))
    })
}

/// Reads one crate.
pub(crate) fn load(tree: &Tree, folder: &str) -> Result<Crate, String> {
    let found = crates(tree).find(|(known, _, _)| *known == folder);
    let (folder, manifest, sources) = found.ok_or("no crate of several files")?;
    Cache::default()
        .read_crate(&sources, folder, manifest)
        .map_err(|finding| finding.to_string())
}

/// Checks the whole repository.
pub(crate) fn check_all(tree: &Tree, cache: &mut Cache) -> Report {
    let mut report = Report {
        files: tree.sources("").count(),
        ..Report::default()
    };
    let findings = &mut report.findings;
    let mut lists = list::read(&tree.0[PAGE]).unwrap_or_else(|(line, what)| {
        findings.push(Finding::new(PAGE, line, "syntax", what));
        Vec::new()
    });
    for (folder, manifest, sources) in crates(tree) {
        let Some(at) = lists.iter().position(|list| list.folder == folder) else {
            let what = format!("{PAGE} has no list of it");
            findings.push(Finding::new(&format!("{folder}/Cargo.toml"), 1, "unlisted", what));
            continue;
        };
        let found = cache.check(sources, folder, manifest, &lists.remove(at));
        findings.extend(found.findings);
        report.circles.extend(found.circles);
        report.uses += found.uses;
    }
    for list in lists {
        let what = format!("{} is no crate of several files, or has another list", list.folder);
        findings.push(Finding::new(PAGE, list.line, "unknown", what));
    }
    findings.extend(packages::directions(tree));
    findings.extend(packages::lengths(tree));
    report
}
