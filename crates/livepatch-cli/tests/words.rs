//! What the README lists, compared with the sources of `livepatch`.

#[test]
fn the_readme_has_every_code_event_and_exit_code() {
    let readme = include_str!("../README.md");
    /// Returns the names of an enum's variants, as in JSON.
    fn variants(source: &str, declared: &str) -> Vec<String> {
        let body = source.split_once(declared).expect(declared).1;
        let body = &body[..body.find("\n}").unwrap()];
        let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
        let names = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
        names
            .map(|line| {
                let name = line.split(|c: char| !c.is_alphanumeric()).next().unwrap();
                let mut snake = String::new();
                for letter in name.chars() {
                    if letter.is_uppercase() && !snake.is_empty() {
                        snake.push('_');
                    }
                    snake.push(letter.to_ascii_lowercase());
                }
                snake
            })
            .collect()
    }
    let codes = variants(
        include_str!("../../livepatch/src/control/protocol.rs"),
        "pub enum ErrorCode {",
    );
    let events = variants(include_str!("../../livepatch/src/events.rs"), "pub enum Event {");
    assert!(codes.len() > 15 && events.len() > 15, "{codes:?} {events:?}");
    for name in codes.iter().chain(&events).filter(|name| *name != "unknown") {
        assert!(readme.contains(&format!("`{name}`")), "README.md lacks `{name}`");
    }
    for code in 0..=6 {
        assert!(
            readme.contains(&format!("\n| {code} | ")),
            "README.md lacks exit code {code}"
        );
    }
}
