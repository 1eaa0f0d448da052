#!/usr/bin/env bash
# Why: what BENCHMARKS.md says must be repeatable, by one command, on a machine that does nothing else: half an hour on
# two cores. The records in perf/record, the charts and both documents are then to be committed together.
#
# Usage: ci/record.sh           measures everything, then writes BENCHMARKS.md, the README's chart and perf/charts
#        ci/record.sh --trial   the same commands for a moment each, into target/trial: shows that all of them work
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build --release -p perf
perf=${CARGO_TARGET_DIR:-target}/release/perf

case "${1:-}" in
'')
    records=perf/record charts=perf/charts document=BENCHMARKS.md
    reps=(--reps 3) seconds=(--seconds 0.2) gate=(--minutes 16)
    small=1k middle=64k large=1M partly=1572864 threads=4,16,64
    ;;
--trial)
    folder=target/trial
    rm -rf "$folder" && mkdir -p "$folder"
    cp BENCHMARKS.md README.md "$folder"
    records=$folder/record charts=$folder/charts document=$folder/BENCHMARKS.md
    reps=(--reps 1) seconds=(--seconds 0.005) gate=(--minutes 0 --reps 1 --seconds 0.005 --only "W1, 64 k" --only "W3, 64 k")
    small=1k middle=64k large=8k partly=12k threads=4,16,64
    ;;
*)
    echo "usage: ci/record.sh [--trial]" >&2
    exit 2
    ;;
esac
to=(--record)
[[ $records == perf/record ]] || to+=(--records "$records")
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
