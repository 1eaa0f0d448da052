#!/usr/bin/env bash
# Why: the study is worth something only if anyone can run it. This runs it for a minute, prints the results, and fails only if
# the study does not work: times are not checked on shared machines.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo run --release -p perf -- compare --workload W1,G64,W3,W4 --entries 64k --threads 2 --reps 3 --seconds 0.1 \
    --stores shadow,shadow-by-id,papaya,scc_map,scc_index,dashmap,dashmap-in-place,nosync --anyway
