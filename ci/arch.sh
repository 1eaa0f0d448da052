#!/usr/bin/env bash
# Why: because of the layers (ARCHITECTURE.md), a reader can understand one file at a time: atomics only in sync.rs, a table that
# knows neither store nor reclaimer, a find that cannot call an insert. The language does not enforce them, so `ci/arch` does, by
# the lists on that page.
#
# Usage: ci/arch.sh                  checks the repository
#        ci/arch.sh --self-test      plants a violation of each rule in a copy, and requires that it is found
#        ci/arch.sh --uses FOLDER    prints what the modules of a crate use, one use per line
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo run --quiet --package arch -- "$@"
