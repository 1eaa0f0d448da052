//! Trusted users: those that may be at the other end of a socket, and that may own what is on its path.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// The maximum number of symbolic links, the same as the kernel's.
const MAX_LINKS: usize = 40;

/// A part of a path that other users could change, so that its contents cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {why}", path.display())]
pub struct UnsafePath {
    /// The part of the path: a directory, a symbolic link, or the socket itself.
    pub path: PathBuf,
    /// The reason.
    pub why: String,
}

/// Why a path is not considered safe.
#[derive(Debug)]
pub(super) enum NotSafe {
    Unsafe(UnsafePath),
    Io(PathBuf, io::Error),
}

/// The trusted users: root, from which nothing can be protected anyway, and others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trusted(Vec<u32>);

impl Trusted {
    /// Returns root and the user of this process.
    pub(super) fn own_user() -> Self {
        Self(vec![0, rustix::process::geteuid().as_raw()])
    }

    pub(super) fn add(&mut self, user: u32) {
        self.0.push(user);
    }

    pub(super) fn has(&self, user: u32) -> bool {
        self.0.contains(&user)
    }

    /// Checks that no untrusted user can change what is found at this path: every directory on the way, after each
    /// symbolic link, and the file at its end must belong to a trusted user, and directories must not be writable by
    /// others unless they are sticky, in which others cannot touch files that are not theirs. The last component may be
    /// missing.
    pub(super) fn check(&self, path: &Path) -> Result<(), NotSafe> {
        let mut ahead: Vec<PathBuf> =
            parts(&std::path::absolute(path).map_err(|error| NotSafe::Io(path.into(), error))?);
        let mut at = PathBuf::from("/");
        let mut links = 0;
        self.check_one(&at, &look(&at)?)?;
        while let Some(part) = ahead.pop() {
            if part.as_os_str() == ".." {
                at.pop(); // All links are resolved, so this is the parent directory.
                continue;
            }
            let next = at.join(part);
            let found = match look(&next) {
                Err(NotSafe::Io(_, error)) if error.kind() == io::ErrorKind::NotFound && ahead.is_empty() => {
                    return Ok(());
                }
                found => found?,
            };
            self.check_one(&next, &found)?;
            if !found.is_symlink() {
                at = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                let error = io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error());
                return Err(NotSafe::Io(next, error));
            }
            let to = fs::read_link(&next).map_err(|error| NotSafe::Io(next, error))?;
            if to.is_absolute() {
                at = PathBuf::from("/");
            }
            ahead.extend(parts(&to));
        }
        Ok(())
    }

    fn check_one(&self, path: &Path, found: &Metadata) -> Result<(), NotSafe> {
        let kind = Kind(found);
        let refuse = |why: String| {
            let path = path.to_owned();
            Err(NotSafe::Unsafe(UnsafePath { path, why }))
        };
        if !self.has(found.uid()) {
            return refuse(format!("is {kind} of another user, {}", found.uid()));
        }
        // A symbolic link cannot be modified, and a socket's mode only says which users may connect.
        let (others_write, sticky) = (found.mode() & 0o022 != 0, found.mode() & 0o1000 != 0);
        if found.is_dir() && others_write && !sticky {
            return refuse("is a directory that can be written to by others".to_owned());
        }
        Ok(())
    }
}

/// Returns the components of a path, in reverse.
fn parts(path: &Path) -> Vec<PathBuf> {
    let of_use = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    let parts = path.components().filter(of_use);
    parts.map(|part| PathBuf::from(part.as_os_str())).rev().collect()
}

fn look(path: &Path) -> Result<Metadata, NotSafe> {
    fs::symlink_metadata(path).map_err(|error| NotSafe::Io(path.to_owned(), error))
}

/// Displays the kind of a file.
struct Kind<'m>(&'m Metadata);

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.0.file_type();
        f.write_str(match () {
            () if kind.is_symlink() => "a symbolic link",
            () if kind.is_dir() => "a directory",
            () if kind.is_socket() => "a socket",
            () => "a file",
        })
    }
}
