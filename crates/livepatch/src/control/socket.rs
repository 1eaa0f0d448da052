//! The socket's file: created so that other users can never reach it, and only taken over from a service that has ended.

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

use super::protocol::Answer;
use super::trust::{NotSafe, Trusted, UnsafePath};

/// How long to wait for another service that binds or removes a socket in the same directory.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Read and write permission for the owner.
const OWNER_ONLY: u32 = 0o600;
/// The maximum number of clients that wait to be accepted.
const BACKLOG: i32 = 32;

/// Why the control socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A service listens there.
    #[error("{} is the control socket of a running service", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// There is something that is not a stale socket of this user. It is left alone.
    #[error("{} exists and is {what}", path.display())]
    NotOurs {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Other users could replace the socket by their own.
    #[error(transparent)]
    UnsafePath(#[from] UnsafePath),
    /// A system call failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

/// A listening socket and its file, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
    /// Device and inode of the file, as the path may lead to another file later.
    file: (u64, u64),
}

impl Socket {
    /// Creates the directory if it does not exist, and listens.
    pub(super) fn bind(path: &Path) -> Result<Self, BindError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| BindError::Io { what, path, source }
        };
        // The service may change its working directory later.
        let path = std::path::absolute(path).map_err(io("cannot make an absolute path of", path))?;
        let address =
            SocketAddrUnix::new(&path).map_err(|error| io("cannot use as a socket's path", &path)(error.into()))?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(io("cannot create the directory", directory))?;
        Trusted::own_user().check(directory).map_err(|refused| match refused {
            NotSafe::Unsafe(refused) => BindError::UnsafePath(refused),
            NotSafe::Io(path, source) => io("cannot examine", &path)(source),
        })?;
        let _lock = lock(directory).map_err(io("cannot lock the directory", directory))?;
        remove_stale(&path, &address)?;

        let failed = |error: Errno| io("cannot listen at", &path)(error.into());
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(failed)?;
        // The file gets its mode from the socket: no other user can open it, not even before the next line.
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(OWNER_ONLY)).map_err(failed)?;
        rustix::net::bind(&socket, &address).map_err(failed)?;
        let listener = UnixListener::from(socket);
        let finish = || {
            // An unusual umask may have removed the owner's own permissions. Only this user and root can have changed the
            // path.
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
        // The listener is still open, so its inode number has not been reused.
        let _lock = self.path.parent().map(lock);
        if fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Takes the lock under which sockets are bound and removed in a directory. It is held until the file is dropped.
fn lock(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    let until = Instant::now() + LOCK_TIMEOUT;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if Instant::now() < until => thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes a socket of this user that has no listener. Anything else at the path is an error.
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
        there => there.map_err(io("cannot examine"))?,
    };
    if !there.file_type().is_socket() {
        return not_ours("not a socket");
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
        // A full backlog means that there is a listener.
        Ok(()) | Err(Errno::AGAIN) => Err(BindError::InUse { path: path.to_owned() }),
        Err(error) => Err(io("cannot probe")(error.into())),
    }
}

/// Returns the user and process at the other end, as they were when it connected. The process is 0 if it cannot be
/// determined.
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

/// Returns whether a user may use the socket: the one that the service runs as, and root, which has all its permissions
/// anyway.
pub(super) fn is_permitted(user: u32) -> bool {
    user == rustix::process::geteuid().as_raw() || user == 0
}

/// Sends an answer within the timeout.
pub(super) fn send(stream: &UnixStream, answer: &Answer, timeout: Duration) -> io::Result<()> {
    let line = answer.to_line().map_err(io::Error::other)?;
    send_all(stream, &line, timeout)
}

/// Writes all bytes, or fails when the time is up. Never raises SIGPIPE, whatever the program's disposition of it.
pub(super) fn send_all(stream: &UnixStream, mut bytes: &[u8], timeout: Duration) -> io::Result<()> {
    let until = Instant::now() + timeout;
    while !bytes.is_empty() {
        let remaining = until.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(remaining))?;
        match rustix::net::send(stream, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Returns an event descriptor by which another thread can wake a poll.
pub(super) fn wakeup() -> io::Result<OwnedFd> {
    use rustix::event::{EventfdFlags, eventfd};
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Wakes a polling thread. Does not block.
pub(super) fn wake(wakeup: &OwnedFd) {
    // Fails only if the counter is at its maximum, when the thread is woken anyway.
    let _ = rustix::io::write(wakeup, &1_u64.to_ne_bytes());
}

/// The outcome of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// The time is up.
    TimedOut,
    /// Another thread has called [`wake`].
    Woken,
    /// The other end has disconnected, or this one was shut down.
    HungUp,
    /// There is data to read, or a connection to accept.
    Readable,
}

/// Waits for a wake-up, or for `fd`: to become readable if `reads` is set, otherwise only for its end.
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
        Err(Errno::INTR) => return Ok(Polled::TimedOut),
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
        Ok(Polled::TimedOut)
    }
}

/// Returns whether the other end has disconnected, or this one was shut down. A client that has only closed its sending
/// half is still connected.
pub(super) fn is_hung_up(stream: &UnixStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(ready) if ready > 0)
}
