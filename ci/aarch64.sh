#!/usr/bin/env bash
# Why: inline assembly, and every ordering, compiles differently on aarch64, which no other gate does. The code is compiled for it
# and run under emulation: that shows whether it works, not whether it is correct under a weaker memory order.
#
# Usage: ci/aarch64.sh               compiles all published packages, then runs some of their tests
#        ci/aarch64.sh --compile     compiles only: no emulator, no linker
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TARGET=aarch64-unknown-linux-gnu
folder=$PWD/target/aarch64

case "${1:-}" in
'' | --compile) ;;
*)
    echo "usage: ci/aarch64.sh [--compile]" >&2
    exit 2
    ;;
esac

rustup target list --installed 2>/dev/null | grep -qx "$TARGET" || rustup target add "$TARGET"
cargo build --quiet --release --lib --all-features --target "$TARGET" --target-dir "$folder" \
    -p asymmetric-barrier -p shadow-vars -p livepatch
echo "aarch64: compiled, with all features"
[[ ${1:-} != --compile ]] || exit 0

if ! command -v aarch64-linux-gnu-gcc >/dev/null || ! command -v qemu-aarch64 >/dev/null; then
    root=()
    [[ $(id -u) == 0 ]] || root=(sudo -n)
    { command -v apt-get >/dev/null && "${root[@]}" apt-get update -qq &&
        "${root[@]}" apt-get install -y -qq gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user; } ||
        { echo "aarch64: a cross linker and an emulator are needed, and could not be installed" >&2; exit 1; }
fi
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
cargo test --target "$TARGET" --target-dir "$folder" -p livepatch --lib --test consistency --test states --test futures
cargo test --target "$TARGET" --target-dir "$folder" -p shadow-vars --test types --test objects --test soon

# The build that takes patch libraries: the linker provides the access to the thread's word, across libraries.
(cd benches/dynamic && { [[ -f Cargo.lock ]] || cp ../../Cargo.lock .; } &&
    RUSTFLAGS=-Cprefer-dynamic cargo build --quiet --release --target "$TARGET" --target-dir "$folder/dynamic" -p count)
libraries=$folder/dynamic/$TARGET/release:$(rustc --print sysroot)/lib/rustlib/$TARGET/lib
cases=0
for case in $(qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$libraries" "$folder/dynamic/$TARGET/release/count"); do
    qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$libraries" "$folder/dynamic/$TARGET/release/count" "$case" >/dev/null
    cases=$((cases + 1))
done
((cases > 0)) || { echo "aarch64: nothing was tried of shared libraries" >&2; exit 1; }
echo "aarch64: $cases cases with shared libraries"
