//! Reading a library's file: its format and its description are checked before the dynamic linker sees it.
//!
//! The file is read once. The bytes that are checked are those that are loaded: they are copied to memory that is sealed
//! against writing. So it does no harm if the file is replaced meanwhile, or overwritten later while its code runs.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use object::NativeEndian;
use object::elf::{self, ET_CORE, ET_DYN, ET_EXEC, ET_REL, PT_TLS, SHT_NOBITS};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use rustix::fs::{MemfdFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;

use super::description::{FORMAT, SECTION, Unreadable};
use super::interface::{COMPILER, TARGET};
use super::{Interface, LibraryInfo, LibraryKind, LoadError, LoadFault, imports};

#[cfg(target_pointer_width = "64")]
type Header = elf::FileHeader64<NativeEndian>;
#[cfg(target_pointer_width = "32")]
type Header = elf::FileHeader32<NativeEndian>;

/// The length of the part of an ELF header that gives class, byte order and machine.
const IDENT: usize = 20;

/// A library's bytes, checked to be complete and for this machine.
#[derive(Debug)]
pub(super) struct Image {
    bytes: Vec<u8>,
    pub(super) info: LibraryInfo,
    /// Whether it has thread-local variables, whose destructors may run at the end of any thread.
    pub(super) thread_locals: bool,
}

/// Limits on the libraries that may be loaded.
///
/// ```
/// let options = livepatch::library::LoadOptions::default().max_size(16 << 20);
/// ```
#[derive(Clone, Debug)]
pub struct LoadOptions {
    max_size: u64,
    allow_noexec: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            max_size: Self::MAX_SIZE,
            allow_noexec: false,
        }
    }
}

impl LoadOptions {
    /// The default maximum size of a file: 256 MiB.
    pub const MAX_SIZE: u64 = 256 << 20;

    /// Sets the maximum size of a file in bytes. Files are read into memory, and copied there.
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    /// Sets whether a file may be on a file system that is mounted `noexec`, from which no code is supposed to run. By
    /// default it may not.
    #[must_use]
    pub fn allow_noexec(mut self, allow: bool) -> Self {
        self.allow_noexec = allow;
        self
    }
}

impl Image {
    /// Reads a file: first its header, and only if that is of a library and the size is allowed, the rest.
    pub(super) fn read(path: &Path, options: &LoadOptions) -> Result<Self, LoadFault> {
        // A pipe or a device must not even be opened, as that may block or have effects. Checked again once it is open.
        regular(&fs::metadata(path).map_err(LoadFault::Read)?)?;
        let mut file = File::open(path).map_err(LoadFault::Read)?;
        let metadata = file.metadata().map_err(LoadFault::Read)?;
        regular(&metadata)?;
        let mounted = rustix::fs::fstatvfs(&file).map_err(|error| LoadFault::Read(error.into()))?;
        if mounted.f_flag.contains(StatVfsMountFlags::NOEXEC) && !options.allow_noexec {
            return Err(LoadFault::NoExec);
        }
        let mut bytes = Vec::new();
        let head = size_of::<Header>() as u64;
        (&mut file)
            .take(head)
            .read_to_end(&mut bytes)
            .map_err(LoadFault::Read)?;
        check_machine(&bytes, metadata.len())?;
        check_head(&bytes, metadata.len())?;
        let too_large = |found| LoadFault::TooLarge {
            found,
            limit: options.max_size,
        };
        if metadata.len() > options.max_size {
            return Err(too_large(metadata.len()));
        }
        // It may have grown since.
        let rest = options.max_size.saturating_add(1).saturating_sub(bytes.len() as u64);
        file.take(rest).read_to_end(&mut bytes).map_err(LoadFault::Read)?;
        if bytes.len() as u64 > options.max_size {
            return Err(too_large(bytes.len() as u64));
        }
        Self::new(bytes)
    }

    fn new(bytes: Vec<u8>) -> Result<Self, LoadFault> {
        let found = bytes.len() as u64;
        let fault = |what| LoadFault::Truncated { what, found };
        let truncated = |what| move |_| LoadFault::Truncated { what, found };
        check_machine(&bytes, found)?;
        check_head(&bytes, found)?;
        let data = bytes.as_slice();
        let header = Header::parse(data).map_err(|_| fault("its header"))?;
        let endian = header.endian().map_err(|_| fault("its header"))?;
        let segments = header
            .program_headers(endian, data)
            .map_err(truncated("the list of its segments"))?;
        for segment in segments {
            segment.data(endian, data).map_err(|()| fault("a segment"))?;
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
        let section = described.next().ok_or(LoadFault::NoDescription)?;
        if described.next().is_some() {
            return Err(LoadFault::Description {
                what: "there are two of them",
            });
        }
        let description = section.data(endian, data).map_err(truncated("a section"))?;
        let mut info = LibraryInfo::parse(description).map_err(|why| match why {
            Unreadable::Format(found) => LoadFault::Format {
                found,
                expected: FORMAT,
            },
            Unreadable::Malformed(what) => LoadFault::Description { what },
        })?;
        let thread_locals = segments.iter().any(|segment| segment.p_type(endian) == PT_TLS);
        info.reaches_back = imports::find_reaching_back::<Header>(endian, data, &sections)
            .map_err(truncated("the list of its symbols"))?;
        Ok(Self {
            bytes,
            info,
            thread_locals,
        })
    }

    /// Checks whether it is of the requested kind, and compatible with this process.
    pub(super) fn check(&self, kind: LibraryKind, interface: &Interface) -> Result<(), LoadFault> {
        let info = &self.info;
        if info.kind != kind {
            return Err(LoadFault::Kind {
                found: info.kind,
                expected: kind,
            });
        }
        if info.compiler != COMPILER {
            return Err(LoadFault::Compiler {
                found: info.compiler.clone(),
                expected: COMPILER.to_owned(),
            });
        }
        if info.target != TARGET {
            return Err(LoadFault::Target {
                found: info.target.clone(),
                expected: TARGET.to_owned(),
            });
        }
        if info.interface != interface.name {
            return Err(LoadFault::Interface {
                found: info.interface.clone(),
                expected: interface.name.to_owned(),
            });
        }
        if info.interface_version != interface.version {
            return Err(LoadFault::InterfaceVersion {
                interface: info.interface.clone(),
                found: info.interface_version.clone(),
                expected: interface.version.to_owned(),
            });
        }
        if info.interface_hash != interface.hash {
            return Err(LoadFault::InterfaceHash {
                interface: info.interface.clone(),
                found: info.interface_hash.clone(),
                expected: interface.hash.to_owned(),
            });
        }
        Ok(())
    }

    /// Copies it to memory that is sealed against writing.
    pub(super) fn seal(&self) -> Result<Sealed, LoadFault> {
        self.try_seal().map(Sealed).map_err(LoadFault::Copy)
    }

    fn try_seal(&self) -> io::Result<File> {
        // The name is shown in /proc/self/maps, and the system limits its length.
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

/// A copy of a library in sealed memory. Once it is loaded, the mapping keeps it.
#[derive(Debug)]
pub(super) struct Sealed(File);

impl Sealed {
    /// Returns the path by which the calling thread can load it. The dynamic linker identifies libraries by name as well,
    /// so the path is spelled uniquely: `/` and `./` are the bits of the number.
    pub(super) fn path(&self, number: u64) -> PathBuf {
        let thread = rustix::thread::gettid().as_raw_nonzero();
        let mut path = format!("/proc/self/task/{thread}/fd/");
        for bit in (0..u64::BITS - number.leading_zeros()).rev() {
            path.push_str(if number >> bit & 1 == 1 { "./" } else { "/" });
        }
        path.push_str(&self.0.as_raw_fd().to_string());
        PathBuf::from(path)
    }
}

fn regular(metadata: &fs::Metadata) -> Result<(), LoadFault> {
    let is = metadata.file_type();
    let found = match () {
        () if is.is_file() => return Ok(()),
        () if is.is_dir() => "directory",
        () if is.is_fifo() => "pipe",
        () if is.is_socket() => "socket",
        () if is.is_char_device() || is.is_block_device() => "device",
        () => "special file",
    };
    Err(LoadFault::NotAFile { found })
}

/// Checks whether the file is an ELF file of the same class, byte order and machine as the program. `len` is the length
/// of the file.
fn check_machine(bytes: &[u8], len: u64) -> Result<(), LoadFault> {
    let magic = &elf::ELFMAG;
    if !bytes.starts_with(magic) {
        if magic.starts_with(bytes) && !bytes.is_empty() {
            return Err(LoadFault::Truncated {
                what: "its header",
                found: len,
            });
        }
        let found = match bytes {
            [] => "an empty file".to_owned(),
            _ => format!("it begins {:02x?}", &bytes[..bytes.len().min(4)]),
        };
        return Err(LoadFault::NotALibrary {
            found,
            expected: "an ELF file",
        });
    }
    let mut own = [0; IDENT];
    File::open("/proc/self/exe")
        .and_then(|mut program| program.read_exact(&mut own))
        .map_err(LoadFault::Read)?;
    let Some(head) = bytes.get(..IDENT) else {
        return Err(LoadFault::Truncated {
            what: "its header",
            found: len,
        });
    };
    let machine = |head: &[u8]| {
        let number = if head[5] == elf::ELFDATA2MSB.0 {
            u16::from_be_bytes([head[18], head[19]])
        } else {
            u16::from_le_bytes([head[18], head[19]])
        };
        format!("ELF class {}, byte order {}, machine {number}", head[4], head[5])
    };
    let (found, expected) = (machine(head), machine(&own));
    match found == expected {
        true => Ok(()),
        false => Err(LoadFault::Machine { found, expected }),
    }
}

/// Checks whether it is a shared library, and long enough for the list of sections that its header gives.
fn check_head(bytes: &[u8], len: u64) -> Result<(), LoadFault> {
    let truncated = |what| LoadFault::Truncated { what, found: len };
    let header = Header::parse(bytes).map_err(|_| truncated("its header"))?;
    let endian = header.endian().map_err(|_| truncated("its header"))?;
    let found = match header.e_type(endian) {
        ET_DYN => {
            let sections = u64::from(header.e_shnum(endian)) * u64::from(header.e_shentsize(endian));
            #[allow(clippy::useless_conversion, reason = "not in a file of 32 bits")]
            let end = u64::from(header.e_shoff(endian)).checked_add(sections);
            return match end {
                Some(end) if end <= len => Ok(()),
                _ => Err(truncated("the list of its sections")),
            };
        }
        ET_REL => "an object file".to_owned(),
        ET_EXEC => "a program that is not position-independent".to_owned(),
        ET_CORE => "a core dump".to_owned(),
        other => format!("an ELF file of type {}", other.0),
    };
    Err(LoadFault::NotALibrary {
        found,
        expected: "a shared library",
    })
}

impl LibraryInfo {
    /// Reads the description of a library from its file. None of its code runs.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is not a library that could be loaded here. Does not check whether it is compatible with
    /// this process, nor whether code may run from where it is.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let image = Image::read(path, &LoadOptions::default().allow_noexec(true));
        image
            .map(|image| image.info)
            .map_err(|fault| LoadError::new(path, fault))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Descriptors and thread ids are reused, so the spelling is what distinguishes names; and each is still a valid path.
    #[test]
    fn no_two_libraries_have_one_name() {
        let sealed = Sealed(File::open("/dev/null").unwrap());
        let numbers = (0..2000).chain([u64::MAX]);
        // Compared as strings: as paths they would be equal.
        let names: BTreeSet<_> = numbers.map(|number| sealed.path(number).into_os_string()).collect();
        assert_eq!(names.len(), 2001);
        let null = fs::metadata("/dev/null").unwrap().rdev();
        assert!(names.iter().all(|name| fs::metadata(name).unwrap().rdev() == null));
    }
}
