#!/usr/bin/env bash
# Why: rare races need time. The stress tests marked `#[ignore]` run for as long as they are given,
# count what they make and free, and require the two to balance.
#
# Usage: ci/torture.sh SECONDS      for each stress test; one at a time, so that each has all cores
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export SHADOW_STRESS_SECONDS=${1:?usage: ci/torture.sh SECONDS}

mkdir -p target
log=target/torture.log
cargo test --profile long -p shadow-vars -p livepatch --lib --tests -- --ignored --test-threads 1 --nocapture torture 2>&1 | tee "$log"

passed=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$log")
echo "torture: $passed stress tests passed, $SHADOW_STRESS_SECONDS s each, $SECONDS s in all"
if ((passed == 0)); then
    echo "torture: no stress test ran, which proves nothing" >&2
    exit 1
fi
