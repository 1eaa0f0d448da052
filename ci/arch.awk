# Lists every path that Rust sources import or name, one per line: FILE <tab> LINE <tab> PATH. A method that one type has from
# several files needs no path to be called, so these are listed too, of the type that OWNER names, for which `owner` stands
# in variables (core, for the type Core): `=NAME` where its implementation defines a method, `.NAME` where one is called on
# `self` there or on `owner` anywhere, `?NAME` where a method is called on something else, `#NAME` where another type has one.
# Comments and literals are ignored, `use` trees are expanded, and `super`, `self`, local modules and
# names brought in by `use` are resolved, so that `use super::{a, b as c}` in src/table/find.rs gives
# crate::table::a and crate::table::b. Macros are not expanded, re-exports are not followed.
# Run it inside the crate's folder, with paths that start with src/.

# One file after another: collect tokens, then walk them when the next file starts.
FNR == 1 { if (file != "") walk(); start(FILENAME) }
{ lex($0) }
END { if (file != "") walk() }

function start(name,    path) {
    file = name; count = 0; comment = 0; text = 0; raw = ""
    split("", tok); split("", line); split("", alias); split("", child)
    path = name
    sub(/^src\//, "", path); sub(/\.rs$/, "", path); sub(/\/mod$/, "", path)
    gsub(/\//, "::", path)
    home = (path == "lib" || path == "main") ? "crate" : "crate::" path
}

function push(t) { tok[++count] = t; line[count] = FNR }

function lex(s,    i) {
    while (s != "") {
        if (comment) {                                   # block comments nest
            if (!match(s, /\/\*|\*\//)) return
            comment += (substr(s, RSTART, 2) == "/*") ? 1 : -1
            s = substr(s, RSTART + 2)
        } else if (text) {
            if (!match(s, /\\.|"/)) return
            if (substr(s, RSTART, 1) == "\"") text = 0
            s = substr(s, RSTART + RLENGTH)
        } else if (raw != "") {
            i = index(s, raw)
            if (!i) return
            s = substr(s, i + length(raw)); raw = ""
        } else if (match(s, /^[ \t\r]+/)) s = substr(s, RLENGTH + 1)
        else if (match(s, /^\/\//)) return
        else if (match(s, /^\/\*/)) { comment = 1; s = substr(s, 3) }
        else if (match(s, /^[bc]?r#*"/)) {
            raw = substr(s, 1, RLENGTH); sub(/^[bc]?r/, "", raw); sub(/"$/, "", raw)
            raw = "\"" raw; s = substr(s, RLENGTH + 1)
        }
        else if (match(s, /^[bc]?"/)) { text = 1; s = substr(s, RLENGTH + 1) }
        else if (match(s, /^b?'(\\[^']+|\\'|[^\\']|[\200-\377]+)'/)) s = substr(s, RLENGTH + 1)
        else if (match(s, /^'[A-Za-z_][A-Za-z0-9_]*/)) s = substr(s, RLENGTH + 1)
        else if (match(s, /^(r#)?[A-Za-z_][A-Za-z0-9_]*/)) {
            push(substr(s, 1, RLENGTH)); s = substr(s, RLENGTH + 1)
        }
        else if (match(s, /^[0-9][A-Za-z0-9_]*/)) { push("0"); s = substr(s, RLENGTH + 1) }
        else if (match(s, /^::/)) { push("::"); s = substr(s, 3) }
        else { push(substr(s, 1, 1)); s = substr(s, 2) }
    }
}

function ident(t) { return t ~ /^(r#)?[A-Za-z_]/ }

# First pass: imports and local modules (names must be known before they are used). Second: the rest.
function walk(    pass, i, depth, level, mods, prev, path, at, impls, of, types, depths) {
    for (pass = 1; pass <= 2; pass++) {
        depth = 0; level = 0; here = home; impls = 0; of = ""
        for (i = 1; i <= count; i++) {
            if (tok[i] == "{") depth++
            else if (tok[i] == "}") {
                depth--
                if (level && mods[level] == depth) { level--; sub(/::[^:]*$/, "", here) }
                if (impls && depths[impls] == depth) of = --impls ? types[impls] : ""
            } else if (tok[i] == "mod" && ident(tok[i + 1])) {
                child[here "::" tok[i + 1]] = 1
                if (tok[i + 2] == "{") {                 # an inline module
                    here = here "::" tok[i + 1]; mods[++level] = depth++
                    i += 2
                }
            } else if (tok[i] == "use" && tok[i + 1] != "<") {
                pos = i + 1; use_tree("", pass)
                i = pos
            } else if (tok[i] == "trait" && ident(tok[i + 1]) || tok[i] == "impl" && is_item(i)) {
                of = (tok[i] == "trait") ? tok[i + 1] : implemented(i)
                types[++impls] = of; depths[impls] = depth
            } else if (tok[i] == "fn" && ident(tok[i + 1]) && impls && depths[impls] == depth - 1) {
                if (pass == 2 && OWNER != "") emit((of == OWNER ? "=" : "#") tok[i + 1], i)
                i++
            } else if (tok[i] == "extern" && tok[i + 1] == "crate") {
                if (pass == 2) emit(tok[i + 2], i)
                i += 2
            } else if (pass == 2 && ident(tok[i])) {
                at = i; path = tok[i]
                while (tok[i + 1] == "::" && ident(tok[i + 2])) { path = path "::" tok[i + 2]; i += 2 }
                prev = (at > 1) ? tok[at - 1] : ""
                if (OWNER != "") method(at, i, path, prev, of)
                if (prev == "::" && (ident(tok[at - 2]) || tok[at - 2] == ">")) continue
                if (i > at && prev != ".") emit(prev == "::" ? path : resolve(path), at)
            }
        }
    }
}

# Whether `impl` begins an implementation, and is no type.
function is_item(i) { return i == 1 || tok[i - 1] ~ /^[};{\]]$/ || tok[i - 1] == "unsafe" }

# The type that an implementation is of: the last name of its path.
function implemented(i,    angle, name) {
    for (i++; i <= count && tok[i] != "{" && tok[i] != "where"; i++) {
        if (tok[i] == "<") angle++
        else if (tok[i] == ">" && tok[i - 1] != "-") angle--
        else if (!angle && ident(tok[i])) name = tok[i]
    }
    return name
}

# A call of a method, or of a function of OWNER by its path; `of` is the type whose implementation this is in.
function method(at, last, path, prev, of,    owner, name, called) {
    owner = tolower(OWNER); name = path; sub(/.*::/, "", name)
    called = tok[last + 1] == "(" || tok[last + 1] == "::" && tok[last + 2] == "<"
    if (prev == ".") {
        if (!called || path != name) return
        if (tok[at - 2] == owner || tok[at - 2] == "self" && tok[at - 3] != "." && of == OWNER) emit("." name, at)
        else emit("?" name, at)
    } else if (path == "Self::" name && of == OWNER || path ~ ("(^|::)" OWNER "::" name "$")) emit("." name, at)
    else if (prev == "::" && tok[at - 2] == ">" && called) emit("?" name, at)   # Core::<R>::name
}

# A `use` tree at `pos`, below `prefix`; leaves `pos` on the token after it.
function use_tree(prefix, pass,    path, name, at) {
    if (tok[pos] == "::") pos++                          # ::name: a crate
    if (tok[pos] == "{") {
        pos++
        while (pos <= count && tok[pos] != "}") {
            use_tree(prefix, pass)
            if (tok[pos] == ",") pos++
        }
        pos++
        return
    }
    at = pos; name = tok[pos]; pos++
    if (name == "self" && prefix != "") path = prefix    # a::{self}
    else path = (prefix == "") ? name : prefix "::" name
    if (tok[pos] == "::") { pos++; use_tree(path, pass); return }
    sub(/.*::/, "", name); if (path == prefix) { name = path; sub(/.*::/, "", name) }
    if (tok[pos] == "as") { name = tok[pos + 1]; pos += 2 }
    if (pass == 1) { if (name != "*" && name != "_" && name != path) alias[name] = resolve(path) }
    else emit(resolve(path), at)
}

function resolve(path,    first, rest, base, hops) {
    for (hops = 0; hops < 9; hops++) {
        first = path; sub(/::.*/, "", first)
        rest = substr(path, length(first) + 1)
        if (first == "crate") return path
        if (first == "self") return here rest
        if (first == "super") {
            base = here
            while (first == "super") {
                sub(/::[^:]*$/, "", base)
                path = substr(rest, 3)
                first = path; sub(/::.*/, "", first)
                rest = substr(path, length(first) + 1)
            }
            return (path == "") ? base : base "::" path
        }
        if (first in alias) path = alias[first] rest
        else if ((here "::" first) in child) return here "::" path
        else return path
    }
    return path
}

function emit(path, at) { print file "\t" line[at] "\t" path }
