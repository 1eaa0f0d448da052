//! The rules that are not about modules: the directions between packages, and the lengths of files.

use std::collections::BTreeSet;

use crate::check::Finding;
use crate::tree::Tree;

/// The most lines of a source file. A longer one usually holds two concepts.
pub(crate) const MAX_LINES: usize = 600;

/// Packages in `crates` do not depend on those in these folders.
const OUTER_FOLDERS: [&str; 4] = ["benches", "ci", "fuzz", "perf"];

/// Finds files that are too long.
pub(crate) fn lengths(tree: &Tree) -> Vec<Finding> {
    let sources = tree.sources("").map(|(path, text)| (path, text.lines().count()));
    let long = sources.filter(|(_, lines)| *lines > MAX_LINES);
    long.map(|(path, lines)| {
        Finding::new(
            path,
            MAX_LINES + 1,
            "length",
            format!("{lines} lines, at most {MAX_LINES}"),
        )
    })
    .collect()
}

/// Finds what must not be in `crates`: dependencies on benchmarks, studies, fuzz targets and gates, and in the example, source
/// files of the library that are included by path.
pub(crate) fn directions(tree: &Tree) -> Vec<Finding> {
    let outside = tree.manifests().filter(|(path, _)| {
        OUTER_FOLDERS
            .iter()
            .any(|folder| path.starts_with(&format!("{folder}/")))
    });
    let outside: BTreeSet<String> = outside.filter_map(|(_, text)| package(text)).collect();
    let mut findings = Vec::new();
    let mut report = |path: &str, at: usize, line: &str| {
        findings.push(Finding::new(path, at + 1, "package", line.trim()));
    };
    for (path, text) in tree.sources("crates/") {
        for (at, line) in text.lines().enumerate() {
            let by_path = ["path = \"", "path=\"", "include!", "include_str!", "include_bytes!"];
            let includes_by_path =
                path.starts_with("crates/access-point/") && by_path.iter().any(|by| line.contains(by));
            if includes_by_path && line.contains("shadow-vars/") || leads_outside(line) || names(line, &outside, true) {
                report(path, at, line);
            }
        }
    }
    for (path, text) in tree.manifests().filter(|(path, _)| path.starts_with("crates/")) {
        for (at, line) in text.lines().enumerate() {
            if leads_outside(line) || names(line, &outside, false) {
                report(path, at, line);
            }
        }
    }
    findings
}

/// Returns whether a line has a string literal with a path that leads into one of the [`OUTER_FOLDERS`].
fn leads_outside(line: &str) -> bool {
    line.match_indices("../").any(|(at, _)| {
        let rest = line[at..].trim_start_matches("../");
        let first = rest.split(['/', '"']).next().unwrap_or_default();
        let quoted = line[..at].trim_end_matches("../").ends_with('"');
        quoted && OUTER_FOLDERS.contains(&first)
    })
}

/// Returns whether a line of a source file imports one of these packages, or a line of a manifest depends on one.
fn names(line: &str, packages: &BTreeSet<String>, source: bool) -> bool {
    let line = line.trim_start();
    packages.iter().any(|package| {
        if source {
            let name = package.replace('-', "_");
            ["use ", "extern crate "].iter().any(|import| {
                let rest = line.strip_prefix(import).map(|rest| rest.trim_start_matches("::"));
                rest.and_then(|rest| rest.strip_prefix(&name))
                    .is_some_and(|rest| rest.starts_with([':', ';', ' ']))
            })
        } else {
            let key = line
                .strip_prefix(package.as_str())
                .is_some_and(|rest| rest.starts_with([' ', '=', '.']));
            key || line.contains(&format!("package = \"{package}\""))
                || line.ends_with(&format!("dependencies.{package}]"))
        }
    })
}

/// Returns the name of a manifest's package.
pub(crate) fn package(manifest: &str) -> Option<String> {
    let mut lines = manifest
        .lines()
        .skip_while(|line| *line != "[package]")
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    lines.find_map(|line| Some(line.strip_prefix("name = \"")?.trim_end_matches('"').to_owned()))
}

/// Returns the crates that a manifest lets its package import, by the names that sources use.
pub(crate) fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines() {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            inside = header.ends_with("dependencies");
            if let Some((_, name)) = header.split_once("dependencies.") {
                names.insert(name.replace('-', "_"));
            }
        } else if inside
            && let Some(name) = line
                .split(['=', '.'])
                .next()
                .filter(|name| !name.starts_with([' ', '#', '}', ']']))
        {
            names.insert(name.trim().replace('-', "_"));
        }
    }
    names.remove("");
    names
}
