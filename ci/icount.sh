#!/usr/bin/env bash
# Why: on shared machines, times show no difference below ten per cent, while counts of instructions show every single one. The
# same benchmarks run on the change and on its base, in one job.
#
# Usage: ci/icount.sh                   compares with the merge base of HEAD and main (or with HEAD's parent)
#        ci/icount.sh --base COMMIT     compares with that commit
#        ci/icount.sh --self-test       counts twice, which must give the same, and requires that changes are noticed
#        ci/icount.sh --print           counts once and prints counts per operation
#        ci/icount.sh --no-op           the cost of tracing, type checks and statistics, each left out in a copy
# Counts named `dynamic` are of the build that takes patch libraries, with `-C prefer-dynamic`: see benches/dynamic.
# Fails if a count has grown by more than 2 %, unless ci/icount-allowed.txt gives the reason, or if it is above its ceiling.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ci/extras.sh

ALLOWED=ci/icount-allowed.txt
LIMIT=2 # per cent
BENCHES=(icount icount_livepatch)
# The build that takes patch libraries: a workspace with one program, which runs one case each time.
DYNAMIC=benches/dynamic
# Operations of each benchmark; migrate_block does a single one.
OPERATIONS=1024
# The most instructions of a call, independent of the base, in the build that takes patch libraries: a promise to users.
CEILINGS='
dynamic::call_inside_no_patch 15
dynamic::call_inside_settled 16
dynamic::call_no_patch 40
dynamic::call_settled 41.2
'
mkdir -p target/icount
work=$PWD/target/icount

have() { command -v "$1" >/dev/null 2>&1; }

install_tools() {
    if ! have valgrind; then
        local sudo=
        [[ $(id -u) == 0 ]] || sudo=sudo
        { have apt-get && $sudo apt-get update -q && $sudo apt-get install -qy valgrind; } ||
            { echo "icount: valgrind is needed, and could not be installed" >&2; exit 1; }
    fi
    # Library and runner must have the same version.
    local version
    version=$(cargo metadata --format-version 1 2>/dev/null |
        grep -o '"name":"iai-callgrind","version":"[^"]*"' | head -n 1 | cut -d'"' -f8)
    [[ -n $version ]] || { echo "icount: no iai-callgrind in the workspace" >&2; exit 1; }
    if ! "$work/bin/iai-callgrind-runner" --version 2>/dev/null | grep -qF "$version"; then
        cargo install --quiet --locked --root "$work" --version "=$version" iai-callgrind-runner
    fi
    export IAI_CALLGRIND_RUNNER=$work/bin/iai-callgrind-runner
}

# Counts in a source tree: one line for each benchmark, "backend::operation count". Further arguments are cargo's. Other trees
# than this one are built in their own target directory: cargo confuses packages at the same place in different workspaces.
count() {
    local tree=$1 out=$2 target=$work/target
    shift 2
    [[ $tree == . ]] || target=$work/others
    local bench benches=()
    for bench in "${BENCHES[@]}"; do # an older tree may not have all
        if grep -q "name = \"$bench\"" "$tree/benches/Cargo.toml"; then benches+=(--bench "$bench"); fi
    done
    (cd "$tree" && CARGO_TARGET_DIR=$target NO_COLOR=1 CARGO_TERM_COLOR=never \
        cargo bench --quiet -p shadow-benches "${benches[@]}" "$@") >"$out.log" 2>&1 ||
        { cat "$out.log" >&2; echo "icount: the benchmarks failed" >&2; return 1; }
    awk '/^icount[a-z_]*::/ { split($1, path, "::"); sub(/_group$/, "", path[2]); name = path[2] "::" path[3] }
         /^ *Instructions:/ { split($2, counts, "|"); print name, counts[1] }' "$out.log" >"$out"
    [[ -s $out ]] || { cat "$out.log" >&2; echo "icount: nothing was counted" >&2; return 1; }
    if [[ $# == 0 && -d $tree/$DYNAMIC ]]; then count_dynamic "$tree" "$target/dynamic" >>"$out"; fi
}

# Counts of the build that takes patch libraries: "dynamic::case count".
count_dynamic() {
    local tree=$1 target=$2 case counted folder=$2/release
    # The same versions as everywhere else.
    [[ -f $tree/$DYNAMIC/Cargo.lock || ! -f $tree/Cargo.lock ]] || cp "$tree/Cargo.lock" "$tree/$DYNAMIC/Cargo.lock"
    (cd "$tree/$DYNAMIC" && env -u RUSTFLAGS cargo build --release --quiet --target-dir "$target") >&2
    local -x LD_LIBRARY_PATH=$folder:$(rustc --print target-libdir)
    for case in $("$folder/count"); do
        counted=$(valgrind --tool=callgrind --toggle-collect='counted_*' --callgrind-out-file=/dev/null \
            "$folder/count" "$case" 2>&1 | sed -n 's/.*Collected : //p')
        [[ $counted -gt 0 ]] || { echo "icount: nothing was counted of dynamic::$case" >&2; return 1; }
        echo "dynamic::$case $counted"
    done
}

print_counts() {
    awk -v n="$OPERATIONS" '
        { split($1, path, "::"); count[$1] = $2; order[++rows] = $1 }
        END {
            printf "%-44s %12s %10s\n", "benchmark", "counted", "each"
            for (i = 1; i <= rows; i++) {
                split(order[i], path, "::")
                net = count[order[i]] - (path[2] == "migrate_block" ? 0 : count[path[1] "::harness"])
                printf "%-44s %12d %10.1f\n", order[i], count[order[i]], net / (path[2] == "migrate_block" ? 1 : n)
            }
        }' "$1"
}

# Fails if a count is above its ceiling, or missing.
hold_ceilings() {
    awk -v n="$OPERATIONS" -v ceilings="$CEILINGS" '
        { count[$1] = $2 }
        END {
            rows = split(ceilings, row, "\n")
            for (i = 1; i <= rows; i++) {
                if (split(row[i], f, " ") != 2) continue
                asked++
                if (!(f[1] in count)) { print f[1] " is not counted"; bad++; continue }
                split(f[1], path, "::")
                each = (count[f[1]] - count[path[1] "::harness"]) / n
                # Rounded to a tenth, as published.
                if (each >= f[2] + 0.05) { printf "%s: %.1f, at most %s\n", f[1], each, f[2]; bad++ }
            }
            exit bad > 0 || !asked
        }' "$1"
}

# Prints the allowed increases: only those of commits after the base, because the base includes the older ones.
allowed_since() {
    local name commit why
    while read -r name commit why; do
        [[ -n $commit && $name != \#* ]] || continue
        git cat-file -e "$commit^{commit}" 2>/dev/null || { echo "icount: $ALLOWED: no commit $commit" >&2; return 1; }
        git merge-base --is-ancestor "$commit" "$1" || echo "$name $commit $why"
    done <"$ALLOWED"
}

compare() {
    awk -v limit="$LIMIT" -v allowed="${3:-/dev/null}" '
        BEGIN { while ((getline line < allowed) > 0) { split(line, f, " "); may[f[1]] = line } }
        NR == FNR { base[$1] = $2; next }
        {
            seen[$1] = 1
            if (!($1 in base)) { printf "%-44s %12s %12d   new\n", $1, "-", $2; next }
            change = 100 * ($2 - base[$1]) / base[$1]
            verdict = ""
            if (change > limit) { if ($1 in may) verdict = "allowed: " may[$1]; else { verdict = "TOO MUCH"; bad++ } }
            printf "%-44s %12d %12d %+7.2f %% %s\n", $1, base[$1], $2, change, verdict
        }
        END {
            # A missing benchmark cannot show an increase, so it is an error.
            for (name in base) if (!(name in seen)) { print name " is gone"; gone++ }
            if (bad) print bad " counts grew by more than " limit " %"
            exit bad + gone > 0
        }' "$1" "$2"
}

# Without statistics, nothing counts variables, which tables need in order to grow. They do not grow in these benchmarks.
no_op() {
    count . "$work/all" --features shadow-vars/tracing
    count . "$work/untraced"
    copy_sources "$work/copy"
    leave_out "$work/copy" types
    count "$work/copy" "$work/unchecked"
    copy_sources "$work/copy"
    leave_out "$work/copy" statistics
    count "$work/copy" "$work/uncounted"
    rm -rf "$work/copy"
    echo "instructions of each operation: with all of it; of that tracing, type checks, statistics"
    awk -v n="$OPERATIONS" '
        FNR == 1 { file++ }
        { count[file, $1] = $2; if (file == 1) order[++rows] = $1 }
        END {
            for (i = 1; i <= rows; i++) {
                name = order[i]
                split(name, path, "::")
                if (path[1] != "asymmetric" || path[2] == "harness" || path[2] == "migrate_block") continue
                all = (count[1, name] - count[1, path[1] "::harness"]) / n
                traced = (count[1, name] - count[2, name]) / n
                checked = (count[2, name] - count[3, name]) / n
                counted = (count[2, name] - count[4, name]) / n
                printf "%-40s %8.1f   %6.1f %6.1f %6.1f   %5.1f %%\n", name, all, traced, checked, counted,
                    100 * (traced + checked + counted) / all
            }
        }' "$work/all" "$work/untraced" "$work/unchecked" "$work/uncounted"
}

install_tools
case "${1:-}" in
--self-test)
    count . "$work/first"
    count . "$work/second"
    diff "$work/first" "$work/second" || { echo "icount: two runs differ" >&2; exit 1; }
    # An increase is noticed, and so is a missing benchmark.
    awk -v limit="$LIMIT" 'NR == 2 { $2 = int($2 * (101 + limit) / 100) } 1' "$work/first" >"$work/grown"
    sed 2d "$work/first" >"$work/less"
    for worse in grown less; do
        if compare "$work/first" "$work/$worse" >/dev/null; then
            echo "icount: $worse counts were not noticed" >&2
            exit 1
        fi
    done
    compare "$work/first" "$work/second" >/dev/null
    # So is a call above its ceiling, and one that was not counted.
    hold_ceilings "$work/first"
    sed 's/^\(dynamic::call_inside_no_patch\) .*/\1 22000/' "$work/first" >"$work/grown"
    grep -v '^dynamic::call_no_patch ' "$work/first" >"$work/less"
    for worse in grown less; do
        if hold_ceilings "$work/$worse" >/dev/null; then
            echo "icount: $worse counts pass under the ceilings" >&2
            exit 1
        fi
    done
    echo "icount: $(wc -l <"$work/first") counts, the same twice"
    ;;
--print)
    count . "$work/head"
    print_counts "$work/head"
    ;;
--no-op)
    no_op
    ;;
--base | "")
    if [[ ${1:-} == --base ]]; then
        base=$(git rev-parse "${2:?usage: ci/icount.sh --base COMMIT}")
    else
        base=$(git merge-base HEAD origin/main 2>/dev/null || git merge-base HEAD main)
        [[ $base != "$(git rev-parse HEAD)" ]] || base=$(git rev-parse HEAD^)
    fi
    tree=$work/base
    rm -rf "$tree" && git worktree prune
    git worktree add --force --detach "$tree" "$base" >/dev/null 2>&1
    trap 'git worktree remove --force "$tree" >/dev/null 2>&1 || true' EXIT
    if ! grep -q 'name = "icount"' "$tree/benches/Cargo.toml" 2>/dev/null; then
        echo "icount: $base has no instruction counts; nothing to compare with"
        count . "$work/head"
        print_counts "$work/head"
        exit 0
    fi
    # The change's benchmarks on both trees, where they compile; otherwise each tree's own.
    count "$tree" "$work/base.counts"
    count . "$work/head"
    hold_ceilings "$work/head"
    allowed_since "$base" >"$work/allowed"
    compare "$work/base.counts" "$work/head" "$work/allowed"
    ;;
*)
    echo "usage: ci/icount.sh [--base COMMIT | --self-test | --print | --no-op]" >&2
    exit 2
    ;;
esac
