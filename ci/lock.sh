#!/usr/bin/env bash
# Why: a record of measurements names Cargo.lock, which means nothing if the build differs from it. Cargo updates the file
# silently, so a changed requirement could be committed without the versions that it selects.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo metadata --locked --format-version 1 >/dev/null || {
    echo "lock: Cargo.lock is not what Cargo.toml asks for: build once, and commit it" >&2
    exit 1
}
git ls-files --error-unmatch Cargo.lock >/dev/null 2>&1 || { echo "lock: Cargo.lock is not checked in" >&2; exit 1; }
echo "lock: up to date"
