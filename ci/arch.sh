#!/usr/bin/env bash
# Why: the layers (ARCHITECTURE.md) are what lets a reader trust one file at a time: atomics only in
# sync.rs, a table that knows neither store nor reclaimer, a find that cannot call an insert. Nothing
# in the language keeps them, so this does.
#
# Usage: ci/arch.sh                checks the repository
#        ci/arch.sh --self-test    plants a violation of each rule in a copy and requires that it is found
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CORE=crates/shadow-vars
PATCHES=crates/livepatch

# Who may not name what in the core: rule | paths it forbids | files it holds for | files excepted | meaning
# (regular expressions; `^crate:: but EXPRESSION` forbids all of the crate that does not match; files relative to src/). Unit
# tests, src/tests/, may name everything.
IMPORT_RULES='
A | ^(std|core)::(\*|sync::\*|sync::atomic(::.*)?)$ |          | ^sync\.rs$            | atomics come from crate::sync
A | ^loom(::|$)                                     |          | ^sync\.rs$            | loom is named by sync.rs only
B | ^crate:: but ^crate::(table|reclaim|registry|heap|pool|tally|mapping|mem|shard|sync|panics|fork)(::|$) | ^table/ | | the table knows nothing of what is above it
B | ^crate::reclaim::(asymmetric|epoch|seize|checked)(::|$)    | ^table/  |                       | the table knows the reclamation contract, no backend
B | ^crate:: but ^crate::(reclaim|table::defect|mem|shard|sync|fork|events)(::|$) | ^reclaim/ |              | reclamation knows neither nodes nor tables nor ids
C | ^crossbeam_epoch(::|$)                          |          | ^reclaim/epoch\.rs$   | one file per foreign reclaimer
C | ^seize(::|$)                                    |          | ^reclaim/seize\.rs$   | one file per foreign reclaimer
'

# The same for live patching: sync → task → point → patch → registry → library, control.
PATCH_RULES='
A | ^(std|core)::(\*|sync::\*|sync::atomic(::.*)?)$ | ^task/ |                | atomics of the protocol come from crate::sync
A | ^loom(::|$)                                     |        | ^(sync|task/unit)\.rs$ | loom is named by sync.rs, and where a static is made
B | ^crate::(point|patch|registry|library|control|events|error)(::|$) | ^task/ | | units know neither points nor patches
B | ^crate::(patch|registry|library|control|events|error)(::|$) | ^point\.rs$ | | a point knows no patches
B | ^crate::(registry|library|control)(::|$)        | ^patch/ | ^patch/code\.rs$ | a patch does not know who enables it
B | ^crate::(library|control)(::|$)                 | ^registry/ |            | the registry knows no files and no sockets
B | ^crate::library(::|$)                           | ^control/ |             | the control socket loads what it is told how to
B | ^crate::[A-Z*]                                  | ^(task|patch|registry)/ | | modules are named, not the re-exports of the root
C | ^(libloading|object)(::|$)                      |        | ^library/         | foreign code comes in at one place
G | ^(std|core)::panic(::(\*|catch_unwind|AssertUnwindSafe))?$ |  | ^(callout\.rs$|control/) | code of others is called, and panics are caught, by crate::callout
G | ^parking_lot(::|$)                              |        | ^control/         | locks are those of crate::sync, which a fork leaves free
'

# Layers of src/table/, lowest first. A file may import from its own line and the lines above it, and call what Core has from
# there: its operations are methods, for which no import is needed. (F) table/mod.rs wires them and is exempt.
TABLE_LAYERS='
hash count defect
layout node alloc
word sieve
array group
retire
probe
find
batch
migrate
insert remove
sweep_batch
sweep
teardown
'


# (D) Whoever is below this list depends on nothing in it.
OUTSIDE='benches|perf|fuzz'
OUTSIDE_CRATES='shadow[-_](benches|perf|fuzz)'

# (E)
MAX_LINES=600

report() { echo "$1: rule $2: $3"; }

# A, B, C, F: every path named in a crate, held against its tables above; and every method that is called of OWNER, the type
# whose methods are in many files. check_imports CRATE OWNER RULES LAYERS
check_imports() {
    local core=$1 owner=$2 rules=$3 layers=$4 files
    [[ -d $core/src ]] || return 0
    files=$(cd "$core" && find src -name '*.rs' -not -path 'src/tests/*' | sort)
    [[ -n $files ]] || return 0
    # shellcheck disable=SC2086 # one word per file; no path in the repository has a space
    (cd "$core" && LC_ALL=C awk -v OWNER="$owner" -f "$ROOT/ci/arch.awk" $files) |
        RULES=$rules LAYERS=$layers awk -F'\t' -v core="$core" '
            function trim(s) { gsub(/^ +| +$/, "", s); return s }
            BEGIN {
                # Cut at " |" only: the expressions hold bars of their own, without a space before.
                n = split(ENVIRON["RULES"], row, "\n")
                for (i = 1; i <= n; i++) {
                    if (split(row[i], f, / +\|/) != 5) continue
                    rules++; id[rules] = trim(f[1]); what[rules] = trim(f[2]); where[rules] = trim(f[3])
                    but[rules] = trim(f[4]); why[rules] = trim(f[5])
                }
                n = split(ENVIRON["LAYERS"], row, "\n")
                for (i = 1; i <= n; i++) { m = split(row[i], f, " "); for (j = 1; j <= m; j++) layer[f[j]] = i }
            }
            function tell(where, rule, what) { print core "/src/" where ": rule " rule ": " what }
            # Of a file of the table; 0 elsewhere.
            function layer_of(file) {
                if (file !~ /^table\// || file == "table/mod.rs") return 0
                sub(/^table\//, "", file); sub(/[.\/].*/, "", file)
                return layer[file]
            }
            { sub(/^src\//, "", $1) }
            # Methods: held against the layers when all are known.
            $3 ~ /^=/ { home[substr($3, 2)] = $1; next }
            $3 ~ /^#/ { of_others[substr($3, 2)] = 1; next }
            $3 ~ /^[.?]/ { calls++; caller[calls] = $1; line[calls] = $2; called[calls] = $3; next }
            # What is named, or where a method that is called comes from.
            function hold(file, at, path, as,    i, f) {
                for (i = 1; i <= rules; i++) {
                    split(what[i], f, / but /)
                    if (path ~ f[1] && (f[2] == "" || path !~ f[2]) && (where[i] == "" || file ~ where[i]) && (but[i] == "" || file !~ but[i]))
                        tell(file ":" at, id[i], as ": " why[i])
                }
            }
            { paths++; hold($1, $2, $3, $3) }
            ENVIRON["LAYERS"] != "" && $1 ~ /^table\// && $1 != "table/mod.rs" {
                from = $1; sub(/^table\//, "", from); sub(/[.\/].*/, "", from)
                to = $3
                if (!(from in layer)) { if (!told[from]++) tell($1 ":1", "F", "no layer: add `" from "` to ci/arch.sh") }
                else if (to == "crate::table::*") tell($1 ":" $2, "F", to ": a glob hides the layer")
                else if (sub(/^crate::table::/, "", to)) {
                    sub(/::.*/, "", to)
                    if (to in layer && layer[to] > layer[from]) tell($1 ":" $2, "F", $3 ": `" from "` is below `" to "`")
                }
            }
            END {
                for (i = 1; i <= calls; i++) {
                    name = substr(called[i], 2)
                    if (!(name in home)) continue
                    # On what may be anything, a name that others have too says nothing.
                    if (called[i] ~ /^\?/ && (name in of_others || name ~ /^(find|finish|insert|remove)$/)) continue
                    path = home[name]; sub(/(\/mod)?\.rs$/, "", path); gsub(/\//, "::", path)
                    hold(caller[i], line[i], "crate::" path, name "(), of " home[name])
                    if (ENVIRON["LAYERS"] != "" && layer_of(home[name]) > layer_of(caller[i]) && layer_of(caller[i]))
                        tell(caller[i] ":" line[i], "F", name "(): is in " home[name] ", which is above")
                }
                print "paths " paths + 0
            }'
}

# F: a layer without a file is a name that has moved.
check_layers() {
    local name
    for name in $TABLE_LAYERS; do
        [[ -e $CORE/src/table/$name.rs || -d $CORE/src/table/$name ]] ||
            report "ci/arch.sh:1" F "$CORE/src/table/$name.rs is not there: take \`$name\` out of the layers"
    done
}

# D: the direction between packages.
check_packages() {
    local hits
    hits=$(
        {
            # Sources taken from the library by path, and any use of an outer package.
            grep -rnE --include='*.rs' '#!?\[(cfg_attr\(.*)?path *=|include(_str|_bytes)?!' crates/access-point |
                grep 'shadow-vars/'
            grep -rnE --include='*.rs' "(\"(\.\./)+($OUTSIDE)/|\b$OUTSIDE_CRATES\b)" crates
            grep -rnE --include=Cargo.toml "(\"(\.\./)+($OUTSIDE)\b|\b$OUTSIDE_CRATES\b)" crates
        } 2>/dev/null || true
    )
    [[ -z $hits ]] || while IFS= read -r hit; do
        report "$(cut -d: -f1,2 <<<"$hit")" D "$(cut -d: -f3- <<<"$hit" | sed 's/^ *//')"
    done <<<"$hits"
}

# E: what does not fit into 600 lines is two things.
check_sizes() {
    local file lines
    for file in $(sources); do
        lines=$(wc -l <"$file")
        if ((lines > MAX_LINES)); then
            report "$file:$((MAX_LINES + 1))" E "$lines lines, at most $MAX_LINES"
        fi
    done
}

sources() {
    find crates benches fuzz perf -name '*.rs' -not -path '*/target/*' 2>/dev/null | sort || true
}

# Checks the current directory. The scripts are taken from the repository.
check() {
    local imports violations paths
    imports=$(check_imports "$CORE" Core "$IMPORT_RULES" "$TABLE_LAYERS"; check_imports "$PATCHES" Registry "$PATCH_RULES" '')
    paths=$(awk '$1 == "paths" { n += $2 } END { print n + 0 }' <<<"$imports")
    violations=$({ grep -v '^paths ' <<<"$imports" || true; check_layers; check_packages; check_sizes; } | sed '/^$/d')
    if [[ -n $violations ]]; then
        echo "$violations"
    fi
    echo "arch: $(sources | wc -l) files, ${paths:-0} imported or named paths in the libraries, $(grep -c . <<<"$violations" || true) violations"
    [[ -z $violations ]]
}

# Each line: rule | file | what is planted there. `-` as rule: must not be found.
PLANTS='
A | src/store.rs           | use std::{fmt, sync::{Arc, atomic::{AtomicUsize as N, Ordering}}};
A | src/ctor.rs            | use std::sync; fn f() { sync::atomic::fence(O); }
A | src/wait.rs            | fn f() { loom::thread::yield_now() }
A | src/reclaim/epoch.rs   | use ::core::sync::atomic;
B | src/table/find.rs      | use crate::{key, error::StoreError};
B | src/table/mod.rs       | use super::reclaim::seize::Seize;
B | src/reclaim/list.rs    | use crate::table::node::Node;
B | src/reclaim/upkeep.rs  | fn f(_: &crate::registry::Registry) {}
B | src/table/node.rs      | use crate::ShadowStore;
C | src/reclaim/mod.rs     | use crossbeam_epoch as epoch;
C | src/reclaim/epoch.rs   | fn f(g: &::seize::Guard) {}
F | src/table/find.rs      | use super::{node, insert::claim};
F | src/table/migrate.rs   | use crate::table; fn f() { table::sweep::all() }
F | src/table/probe.rs     | impl<R: Reclaim> Core<R> { fn bad(&self, s: Shield<'"'"'_>) { let _ = self.help(s); self.shrink_if_empty(self.root(s)); } }
F | src/table/find.rs      | fn f<R: Fn() -> u8>(core: &Core<R>, s: Shield<'"'"'_>) { let _ = core.successor(core.root(s)); }
F | src/table/word.rs      | impl<R> Drop for Seen<R> { fn drop(&mut self) { self.core.help(self.shield); } }
F | src/table/group.rs     | fn f<R>(c: &Core<R>, s: Shield<'"'"'_>) { c.larger_successor(c.root(s)); }
F | src/table/array.rs     | use super::Core; fn f<R>(c: &Core<R>, s: Shield<'"'"'_>) { Core::help(c, s); }
B | src/table/insert.rs    | impl<R: Reclaim> Core<R> { fn bad(&self) { self.alloc_slow(1) } }
B | src/table/find.rs      | use crate::{iter::Iter, typed::Typed, variable::Variable, wait};
B | src/table/sweep.rs     | use crate::stats::Stats;
F | src/table/probe.rs     | use super::*;
F | src/table/unheard.rs   | use super::word::Word;
A | ../livepatch/src/task/world.rs | use std::sync::atomic::AtomicUsize;
B | ../livepatch/src/task/record.rs | use crate::{point::RawPoint, sync::stat};
B | ../livepatch/src/point.rs   | fn f() { crate::registry::registry() }
B | ../livepatch/src/patch/object.rs | use crate::registry::Registry;
B | ../livepatch/src/registry/enable.rs | use crate::library::open;
B | ../livepatch/src/patch/state.rs | use crate::{Patch, error};
B | ../livepatch/src/registry/states.rs | impl Registry { fn f(&self) { let _ = self.wait_unloaded("p", LONG); } }
C | ../livepatch/src/registry/mod.rs | use libloading::Library;
G | ../livepatch/src/registry/worker.rs | use std::panic::{self, Location}; fn f() { let _ = panic::catch_unwind(g); }
G | ../livepatch/src/library/loaded.rs | fn f() { let _ = ::std::panic::catch_unwind(g); }
G | ../livepatch/src/patch/state.rs | use parking_lot::Mutex;
D | ../access-point/src/x.rs | #[path = "../../shadow-vars/src/table/mod.rs"] mod table;
D | tests/x.rs             | #[path = "../../../fuzz/src/ops.rs"] mod ops;
D | Cargo.toml             | shadow-benches = { path = "../../benches" }
E | src/docs/long.rs       | LONG
E | ../../fuzz/src/long.rs | LONG
- | ../livepatch/src/task/unit.rs | use std::panic::Location; use crate::fork;
- | ../livepatch/src/registry/worker.rs | use std::sync::atomic::AtomicUsize; use crate::task::Side; use super::Registry;
- | src/sync.rs            | pub(crate) use std::sync::atomic::AtomicUsize; use loom::thread;
- | src/tests/loom_find.rs | use loom::thread; use crate::store::ShadowStore; use std::sync::atomic::fence;
- | src/table/insert.rs    | use super::{find::find, migrate, word::{self, Word}}; use crate::mem::prefetch; use crate::sync::AtomicU64;
- | src/table/word.rs      | /* use super::insert; /* */ loom::x */ fn f<'"'"'a>(_: &'"'"'a str) { g("use loom::x; /*", '"'"'"'"'"', r#"crate::store::"#) } // crate::store::x
- | src/lib.rs             | mod reclaim; #[cfg(shadow_loom)] mod seize_like; pub use reclaim::seize::Seize;
- | src/reclaim/mod.rs     | mod seize; pub use self::seize::Seize;
- | src/table/remove.rs    | impl<R: Reclaim> Core<R> { fn remove(&self, s: Shield<'"'"'_>) { self.help(s); [1].iter().find(|_| true); } }
- | src/table/remove.rs    | mod inner { use super::super::insert::Claim; fn f() -> impl Sized + use<> {} }
'

self_test() {
    local rule file text out target status failed=0 cases=0
    while IFS='|' read -r rule file text; do
        rule=${rule// /} file=${file// /} text=${text# }
        [[ -n $rule ]] || continue
        cases=$((cases + 1))
        rm -rf "$COPY"
        mkdir -p "$COPY/$CORE"
        # shellcheck disable=SC2046 # one word per file, as above
        cp -r --parents $(sources) "$COPY" 2>/dev/null || true
        target=$(realpath -m --relative-to=. "$CORE/$file")
        mkdir -p "$COPY/$(dirname "$target")"
        if [[ $text == LONG ]]; then
            text=$(yes '//' | head -n $((MAX_LINES + 1)) || true)
        fi
        # Replaces the file, if there is one: what is tested is the rule, not the file.
        printf '%s\n' "$text" >"$COPY/$target"
        status=0
        out=$(cd "$COPY" && check) || status=$?
        if [[ $rule == - ]]; then
            if grep -qF "$target:" <<<"$out"; then
                echo "self-test: wrongly found: $text"; grep -F "$target:" <<<"$out"; failed=1
            fi
        elif ((status == 0)) || ! grep -F "$target:" <<<"$out" | grep -q "rule $rule:"; then
            echo "self-test: rule $rule did not find, in $target: ${text:0:100}"; failed=1
        fi
    done <<<"$PLANTS"
    echo "arch: self-test: $cases cases, $( ((failed)) && echo FAILED || echo ok)"
    return "$failed"
}

ROOT=$PWD
case ${1:-} in
'') check ;;
--self-test)
    COPY=$(mktemp -d)
    trap 'rm -rf "$COPY"' EXIT
    self_test
    ;;
*) echo "usage: ci/arch.sh [--self-test]" >&2; exit 2 ;;
esac
