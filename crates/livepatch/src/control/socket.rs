//! The socket's file: made so that nobody else can reach it at any moment, taken over only from who is gone.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::trust::{NotSafe, Trusted, UnsafePath};

/// How long to wait for another service that binds, or removes, a socket in the same directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Read and write, for the owner.
const OWNER_ONLY: u32 = 0o600;
/// Clients that may wait to be accepted.
const BACKLOG: i32 = 32;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A service listens there.
    #[error("{} is the control socket of a running service", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Something is there that is no stale socket of this user. It is left alone.
    #[error("{} is there and is {what}", path.display())]
    NotOurs {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Others could put a socket of their own in the place of this one.
    #[error(transparent)]
    UnsafePath(#[from] UnsafePath),
    /// The system refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
}

/// A socket that listens, and its file, which goes when this is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
    /// Device and inode of the file: what is there may be another's by then.
    file: (u64, u64),
}

impl Socket {
    /// Makes the directory if it is not there, and listens.
    pub(super) fn bind(path: &Path) -> Result<Self, BindError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| BindError::Io { what, path, source }
        };
        // The service may change its directory later.
        let path = std::path::absolute(path).map_err(io("cannot make an absolute path of", path))?;
        let address =
            SocketAddrUnix::new(&path).map_err(|error| io("cannot use as a socket's path", &path)(error.into()))?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(io("cannot make the directory", directory))?;
        Trusted::ours().check(directory).map_err(|refused| match refused {
            NotSafe::Unsafe(refused) => BindError::UnsafePath(refused),
            NotSafe::Io(path, source) => io("cannot look at", &path)(source),
        })?;
        let _lock = lock(directory).map_err(io("cannot lock the directory", directory))?;
        remove_stale(&path, &address)?;

        let failed = |error: Errno| io("cannot listen at", &path)(error.into());
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(failed)?;
        // The file takes its mode from the socket's: nobody else can open it, not even before the next line.
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(OWNER_ONLY)).map_err(failed)?;
        rustix::net::bind(&socket, &address).map_err(failed)?;
        let listener = UnixListener::from(socket);
        let finish = || {
            // A strange umask may have taken the owner's own rights. Only we and root can have changed the path.
            rustix::fs::chmod(&path, Mode::from_raw_mode(OWNER_ONLY))?;
            listener.set_nonblocking(true)?;
            rustix::net::listen(&listener, BACKLOG)?;
            fs::symlink_metadata(&path)
        };
        match finish() {
            Ok(file) => Ok(Self {
                listener,
                file: (file.dev(), file.ino()),
                path,
            }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(io("cannot listen at", &path)(error))
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The listener is open still, so its inode's number is nobody else's.
        let _lock = self.path.parent().map(lock);
        if fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Orders who binds and removes sockets in a directory, until the file is dropped.
fn lock(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if Instant::now() < until => thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes a socket of ours on which nobody listens. Anything else that is there is an error.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), BindError> {
    let io = |what| {
        let path = path.to_owned();
        move |source| BindError::Io { what, path, source }
    };
    let not_ours = |what| {
        Err(BindError::NotOurs {
            path: path.to_owned(),
            what,
        })
    };
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there.map_err(io("cannot look at"))?,
    };
    if !there.file_type().is_socket() {
        return not_ours("no socket");
    }
    if there.uid() != rustix::process::geteuid().as_raw() {
        return not_ours("a socket of another user");
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|error| io("cannot probe")(error.into()))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(io("cannot remove the stale socket")),
        Err(Errno::PROTOTYPE) => not_ours("a socket of another kind"),
        // A full queue of clients is a listener too.
        Ok(()) | Err(Errno::AGAIN) => Err(BindError::InUse { path: path.to_owned() }),
        Err(error) => Err(io("cannot probe")(error.into())),
    }
}

/// Who is at the other end: user and process, as they were when it connected. The process is 0 if it cannot be told here.
pub(super) fn peer(stream: &UnixStream) -> io::Result<(u32, i32)> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both pointers are of live variables, and `length` is the first one's size.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    match result {
        0 if length as usize == size_of::<libc::ucred>() => Ok((peer.uid, peer.pid)),
        0 => Err(io::ErrorKind::InvalidData.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a user may use the socket: the one that the service runs as, and root, who can do all that anyway.
pub(super) fn is_permitted(user: u32) -> bool {
    user == rustix::process::geteuid().as_raw() || user == 0
}

/// Writes all, or fails when the time is over. Never raises SIGPIPE, whatever the program did to that.
pub(super) fn send_all(stream: &UnixStream, mut bytes: &[u8], timeout: Duration) -> io::Result<()> {
    let until = Instant::now() + timeout;
    while !bytes.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left))?;
        match rustix::net::send(stream, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Something that another thread can wake a poll with.
pub(super) fn wakeup() -> io::Result<OwnedFd> {
    use rustix::event::{EventfdFlags, eventfd};
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Wakes who polls. Never waits.
pub(super) fn wake(wakeup: &OwnedFd) {
    // It fails only if it is awake already, as often as can be counted.
    let _ = rustix::io::write(wakeup, &1_u64.to_ne_bytes());
}

/// What a poll met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// The time is over.
    Nothing,
    /// Somebody woke us.
    Woken,
    /// The other end is gone, or this one was shut down.
    HungUp,
    /// There is something to read, or to accept.
    Readable,
}

/// Waits for a wake-up, or for something about `fd`: anything that comes, if `reads`, else only its end.
pub(super) fn poll(fd: impl AsFd, wakeup: &OwnedFd, reads: bool, timeout: Option<Duration>) -> io::Result<Polled> {
    use rustix::event::{PollFd, PollFlags, Timespec};
    let wanted = if reads { PollFlags::IN } else { PollFlags::empty() };
    let mut fds = [PollFd::new(&fd, wanted), PollFd::new(wakeup, PollFlags::IN)];
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()) as _,
    });
    match rustix::event::poll(&mut fds, timeout.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Polled::Nothing),
        Err(error) => return Err(error.into()),
    }
    let (of_fd, of_wakeup) = (fds[0].revents(), fds[1].revents());
    if of_fd.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
        Ok(Polled::HungUp)
    } else if !of_wakeup.is_empty() {
        let _ = rustix::io::read(wakeup, &mut [0_u8; 8]);
        Ok(Polled::Woken)
    } else if !of_fd.is_empty() {
        Ok(Polled::Readable)
    } else {
        Ok(Polled::Nothing)
    }
}

/// Whether the other end is gone, or this one was shut down. Who only has nothing more to say is still there.
pub(super) fn is_hung_up(stream: &UnixStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(met) if met > 0)
}
