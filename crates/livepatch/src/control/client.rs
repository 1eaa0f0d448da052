//! The client's side: what the command-line tool, or a program, asks a service.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::protocol::{Answer, Change, ErrorCode, Line, Refused, Request, VERSION};
use super::socket;
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

impl Client {
    /// Connects to a service.
    ///
    /// # Errors
    ///
    /// If nobody listens there, or if this user may not connect.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            stream: BufReader::new(UnixStream::connect(path)?),
            timeout: None,
        })
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
            Request::Load { wait_ms, .. } | Request::Disable { wait_ms, .. } => wait_ms.unwrap_or(0),
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
