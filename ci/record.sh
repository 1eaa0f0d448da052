#!/usr/bin/env bash
# Why: the figures in BENCHMARKS.md must be repeatable, by one command, on a machine that does nothing else. Each measurement
# waits until the machine is quiet. Afterwards the records in perf/record, the charts and all pages are committed together.
#
# It takes some 70 minutes on two cores once the programs are built: 25 for the measurements outside the gate, 12 for the
# instruction counts, and the rest for the gate, which repeats as often as that allows. Building them, twice with fat LTO, takes
# 12 more.
#
# Usage: ci/record.sh [STEP...]           all of it, or these steps, which run in this order:
#            build     the study with the system's allocator, and with mimalloc (can run earlier, beside other work)
#            measure   into perf/record
#            counts    instructions, and the times beside them
#            report    BENCHMARKS.md, the README's chart, perf/charts, and the pages of other classes of machines
#        ci/record.sh --trial [STEP...]   the same commands, very briefly, into target/trial: shows that all of them work
# RECORD_MINUTES (70) is the time for everything but `build`: the gate repeats less if less is left. A failed measurement is named
# at the end, and the others still run; perf's exit code 3 means that the machine did not become quiet.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minutes=${RECORD_MINUTES:-70} for_counts=12 for_the_last=8 least_for_gate=20
trial=false
if [[ ${1:-} == --trial ]]; then
    trial=true
    shift
fi
[[ $# -gt 0 ]] || set -- build measure counts report
steps=" $* "
for step in "$@"; do
    [[ " build measure counts report " == *" $step "* ]] || { sed -n '/^# Usage/,/^set/ s/^# //p' ci/record.sh >&2; exit 2; }
done

# Most figures are medians of three, the headline figures of five.
if ! $trial; then
    records=perf/record charts=perf/charts pages=perf/pages document=BENCHMARKS.md
    reps=(--reps 3) headline=(--reps 5) seconds=(--seconds 0.2)
    small=1k middle=64k large=1M partly=1572864 threads=4,16,64
    curve=(--curve) stall=60 small_stores=() cycles=100M
    gate=(--reps 5 --seconds 0.2)
    waits=(--wait 600)
else
    folder=target/trial
    if [[ $steps == *" measure "* ]]; then rm -rf "$folder"; fi
    mkdir -p "$folder"
    cp BENCHMARKS.md README.md "$folder"
    records=$folder/record charts=$folder/charts pages=$folder/pages document=$folder/BENCHMARKS.md
    reps=(--reps 1) headline=(--reps 1) seconds=(--seconds 0.005)
    small=1k middle=64k large=8k partly=12k threads=4,16,64
    curve=(--entries 3k) stall=0.05 small_stores=(--entries 24 --threads 2) cycles=10k
    gate=(--reps 1 --seconds 0.005 --only "W1, 64 k" --only "W3, 64 k")
    # The figures of a trial are of no use, on any machine.
    waits=(--anyway)
fi
mkdir -p "$records"
# Other builds of the study use the same folder, so these programs are copied.
programs=${CARGO_TARGET_DIR:-target}/record
perf=$programs/perf mimalloc=$programs/perf-mimalloc

build() {
    # With the C++ peers that the machine has (ci/cpp-peers.sh installs them), if there is a compiler for them; with the versions
    # in the lock file.
    local features=()
    ! command -v c++ >/dev/null || features=(cpp-peers)
    mkdir -p "$programs"
    local name
    for name in perf-mimalloc perf; do
        local with=("${features[@]}")
        [[ $name == perf ]] || with+=(mimalloc)
        cargo build --release --locked -p perf --features "$(IFS=,; echo "${with[*]}")"
        cp "${CARGO_TARGET_DIR:-target}/release/perf" "$programs/$name.new"
        mv "$programs/$name.new" "$programs/$name"
    done
}

failed=()
# Runs a program with these arguments, records, and prints the time it took. A missed target is a result like any other.
record() {
    local start=$SECONDS status=0 program=$1
    shift
    echo "== $(basename "$program") $*"
    "$program" "$@" --record --records "$records" "${waits[@]}" >/dev/null || status=$?
    echo "== $((SECONDS - start)) s, $(((SECONDS - begun) / 60)) minutes since it began"
    if ((status > 1)) || [[ $status == 1 && $1 != gate ]]; then failed+=("exit code $status: $(basename "$program") $*"); fi
}

# The measurements outside the gate come first: the report takes the latest run of each point, and the gate's is the best.
measure() {
    record "$perf" limits --entries "$small,$middle,$large" "${reps[@]}" "${seconds[@]}"
    record "$perf" memory --entries "$large,$partly"
    # At 32 sizes, the gate measures our memory and that of the peers that take least.
    record "$perf" memory "${curve[@]}" --stores papaya
    record "$perf" compare --workload W1,G64 --entries "$small" --threads 1,2 "${reps[@]}" "${seconds[@]}"
    record "$perf" compare --workload W6 --entries "$large" --threads 1 --reps 1
    record "$perf" compare --workload W9own,W10 --entries "$middle" --threads 2 "${reps[@]}" "${seconds[@]}"
    record "$perf" compare --workload W11 --threads 1,2 "${reps[@]}" "${seconds[@]}"
    # The memory of freed values and of small stores, beside peers; the gate measures only ours.
    record "$perf" compare --workload L4 --entries "$middle" --threads 1 --reps 1 --cycles "$cycles" \
        --stores shadow,dashmap-in-place
    record "$perf" compare --workload W13 "${small_stores[@]}" "${reps[@]}"
    record "$perf" compare --workload W15idle --threads 1 --reps 1
    record "$perf" compare --workload W15large --threads 1 --reps 1
    record "$perf" compare --workload W15stall --entries "$middle" --threads 1 --reps 1 --seconds "$stall" \
        --stores shadow,shadow_epoch,shadow_seize,shadow_eras,papaya
    record "$perf" scale --entries "$middle" --threads "$threads" "${reps[@]}" "${seconds[@]}" \
        --stores shadow,papaya,scc_map,scc_index,dashmap,leapfrog,kernel
    # The headline cells with the other allocator, beside the leading peers.
    record "$mimalloc" compare --workload W1,G64,W3,W4,W4N,W5 --entries "$middle" --threads 1,2 "${headline[@]}" "${seconds[@]}" \
        --stores shadow,shadow-by-id,papaya,scc_map,scc_map-in-place,scc_index,dashmap,dashmap-in-place,dashmap7-in-place,leapfrog,rwlock,rwlock-in-place
    # In the gate, the headline cells are measured by id, too. It repeats five times until this time is over, then three times;
    # small sizes come first.
    local left=$((minutes - (SECONDS - begun) / 60 - for_counts - for_the_last))
    ! $trial || left=0
    ((left >= least_for_gate)) || $trial || left=$least_for_gate
    record "$perf" gate --minutes "$left" "${gate[@]}"
}

counts() {
    if $trial; then
        # These counts take long, so a trial only checks that the lines to leave out exist.
        # shellcheck source=ci/extras.sh
        source ci/extras.sh
        copy_sources "$folder/copy"
        leave_out "$folder/copy" types
        leave_out "$folder/copy" statistics
        rm -rf "$folder/copy"
        echo "== no instruction counts in a trial"
        return
    fi
    # The report takes the last file by name.
    local commit counts
    commit=$(git rev-parse --short=9 HEAD)
    counts=$records/$(date -u +%FT%H%M)-$commit.icount
    {
        ci/icount.sh --no-op
        ci/no-op.sh
        echo "from \`ci/icount.sh --no-op\` and \`ci/no-op.sh\`, commit $commit"
    } >"$counts.new"
    mv "$counts.new" "$counts"
}

report() {
    "$perf" report --records "$records" --charts "$charts" --pages "$pages" --document "$document"
}

if [[ $steps != *" build "* && ! ( -x $perf && -x $mimalloc ) ]]; then
    echo "record: build first: ci/record.sh build" >&2
    exit 2
fi
begun=$SECONDS
for step in build measure counts report; do
    [[ $steps == *" $step "* ]] || continue
    $step
    # The time limit starts when the programs have been built.
    [[ $step != build ]] || begun=$SECONDS
done
echo "record: $((SECONDS / 60)):$(printf %02d $((SECONDS % 60))) minutes"
if ((${#failed[@]} > 0)); then
    printf 'record: FAILED: %s\n' "${failed[@]}" >&2
    exit 1
fi
