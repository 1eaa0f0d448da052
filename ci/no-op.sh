#!/usr/bin/env bash
# Why: tracing, type checks and statistics together may take 3 % of W1, and separate runs on a shared machine differ by more than
# that. So the store and a copy without the three run alternately in one program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ci/extras.sh

copy=target/no-op
copy_sources "$copy"
leave_out "$copy" types
leave_out "$copy" statistics
# Two copies of a package in one program must differ in version.
sed -i '0,/^version = "[^"]*"/s//version = "0.1.999"/' "$copy/Cargo.toml"

RUSTFLAGS="${RUSTFLAGS:-} -Awarnings" cargo run --release --quiet --manifest-path perf/no-op/Cargo.toml --target-dir target/no-op-build
