//! Rules that the language does not enforce: every public type has its examples and assertions, and every counter has its row
//! in the guide.
#![cfg(not(miri))]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const VARIANCE: &str = include_str!("../src/variance.rs");
const TYPES: &str = include_str!("types.rs");
const GUIDE: &str = include_str!("../src/docs/processes.rs");

/// Returns the sources of a crate beside this one, without its tests and the files that only tests use.
fn sources(of: &str) -> Vec<(PathBuf, String)> {
    fn collect(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if name != "tests" {
                    collect(&path, into);
                }
            } else if name.ends_with(".rs") && !["tests.rs", "defect.rs", "checked.rs", "exact.rs"].contains(&name) {
                let mut text = fs::read_to_string(&path).unwrap();
                while let Some(start) = text.find("\nmod tests {") {
                    let end = text[start..].find("\n}\n").expect("it ends") + 2;
                    text.replace_range(start..start + end, "");
                }
                into.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join(of)
        .join("src");
    collect(&folder, &mut found);
    // Files are read to their ends, beyond their tests.
    let last = if of == "shadow-vars" {
        "struct Freed"
    } else {
        "mod imp {"
    };
    assert!(found.iter().any(|(_, text)| text.contains(last)), "{last} of {of}");
    found
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Returns the public re-exports of a crate's root, except hidden ones.
fn exported(root: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for (at, _) in root.match_indices("\npub use ") {
        if root[..at].ends_with("#[doc(hidden)]") {
            continue;
        }
        let list = root[at..].split(';').next().unwrap();
        let list = list
            .split_once('{')
            .map_or_else(|| list.rsplit("::").next().unwrap(), |(_, list)| list);
        names.extend(list.split(|letter| !is_word(letter)).filter(|name| !name.is_empty()));
    }
    names
}

/// Returns the parameters of a type of this name, if there is one.
fn parameters<'s>(sources: &'s [(PathBuf, String)], name: &str) -> Option<&'s str> {
    let declared = |text: &'s str, kind: &str| {
        let declaration = format!("pub {kind} {name}");
        let mut found = text
            .match_indices(&declaration)
            .map(|(at, _)| &text[at + declaration.len()..]);
        found.find(|after| !after.starts_with(is_word))
    };
    let after = sources.iter().find_map(|(_, text)| {
        ["struct", "enum", "union", "type"]
            .iter()
            .find_map(|kind| declared(text, kind))
    })?;
    let Some(list) = after.strip_prefix('<') else {
        return Some("");
    };
    let mut depth = 1;
    let end = list.char_indices().find(|(at, letter)| {
        match letter {
            '<' => depth += 1,
            '>' if !list[..*at].ends_with('-') => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    Some(&list[..end.unwrap().0])
}

/// Returns whether a parameter is a backend: backends have no lifetimes.
fn is_backend(parameter: &str) -> bool {
    parameter.trim().starts_with("R: Reclaim")
}

/// Returns the types that this root exports and these tests do not mention.
fn forgotten(root: &str, sources: &[(PathBuf, String)], variance: &str, types: &str) -> Vec<String> {
    // Splitting at the fences yields examples and the text between them alternately.
    let (mut examples, mut twins) = (String::new(), String::new());
    for (at, part) in variance.split("/// ```").enumerate() {
        match part.split_once('\n') {
            Some((how, body)) if at % 2 == 1 && how.starts_with("compile_fail") => twins.push_str(body),
            Some((_, body)) if at % 2 == 1 => examples.push_str(body),
            _ => {}
        }
    }
    let mut forgotten = Vec::new();
    for name in exported(root) {
        let Some(parameters) = parameters(sources, name) else {
            continue;
        };
        let asserted = [format!("\n        {name}:"), format!("\n        {name}<")];
        if !asserted.iter().any(|line| types.contains(line)) {
            forgotten.push(format!("the auto traits of {name}, in tests/types.rs"));
        }
        let varies = !parameters.is_empty() && !parameters.split(',').all(is_backend);
        let used = [format!(" {name}<"), format!("({name}<")];
        for (what, text) in [("what may stand for", &examples), ("what may not stand for", &twins)] {
            if varies && !used.iter().any(|used| text.contains(used)) {
                forgotten.push(format!("{what} {name}<{parameters}>, in src/variance.rs"));
            }
        }
    }
    forgotten
}

#[test]
fn every_public_type_has_its_twins_and_assertions() {
    let sources = sources("shadow-vars");
    let root = include_str!("../src/lib.rs");
    let names = exported(root);
    for name in [
        "Variable",
        "ParIter",
        "Seize",
        "Attached",
        "CtorError",
        "RawCtor",
        "report_old_guards",
    ] {
        assert!(names.contains(name), "{name}: not found");
    }
    assert!(!names.contains("Provoke"));
    assert_eq!(forgotten(root, &sources, VARIANCE, TYPES), [""; 0]);
    // A missing one would be detected.
    let sees = |root: &str, variance: &str, types: &str| forgotten(root, &sources, variance, types).len();
    assert_eq!(sees(root, &VARIANCE.replace("Attached<", "Other<"), TYPES), 2);
    assert_eq!(sees(root, &VARIANCE.replace("VarRef<'b>) -> VarRef<'a>", ""), TYPES), 1);
    assert_eq!(sees(root, VARIANCE, &TYPES.replace("        LocalGuard<", "")), 1);
    let more = format!("{root}\npub use reclaim::{{Laggards, Guard}};\n");
    assert_eq!(sees(&more, VARIANCE, TYPES), 4, "one has a parameter");
}

/// The counters that are incremented, by file and name, with words of the row that describes their overflow.
const COUNTERS: [(&str, &str); 40] = [
    ("ctor.rs ctor_failed", "and other statistics"),
    ("fork.rs GENERATION", "forks"),
    ("mapping.rs MAPPED", "bytes mapped"),
    ("pool/mod.rs direct", "before threads kept some"),
    ("reclaim/epoch.rs BEGUN", "grace periods and eras"),
    ("reclaim/epoch.rs GUARDS", "guards of a thread |"),
    ("reclaim/eras.rs births", "by which eras begin"),
    ("reclaim/figures.rs weigh_panics", "and other statistics"),
    ("reclaim/held.rs bytes", "their bytes"),
    ("reclaim/held.rs count", "a stalled reader holds back"),
    ("reclaim/held.rs weight", "what freed values own"),
    ("reclaim/list.rs closed", "batches closed and drained"),
    ("reclaim/list.rs reclaimed", "retired and reclaimed values"),
    ("reclaim/list.rs reclaimed_bytes", "their bytes"),
    ("reclaim/participants.rs NEXT", "readers' places"),
    ("reclaim/participants.rs epoch", "grace periods and eras"),
    ("reclaim/participants.rs guards", "guards of a thread |"),
    ("reclaim/retire.rs retired", "retired and reclaimed values"),
    ("reclaim/retire.rs retired_bytes", "their bytes"),
    ("reclaim/retired.rs drop_panics", "and other statistics"),
    ("reclaim/retired.rs reclaimed", "retired and reclaimed values"),
    ("reclaim/retired.rs reclaimed_bytes", "their bytes"),
    ("reclaim/scan.rs epoch", "grace periods and eras"),
    ("reclaim/scan.rs refused", "barriers that were refused"),
    ("reclaim/seize.rs BEGUN", "grace periods and eras"),
    ("reclaim/seize.rs GUARDS", "guards of a thread |"),
    ("reclaim/seize.rs HOLDS", "guards of threads that end"),
    ("reclaim/upkeep.rs retired_to_drop", "retired and reclaimed values"),
    ("reclaim/weights.rs open", "what freed values own"),
    ("shard.rs counter", "retired and reclaimed values"),
    ("sync.rs NEXT_TOKEN", "threads' tokens"),
    ("table/array.rs cursor", "blocks of a table"),
    ("table/array.rs finished", "blocks of a table"),
    ("table/array.rs tickets", "tickets of a table"),
    ("table/count.rs cell", "slots of a table"),
    ("table/count.rs shared", "slots of a table"),
    ("table/hash.rs GIVEN", "for their seeds"),
    ("table/resize.rs count", "and other statistics"),
    ("table/remove.rs ctor_failed", "and other statistics"),
    ("tally.rs counter", "created, freed"),
];

/// Returns the counters that these sources increment: atomics, and cells. Each by its file and name.
fn counted(sources: &[(PathBuf, String)]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (path, text) in sources {
        let code = |at: usize| !text[..at].rsplit('\n').next().unwrap().trim_start().starts_with("//");
        let (_, file) = path.to_str().unwrap().rsplit_once("/src/").unwrap();
        let mut add = |name: &str| {
            let name = name.rsplit(|letter| !is_word(letter)).next().unwrap();
            assert!(!name.is_empty(), "{file}: counts what has no name");
            found.insert(format!("{file} {name}"));
        };
        for call in [".fetch_add(", ".fetch_update("] {
            let calls = text.match_indices(call).filter(|(at, _)| code(*at));
            calls.for_each(|(at, _)| add(text[..at].trim_end()));
        }
        for (at, call) in text.match_indices("shard.add(").filter(|(at, _)| code(*at)) {
            add(text[at + call.len()..].split(',').next().unwrap());
        }
        for call in [".set(", ".load("] {
            for (at, _) in text.match_indices(call).filter(|(at, _)| code(*at)) {
                let line = text[at..].split('\n').next().unwrap();
                if [" + 1)", " + 1;", "_add(1)", "_add(by)"]
                    .iter()
                    .any(|more| line.contains(more))
                {
                    add(&text[..at]);
                }
            }
        }
    }
    found
}

#[test]
fn every_counter_has_a_row_in_the_guide() {
    let rows: Vec<&str> = GUIDE.lines().filter(|line| line.starts_with("//! |")).collect();
    let sources = [sources("shadow-vars"), sources("asymmetric-barrier")].concat();
    let found = counted(&sources);
    let known: BTreeSet<String> = COUNTERS.iter().map(|(counter, _)| (*counter).to_owned()).collect();
    let of_no_row: Vec<_> = found.difference(&known).collect();
    assert!(of_no_row.is_empty(), "what happens at their ends? {of_no_row:?}");
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(gone.is_empty(), "not counted any more: {gone:?}");
    for (counter, words) in COUNTERS {
        let rows = rows.iter().filter(|row| row.contains(words)).count();
        assert_eq!(rows, 1, "rows that say `{words}`, of {counter}");
    }
    let planted = "fn f() { self\n.news.fetch_add(1, Relaxed);\n mine.more.set(mine.more.get() + 1);\n b.store(a.c.load(R) + 1);\n }";
    let planted = [(PathBuf::from("/src/a.rs"), planted.to_owned())];
    assert_eq!(
        counted(&planted),
        ["a.rs c", "a.rs more", "a.rs news"].map(str::to_owned).into()
    );
}
