//! Reading a library's file: what it is, and what it says of itself, before the dynamic linker sees it.
//!
//! The file is read once. What is checked is what is loaded: a copy in memory that nobody can write to any more. So it does
//! no harm if the file is replaced meanwhile, or written over later while its code runs.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use object::NativeEndian;
use object::elf::{self, ET_DYN, PT_TLS, SHT_NOBITS};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::description::{FORMAT, SECTION, Unreadable};
use super::interface::{COMPILER, TARGET};
use super::{Interface, LibraryInfo, LibraryKind, LoadError};

#[cfg(target_pointer_width = "64")]
type Header = elf::FileHeader64<NativeEndian>;
#[cfg(target_pointer_width = "32")]
type Header = elf::FileHeader32<NativeEndian>;

/// Where a file says which class, byte order and machine it is for.
const IDENT: usize = 20;

/// A library's bytes, found whole and of this machine.
#[derive(Debug)]
pub(super) struct Image {
    bytes: Vec<u8>,
    pub(super) info: LibraryInfo,
    /// It has thread-local variables, whose destructors may run at the end of any thread.
    pub(super) thread_locals: bool,
}

impl Image {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, LoadError> {
        // A pipe or a device must not even be opened: that may block, or do things. It is looked at again once open.
        if !fs::metadata(path).map_err(LoadError::Read)?.is_file() {
            return Err(LoadError::NotAFile);
        }
        let mut file = File::open(path).map_err(LoadError::Read)?;
        if !file.metadata().map_err(LoadError::Read)?.is_file() {
            return Err(LoadError::NotAFile);
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(LoadError::Read)?;
        Self::new(bytes)
    }

    fn new(bytes: Vec<u8>) -> Result<Self, LoadError> {
        let truncated = |what| move |_| LoadError::Truncated { what };
        check_machine(&bytes)?;
        let data = bytes.as_slice();
        let header = Header::parse(data).map_err(|_| LoadError::Truncated { what: "its head" })?;
        let endian = header.endian().map_err(|_| LoadError::NotALibrary)?;
        if header.e_type(endian) != ET_DYN {
            return Err(LoadError::NotALibrary);
        }
        let segments = header
            .program_headers(endian, data)
            .map_err(truncated("the list of its segments"))?;
        for segment in segments {
            segment
                .data(endian, data)
                .map_err(|()| LoadError::Truncated { what: "a segment" })?;
        }
        let sections = header
            .sections(endian, data)
            .map_err(truncated("the list of its sections"))?;
        for section in sections.iter() {
            if section.sh_type(endian) != SHT_NOBITS {
                section.data(endian, data).map_err(truncated("a section"))?;
            }
        }
        let mut described = sections
            .iter()
            .filter(|section| sections.section_name(endian, section) == Ok(SECTION.as_bytes()));
        let section = described.next().ok_or(LoadError::NoDescription)?;
        if described.next().is_some() {
            return Err(LoadError::Description {
                what: "there are two of them",
            });
        }
        let description = section.data(endian, data).map_err(truncated("a section"))?;
        let info = LibraryInfo::parse(description).map_err(|why| match why {
            Unreadable::Format(found) => LoadError::Format {
                found,
                expected: FORMAT,
            },
            Unreadable::Malformed(what) => LoadError::Description { what },
        })?;
        let thread_locals = segments.iter().any(|segment| segment.p_type(endian) == PT_TLS);
        Ok(Self {
            bytes,
            info,
            thread_locals,
        })
    }

    /// Whether it is what is asked for, and goes with this process.
    pub(super) fn check(&self, kind: LibraryKind, interface: &Interface) -> Result<(), LoadError> {
        let info = &self.info;
        if info.kind != kind {
            return Err(LoadError::Kind {
                found: info.kind,
                expected: kind,
            });
        }
        if info.compiler != COMPILER {
            return Err(LoadError::Compiler {
                found: info.compiler.clone(),
                expected: COMPILER.to_owned(),
            });
        }
        if info.target != TARGET {
            return Err(LoadError::Target {
                found: info.target.clone(),
                expected: TARGET.to_owned(),
            });
        }
        if info.interface != interface.name {
            return Err(LoadError::Interface {
                found: info.interface.clone(),
                expected: interface.name.to_owned(),
            });
        }
        if info.interface_version != interface.version {
            return Err(LoadError::InterfaceVersion {
                interface: info.interface.clone(),
                found: info.interface_version.clone(),
                expected: interface.version.to_owned(),
            });
        }
        if info.interface_hash != interface.hash {
            return Err(LoadError::InterfaceHash {
                interface: info.interface.clone(),
                found: info.interface_hash.clone(),
                expected: interface.hash.to_owned(),
            });
        }
        Ok(())
    }

    /// Copies it to where nobody can write to it any more.
    pub(super) fn seal(&self) -> Result<Sealed, LoadError> {
        self.try_seal().map(Sealed).map_err(LoadError::Copy)
    }

    fn try_seal(&self) -> io::Result<File> {
        // Shown in /proc/self/maps. The system has a limit for it.
        let mut name = format!("livepatch:{}", self.info.name);
        name.truncate((0..=200).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0));
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = match rustix::fs::memfd_create(name.as_str(), flags | MemfdFlags::EXEC) {
            Err(Errno::INVAL) => rustix::fs::memfd_create(name.as_str(), flags), // Before Linux 6.3.
            other => other,
        };
        let mut file = File::from(file?);
        file.write_all(&self.bytes)?;
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(file)
    }
}

/// A copy of a library that nobody can write to.
///
/// To be kept as long as the library is loaded: the dynamic linker knows it by the name of this descriptor, and would take
/// another file of that name for it.
#[derive(Debug)]
pub(super) struct Sealed(File);

impl Sealed {
    /// The name by which it can be loaded.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// Whether the file is an ELF of the same class, byte order and machine as the program.
fn check_machine(bytes: &[u8]) -> Result<(), LoadError> {
    let magic = &elf::ELFMAG;
    if !bytes.starts_with(magic) {
        return match magic.starts_with(bytes) && !bytes.is_empty() {
            true => Err(LoadError::Truncated { what: "its head" }),
            false => Err(LoadError::NotALibrary),
        };
    }
    let mut own = [0; IDENT];
    File::open("/proc/self/exe")
        .and_then(|mut program| program.read_exact(&mut own))
        .map_err(LoadError::Read)?;
    let Some(head) = bytes.get(..IDENT) else {
        return Err(LoadError::Truncated { what: "its head" });
    };
    let machine = |head: &[u8]| (head[4], head[5], [head[18], head[19]]);
    match machine(head) == machine(&own) {
        true => Ok(()),
        false => Err(LoadError::Machine),
    }
}

impl LibraryInfo {
    /// What a library says of itself, read from its file. None of its code runs.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is no library that could be loaded here. Whether it goes with this process is not asked.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        Image::read(path.as_ref()).map(|image| image.info)
    }
}
