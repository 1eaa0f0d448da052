//! Patches and modules in shared libraries: built here, and loaded by a service that checks itself. See tests/fixtures.
#![cfg(all(feature = "library", target_os = "linux"))]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The directory of the service and its libraries, which are built on first use.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("library");
    // The versions of this build, which are available without a network.
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    if !fixtures.join("Cargo.lock").exists() && lock.exists() {
        std::fs::copy(lock, fixtures.join("Cargo.lock")).expect("the lock file can be copied");
    }
    let build = || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--target-dir"]).arg(&target);
        cargo.current_dir(&fixtures);
        // Settings of this test's build must not apply to the fixtures, which have their own configuration.
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "RUSTC_WORKSPACE_WRAPPER",
        ] {
            cargo.env_remove(name);
        }
        cargo
    };
    let offline = build().arg("--offline").output().expect("cargo runs");
    if !offline.status.success() {
        let online = build().output().expect("cargo runs");
        assert!(online.status.success(), "{}", String::from_utf8_lossy(&online.stderr));
    }
    target.join("debug")
});

/// Runs one check of the service.
#[track_caller]
fn check(name: &str) {
    let folder = &*BUILT;
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let std = Command::new(rustc)
        .args(["--print", "target-libdir"])
        .output()
        .expect("rustc runs");
    let std = String::from_utf8(std.stdout).expect("a path");
    let libraries = format!("{}:{}", folder.display(), std.trim());
    let mut service = Command::new(folder.join("service"));
    let output = service.arg(name).arg(folder).env("LD_LIBRARY_PATH", libraries).output();
    let output = output.expect("the service runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains(&format!("checked: {name}")),
        "{name}: {}\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
}

macro_rules! checks {
    ($($check:ident)*) => {
        $(#[test]
        fn $check() {
            check(stringify!($check));
        })*
    };
}

checks! {
    life destructors takeover forced stays locals storm
    refused failing cut flipped changed bounds
    series series_owed reach_back
    words
    module module_errors module_storm
}
