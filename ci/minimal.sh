#!/usr/bin/env bash
# Why: a version requirement promises that every version it admits works. A current lock file never contains the oldest one, so it
# would go unnoticed if that did not compile, or were known to be unsound.
#
# Usage: ci/minimal.sh                checks the floors set by advisories, then compiles with the oldest versions
#        ci/minimal.sh --floors       checks the floors only, from Cargo.toml: no network, no compiler
#        ci/minimal.sh --self-test    lowers each floor in a copy, and requires that it is noticed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ci/extras.sh
source ci/packages.sh

# crate | oldest version without a known fault | the fault
FLOORS='
arc-swap        | 1.1.0  | RUSTSEC-2020-0091
crossbeam-epoch | 0.9.20 | advisory against older ones
crossbeam-utils | 0.8.7  | RUSTSEC-2022-0041
mio             | 0.8.11 | RUSTSEC-2024-0019
tokio           | 1.44.2 | RUSTSEC-2021-0124, -2023-0001, -2023-0005, -2025-0023
tracing         | 0.1.40 | RUSTSEC-2023-0078
'

# Prints every requirement on a crate in a tree: FILE <tab> REQUIREMENT.
requirements() {
    local tree=$1 crate=$2 file
    while IFS= read -r -d '' file; do
        sed -nE "s|^$crate = (\{ version = )?\"[=^~]?([0-9.]+)\".*|${file#"$tree"/}\t\2|p" "$file"
    done < <(find "$tree" -name Cargo.toml -not -path '*/target/*' -print0)
}

# Prints the oldest version that a requirement admits: 1 is 1.0.0.
whole() {
    local version=$1
    while [[ $version != *.*.* ]]; do version+=.0; done
    echo "$version"
}

check_floors() {
    local tree=$1 crate floor why file version seen failed=0
    while IFS='|' read -r crate floor why; do
        crate=${crate// /} floor=${floor// /}
        [[ -n $crate ]] || continue
        seen=0
        while IFS=$'\t' read -r file version; do
            seen=1
            if [[ $(printf '%s\n' "$floor" "$(whole "$version")" | sort -V | head -n 1) != "$floor" ]]; then
                echo "$file: $crate = \"$version\" admits less than $floor:$why"
                failed=1
            fi
        done < <(requirements "$tree" "$crate")
        if ((!seen)); then
            echo "ci/minimal.sh: nothing requires $crate any more: take its floor out"
            failed=1
        fi
    done <<<"$FLOORS"
    return "$failed"
}

self_test() {
    local crate floor why file cases=0
    copy_sources target/minimal
    check_floors target/minimal
    while IFS='|' read -r crate floor why; do
        crate=${crate// /}
        [[ -n $crate ]] || continue
        file=$(requirements . "$crate" | head -n 1 | cut -f1)
        sed -i -E "s|^($crate = (\{ version = )?)\"[^\"]+\"|\1\"0.0.1\"|" "target/minimal/$file"
        if grep -qF "$file: $crate = \"0.0.1\"" <<<"$(check_floors target/minimal || true)"; then
            cp "$file" "target/minimal/$file"
        else
            echo "minimal: self-test: a lower floor of $crate was not noticed" >&2
            exit 1
        fi
        cases=$((cases + 1))
    done <<<"$FLOORS"
    echo "minimal: self-test: $cases floors lowered, each noticed"
}

# Compiles the published packages, each with its own requirements at their oldest versions.
compile() {
    local tree=target/minimal package
    copy_sources "$tree"
    sed -i -E "s|^(default-)?members = .*|\1members = [$(printf '"crates/%s", ' "${PACKAGES[@]}")]|" "$tree/Cargo.toml"
    cd "$tree"
    cargo +nightly update --quiet -Z direct-minimal-versions
    for package in "${PACKAGES[@]}"; do
        cargo check --quiet -p "$package" --target-dir ../minimal-build
        cargo check --quiet -p "$package" --all-features --target-dir ../minimal-build
    done
    echo "minimal: ${#PACKAGES[@]} packages compile with the oldest versions that they admit"
}

case "${1:-}" in
'') check_floors . && compile ;;
--floors) check_floors . && echo "minimal: no floor admits a known fault" ;;
--self-test) self_test ;;
*) echo "usage: ci/minimal.sh [--floors | --self-test]" >&2; exit 2 ;;
esac
