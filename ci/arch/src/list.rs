//! The lists in ARCHITECTURE.md of which module may use which, in blocks that begin with ```` ```layers FOLDER ````.

/// The list of one crate.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) folder: String,
    /// The line on which its block begins.
    pub(crate) line: usize,
    pub(crate) rows: Vec<Row>,
    /// The entries that every module may use.
    pub(crate) everywhere: Row,
    /// The entries that unit tests may use in addition to those of their module.
    pub(crate) tests: Row,
    pub(crate) circles: Vec<Circle>,
}

/// A line of the list: modules, and the entries that they may use.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) line: usize,
    pub(crate) names: Vec<String>,
    pub(crate) uses: Vec<String>,
}

/// Modules that use each other, with the reason.
#[derive(Debug, Default)]
pub(crate) struct Circle {
    pub(crate) line: usize,
    pub(crate) names: Vec<String>,
    pub(crate) because: String,
}

/// Reads all blocks. An error is a line and a message.
pub(crate) fn read(page: &str) -> Result<Vec<List>, (usize, String)> {
    let mut lists = Vec::new();
    let mut lines = page.lines().enumerate().map(|(at, line)| (at + 1, line));
    while let Some((line, text)) = lines.next() {
        let Some(folder) = text.strip_prefix("```layers ") else {
            continue;
        };
        let row = || Row { line, ..Row::default() };
        let mut list = List {
            folder: folder.trim().to_owned(),
            line,
            rows: Vec::new(),
            everywhere: row(),
            tests: row(),
            circles: Vec::new(),
        };
        // A line that begins with a space continues the one before.
        let mut entries: Vec<(usize, String)> = Vec::new();
        for (line, text) in lines.by_ref().take_while(|(_, text)| !text.starts_with("```")) {
            let text = text.split('#').next().unwrap_or_default().trim_end();
            match entries.last_mut() {
                Some((_, entry)) if text.starts_with(' ') => entry.push_str(text),
                _ if text.is_empty() => {}
                _ => entries.push((line, text.to_owned())),
            }
        }
        for (line, entry) in entries {
            let (names, uses) = entry
                .split_once(':')
                .ok_or_else(|| (line, format!("no colon: {entry}")))?;
            let row = || Row {
                line,
                names: split(names),
                uses: split(uses),
            };
            match names.trim() {
                "everywhere" => list.everywhere = row(),
                "unit tests" => list.tests = row(),
                "circle" => list.circles.push(Circle {
                    line,
                    names: split(uses),
                    because: String::new(),
                }),
                "because" => {
                    let circle = list
                        .circles
                        .last_mut()
                        .ok_or((line, "a reason of no circle".to_owned()))?;
                    circle.because = uses.split_whitespace().collect::<Vec<_>>().join(" ");
                }
                _ => list.rows.push(row()),
            }
        }
        lists.push(list);
    }
    Ok(lists)
}

/// Splits at commas; `std::{a, b}` is `std::a, std::b`.
fn split(text: &str) -> Vec<String> {
    let (mut all, mut prefix, mut word) = (Vec::new(), String::new(), String::new());
    for letter in text.chars().chain([',']) {
        match letter {
            '{' => prefix = std::mem::take(&mut word),
            ',' | '}' => {
                if !word.is_empty() {
                    all.push(format!("{prefix}{word}"));
                }
                word.clear();
                if letter == '}' {
                    prefix.clear();
                }
            }
            ' ' => {}
            _ => word.push(letter),
        }
    }
    all
}

/// Returns whether a name in the list matches a module: `table` matches itself, `table/*` also matches all modules below it.
pub(crate) fn matches_module(name: &str, label: &str) -> bool {
    match name.strip_suffix('*') {
        Some("") => true,
        Some(folder) => label.starts_with(folder) || label == folder.trim_end_matches('/'),
        None => name == label,
    }
}

/// Returns whether an entry for another crate covers a path.
pub(crate) fn covers(entry: &str, path: &str) -> bool {
    path.strip_prefix(entry)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
