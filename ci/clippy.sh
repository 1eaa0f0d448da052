#!/usr/bin/env bash
# Why: the lints in Cargo.toml carry house rules (every unsafe block argued, nothing newer than the
# MSRV, no undocumented item). They count only if nothing may pass with a warning, for every feature
# and for the model build, which the ordinary build never compiles.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

FEATURES=(seize rayon tracing serde) # each must also compile without the others

cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
run() {
    echo "+ cargo clippy $*"
    cargo clippy "$@" -- -D warnings
}

run --workspace --all-targets
run -p shadow-vars --all-targets --all-features
run -p livepatch --all-targets --all-features
run -p shadow-vars
for feature in "${FEATURES[@]}"; do
    run -p shadow-vars --features "$feature"
done
run -p livepatch
for feature in tracing serde control library; do
    run -p livepatch --features "$feature"
done
# `--profile test` compiles the unit tests, where the models live. Own target directory: see ci/loom.sh.
RUSTFLAGS="--cfg shadow_loom" run -p shadow-vars --lib --profile test --target-dir target/loom
# Alone: as a dependency, the store has its models' parts and not the models.
RUSTFLAGS="--cfg shadow_loom" run -p livepatch --lib --profile test --no-deps --target-dir target/loom
