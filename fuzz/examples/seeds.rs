//! Writes the seed corpora again: `cargo run --example seeds` in `fuzz/`. Seeds whose names no longer exist are removed.

use std::fs::{create_dir_all, remove_dir_all, write};
use std::io::Result;
use std::path::Path;

use shadow_vars_fuzz::Input;
use shadow_vars_fuzz::seeds::{Seed, of_life_cycle, of_ops, of_threads};

fn main() -> Result<()> {
    put("ops", of_ops())?;
    put("threads", of_threads())?;
    put("life_cycle", of_life_cycle())
}

fn put<T: Input>(target: &str, seeds: Vec<Seed<T>>) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    if folder.exists() {
        remove_dir_all(&folder)?;
    }
    create_dir_all(&folder)?;
    seeds
        .iter()
        .try_for_each(|seed| write(folder.join(seed.name), seed.input.encode()))
}
