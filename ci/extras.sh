# Why: what an extra costs is known by what a copy of the sources without it does not pay. Which lines an
# extra is, is said here once, for ci/icount.sh and ci/no-op.sh, which source this from the top of the tree.
# The copies are no library: without the check one type can be read as another.

# The sources as they are now, in a folder of their own.
copy_sources() {
    local tree=$1
    rm -rf "$tree" && mkdir -p "$tree"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$tree" 2>/dev/null || true
}

# Leaves an extra out of a copy: `types` or `statistics`.
leave_out() {
    local source=$1/crates/shadow-vars/src file lines pattern replacement
    case $2 in
    types) file=$source/entry.rs lines=1 pattern='^        self\.type_id == TypeId::of::<T>\(\)$' replacement='        true' ;;
    statistics)
        # Of ids: the store's own count is what decides when tables are replaced.
        file=$source/tally.rs lines=2 pattern='^( +)add\(&of_id\.(created|freed), shard\.is_own\(\), (1|freed)\);$'
        replacement='\1let _ = of_id;'
        ;;
    esac
    [[ $(grep -cE "$pattern" "$file") == "$lines" ]] ||
        { echo "extras: $file has changed: no $lines lines like $pattern" >&2; return 1; }
    sed -E -i "s/$pattern/$replacement/" "$file"
}
