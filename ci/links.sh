#!/usr/bin/env bash
# Why: livepatch finds the running task through the linker (`task/current.rs`), by a kind of symbol that few programs use and that
# each linker treats in its own way. So a program is linked in each of the usual ways, and every call that it makes must be
# counted, call the right function, patched or not, and begin its unit.
#
# Usage: ci/links.sh
# Ways whose linker is missing are skipped, and named. The program is that of `ci/icount.sh`: it checks its results.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TARGET=$PWD/target/links
# name | required linker | profile | flags
WAYS='
shared libraries, default linker    |      | release | -Cprefer-dynamic
shared libraries, GNU ld            | bfd  | release | -Cprefer-dynamic -Clink-arg=-fuse-ld=bfd
shared libraries, gold              | gold | release | -Cprefer-dynamic -Clink-arg=-fuse-ld=gold
shared libraries, debug build       |      | dev     | -Cprefer-dynamic
position independent, default       |      | release |
position independent, GNU ld        | bfd  | release | -Clink-arg=-fuse-ld=bfd
position independent, gold          | gold | release | -Clink-arg=-fuse-ld=gold
fixed position, default             |      | release | -Crelocation-model=static
fixed position, GNU ld              | bfd  | release | -Crelocation-model=static -Clink-arg=-fuse-ld=bfd
static, position independent        |      | release | -Ctarget-feature=+crt-static
static, fixed position              |      | release | -Ctarget-feature=+crt-static -Crelocation-model=static
static, GNU ld                      | bfd  | release | -Ctarget-feature=+crt-static -Clink-arg=-fuse-ld=bfd
debug build                         |      | dev     |
'

# The same program, with its functions in a library that is linked in.
ALONE=$TARGET/tree/benches/dynamic
rm -rf "$TARGET/tree" && mkdir -p "$ALONE"
ln -s "$PWD/crates" "$PWD/Cargo.toml" "$TARGET/tree/"
cp -r benches/dynamic/{Cargo.toml,interface,count} "$ALONE"
sed -i 's/^crate-type = .*/crate-type = ["lib"]/' "$ALONE/interface/Cargo.toml"
for tree in benches/dynamic "$ALONE"; do
    [[ -f $tree/Cargo.lock ]] || cp Cargo.lock "$tree"
done
# With an explicit target, the flags below apply to the program only, not to build scripts and macros.
host=$(rustc -vV | sed -n 's/^host: //p')
export LD_LIBRARY_PATH

tried=0 skipped=0
while IFS='|' read -r name linker profile flags; do
    name=${name%"${name##*[! ]}"} linker=${linker// /} profile=${profile// /}
    [[ -n $name ]] || continue
    if [[ -n $linker ]] && ! command -v "ld.$linker" >/dev/null; then
        echo "links: $name: SKIPPED, no ld.$linker"
        skipped=$((skipped + 1))
        continue
    fi
    tree=$ALONE
    [[ $flags != *prefer-dynamic* ]] || tree=benches/dynamic
    (cd "$tree" && RUSTFLAGS=$flags cargo build --quiet --profile "$profile" --target "$host" --target-dir "$TARGET" -p count)
    folder=$TARGET/$host/${profile/dev/debug}
    LD_LIBRARY_PATH=$folder:$(rustc --print target-libdir)
    cases=0
    for case in $("$folder/count"); do
        "$folder/count" "$case" >/dev/null || { echo "links: $name: $case failed" >&2; exit 1; }
        cases=$((cases + 1))
    done
    ((cases > 0)) || { echo "links: $name: nothing was tried" >&2; exit 1; }
    echo "links: $name: $cases cases"
    tried=$((tried + 1))
done <<<"$WAYS"
echo "links: $tried ways to link hold, $skipped skipped"
