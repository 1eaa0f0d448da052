#!/usr/bin/env bash
# Why: the peer study is only worth something if anyone can run it. This runs a minute of it, prints what it
# finds, and fails only if it does not work: no time is asserted on machines that are shared.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo run --release -p perf -- compare --workload W1,G64,W3,W4 --entries 64k --threads 2 --reps 3 --seconds 0.1 \
    --stores shadow,shadow-by-id,papaya,scc_map,scc_index,dashmap,dashmap-in-place,nosync --anyway
