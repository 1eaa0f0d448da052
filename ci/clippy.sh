#!/usr/bin/env bash
# Why: the lints in Cargo.toml hold house rules (a reason for every unsafe block, nothing newer than the MSRV, no undocumented
# item). They do so only if no warning is tolerated, with every feature, and in the model build, which the ordinary build never
# compiles.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The features of a package: it must also compile with each of them alone.
features() {
    local found
    found=$(sed -n '/^\[features\]/,/^$/ s/^\([a-z_-]*\) = .*/\1/p' "crates/$1/Cargo.toml" | grep -vx default)
    [[ -n $found ]] || { echo "clippy: no features found in $1" >&2; return 1; }
    echo "$found"
}

cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
run() {
    echo "+ cargo clippy $*"
    cargo clippy "$@" -- -D warnings
}

run --workspace --all-targets
run -p perf --all-targets --features cpp-peers
run -p shadow-vars --all-targets --all-features
run -p livepatch --all-targets --all-features
run -p shadow-vars
run -p livepatch
for package in shadow-vars livepatch; do
    found=$(features "$package")
    for feature in $found; do
        run -p "$package" --features "$feature"
    done
done
# The fuzz targets need a fuzzer to run, and a C++ compiler to be checked.
if command -v c++ >/dev/null || command -v g++ >/dev/null; then
    run --manifest-path fuzz/Cargo.toml --all-targets
else
    echo "clippy: SKIPPED for fuzz, no C++ compiler"
fi
# `--profile test` compiles the unit tests, which contain the models. For the target directory, see ci/loom.sh.
RUSTFLAGS="--cfg shadow_loom" run -p asymmetric-barrier --lib --profile test --target-dir target/loom
RUSTFLAGS="--cfg shadow_loom" run -p shadow-vars --lib --profile test --target-dir target/loom
# Without dependencies: as one of them, the store has the parts that its models need, but not the models.
RUSTFLAGS="--cfg shadow_loom" run -p livepatch --lib --profile test --no-deps --target-dir target/loom
