//! Circles: sets of modules each of which uses all the others, directly or through other members.

use std::collections::BTreeSet;

use crate::modules::Crate;

/// Returns the strongly connected components of more than one file. Uses by unit tests do not count.
pub(crate) fn circles(krate: &Crate) -> Vec<BTreeSet<usize>> {
    let mut next = vec![Vec::new(); krate.files.len()];
    let mut previous = next.clone();
    for (&(from, to), uses) in &krate.own {
        if uses.iter().any(|at| !at.test) {
            next[from].push(to);
            previous[to].push(from);
        }
    }
    // Kosaraju's algorithm: in reverse order of finishing, each file not yet in a component starts one, which consists of the
    // files that lead to it and are in no component yet.
    let mut seen = BTreeSet::new();
    let mut finished = Vec::new();
    (0..next.len()).for_each(|file| visit(file, &next, &mut seen, &mut finished));
    seen.clear();
    let mut circles = Vec::new();
    for file in finished.into_iter().rev() {
        let mut component = Vec::new();
        visit(file, &previous, &mut seen, &mut component);
        if component.len() > 1 {
            circles.push(component.into_iter().collect());
        }
    }
    circles
}

fn visit(file: usize, next: &[Vec<usize>], seen: &mut BTreeSet<usize>, finished: &mut Vec<usize>) {
    if seen.insert(file) {
        next[file].iter().for_each(|&to| visit(to, next, seen, finished));
        finished.push(file);
    }
}
