#!/usr/bin/env bash
# Why: a publication cannot be undone. So one script checks everything beforehand, in order, and publishes only when told to.
#
# Usage: ci/release.sh              checks, and prints the commands that publish
#        ci/release.sh --publish    checks, and publishes one package after the other
# The commit must have passed .ci/run and the workflow, which decide whether it is good.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ci/packages.sh

case "${1:-}" in
'' | --publish) ;;
*)
    echo "usage: ci/release.sh [--publish]" >&2
    exit 2
    ;;
esac

fail() {
    echo "release: $1" >&2
    exit 1
}

version=$(value Cargo.toml workspace.package version)
[[ -n $version ]] || fail "no version in [workspace.package]"
tag=v$version
echo "release: $version: ${PACKAGES[*]}"

# The tree is what will be tagged.
[[ -z $(git status --porcelain) ]] || fail "the tree is not clean: what is packaged must be what is committed"
! git rev-parse --quiet --verify "refs/tags/$tag" >/dev/null || fail "there is a tag $tag already: raise the version in Cargo.toml"

# The changelog has a section for the version, and nothing under [Unreleased] that the version contains.
grep -qE "^## \[${version//./\\.}\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md ||
    fail "CHANGELOG.md has no section '## [$version] - YYYY-MM-DD'"
if awk '/^## / { inside = /^## \[Unreleased\]/ } inside && /^- / { found = 1 } END { exit !found }' CHANGELOG.md; then
    fail "CHANGELOG.md has entries under [Unreleased]: move them to [$version]"
fi

ci/lock.sh
ci/package.sh

# The version number reflects every change that users may rely on.
last=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || true)
if [[ -z $last ]]; then
    echo "release: no earlier release has a tag: there is no interface to compare with. A clone without tags needs \`git fetch --tags\`"
else
    cargo semver-checks --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-semver-checks
    for package in "${PACKAGES[@]}"; do
        # Other packages cannot be checked: programs have no Rust interface, and the interface of macros is not visible to it.
        [[ -f crates/$package/src/lib.rs ]] || continue
        ! grep -q '^proc-macro = true$' "crates/$package/Cargo.toml" || continue
        # A package that the last release did not contain is new as a whole.
        git cat-file -e "$last:crates/$package/Cargo.toml" 2>/dev/null || continue
        cargo semver-checks -p "$package" --all-features --baseline-rev "$last"
    done
    echo "release: $version is as much of a change since $last as the interfaces are"
fi

commands=()
for package in "${PACKAGES[@]}"; do commands+=("cargo publish --locked -p $package"); done
commands+=("git tag --annotate $tag --message $tag")

if [[ ${1:-} != --publish ]]; then
    echo "release: ready. To publish, run \`ci/release.sh --publish\`, or in this order:"
    printf '    %s\n' "${commands[@]}"
    exit 0
fi
for at in "${!commands[@]}"; do
    echo "+ ${commands[at]}"
    # Cargo waits until the registry has the package, which the next one needs.
    if ! ${commands[at]}; then
        echo "release: stopped. What has been published stays; when the cause is gone, go on with:" >&2
        printf '    %s\n' "${commands[@]:at}" >&2
        exit 1
    fi
done
echo "release: $version is published and tagged; the tag is not pushed"
