//! Every public function is tested, or there is a reason why not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The functions that are not tested, and the reasons.
const EXEMPT: &[(&str, &[&str])] = &[
    (
        "gives a field",
        &[
            "Attached::addr",
            "Parent::addr",
            "Pinned::store",
            "RawVar::as_ptr",
            "RawVar::layout",
            "Variable::id",
            "Variable::store",
            "VarRef::get",
            "VarRef::downcast_ref",
            "VarRef::id",
            "VarRef::obj",
            "VarRef::type_name",
        ],
    ),
    (
        "a number, or words, of its argument",
        &[
            "AllocError::is_exists",
            "ObjAddr::get",
            "ObjAddr::new",
            "ObjAddr::of",
            "ObjAddr::of_arc",
            "ObjAddr::of_box",
            "ObjAddr::of_pin",
            "ShadowId::get",
            "ShadowId::new",
        ],
    ),
    (
        "tried with `Builder::capacity`",
        &["Builder::batch", "Builder::hash_seed", "ShadowStore::builder"],
    ),
    ("not of the promised interface", &["Builder::provoke", "follow_forks"]),
];

/// Returns the type of an `impl`, from its first line.
fn implemented(line: &str) -> &str {
    let mut rest = line.trim_start_matches("unsafe ").trim_start_matches("impl");
    if rest.starts_with('<') {
        let mut depth = 0;
        let end = rest.char_indices().find(|&(at, letter)| {
            depth += match letter {
                '<' => 1,
                '>' if !rest[..at].ends_with('-') => -1,
                _ => 0,
            };
            depth == 0
        });
        rest = &rest[end.expect("an end of the parameters").0 + 1..];
    }
    name(rest.trim_start())
}

fn name(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}

/// Adds the public functions of a file: lints ensure that every `pub` item is public.
fn add_functions_of(file: &Path, functions: &mut BTreeSet<String>) {
    let text = fs::read_to_string(file).unwrap();
    let mut of = "";
    for line in text.lines() {
        if line.starts_with("impl") {
            of = implemented(line);
        } else if line.starts_with('}') {
            of = "";
        }
        let Some(rest) = line.trim_start().strip_prefix("pub ") else {
            continue;
        };
        let rest = rest.trim_start_matches("const ").trim_start_matches("unsafe ");
        if let Some(rest) = rest.strip_prefix("fn ") {
            let of = if line.starts_with("pub") { "" } else { of };
            functions.insert([of, name(rest)].join(if of.is_empty() { "" } else { "::" }));
        }
    }
}

fn add_functions_in(folder: &Path, functions: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("src/tests") {
            add_functions_in(&path, functions);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            add_functions_of(&path, functions);
        }
    }
}

/// Returns whether the body of an operation, which ends at the name of the next, calls the function.
fn calls(sources: &str, operation: &str, operations: &[&str], function: &str) -> bool {
    let quoted = |operation: &str| format!("\"{operation}\",");
    let (_, after) = sources.split_once(&quoted(operation)).expect(operation);
    let ends = operations.iter().filter_map(|next| after.find(&quoted(next)));
    let body = &after[..ends.min().unwrap_or(after.len())];
    [".", "::", " ", "(", "!"]
        .iter()
        .any(|before| body.contains(&format!("{before}{function}(")))
}

#[test]
fn every_public_function_is_tried() {
    let mut functions = BTreeSet::new();
    add_functions_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut functions);
    assert!(functions.len() > 60, "only {functions:?}");
    if !cfg!(feature = "rayon") {
        functions.retain(|function| !function.contains("::par_"));
    }
    let sources = [
        include_str!("stores.rs"),
        include_str!("guarded.rs"),
        include_str!("processes.rs"),
    ]
    .concat();
    let operations = crate::operations::<shadow_vars::Asymmetric>();
    let operations: Vec<_> = operations.into_iter().map(|(operation, ..)| operation).collect();
    let mut tried = BTreeSet::new();
    for &operation in &operations {
        let function = operation.split(", ").next().unwrap_or_default();
        if function == "drop of a store" {
            continue;
        }
        assert!(functions.contains(function), "{operation}: there is no {function}");
        let last = function.rsplit("::").next().unwrap_or_default();
        assert!(
            calls(&sources, operation, &operations, last),
            "{operation} does not call it"
        );
        tried.insert(function.to_owned());
    }
    for (reason, exempt) in EXEMPT {
        for function in exempt.iter().copied() {
            assert!(functions.contains(function), "{function}: {reason}, but is not there");
            assert!(!tried.contains(function), "{function}: {reason}, but is tried");
            tried.insert(function.to_owned());
        }
    }
    let missing: Vec<_> = functions.difference(&tried).collect();
    assert!(missing.is_empty(), "not tried without memory: {missing:?}");
}
