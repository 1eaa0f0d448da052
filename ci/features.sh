#!/usr/bin/env bash
# Why: features may be had in any combination. Each alone and all together compile in ci/clippy.sh; an item that only two of
# them need, or that only their absence leaves unused, does not show there. Without the dependencies of tests, which bring
# features of what they share with the library.
#
# Usage: ci/features.sh             every combination of each published package's features, checked without a warning
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ci/extras.sh
source ci/packages.sh

[[ $# == 0 ]] || { echo "usage: ci/features.sh" >&2; exit 2; }
cargo hack --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-hack

# In a copy, as the dependencies of tests are taken out of its manifests.
copy_sources target/features
names=()
for package in "${PACKAGES[@]}"; do names+=(-p "$package"); done
(cd target/features && RUSTFLAGS="${RUSTFLAGS:-} -Dwarnings" CARGO_TERM_COLOR=never \
    cargo hack check --feature-powerset --exclude-features default --no-dev-deps "${names[@]}" --target-dir ../features-build) 2>&1 |
    tee target/features.log

checked=$(grep -c '^info: running `cargo check' target/features.log || true)
if ((checked <= ${#PACKAGES[@]})); then
    echo "features: $checked combinations were tried, which proves nothing" >&2
    exit 1
fi
echo "features: $checked combinations of features compile without a warning, $SECONDS s"
