//! The marked parts of a document.

use std::collections::BTreeMap;

/// Puts each part between its marks. A document without any mark gets all parts at its end.
pub(crate) fn fill(document: &str, parts: &BTreeMap<&'static str, String>) -> Result<String, String> {
    let mut text = document.to_owned();
    if !text.contains("<!-- perf:") {
        if !text.is_empty() {
            text = format!("{}\n\n", text.trim_end());
        }
        for name in ORDER.into_iter().filter(|name| parts.contains_key(name)) {
            text.push_str(&format!("{}\n{}\n\n", opening(name), closing(name)));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    for (name, part) in parts {
        let Some(start) = text.find(&opening(name)) else {
            return Err(format!("there is no {}", opening(name)));
        };
        let start = start + opening(name).len();
        let Some(length) = text[start..].find(&closing(name)) else {
            return Err(format!("{} has no {}", opening(name), closing(name)));
        };
        text.replace_range(start..start + length, &format!("\n\n{}\n\n", part.trim()));
    }
    Ok(text)
}

/// The parts of the one screen, in their order.
pub(crate) const ORDER: [&str; 6] = ["machine", "summary", "losses", "charts", "pages", "classes"];

fn opening(name: &str) -> String {
    format!("<!-- perf:{name} -->")
}

fn closing(name: &str) -> String {
    format!("<!-- /perf:{name} -->")
}
