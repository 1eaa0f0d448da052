#!/usr/bin/env bash
# Why: where the running task is, livepatch learns from the linker (`task/current.rs`), by a kind of symbol that few programs
# use and each linker treats in its own way. So a program is linked in each of the usual ways, and every call that it makes
# must be counted, find its function, patched or not, and begin its unit.
#
# Usage: ci/links.sh
# Ways whose linker is not there are skipped by name. The program is that of `ci/icount.sh`: it checks what it is answered.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TARGET=$PWD/target/links
# name | linker it needs | profile | flags
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

# The same program, but its functions come from a library that is linked in.
ALONE=$TARGET/tree/benches/dynamic
rm -rf "$TARGET/tree" && mkdir -p "$ALONE"
ln -s "$PWD/crates" "$PWD/Cargo.toml" "$TARGET/tree/"
cp -r benches/dynamic/{Cargo.toml,interface,count} "$ALONE"
sed -i 's/^crate-type = .*/crate-type = ["lib"]/' "$ALONE/interface/Cargo.toml"
for tree in benches/dynamic "$ALONE"; do
    [[ -f $tree/Cargo.lock ]] || cp Cargo.lock "$tree"
done
# The flags below are the program's, and not those of build scripts and macros, if the target is said.
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
