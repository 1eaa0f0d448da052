//! The client's side: what the command-line tool, or a program, asks a service.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::protocol::{Answer, Change, ErrorCode, Line, Refused, Request, VERSION};
use super::socket;
use super::trust::{NotSafe, Trusted, UnsafePath};
use crate::registry::Status;

/// The longest answer that a client takes.
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

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The service refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The service has closed the connection.
    #[error("the service has closed the connection")]
    Closed,
    /// No answer came in time. The service may still carry the request out.
    #[error("the service has not answered in time; it may still carry the request out")]
    TimedOut,
    /// What came is no answer.
    #[error("the service answered what is no answer: {0}")]
    Protocol(String),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Others could have put a socket of their own there.
    #[error("not connected to {}, where others could be listening: {unsafe_path}", path.display())]
    UnsafePath {
        /// The socket.
        path: PathBuf,
        /// What is unsafe.
        unsafe_path: UnsafePath,
    },
    /// Who listens is no user that is believed.
    #[error("{} is listened on by process {process} of user {user}, who is not trusted", path.display())]
    Untrusted {
        /// The socket.
        path: PathBuf,
        /// The user that the service ran as when it began to listen.
        user: u32,
        /// Its process. 0 if that cannot be told here.
        process: i32,
    },
    /// Nobody listens there, or this user may not connect.
    #[error("cannot connect to {}: {source}", path.display())]
    Io {
        /// The socket, or a part of its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Connects to a service whose user is not this process's. See [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    path: PathBuf,
    trusted: Trusted,
}

impl ClientBuilder {
    /// Believes this user too: a service of this user's, and directories and links on the way to its socket.
    pub fn trust_user(mut self, user: u32) -> Self {
        self.trusted.add(user);
        self
    }

    /// Connects, once nobody but the trusted users could have put the socket there.
    ///
    /// # Errors
    ///
    /// If others could, if another user listens there, or if nobody does: see [`ConnectError`].
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
    /// Connects to a service of this process's own user, or of root's. [`builder`](Self::builder) is for others.
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::connect`].
    pub fn connect(path: impl Into<PathBuf>) -> Result<Self, ConnectError> {
        Self::builder(path).connect()
    }

    /// To connect to a service of another user.
    ///
    /// Who answers is believed, and what it says is shown to operators. So every directory on the way to the socket, after
    /// all symbolic links, must be of a trusted user and not to be written to by others (sticky ones, like `/tmp`, are
    /// allowed), the socket must be of one, and so must be who listens, by what the kernel says (`SO_PEERCRED`). Trusted are
    /// the user of this process, root, and [whom else is named](ClientBuilder::trust_user).
    pub fn builder(path: impl Into<PathBuf>) -> ClientBuilder {
        ClientBuilder {
            path: path.into(),
            trusted: Trusted::ours(),
        }
    }

    /// How long to wait for an answer, beside what the request itself says to wait. None, as at first: for as long as it
    /// takes, which may be the time of the patch's callbacks.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// All that there is to see.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.request(&Request::Status {})? {
            Answer::Status { status } => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Loads the patch at an absolute path and enables it; waits for its transition if `wait` says so.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request). A transition that runs on is none.
    pub fn load(&mut self, path: &str, wait: Option<Duration>) -> Result<Change, ClientError> {
        self.change(&Request::Load {
            path: path.to_owned(),
            wait_ms: wait.map(millis),
            or_reverse: false,
        })
    }

    /// Disables a patch; waits for its transition if `wait` says so.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request). A transition that runs on is none.
    pub fn disable(&mut self, patch: &str, wait: Option<Duration>) -> Result<Change, ClientError> {
        self.change(&Request::Disable {
            patch: patch.to_owned(),
            wait_ms: wait.map(millis),
            or_reverse: false,
        })
    }

    /// Lets the transition of a patch go back.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn reverse(&mut self, patch: &str) -> Result<Change, ClientError> {
        self.change(&Request::Reverse {
            patch: patch.to_owned(),
        })
    }

    /// Ends the transition of a patch in the middle of units of work. See [`Registry::force`](crate::Registry::force).
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn force(&mut self, patch: &str) -> Result<Change, ClientError> {
        self.change(&Request::Force {
            patch: patch.to_owned(),
        })
    }

    /// What happens from now on, to one patch or to all, and how the running transition goes.
    ///
    /// # Errors
    ///
    /// If the request cannot be sent. What is refused is an error of the first answer.
    pub fn watch(mut self, patch: Option<&str>, interval: Option<Duration>) -> Result<Watch, ClientError> {
        self.send(&Request::Watch {
            patch: patch.map(str::to_owned),
            interval_ms: interval.map(millis),
        })?;
        // Events come when they come.
        self.stream.get_ref().set_read_timeout(None)?;
        Ok(Watch { client: Some(self) })
    }

    /// Asks anything but to watch.
    ///
    /// # Errors
    ///
    /// If the service refuses, if it is gone, or if it says what this version does not understand. Then use a new connection.
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
            // The service has closed the connection: it may have said why before.
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
            return Err(ClientError::Protocol("half a line".to_owned()));
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

/// What a service tells a watcher, as it happens. Ends after an error, and when the service closes the connection.
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
