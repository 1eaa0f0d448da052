//! The description of a library, in a section of its own, which is read before any of its code runs.
//!
//! Numbers are little-endian; a string is its length (`u32`) and its UTF-8 bytes.
//!
//! | field | bytes |
//! |---|---|
//! | `LIVEPTCH` | 8 |
//! | format | 4 |
//! | kind: 1 a patch, 2 a module | 1 |
//! | flags: 1 stays loaded | 1 |
//! | zero | 2 |
//! | total length | 4 |
//! | name, compiler, target, interface's name, version, hash | strings |

use super::LibraryKind;
use super::interface::{COMPILER, Interface, TARGET};

/// The section's name.
pub(super) const SECTION: &str = ".livepatch";

const MAGIC: [u8; 8] = *b"LIVEPTCH";
/// The format of the description, and of the entry.
pub(super) const FORMAT: u32 = 1;
const HEAD: usize = 20;
const STAYS: u8 = 1;

/// The description of a library.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LibraryInfo {
    /// Whether it contains a patch or a module.
    pub kind: LibraryKind,
    /// The name of the patch or module.
    pub name: String,
    /// Whether it is declared to stay loaded for good.
    pub stays: bool,
    /// A function that it imports, and through which its code could be called, or its memory used, after it is unloaded.
    /// If there is one, the library stays loaded for good.
    pub reaches_back: Option<String>,
    /// The compiler that built it.
    pub compiler: String,
    /// The target that it was built for.
    pub target: String,
    /// The name of the interface crate that it was built against.
    pub interface: String,
    /// That crate's version.
    pub interface_version: String,
    /// The hash of that crate's sources.
    pub interface_hash: String,
}

/// The compile-time data that a library's macro puts in its description.
#[doc(hidden)]
#[derive(Debug)]
pub struct Said {
    pub kind: LibraryKind,
    pub stays: bool,
    pub name: &'static str,
    pub interface: Interface,
}

impl Said {
    const fn texts(&self) -> [&'static str; 6] {
        let Interface { name, version, hash } = self.interface;
        [self.name, COMPILER, TARGET, name, version, hash]
    }

    /// Returns the length of the description in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        let texts = self.texts();
        let (mut len, mut index) = (HEAD, 0);
        while index < texts.len() {
            len += 4 + texts[index].len();
            index += 1;
        }
        len
    }

    /// Returns `false`: a description has a header.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Returns the description.
    #[must_use]
    pub const fn bytes<const N: usize>(&self) -> [u8; N] {
        assert!(N == self.len() && N <= u32::MAX as usize);
        assert!(
            !self.name.is_empty() && self.name.len() <= crate::MAX_NAME,
            "a patch or module needs a name of 1 to 255 bytes"
        );
        let mut bytes = [0; N];
        let at = put(&mut bytes, 0, &MAGIC);
        let at = put(&mut bytes, at, &FORMAT.to_le_bytes());
        let kind = match self.kind {
            LibraryKind::Patch => 1,
            LibraryKind::Module => 2,
        };
        let flags = if self.stays { STAYS } else { 0 };
        let at = put(&mut bytes, at, &[kind, flags, 0, 0]);
        let mut at = put(&mut bytes, at, &(N as u32).to_le_bytes());
        let texts = self.texts();
        let mut index = 0;
        while index < texts.len() {
            at = put(&mut bytes, at, &(texts[index].len() as u32).to_le_bytes());
            at = put(&mut bytes, at, texts[index].as_bytes());
            index += 1;
        }
        assert!(at == N);
        bytes
    }
}

/// Copies `what` to `at`. Returns the end of the copy.
const fn put(bytes: &mut [u8], at: usize, what: &[u8]) -> usize {
    let mut index = 0;
    while index < what.len() {
        bytes[at + index] = what[index];
        index += 1;
    }
    at + what.len()
}

/// Why a description cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Format(u32),
    Malformed(&'static str),
}

impl LibraryInfo {
    /// Parses the section's bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        use Unreadable::{Format, Malformed};
        let mut rest = bytes;
        if take(&mut rest, MAGIC.len()) != Some(&MAGIC) {
            return Err(Malformed("it does not begin with its magic bytes"));
        }
        let format = number(&mut rest).ok_or(Malformed("it ends within its header"))?;
        if format != FORMAT {
            return Err(Format(format));
        }
        let Some(&[kind, flags, 0, 0]) = take(&mut rest, 4) else {
            return Err(Malformed("its header is malformed"));
        };
        let kind = match kind {
            1 => LibraryKind::Patch,
            2 => LibraryKind::Module,
            _ => return Err(Malformed("it describes neither a patch nor a module")),
        };
        if flags & !STAYS != 0 {
            return Err(Malformed("it has unknown flags"));
        }
        match number(&mut rest) {
            Some(len) if len as usize == bytes.len() => {}
            Some(len) if (len as usize) < bytes.len() => {
                return Err(Malformed(
                    "it is longer than it says: does the library contain two patches or modules?",
                ));
            }
            _ => return Err(Malformed("it is shorter than it says")),
        }
        let mut text = || {
            let len = number(&mut rest)?;
            let text = take(&mut rest, len as usize)?;
            Some(std::str::from_utf8(text).ok()?.to_owned())
        };
        let mut text = || text().ok_or(Malformed("a string in it is malformed"));
        let info = Self {
            kind,
            stays: flags & STAYS != 0,
            name: text()?,
            reaches_back: None, // Determined from its symbols.
            compiler: text()?,
            target: text()?,
            interface: text()?,
            interface_version: text()?,
            interface_hash: text()?,
        };
        if !rest.is_empty() {
            return Err(Malformed("it has trailing data"));
        }
        Ok(info)
    }
}

fn take<'b>(rest: &mut &'b [u8], len: usize) -> Option<&'b [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(u32::from_le_bytes(*taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: Said = Said {
        kind: LibraryKind::Module,
        stays: true,
        name: "größer",
        interface: Interface::new("api", "1.2.3", "00ff"),
    };
    const BYTES: [u8; SAID.len()] = SAID.bytes();

    #[test]
    fn a_description_is_read_as_it_was_written() {
        let info = LibraryInfo::parse(&BYTES).unwrap();
        assert_eq!((info.kind, info.stays), (LibraryKind::Module, true));
        assert_eq!(info.name, "größer");
        assert_eq!((info.compiler.as_str(), info.target.as_str()), (COMPILER, TARGET));
        assert!(COMPILER.starts_with("rustc 1."), "{COMPILER}");
        let interface = [info.interface, info.interface_version, info.interface_hash];
        assert_eq!(interface, ["api", "1.2.3", "00ff"]);
    }

    #[test]
    fn no_part_of_a_description_is_one() {
        for len in 0..BYTES.len() {
            let why = LibraryInfo::parse(&BYTES[..len]).unwrap_err();
            assert!(matches!(why, Unreadable::Malformed(_)), "{len}: {why:?}");
        }
        let twice = [BYTES, BYTES].concat();
        assert!(matches!(LibraryInfo::parse(&twice), Err(Unreadable::Malformed(why)) if why.contains("two")));
    }

    #[test]
    fn a_changed_byte_of_the_head_or_of_a_length_is_refused() {
        // The bytes of strings, and flags or kinds that are valid but different, may change.
        let mut heads: Vec<usize> = (0..12).chain(14..HEAD).collect();
        let mut at = HEAD;
        for text in SAID.texts() {
            heads.extend(at..at + 4);
            at += 4 + text.len();
        }
        for at in heads {
            for bit in 0..8 {
                let mut bytes = BYTES;
                bytes[at] ^= 1 << bit;
                match LibraryInfo::parse(&bytes) {
                    Err(Unreadable::Format(format)) => assert!((8..12).contains(&at) && format != FORMAT),
                    Err(Unreadable::Malformed(_)) => assert!(!(8..12).contains(&at)),
                    Ok(info) => panic!("byte {at}, bit {bit}: {info:?}"),
                }
            }
        }
    }
}
