//! A key, with what all operations need of it.

use super::hash::{AddrHash, KeyHash};
use super::node::key_fits;
use super::word::Word;
use crate::registry::IdEntry;

/// A key, with the values computed from it once.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) obj: usize,
    pub(crate) entry: &'a IdEntry,
    pub(crate) hash: KeyHash,
    /// The tag of the key's LINK, FROZEN and RECORD words.
    pub(crate) tag: u16,
    /// The tag in the low 16 bits; the upper bits are unspecified, which saves a mask.
    pub(crate) wide_tag: u32,
}

impl<'a> Key<'a> {
    #[inline]
    pub(crate) fn new(obj: usize, entry: &'a IdEntry, hash: AddrHash) -> Self {
        let hash = hash.with(entry.salt);
        Self {
            obj,
            entry,
            hash,
            tag: hash.tag(),
            wide_tag: hash.point as u32,
        }
    }

    /// Returns the key's TOMB word, if the key fits into one.
    pub(crate) fn tomb(&self) -> Option<Word> {
        key_fits(self.obj, self.entry).then(|| Word::tomb(self.obj, self.tag))
    }
}
