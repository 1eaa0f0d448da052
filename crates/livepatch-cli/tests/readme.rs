//! The README's service that takes patches: its files are written and its commands run exactly as printed there, with
//! nothing set in the environment that would help.

use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

const README: &str = include_str!("../../../README.md");

const TOOL: &str = env!("CARGO_BIN_EXE_livepatch");

/// Returns the section, and its fenced blocks, each with the text before it.
fn blocks() -> Vec<(&'static str, &'static str, &'static str)> {
    let (_, section) = README
        .split_once("\n## A service that takes patches\n")
        .expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let mut parts = section.split("\n```");
    let mut before = parts.next().unwrap();
    let mut blocks = Vec::new();
    while let (Some(block), after) = (parts.next(), parts.next()) {
        let (language, text) = block.split_once('\n').expect("a block");
        blocks.push((before, language, text));
        before = after.unwrap_or_default();
    }
    blocks
}

/// Runs commands in a directory, with the paths that rustup and cargo need, and the tool as if it was installed.
fn run(commands: &str, folder: &Path, offline: bool) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-eu", "-c", commands]).current_dir(folder).env_clear();
    for kept in ["HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        if let Some(value) = env::var_os(kept) {
            shell.env(kept, value);
        }
    }
    let tools = [
        Path::new(TOOL).parent().unwrap(),
        Path::new(env!("CARGO")).parent().unwrap(),
    ];
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = tools.into_iter().map(Into::into).chain(env::split_paths(&path));
    shell.env("PATH", env::join_paths(paths).unwrap());
    if offline {
        shell.env("CARGO_NET_OFFLINE", "true");
    }
    shell.output().expect("there is a shell")
}

#[test]
fn a_service_that_takes_patches_is_built_and_run_as_the_readme_says() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap();
    let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let shop = beside.join("shop");
    fs::create_dir_all(&shop).unwrap();
    let _ = fs::remove_file(beside.join("shadow-store"));
    std::os::unix::fs::symlink(&repository, beside.join("shadow-store")).unwrap();
    let _ = fs::remove_dir_all(shop.join("run"));

    let mut commands = None;
    let mut files = 0;
    for (before, language, text) in blocks() {
        if language == "sh" {
            assert!(commands.replace(text).is_none(), "one block of commands");
            continue;
        }
        // The last paragraph before a file's text begins with its name.
        let paragraph = before.rsplit("\n\n").find(|one| !one.trim().is_empty()).unwrap();
        let name = paragraph
            .trim()
            .strip_prefix('`')
            .and_then(|rest| rest.split('`').next());
        let name = name.unwrap_or_else(|| panic!("no file's name: {paragraph}"));
        let path = beside.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Unchanged files need not be rebuilt.
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            files += 1;
            continue;
        }
        fs::write(path, text).unwrap();
        files += 1;
    }
    assert_eq!(files, 8);
    // The versions of this build, which are available without a network.
    if let (lock, false) = (repository.join("Cargo.lock"), shop.join("Cargo.lock").exists())
        && lock.exists()
    {
        fs::copy(lock, shop.join("Cargo.lock")).unwrap();
    }

    let commands = commands.expect("commands");
    let online = !run("cargo build --release --quiet", &shop, true).status.success();
    // In between, the query of an operator: why the library is loaded.
    let list = "livepatch --socket run/control list\nsleep 1\n";
    let status = "livepatch --socket run/control status\nlivepatch --socket run/control --json status\n";
    let asked = commands.replacen(list, &format!("{list}{status}"), 1);
    assert_ne!(asked, commands);
    let output = run(&asked, &shop, !online);
    let said = String::from_utf8_lossy(&output.stdout);
    let all = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{all}");
    // Before, with, and after the patch.
    let wanted = [
        "three for 30\n",
        "patch 'half' is enabled\n",
        "three for 15\n",
        "LOADED BECAUSE\nhalf        patch  its patch is enabled\n",
        "\"libraries\":[{\"kind\":\"patch\",\"name\":\"half\"",
        "patch 'half' is disabled\n",
        "no patch is enabled\n",
    ];
    let mut rest = &*said;
    for line in wanted {
        let Some((_, after)) = rest.split_once(line) else {
            panic!("no {line:?} in its place:\n{all}");
        };
        rest = after;
    }
}
