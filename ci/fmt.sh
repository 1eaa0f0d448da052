#!/usr/bin/env bash
# Why: one layout for all files, so that a diff shows only intended changes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo fmt --all --check
if [[ -f fuzz/Cargo.toml ]]; then
    cargo fmt --manifest-path fuzz/Cargo.toml --check
fi
