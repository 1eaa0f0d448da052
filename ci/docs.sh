#!/usr/bin/env bash
# Why: a broken link in the documentation is a false statement about the code.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features
# The algorithm pages document private items: their links are checked, too.
RUSTDOCFLAGS="-D warnings" cargo doc -p shadow-vars --no-deps --all-features \
    --document-private-items --target-dir target/private-doc
