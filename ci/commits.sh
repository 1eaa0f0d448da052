#!/usr/bin/env bash
# Why: lists of commits cut long subjects off, and later only the body of a message says why a change was made.
#
# Usage: ci/commits.sh                  checks the commits since the merge base of HEAD and main (or since HEAD's parent)
#        ci/commits.sh --base COMMIT    checks the commits since that one
#        ci/commits.sh --self-test      requires that each fault is noticed in a message that has it
# A subject has at most 72 characters. A commit that is no merge has a body, after an empty line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export LC_ALL=C.UTF-8 # characters, not bytes
LIMIT=72

# Prints the fault of a message, if it has one: fault MESSAGE IS_MERGE.
fault() {
    local subject second body
    { IFS= read -r subject || true; IFS= read -r second || true; body=$(cat); } <<<"$1"
    if ((${#subject} > LIMIT)); then
        echo "the subject has ${#subject} characters, at most $LIMIT"
    elif [[ -n $second ]]; then
        echo "no empty line after the subject"
    elif ! $2 && [[ -z ${body//[[:space:]]/} ]]; then
        echo "no body"
    fi
}

# Checks the commits in a range.
check() {
    local commit parents message found commits=0 bad=0
    while read -r commit parents; do
        message=$(git log -1 --format=%B "$commit")
        if [[ $parents == *" "* ]]; then found=$(fault "$message" true); else found=$(fault "$message" false); fi
        commits=$((commits + 1))
        [[ -n $found ]] || continue
        echo "commits: $(git log -1 --format='%h %s' "$commit"): $found"
        bad=$((bad + 1))
    done < <(git log --format='%H %P' "$1")
    echo "commits: $commits, $bad with a fault"
    ((bad == 0))
}

self_test() {
    local long full failed=0
    full=$(printf 'ü%.0s' {1..72}) long=$(printf 'x%.0s' {1..73})
    # expect FAULT IS_MERGE MESSAGE
    expect() {
        local found
        found=$(fault "$3" "$2")
        [[ $found == "$1"* && (-n $1 || -z $found) ]] || { echo "self-test: '$found' instead of '$1' in: $3"; failed=$((failed + 1)); }
    }
    expect "" false "$full"$'\n\nWhy.'
    expect "" true "Merge a branch"
    expect "the subject" false "$long"$'\n\nWhy.'
    expect "the subject" true "$long"
    expect "no empty line" false $'Subject\nWhy.'
    expect "no body" false "Subject"
    expect "no body" false $'Subject\n\n \n'
    echo "commits: self-test: $failed failed"
    ((failed == 0))
}

case ${1:-} in
--self-test) self_test ;;
--base) check "$(git rev-parse "${2:?usage: ci/commits.sh --base COMMIT}")..HEAD" ;;
"")
    base=$(git merge-base HEAD origin/main 2>/dev/null || git merge-base HEAD main 2>/dev/null || git rev-parse HEAD)
    if [[ $base == "$(git rev-parse HEAD)" ]]; then base=$(git rev-parse --verify --quiet HEAD^) || { echo "commits: nothing to check"; exit 0; }; fi
    check "$base..HEAD"
    ;;
*) echo "usage: ci/commits.sh [--base COMMIT | --self-test]" >&2; exit 2 ;;
esac
