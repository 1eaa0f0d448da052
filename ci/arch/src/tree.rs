//! The checked files of the repository, in memory, so that the self-test can change a copy of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::{fs, io};

use crate::check::PAGE;

/// The folders with sources.
const FOLDERS: [&str; 5] = ["benches", "ci", "crates", "fuzz", "perf"];

/// Files by their paths.
#[derive(Clone, Default)]
pub(crate) struct Tree(pub(crate) BTreeMap<String, Rc<str>>);

impl Tree {
    /// Reads the current folder.
    pub(crate) fn read() -> io::Result<Self> {
        let mut tree = Self::default();
        FOLDERS.iter().try_for_each(|folder| tree.add(folder))?;
        tree.0.insert(PAGE.to_owned(), fs::read_to_string(PAGE)?.into());
        Ok(tree)
    }

    fn add(&mut self, folder: &str) -> io::Result<()> {
        if Path::new(folder).file_name().is_some_and(|name| name == "target") {
            return Ok(());
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = format!("{folder}/{name}");
            if entry.file_type()?.is_dir() {
                self.add(&path)?;
            } else if path.ends_with(".rs") || name == "Cargo.toml" {
                self.0.insert(path.clone(), fs::read_to_string(&path)?.into());
            }
        }
        Ok(())
    }

    /// Returns the Rust files below a folder.
    pub(crate) fn sources<'t>(&'t self, folder: &str) -> impl Iterator<Item = (&'t String, &'t Rc<str>)> {
        self.0
            .iter()
            .filter(move |(path, _)| path.ends_with(".rs") && path.starts_with(folder))
    }

    pub(crate) fn manifests(&self) -> impl Iterator<Item = (&String, &Rc<str>)> {
        self.0.iter().filter(|(path, _)| path.ends_with("/Cargo.toml"))
    }
}
