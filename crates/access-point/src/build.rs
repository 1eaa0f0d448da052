//! Builds the service, its patches and the operator's tool.
//!
//! All are built with `-C prefer-dynamic`, so that the service and the patches share one copy of the interface and its
//! dependencies. As this flag changes the build of every crate, they have a separate target directory.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The packages to build.
const PACKAGES: [&str; 4] = ["access-point-service", "ps-race", "ps-race-2", "livepatch-cli"];

/// The programs and libraries that were built.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The directory that contains them.
    out: PathBuf,
    /// The directories in which the dynamic linker finds shared libraries.
    libraries: OsString,
}

impl Programs {
    /// Returns a command that runs a program.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.out.join(program));
        command.env("LD_LIBRARY_PATH", &self.libraries);
        command
    }

    /// Returns the path of a patch's library.
    pub(crate) fn patch(&self, package: &str) -> PathBuf {
        self.out.join(format!("lib{}.so", package.replace('-', "_")))
    }
}

/// Builds everything, with cargo's own messages unless `quiet`.
pub(crate) fn programs(quiet: bool) -> Result<Programs> {
    // CARGO_MANIFEST_DIR is crates/access-point.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("the workspace is two levels up")?;
    let target = target_directory(root);
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .arg("build")
        .arg("--target-dir")
        .arg(&target)
        .args(PACKAGES.iter().flat_map(|package| ["-p", package]))
        .env("RUSTFLAGS", rust_flags())
        // Link-time optimisation and shared libraries exclude each other.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        // Set for this program's own build; it would take precedence over RUSTFLAGS.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stdin(Stdio::null());
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    if profile == "release" {
        cargo.arg("--release");
    }
    if quiet {
        cargo.arg("--quiet");
    }
    let status = cargo
        .status()
        .context("cargo, which builds the service and its patches")?;
    ensure!(status.success(), "the service and its patches could not be built");
    let out = target.join(profile);
    let libraries = env::join_paths([out.clone(), out.join("deps"), standard_library()?])?;
    Ok(Programs { out, libraries })
}

/// Returns a directory beside the one that this program was built in.
fn target_directory(root: &Path) -> PathBuf {
    let own = env::current_exe().ok();
    let target = own.as_deref().and_then(Path::parent).and_then(Path::parent);
    target.map_or_else(|| root.join("target"), Path::to_owned).join("live")
}

fn rust_flags() -> OsString {
    let mut flags = env::var_os("RUSTFLAGS").unwrap_or_default();
    flags.push(" -C prefer-dynamic");
    flags
}

/// Returns the directory of the shared standard library.
fn standard_library() -> Result<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let printed = Command::new(rustc)
        .args(["--print", "target-libdir"])
        .output()
        .context("running rustc to find its libraries")?;
    ensure!(printed.status.success(), "rustc does not print where its libraries are");
    Ok(PathBuf::from(String::from_utf8(printed.stdout)?.trim()))
}
