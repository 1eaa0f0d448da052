# Why: the cost of an extra is the difference to a copy of the sources without it. The lines of each extra are named only here,
# for ci/icount.sh and ci/no-op.sh, which source this from the root of the tree. The copies are not for use as libraries: without
# the check, a value can be read as another type.

# Copies the sources as they are now to a folder.
copy_sources() {
    local tree=$1
    rm -rf "$tree" && mkdir -p "$tree"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$tree" 2>/dev/null || true
}

# Removes an extra from a copy: `types` or `statistics`.
leave_out() {
    local source=$1/crates/shadow-vars/src file lines pattern replacement
    case $2 in
    types) file=$source/registry.rs lines=1 pattern='^        self\.type_id == TypeId::of::<T>\(\)$' replacement='        true' ;;
    statistics)
        # The counts of ids only: tables are replaced according to the store's own count.
        file=$source/tally.rs lines=2 pattern='^( +)add\(&of_id\.(created|freed), shard\.is_own\(\), (1|freed)\);$'
        replacement='\1let _ = of_id;'
        ;;
    esac
    [[ $(grep -cE "$pattern" "$file") == "$lines" ]] ||
        { echo "extras: $file has changed: no $lines lines like $pattern" >&2; return 1; }
    sed -E -i "s/$pattern/$replacement/" "$file"
}
