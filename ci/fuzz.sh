#!/usr/bin/env bash
# Why: random operation sequences, compared with a plain model under the address sanitizer, reach states for which no test has
# been written.
#
# Usage: ci/fuzz.sh SECONDS         for each target; starts from the seeds in fuzz/seeds/TARGET
#        ci/fuzz.sh --seeds         the seeds only, without a fuzzer: each is what its name says, and runs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:?usage: ci/fuzz.sh SECONDS | --seeds}

# libFuzzer is C++ and is built from source.
if ! command -v c++ >/dev/null && ! command -v g++ >/dev/null; then
    apt-get update && apt-get install -y g++
fi
if [[ $seconds == --seeds ]]; then
    cargo test --manifest-path fuzz/Cargo.toml
    exit 0
fi
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzz: SKIPPED, no nightly toolchain (rustup toolchain install nightly)"
    exit 0
fi
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked

# A planted finding must be written to disk, also if two threads find it at the same time; tried ten times.
planted=target/fuzz-planted
for attempt in {1..10}; do
    rm -rf "$planted"
    mkdir -p "$planted/seeds"
    printf 'at once' >"$planted/seeds/input"
    if cargo +nightly fuzz run --fuzz-dir fuzz planted "$planted/seeds" -- \
        -runs=0 -artifact_prefix="$planted/" >"$planted/log" 2>&1; then
        echo "fuzz: what is planted was not found" >&2
        exit 1
    fi
    if ! cmp -s "$planted/seeds/input" "$planted"/crash-*; then
        tail -n 20 "$planted/log" >&2
        echo "fuzz: what was found was not written down (attempt $attempt)" >&2
        exit 1
    fi
done
echo "fuzz: what is planted is found and written down"

targets=$(cargo +nightly fuzz list --fuzz-dir fuzz | grep -vx planted || true)
if [[ -z $targets ]]; then
    echo "fuzz: no target found, which proves nothing" >&2
    exit 1
fi

for target in $targets; do
    # libFuzzer writes findings to the first directory, and only reads the others.
    corpus=("fuzz/corpus/$target")
    mkdir -p "${corpus[0]}"
    if [[ -d fuzz/seeds/$target ]]; then
        corpus+=("fuzz/seeds/$target")
    fi
    echo "== fuzz $target, $seconds s"
    cargo +nightly fuzz run --fuzz-dir fuzz "$target" "${corpus[@]}" -- \
        -max_total_time="$seconds" -rss_limit_mb=4096
done
echo "fuzz: $(wc -w <<<"$targets") targets, $seconds s each, no finding"
