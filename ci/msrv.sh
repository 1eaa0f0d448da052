#!/usr/bin/env bash
# Why: the stated minimum Rust version is a promise to users. It is stated in three places, which must agree, and the library must
# compile with it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

msrv=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
grep -q "^msrv = \"$msrv\.0\"$" clippy.toml || { echo "msrv: clippy.toml does not say $msrv.0" >&2; exit 1; }
grep -q "Rust $msrv" README.md || { echo "msrv: README.md does not say Rust $msrv" >&2; exit 1; }

find_toolchain() { rustup toolchain list 2>/dev/null | grep -o "^${msrv}[^ ]*" | head -n 1 || true; }

toolchain=$(find_toolchain)
if [[ -z $toolchain ]]; then
    rustup toolchain install "$msrv" --profile minimal || true
    toolchain=$(find_toolchain)
fi
if [[ -z $toolchain ]]; then
    echo "msrv: compile check SKIPPED, no toolchain $msrv and none to install;"
    echo "msrv: clippy::incompatible_msrv in ci/clippy.sh finds the standard library's newer items"
    exit 0
fi
cargo "+$toolchain" check -p shadow-vars --target-dir target/msrv
cargo "+$toolchain" check -p shadow-vars -p livepatch -p livepatch-cli --all-features --target-dir target/msrv
