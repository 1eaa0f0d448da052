#!/usr/bin/env bash
# Why: ordinary tests see only the interleavings that this machine happens to produce. The loom models run every interleaving,
# with every value that the memory model allows a load to return, up to a number of preemptions.
#
# Usage: ci/loom.sh [filter]        filter: part of a model's name; default: all
# LOOM_MAX_PREEMPTIONS (default 2) bounds the search; 3 finds more and takes far longer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

filter=tests::loom::${1:-}
export LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-2}
# Optimised, because the search is long; with debug assertions, because the code's own checks are part of the model.
export CARGO_PROFILE_LONG_DEBUG_ASSERTIONS=true
export RUSTFLAGS="--cfg shadow_loom"

# In its own target directory, because the flag rebuilds every crate and would replace the ordinary build.
log=target/loom/last-run.log
mkdir -p target/loom
cargo test --no-run --profile long -p asymmetric-barrier -p shadow-vars -p livepatch --lib --target-dir target/loom 2>&1 | tee "$log"
binaries=$(sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$log")
echo "loom: built, $SECONDS s"

# A process for each model, because the set of values that loads may return is a setting of the process; as many at once as there
# are cores. The models with all planted defects take longest, so they start first.
run_model() {
    local out status=0
    out=$("$1" --exact "$2" --nocapture --test-threads=1 2>&1) || status=$?
    echo "$out"
    return "$status"
}
export -f run_model
models=$(for binary in $binaries; do
    "$binary" --list --format terse "$filter" | sed -n "s|^\(.*\): test\$|$binary \1|p"
done)
status=0
{ grep '::defects::' <<<"$models" || true; grep -v '::defects::' <<<"$models" || true; } |
    xargs -r -P "$(nproc)" -L 1 bash -c 'run_model "$0" "$1"' 2>&1 | tee "$log" || status=$?
if ((status != 0)); then
    echo "loom: failed: $(sed -n 's/^    \(tests::loom::.*\)$/\1/p' "$log" | sort -u | tr '\n' ' ')" >&2
    exit 1
fi

passed=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$log")
echo "loom: $passed models passed, filter \`$filter\`, at most $LOOM_MAX_PREEMPTIONS preemptions, $SECONDS s"
if ((passed == 0)); then
    echo "loom: no model ran, which proves nothing" >&2
    exit 1
fi
