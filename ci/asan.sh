#!/usr/bin/env bash
# Why: tests mostly pass in spite of a use after free or a leak in a reclaiming table. The address sanitizer and its leak checker
# find both. Doctests are left out: they would need the flag for rustdoc, and run no code that the tests do not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "asan: SKIPPED, no nightly toolchain (rustup toolchain install nightly)"
    exit 0
fi

# A sanitizer that is not active finds nothing, so two small programs with the defects it is for must be rejected.
mkdir -p target/asan
canary() {
    local name=$1 finding=$2 body=$3
    printf 'fn main() { %s }\n' "$body" >"target/asan/$name.rs"
    rustc +nightly -Zsanitizer=address --edition 2024 -o "target/asan/$name" "target/asan/$name.rs"
    if ASAN_OPTIONS=detect_leaks=1 "target/asan/$name" >"target/asan/$name.log" 2>&1 || ! grep -q "$finding" "target/asan/$name.log"; then
        echo "asan: did not find the planted $name" >&2
        exit 1
    fi
}
canary use-after-free heap-use-after-free \
    'let p = Box::into_raw(Box::new(7_u64)); unsafe { drop(Box::from_raw(p)); std::hint::black_box(p.read_volatile()); }'
canary leak 'detected memory leaks' \
    'for _ in 0..100 { std::mem::forget(std::hint::black_box(Box::new([1_u64; 64]))); }'

export RUSTFLAGS="-Zsanitizer=address"
# Absurd sizes must fail as they do without the sanitizer: by returning null.
export ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
# Whether the stress tests catch planted defects is checked by ordinary runs: under the sanitizer, threads interleave differently.
# `--target` keeps the flag from build scripts and procedural macros.
cargo +nightly test -p shadow-vars --all-features --lib --tests \
    --target x86_64-unknown-linux-gnu --target-dir target/asan -- --skip planted_defects_are_caught
echo "asan: no finding, $SECONDS s"
