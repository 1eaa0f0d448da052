#!/usr/bin/env bash
# Why: ordinary tests see the few interleavings that this machine happens to produce. The loom models
# run every interleaving, and every value that the memory model allows a load to see, up to a number
# of preemptions.
#
# Usage: ci/loom.sh [filter]        filter: part of a model's name; default: all
# LOOM_MAX_PREEMPTIONS (default 2) bounds the search; 3 finds more and takes far longer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

filter=tests::loom::${1:-}
export LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-2}
# Release, as the search is long; with debug assertions, as the code's own checks are part of the model.
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
export RUSTFLAGS="--cfg shadow_loom"

# Own target directory: the flag rebuilds every crate and would evict the ordinary build.
log=target/loom/last-run.log
mkdir -p target/loom
cargo test --release -p shadow-vars -p livepatch --lib --target-dir target/loom "$filter" -- --nocapture --test-threads=1 2>&1 | tee "$log"

passed=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$log")
echo "loom: $passed models passed, filter \`$filter\`, at most $LOOM_MAX_PREEMPTIONS preemptions, $SECONDS s"
if ((passed == 0)); then
    echo "loom: no model ran, which proves nothing" >&2
    exit 1
fi
