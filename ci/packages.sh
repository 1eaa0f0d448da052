# Why: the published packages are listed only here, for every gate that handles each of them. The scripts source this from the
# root of the tree. ci/package.sh --list checks the list against the manifests.

# In the order of publication: each after its dependencies. A package's folder in crates/ has its name.
# shellcheck disable=SC2034 # used by the scripts that source this
PACKAGES=(asymmetric-barrier shadow-vars livepatch-macros livepatch livepatch-cli)

# Prints a value of a manifest's section, arrays on one line: value FILE SECTION KEY.
value() {
    awk -v section="[$2]" -v key="$3" '
        /^\[/ { inside = ($0 == section) }
        open { text = text " " $0 }
        inside && !open && index($0, key " = ") == 1 { text = substr($0, length(key) + 4); open = 1 }
        inside && !open && $0 == key ".workspace = true" { print "workspace"; exit }
        open && (text !~ /^\[/ || text ~ /\]$/) { gsub(/^"|"$/, "", text); print text; exit }' "$1"
}
