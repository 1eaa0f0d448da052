#!/usr/bin/env bash
# Why: everything that needs no test run, cheapest first, as one command to run before every commit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for gate in "ci/fmt.sh" "ci/commits.sh" "ci/commits.sh --self-test" "ci/lock.sh" "ci/arch.sh" "ci/arch.sh --self-test" "ci/minimal.sh --floors" "ci/package.sh --list" "ci/clippy.sh" "ci/docs.sh"; do
    echo "== $gate"
    # shellcheck disable=SC2086 # a gate is a command with its arguments
    $gate
done
