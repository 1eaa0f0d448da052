#!/usr/bin/env bash
# Why: users build the archive, not the repository. A licence, a README or a file that a test reads may be missing there, which
# work in the repository does not show.
#
# Usage: ci/package.sh                packages everything that is published, then builds and tests the packages, with nothing else
#        ci/package.sh --list         checks only the lists of files and the manifests: seconds, no compiler
#        ci/package.sh --self-test    breaks a copy in every way that --list looks for, and requires that it is noticed
# Uncommitted files are packaged, too: ci/release.sh requires a clean tree.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ci/extras.sh
source ci/packages.sh

# The registry's categories that fit a package here. The registry ignores unknown ones without an error.
CATEGORIES='
asynchronous command-line-utilities concurrency data-structures development-tools development-tools::debugging
development-tools::procedural-macro-helpers memory-management os os::linux-apis os::unix-apis
'
LICENCES=(LICENSE-MIT LICENSE-APACHE)
failed=0

report() {
    echo "$1: $2"
    failed=1
}

# Prints a value of a package's section, or of the workspace's if it is inherited: inherited FILE WORKSPACE KEY.
inherited() {
    local found
    found=$(value "$1" package "$3")
    if [[ $found == workspace ]]; then value "$2" workspace.package "$3"; else echo "$found"; fi
}

# Prints the strings of an array, one per line.
strings() { grep -oE '"[^"]*"' <<<"$1" | tr -d '"' || true; }

# Checks what the registry and its readers need in a manifest: check_manifest MANIFEST OF_THE_WORKSPACE WHERE.
check_manifest() {
    local manifest=$1 workspace=$2 where=$3 key word words found count
    for key in description license rust-version readme; do
        [[ -n $(inherited "$manifest" "$workspace" "$key") ]] || report "$where" "no $key"
    done
    for key in keywords categories; do
        found=$(value "$manifest" package "$key")
        words=$(strings "$found")
        count=$(grep -c . <<<"$words" || true)
        ((count >= 1 && count <= 5)) || report "$where" "$count $key: the registry takes one to five"
        while read -r word; do
            case $key in
            keywords)
                [[ $word =~ ^[a-z0-9][a-z0-9_+-]{0,19}$ ]] || report "$where" "keyword '$word': the registry does not take it"
                ;;
            categories)
                [[ " ${CATEGORIES//$'\n'/ } " == *" $word "* ]] || report "$where" "category '$word' is not among those in ci/package.sh"
                ;;
            esac
        done <<<"$words"
    done
    [[ $(value "$manifest" package publish) != false ]] || report "$where" "is published, and says publish = false"
    if [[ -f $(dirname "$manifest")/src/lib.rs ]]; then
        [[ $(value "$manifest" package.metadata.docs.rs all-features) == true ]] ||
            report "$where" "no all-features = true in [package.metadata.docs.rs]"
    fi
}

# Checks that a README can be read outside the repository: check_readme FOLDER LIST MSRV WHERE.
check_readme() {
    local folder=$1 list=$2 msrv=$3 where=$4 readme=$1/README.md link
    [[ -s $readme ]] || { report "$where" "no README.md"; return; }
    grep -qF "Rust $msrv" "$readme" || report "$where" "README.md does not say Rust $msrv"
    grep -q 'MIT' "$readme" && grep -q 'Apache-2.0' "$readme" || report "$where" "README.md does not name the licences"
    grep -qE '^The guide .*`[a-z_]+(::[a-z_]+)*`' "$readme" || report "$where" "README.md does not say where the guide is"
    ! grep -qiE '(github|gitlab|codeberg|bitbucket|sourcehut|sr)\.(com|org|ht|io)' "$readme" || report "$where" "README.md names a host of repositories"
    if [[ -f $folder/src/lib.rs ]]; then
        grep -qx '```rust' "$readme" || report "$where" "README.md has no example that is compiled"
    fi
    while read -r link; do
        grep -qxF "$link" <<<"$list" || report "$where" "README.md links to $link, which is not in the package"
    done < <(grep -oE '\]\([^)#:]+[)#]' "$readme" | sed -E 's/^\]\(|[)#]$//g')
}

# Checks that the files that sources name are in the package, too: check_sources FOLDER LIST UNPUBLISHED WHERE.
check_sources() {
    local folder=$1 list=$2 unpublished=${3// /|} where=$4 files file named path
    files=$(grep '\.rs$' <<<"$list")
    # shellcheck disable=SC2086 # one word per file; no path in the repository has a space
    while IFS=: read -r file named; do
        named=${named#*\"} named=${named%\"}
        path=$(realpath -m -s --relative-to="$folder" "$folder/$(dirname "$file")/$named")
        grep -qxF "$path" <<<"$list" || report "$where" "$file needs $named, which is not in the package"
    done < <(cd "$folder" && grep -HoE '(include(_str|_bytes)?!\(|#\[path = )"[^"]+"' $files)
    # shellcheck disable=SC2086
    while read -r file; do
        report "$where" "$file reads what is beside the package"
    done < <(cd "$folder" && grep -lF 'env!("CARGO_MANIFEST_DIR")' $files | xargs -r grep -lE '"\.\./|\.parent\(\)')
    # shellcheck disable=SC2086
    while IFS=: read -r file named; do
        report "$where" "$file uses what is not published: $named"
    done < <(cd "$folder" && grep -HoE "(^|[^[:alnum:]_:])(${unpublished//-/_})::|(use|extern crate) (${unpublished//-/_})[; ]" $files)
}

# Prints all members of the workspace: FOLDER <tab> NAME.
members() {
    local folder
    for folder in $(strings "$(value Cargo.toml workspace members)"); do
        printf '%s\t%s\n' "$folder" "$(value "$folder/Cargo.toml" package name)"
    done
}

# Checks which packages are published, which are not, and the order.
check_workspace() {
    local version folder name requirement unpublished='' before=' ' package dependency
    version=$(value Cargo.toml workspace.package version)
    while IFS=$'\t' read -r folder name; do
        if [[ " ${PACKAGES[*]} " == *" $name "* ]]; then
            [[ $folder == "crates/$name" ]] || report "$folder" "a published package is in crates/, in a folder of its name"
            requirement=$(value Cargo.toml workspace.dependencies "$name")
            [[ -z $requirement || $requirement == *"version = \"$version\""* ]] ||
                report Cargo.toml "$name is required by another version than $version"
        else
            [[ $(value "$folder/Cargo.toml" package publish) == false ]] ||
                report "$folder" "neither in ci/packages.sh nor publish = false"
            unpublished+="${unpublished:+ }$name"
        fi
    done < <(members)
    for package in "${PACKAGES[@]}"; do
        for dependency in "${PACKAGES[@]}" $unpublished; do
            # Dependencies on members of the workspace. Packaging drops development dependencies without a version.
            awk -v name="$dependency" '/^\[/ { inside = /dependencies\]$/ && !/dev-dependencies\]$/ }
                inside && ($1 == name || index($1, name ".") == 1) { found = 1 } END { exit !found }' "crates/$package/Cargo.toml" || continue
            [[ $before == *" $dependency "* ]] || report "crates/$package" "depends on $dependency, which is not published before it"
        done
        before+="$package "
    done
    echo "$unpublished" >"$WORK/unpublished"
}

# Runs all checks that need no archive.
check_lists() {
    local package folder list licence msrv
    msrv=$(value Cargo.toml workspace.package rust-version)
    check_workspace
    for package in "${PACKAGES[@]}"; do
        folder=crates/$package
        [[ -s $folder/README.md ]] || { report "$folder" "no README.md"; continue; }
        list=$(cargo package --list --allow-dirty --offline --quiet -p "$package" 2>"$WORK/cargo.log") ||
            { cat "$WORK/cargo.log" >&2; report "$folder" "cargo cannot list it"; continue; }
        for licence in "${LICENCES[@]}"; do
            grep -qx "$licence" <<<"$list" && cmp -s "$licence" "$folder/$licence" || report "$folder" "no $licence, or another text"
        done
        grep -qx 'README.md' <<<"$list" || report "$folder" "README.md is not in the package"
        check_manifest "$folder/Cargo.toml" Cargo.toml "$folder"
        check_readme "$folder" "$list" "$msrv" "$folder"
        check_sources "$folder" "$list" "$(cat "$WORK/unpublished")" "$folder"
    done
}

# In a copy: spoil FILE MESSAGE COMMAND... runs the command on the file, requires the message, and restores the file.
spoil() {
    local file=$1 message=$2 found
    shift 2
    "$@"
    found=$(failed=0 && check_lists 2>&1)
    if ! grep -qF -- "$message" <<<"$found"; then
        echo "package: self-test: not noticed: $*: $message" >&2
        echo "$found" >&2
        exit 1
    fi
    rm -f "$file"
    if [[ -e $ORIGIN/$file ]]; then cp "$ORIGIN/$file" "$file"; fi
    cases=$((cases + 1))
}

self_test() {
    local cases=0 ORIGIN=$PWD found
    copy_sources target/package-copy
    cd target/package-copy
    found=$(check_lists)
    [[ -z $found ]] || { echo "$found"; echo "package: self-test: found without being planted" >&2; exit 1; }
    local store=crates/shadow-vars patches=crates/livepatch
    spoil $store/LICENSE-MIT 'crates/shadow-vars: no LICENSE-MIT' rm $store/LICENSE-MIT
    spoil $patches/LICENSE-APACHE 'crates/livepatch: no LICENSE-APACHE, or another text' sed -i 's/2004/2005/' $patches/LICENSE-APACHE
    spoil $store/README.md 'no README.md' rm $store/README.md
    spoil $store/README.md 'does not say Rust' sed -i 's/Rust 1\.[0-9]*/Rust/' $store/README.md
    spoil $store/README.md 'does not name the licences' sed -i 's/Apache-2.0//' $store/README.md
    spoil $store/README.md 'where the guide is' sed -i 's/^The guide/It/' $store/README.md
    spoil $store/README.md 'no example that is compiled' sed -i 's/^```rust$/```text/' $store/README.md
    spoil $store/README.md 'names a host' sed -i '$ a See example.GitHub.io.' $store/README.md
    spoil $store/README.md 'links to ../../BENCHMARKS.md' sed -i '$ a [fast](../../BENCHMARKS.md#how)' $store/README.md
    spoil $store/Cargo.toml 'no description' sed -i '/^description/d' $store/Cargo.toml
    spoil $store/Cargo.toml 'no license' sed -i '/^license/d' $store/Cargo.toml
    spoil $store/Cargo.toml '6 keywords' sed -i '/^keywords/s/\]/, "more"]/' $store/Cargo.toml
    spoil $store/Cargo.toml "keyword 'two words'" sed -i '/^keywords/s/"[^"]*"/"two words"/' $store/Cargo.toml
    spoil $store/Cargo.toml "category 'kernels'" sed -i '/^categories/s/"[^"]*"/"kernels"/' $store/Cargo.toml
    spoil $store/Cargo.toml 'no all-features = true' sed -i '/^all-features/d' $store/Cargo.toml
    spoil $store/Cargo.toml 'tests/sources.rs reads what is beside the package' sed -i '/^exclude/d' $store/Cargo.toml
    spoil $patches/Cargo.toml 'tests/denied.rs needs ../../shadow-vars/tests/support/deny.rs' sed -i 's|"/tests/denied.rs", ||' $patches/Cargo.toml
    spoil $patches/src/lib.rs 'uses what is not published: use readme_examples' sed -i '$ a pub use readme_examples as r;' $patches/src/lib.rs
    spoil benches/Cargo.toml 'neither in ci/packages.sh nor publish = false' sed -i '/^publish/d' benches/Cargo.toml
    spoil crates/asymmetric-barrier/Cargo.toml 'depends on shadow-vars, which is not published before it' \
        sed -i "/^\[target.'cfg(target_os/i [dependencies]\nshadow-vars.workspace = true\n" crates/asymmetric-barrier/Cargo.toml
    spoil Cargo.toml 'shadow-vars is required by another version' sed -i '/^shadow-vars = /s/version = "[^"]*"/version = "0.0.9"/' Cargo.toml
    echo "package: self-test: $cases copies spoiled, each noticed"
}

# Builds the packages as they would be published, in a workspace that contains only them.
build_packages() {
    local tree=target/package-check version package folder archive licence msrv list passed names=() patches=''
    version=$(value Cargo.toml workspace.package version)
    msrv=$(value Cargo.toml workspace.package rust-version)
    for package in "${PACKAGES[@]}"; do names+=(-p "$package"); done
    # In one command, so that each package finds the ones before it, which no registry has.
    rm -rf target/packages/package "$tree" && mkdir -p "$tree"
    cargo package --no-verify --allow-dirty --target-dir target/packages "${names[@]}"
    for package in "${PACKAGES[@]}"; do
        folder=$package-$version archive=target/packages/package/$package-$version.crate
        tar -xzf "$archive" -C "$tree"
        list=$(cd "$tree/$folder" && find . -type f | sed 's|^\./||')
        for licence in "${LICENCES[@]}"; do
            cmp -s "$licence" "$tree/$folder/$licence" || report "$archive" "no $licence, or another text"
        done
        [[ -z $(find "$tree/$folder" -type l) ]] || report "$archive" "has symbolic links"
        check_manifest "$tree/$folder/Cargo.toml" "$tree/$folder/Cargo.toml" "$archive"
        check_readme "$tree/$folder" "$list" "$msrv" "$archive"
        ! grep -qE '^path = "\.\.' "$tree/$folder/Cargo.toml" || report "$archive" "depends on a path"
        echo "package: $archive: $(wc -l <<<"$list") files, $(wc -c <"$archive") bytes"
    done
    ((failed == 0)) || return 1
    for package in "${PACKAGES[@]}"; do
        grep -qE "dependencies\.$package\]$" "$tree"/*/Cargo.toml || continue
        patches+="$package = { path = \"$package-$version\" }"$'\n'
    done
    {
        printf '[workspace]\nresolver = "3"\nmembers = [%s]\n\n' "$(printf '"%s", ' "${PACKAGES[@]/%/-$version}")"
        printf '[patch.crates-io]\n%s\n' "$patches"
        # Tests run with the same profile as in the repository.
        awk '/^\[/ { inside = ($0 == "[profile.test]") } inside' Cargo.toml
    } >"$tree/Cargo.toml"
    # The versions that the repository is tested with, which are available without a network.
    cp Cargo.lock "$tree"
    cd "$tree"
    for package in "${PACKAGES[@]}"; do
        cargo check --quiet -p "$package" --target-dir ../package-build
        cargo test -p "$package" --all-features --target-dir ../package-build 2>&1 | tee "$WORK/test.log"
        passed=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$WORK/test.log")
        ((passed > 0)) || { report "$package" "no test ran from the package, which proves nothing"; return 1; }
        echo "package: $package compiles with its default features, and passes $passed tests with all"
    done
}

mkdir -p target/package-work
WORK=$PWD/target/package-work
case "${1:-}" in
'' | --list)
    check_lists
    ((failed == 0)) || exit 1
    echo "package: ${#PACKAGES[@]} packages have what a registry asks for"
    [[ ${1:-} == --list ]] || build_packages
    ;;
--self-test) self_test ;;
*) echo "usage: ci/package.sh [--list | --self-test]" >&2; exit 2 ;;
esac
