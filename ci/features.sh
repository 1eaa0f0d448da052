#!/usr/bin/env bash
# Why: features may be enabled in any combination. ci/clippy.sh compiles each alone, and all together; it does not show an item
# that only two of them need, or that is unused only without them. Development dependencies are left out, because they enable
# features of dependencies that they share with the library.
#
# Usage: ci/features.sh             checks every combination of each published package's features, without a warning
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ci/extras.sh
source ci/packages.sh

[[ $# == 0 ]] || { echo "usage: ci/features.sh" >&2; exit 2; }
cargo hack --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-hack

# In a copy, whose manifests lose their development dependencies.
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
