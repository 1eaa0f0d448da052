//! The client: requests that the command-line tool, or a program, makes to a service.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::protocol::{Answer, Change, ErrorCode, Line, Refused, Request, VERSION};
use super::socket;
use super::trust::{NotSafe, Trusted, UnsafePath};
use crate::registry::Status;

/// The maximum length of an answer.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// A connection to the control socket of a service.
///
/// ```
/// use livepatch::control::{Client, Control};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("control");
/// let control = Control::builder(&path).bind()?;
/// let status = Client::connect(&path)?.status()?;
/// assert!(status.patches.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    timeout: Option<Duration>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The service refused the request.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Connecting failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The service has closed the connection.
    #[error("the service has closed the connection")]
    Closed,
    /// No answer arrived in time. The service may still carry out the request.
    #[error("the service has not answered in time; it may still carry out the request")]
    TimedOut,
    /// The service sent an invalid answer.
    #[error("the service sent an invalid answer: {0}")]
    Protocol(String),
    /// A system call failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why connecting failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Other users could have put their own socket there.
    #[error("not connected to {}, where others could be listening: {unsafe_path}", path.display())]
    UnsafePath {
        /// The socket.
        path: PathBuf,
        /// What is unsafe.
        unsafe_path: UnsafePath,
    },
    /// The listening process is not of a trusted user.
    #[error("{} is listened on by process {process} of user {user}, who is not trusted", path.display())]
    Untrusted {
        /// The socket.
        path: PathBuf,
        /// The user that the service ran as when it began to listen.
        user: u32,
        /// Its process id. 0 if that cannot be determined.
        process: i32,
    },
    /// No service listens there, or this user may not connect.
    #[error("cannot connect to {}: {source}", path.display())]
    Io {
        /// The socket, or a part of its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Connects to a service of another user than this process's. See [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    path: PathBuf,
    trusted: Trusted,
}

impl ClientBuilder {
    /// Trusts this user too: as the user of the service, and as the owner of directories and links on the path to its socket.
    pub fn trust_user(mut self, user: u32) -> Self {
        self.trusted.add(user);
        self
    }

    /// Connects, after checking that only trusted users could have put the socket there.
    ///
    /// # Errors
    ///
    /// If others could, if an untrusted user listens there, or if there is no listener: see [`ConnectError`].
    pub fn connect(self) -> Result<Client, ConnectError> {
        let Self { path, trusted } = self;
        trusted.check(&path).map_err(|refused| match refused {
            NotSafe::Unsafe(unsafe_path) => ConnectError::UnsafePath {
                path: path.clone(),
                unsafe_path,
            },
            NotSafe::Io(path, source) => ConnectError::Io { path, source },
        })?;
        let failed = |source| ConnectError::Io {
            path: path.clone(),
            source,
        };
        let stream = UnixStream::connect(&path).map_err(failed)?;
        let (user, process) = socket::peer(&stream).map_err(failed)?;
        if !trusted.has(user) {
            return Err(ConnectError::Untrusted { path, user, process });
        }
        Ok(Client {
            stream: BufReader::new(stream),
            timeout: None,
        })
    }
}

impl Client {
    /// Connects to a service of this process's own user, or of root. Use [`builder`](Self::builder) for others.
    ///
    /// # Errors
    ///
    /// Same as [`ClientBuilder::connect`].
    pub fn connect(path: impl Into<PathBuf>) -> Result<Self, ConnectError> {
        Self::builder(path).connect()
    }

    /// Returns a builder for a connection to a service of another user.
    ///
    /// The answers are trusted, and shown to operators. So every directory on the path to the socket, after resolving all
    /// symbolic links, must belong to a trusted user and not be writable by others (sticky ones, like `/tmp`, are
    /// allowed); the socket must belong to a trusted user; and so must the listening process, according to the kernel
    /// (`SO_PEERCRED`). Trusted are the user of this process, root, and [any others that are
    /// named](ClientBuilder::trust_user).
    pub fn builder(path: impl Into<PathBuf>) -> ClientBuilder {
        ClientBuilder {
            path: path.into(),
            trusted: Trusted::own_user(),
        }
    }

    /// Sets how long to wait for an answer, in addition to the time that the request itself waits. With `None`, the
    /// default, there is no limit; an answer may take as long as the patch's callbacks.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Returns the service's full status.
    ///
    /// # Errors
    ///
    /// Same as [`request`](Self::request).
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.request(&Request::Status {})? {
            Answer::Status { status } => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Loads the patch at an absolute path and enables it. If `wait` is set, waits for its transition.
    ///
    /// # Errors
    ///
    /// Same as [`request`](Self::request). A transition that has not ended is not an error.
    pub fn load(&mut self, path: &str, wait: Option<Duration>) -> Result<Change, ClientError> {
        self.change(&Request::Load {
            path: path.to_owned(),
            wait_ms: wait.map(millis),
            or_reverse: false,
        })
    }

    /// Disables a patch. If `wait` is set, waits for its transition.
    ///
    /// # Errors
    ///
    /// Same as [`request`](Self::request). A transition that has not ended is not an error.
    pub fn disable(&mut self, patch: &str, wait: Option<Duration>) -> Result<Change, ClientError> {
        self.change(&Request::Disable {
            patch: patch.to_owned(),
            wait_ms: wait.map(millis),
            or_reverse: false,
        })
    }

    /// Reverses the transition of a patch.
    ///
    /// # Errors
    ///
    /// Same as [`request`](Self::request).
    pub fn reverse(&mut self, patch: &str) -> Result<Change, ClientError> {
        self.change(&Request::Reverse {
            patch: patch.to_owned(),
        })
    }

    /// Ends the transition of a patch in the middle of units of work. See [`Registry::force`](crate::Registry::force).
    ///
    /// # Errors
    ///
    /// Same as [`request`](Self::request).
    pub fn force(&mut self, patch: &str) -> Result<Change, ClientError> {
        self.change(&Request::Force {
            patch: patch.to_owned(),
        })
    }

    /// Watches events from now on, of one patch or of all, and the progress of the running transition.
    ///
    /// # Errors
    ///
    /// If the request cannot be sent. A refusal is an error of the first answer.
    pub fn watch(mut self, patch: Option<&str>, interval: Option<Duration>) -> Result<Watch, ClientError> {
        self.send(&Request::Watch {
            patch: patch.map(str::to_owned),
            interval_ms: interval.map(millis),
        })?;
        // There is no limit to the time between events.
        self.stream.get_ref().set_read_timeout(None)?;
        Ok(Watch { client: Some(self) })
    }

    /// Sends a request other than to watch, and returns its answer.
    ///
    /// # Errors
    ///
    /// If the service refuses, has ended, or sends an answer that this version does not understand. Then use a new
    /// connection.
    pub fn request(&mut self, request: &Request) -> Result<Answer, ClientError> {
        let wait = match request {
            Request::Load {
                wait_ms, or_reverse, ..
            }
            | Request::Disable {
                wait_ms, or_reverse, ..
            } => wait_ms.unwrap_or(0).saturating_mul(1 + u64::from(*or_reverse)),
            _ => 0,
        };
        let timeout = self
            .timeout
            .and_then(|timeout| timeout.checked_add(Duration::from_millis(wait)));
        self.stream
            .get_ref()
            .set_read_timeout(timeout.map(|timeout| timeout.max(Duration::from_millis(1))))?;
        self.send(request)?;
        match self.receive()? {
            Answer::Error(refused) => Err(refused.into()),
            answer => Ok(answer),
        }
    }

    fn change(&mut self, request: &Request) -> Result<Change, ClientError> {
        match self.request(request)? {
            Answer::Changed(change) => Ok(change),
            other => Err(unexpected(&other)),
        }
    }

    fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let mut line = request.to_line().map_err(io::Error::other)?;
        line.push(b'\n');
        let timeout = self.timeout.unwrap_or(Duration::from_secs(30));
        match socket::send_all(self.stream.get_ref(), &line, timeout) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(ClientError::TimedOut),
            // The service has closed the connection, possibly after sending the reason.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => match self.receive()? {
                Answer::Error(refused) => Err(refused.into()),
                other => Err(unexpected(&other)),
            },
            sent => Ok(sent?),
        }
    }

    fn receive(&mut self) -> Result<Answer, ClientError> {
        use io::ErrorKind::{ConnectionReset, TimedOut, WouldBlock};
        let mut line = Vec::new();
        match self.stream.by_ref().take(MAX_ANSWER).read_until(b'\n', &mut line) {
            Ok(_) if line.is_empty() => return Err(ClientError::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == ConnectionReset => return Err(ClientError::Closed),
            Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => return Err(ClientError::TimedOut),
            Err(error) => return Err(error.into()),
        }
        if line.pop() != Some(b'\n') {
            return Err(ClientError::Protocol("incomplete line".to_owned()));
        }
        let line: Line<Answer> =
            serde_json::from_slice(&line).map_err(|error| ClientError::Protocol(error.to_string()))?;
        if line.v != VERSION {
            let message = format!("version {} of the protocol, not {VERSION}", line.v);
            return Err(Refused::new(ErrorCode::UnsupportedVersion, message).into());
        }
        Ok(line.body)
    }
}

/// The answers that a service sends a watching client. Ends after an error, and when the service closes the connection.
#[derive(Debug)]
pub struct Watch {
    client: Option<Client>,
}

impl Iterator for Watch {
    type Item = Result<Answer, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let answer = match self.client.as_mut()?.receive() {
            Ok(Answer::Error(refused)) => Err(refused.into()),
            answer => answer,
        };
        if answer.is_err() {
            self.client = None;
        }
        match answer {
            Err(ClientError::Closed) => None,
            answer => Some(answer),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unexpected(answer: &Answer) -> ClientError {
    let kind = answer.to_json().unwrap_or_default();
    ClientError::Protocol(kind.chars().take(200).collect())
}
