//! Runs the examples, which `cargo test` builds, and checks what they print.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Runs an example to its end, and returns what it has printed.
fn run(example: &str) -> String {
    let own = env::current_exe().expect("a path");
    let target: PathBuf = own
        .ancestors()
        .nth(2)
        .expect("it is in deps/")
        .join("examples")
        .join(example);
    assert!(
        target.exists(),
        "{} is not built: run `cargo test -p examples`",
        target.display()
    );
    let output = Command::new(target).output().expect("it starts");
    let printed = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{errors}");
    printed
}

/// Checks that the example prints these texts, in this order.
#[track_caller]
fn assert_prints(example: &str, expected: &[&str]) {
    let printed = run(example);
    let mut rest = printed.as_str();
    for text in expected {
        let at = rest.find(text);
        let at = at.unwrap_or_else(|| panic!("`{text}` is not printed, or not in its place:\n{printed}"));
        rest = &rest[at + text.len()..];
    }
}

#[test]
fn service() {
    let (enabled, disabled) = ("quota is enabled", "quota is disabled");
    assert_prints(
        "service",
        &[
            "200: request 1",
            enabled,
            "200: request 2",
            "429: enough",
            "429: enough",
            disabled,
            "200: request 4",
            "stopped",
        ],
    );
}

#[test]
fn metrics() {
    assert_prints(
        "metrics",
        &[
            "# TYPE shadow_vars_live gauge",
            "shadow_vars_live{store=\"global\"} 3",
            "# TYPE shadow_vars_created counter",
            "shadow_vars_created_total{store=\"global\"} 4",
            "# UNIT shadow_vars_retired_bytes bytes",
            "shadow_vars_ids_live{store=\"global\",id=\"0x7\",type=\"u64\"} 2",
            "# EOF",
        ],
    );
}

#[test]
fn tracing() {
    assert_prints(
        "tracing",
        &[
            "duplicate shadow variable",
            "shadow id used with two types id=0x1",
            "tracing.rs",
            "'double': patching complete",
            "'double': unpatching complete",
        ],
    );
}

#[test]
fn fuzz() {
    assert_prints("fuzz", &["500 inputs passed"]);
}

#[test]
fn gate() {
    assert_prints("gate", &["gate: "]);
}
