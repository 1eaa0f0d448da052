#!/usr/bin/env bash
# Why: the tests as users run them, then the libraries with no feature enabled, and the study and the benchmarks, each of which
# runs once and checks its results.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo test --all-features
cargo test -p shadow-vars
cargo test -p livepatch
cargo test -p perf -p shadow-benches
# The seeds of the fuzz targets.
ci/fuzz.sh --seeds
# Only root can become another user; otherwise the test does nothing.
if [[ $(id -u) != 0 ]]; then
    control=$(cargo test -p livepatch --all-features --test control --no-run --message-format=json |
        sed -n 's/.*"name":"control".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
    if [[ -n $control ]] && sudo -n true 2>/dev/null; then
        (cd crates/livepatch && sudo -n "$control" --exact socket::other_users_are_refused)
    else
        echo "test: SKIPPED socket::other_users_are_refused, which needs root"
    fi
fi
