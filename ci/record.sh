#!/usr/bin/env bash
# Why: what BENCHMARKS.md says must be repeatable, by one command, on a machine that does nothing else: two hours on two
# cores, and each part waits until the machine is quiet. The records in perf/record, the charts and both documents are then to be committed together.
#
# Usage: ci/record.sh           measures everything, then writes BENCHMARKS.md, the README's chart and perf/charts
#        ci/record.sh --trial   the same commands for a moment each, into target/trial: shows that all of them work
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# With the C++ peers that the machine has (ci/cpp-peers.sh installs them), where there is a compiler for them; of the
# versions that are checked in.
features=()
! command -v c++ >/dev/null || features=(--features cpp-peers)
cargo build --release --locked -p perf "${features[@]}"
perf=${CARGO_TARGET_DIR:-target}/release/perf

case "${1:-}" in
'')
    records=perf/record charts=perf/charts document=BENCHMARKS.md
    reps=(--reps 3) seconds=(--seconds 0.2) gate=(--minutes 60)
    small=1k middle=64k large=1M partly=1572864 threads=4,16,64
    curve=(--curve) stall=60 small_stores=() cycles=100M values=4M
    ;;
--trial)
    folder=target/trial
    rm -rf "$folder" && mkdir -p "$folder"
    cp BENCHMARKS.md README.md "$folder"
    records=$folder/record charts=$folder/charts document=$folder/BENCHMARKS.md
    reps=(--reps 1) seconds=(--seconds 0.005) gate=(--minutes 0 --reps 1 --seconds 0.005 --only "W1, 64 k" --only "W3, 64 k")
    small=1k middle=64k large=8k partly=12k threads=4,16,64
    curve=(--entries 3k) stall=0.05 small_stores=(--entries 24 --threads 2) cycles=10k values=8k
    ;;
*)
    echo "usage: ci/record.sh [--trial]" >&2
    exit 2
    ;;
esac
to=(--record)
# What a trial measures is of no use, on whatever machine.
[[ $records == perf/record ]] || to+=(--records "$records" --anyway)
mkdir -p "$records"

measure() {
    local start=$SECONDS
    echo "== perf $*"
    "$perf" "$@" "${to[@]}" >/dev/null
    echo "== $((SECONDS - start)) s"
}

# What the gate does not measure comes first: of each point the latest run is reported, and the gate's is the best.
measure limits --entries "$small,$middle,$large" "${reps[@]}" "${seconds[@]}"
measure memory --entries "$large,$partly"
measure compare --workload W1,G64 --entries "$small" --threads 1,2 "${reps[@]}" "${seconds[@]}"
measure compare --workload W6 --entries "$large" --threads 1 --reps 1
measure compare --workload W9own,W10 --entries "$middle" --threads 2 "${reps[@]}" "${seconds[@]}"
measure compare --workload W11 --threads 1,2 "${reps[@]}" "${seconds[@]}"
# What becomes of freed values, and of small stores: of all maps, where the gate has but the best.
measure memory "${curve[@]}" --stores shadow,papaya,scc_map-in-place,scc_index-in-place,dashmap-in-place,flurry,kernel
measure compare --workload L4 --entries "$middle" --threads 1 --reps 1 --cycles "$cycles"
measure compare --workload W12 --entries "$middle" --threads 3 "${reps[@]}" "${seconds[@]}"
measure compare --workload W13 "${small_stores[@]}" "${reps[@]}"
measure compare --workload W14,W14F --entries "$values" --threads 1 "${reps[@]}"
measure compare --workload W15idle --threads 1 --reps 1
measure compare --workload W15large --threads 1 --reps 1
measure compare --workload W15stall --entries "$middle" --threads 1 --reps 1 --seconds "$stall" \
    --stores shadow,shadow_epoch,shadow_seize,shadow_eras,papaya
measure scale --entries "$middle" --threads "$threads" "${reps[@]}" "${seconds[@]}" \
    --stores shadow,papaya,scc_map,scc_index,dashmap,leapfrog,kernel

# A missed target is a result like any other.
status=0
measure gate "${gate[@]}" || status=$?
((status <= 1)) || exit "$status"

if [[ ${1:-} == --trial ]]; then
    echo "== no instruction counts in a trial"
else
    # The report takes the last by name.
    counts=$records/$(date -u +%FT%H%M)-$(git rev-parse --short=9 HEAD).icount
    {
        ci/icount.sh --no-op
        ci/no-op.sh
        echo "from \`ci/icount.sh --no-op\` and \`ci/no-op.sh\`, commit $(git rev-parse --short=9 HEAD)"
    } >"$counts"
fi

"$perf" report --records "$records" --charts "$charts" --document "$document"
echo "record: $((SECONDS / 60)):$(printf %02d $((SECONDS % 60))) minutes"
