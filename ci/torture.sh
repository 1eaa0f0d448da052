#!/usr/bin/env bash
# Why: rare races need time. The stress tests marked `#[ignore]` run for the given time, count what they create and free, and
# require that the two balance.
#
# Usage: ci/torture.sh SECONDS      for each stress test; one at a time, so that each has all cores
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export SHADOW_STRESS_SECONDS=${1:?usage: ci/torture.sh SECONDS}

# Both libraries with all features that have races to find: a test runs what is enabled, and does not mention the rest.
mkdir -p target
log=target/torture.log
cargo test --profile long -p shadow-vars -p livepatch --features shadow-vars/seize,shadow-vars/rayon --lib --tests \
    -- --ignored --test-threads 1 --nocapture torture 2>&1 | tee "$log"

passed=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$log")
echo "torture: $passed stress tests passed, $SHADOW_STRESS_SECONDS s each, $SECONDS s in all"

# The tests that must have run, as the test program prints them.
failed=0
must_have() {
    if ! grep -qE "$2" "$log"; then
        echo "torture: $1 did not run, which proves nothing of it" >&2
        failed=1
    fi
}
for backend in asymmetric epoch seize eras; do
    must_have "the store on $backend" "(^| )$backend [a-z-]+: [0-9]+ threads, .* [1-9][0-9]* operations"
    must_have "a sweep by many threads on $backend" "(^| )$backend [a-z-]+: .* [1-9][0-9]* in parallel"
done
for backend in Asymmetric Epoch Seize Eras; do
    must_have "the histories on $backend" "(^| )[a-z-]+ with .*::$backend: .*histories: [1-9]"
done
must_have "the preemptions" "(^| )[1-9][0-9]* cases"
must_have "the transitions" "(^| )[0-9]+ threads: [1-9][0-9]* units, [1-9][0-9]* transitions"
exit "$failed"
