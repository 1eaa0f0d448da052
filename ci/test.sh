#!/usr/bin/env bash
# Why: the tests as users run them, then the libraries once more with every feature on. The benchmarks
# are among them: each runs once and asserts its answers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo test --workspace
cargo test -p shadow-vars --all-features
# With libraries that are built, loaded and unloaded.
cargo test -p livepatch --all-features
