//! Circles: modules of which each uses all others, if not itself then through some of them.

use std::collections::BTreeSet;

use crate::modules::Crate;

/// The strongly connected components of more than one file, without what only unit tests use.
pub(crate) fn circles(of: &Crate) -> Vec<BTreeSet<usize>> {
    let mut next = vec![Vec::new(); of.files.len()];
    let mut before = next.clone();
    for (&(from, to), uses) in &of.own {
        if uses.iter().any(|of| !of.test) {
            next[from].push(to);
            before[to].push(from);
        }
    }
    // Kosaraju: whoever was left last begins a component, which is all that leads to it and is in none yet.
    let mut seen = BTreeSet::new();
    let mut left = Vec::new();
    (0..next.len()).for_each(|file| visit(file, &next, &mut seen, &mut left));
    seen.clear();
    let mut circles = Vec::new();
    for file in left.into_iter().rev() {
        let mut component = Vec::new();
        visit(file, &before, &mut seen, &mut component);
        if component.len() > 1 {
            circles.push(component.into_iter().collect());
        }
    }
    circles
}

fn visit(file: usize, next: &[Vec<usize>], seen: &mut BTreeSet<usize>, left: &mut Vec<usize>) {
    if seen.insert(file) {
        next[file].iter().for_each(|&to| visit(to, next, seen, left));
        left.push(file);
    }
}
