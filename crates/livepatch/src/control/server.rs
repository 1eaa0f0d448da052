//! The server: accepts clients, and starts their sessions.

use std::error::Error;
use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::protocol::ErrorCode;
use super::session;
use super::sessions::{self, Limits, Loader, NotAdmitted, SessionHandle, Shared};
use super::socket::{self, BindError, Polled, Socket};
use crate::registry::registry;

/// How long to wait before accepting again when the system has no resources for a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The control socket of this service. Dropping it disconnects all clients, and removes the socket.
///
/// The drop waits for requests in progress, and so for the loader and for callbacks, but not for transitions. If a
/// callback, an observer or the loader itself drops it, they continue, and their request is not answered.
#[derive(Debug)]
#[must_use = "dropping it closes the control socket"]
pub struct Control {
    shared: Arc<Shared>,
    socket: Option<Arc<Socket>>,
    server: Option<JoinHandle<()>>,
}

/// Builds a [`Control`]. See [`Control::builder`].
#[must_use = "a builder does nothing until it is bound"]
pub struct ControlBuilder {
    path: PathBuf,
    limits: Limits,
    loader: Option<Loader>,
}

impl Control {
    /// Returns a builder for a control socket at this path. If its directory does not exist, it is created for this user
    /// alone.
    pub fn builder(path: impl Into<PathBuf>) -> ControlBuilder {
        ControlBuilder {
            path: path.into(),
            limits: Limits {
                clients: 32,
                watchers: 16,
                first_timeout: Duration::from_secs(5),
                timeout: Duration::from_secs(30),
                events: 1024,
            },
            loader: None,
        }
    }

    /// Returns the path of the socket.
    pub fn path(&self) -> &Path {
        &self.socket.as_ref().expect("there until the drop").path
    }
}

impl ControlBuilder {
    /// Sets how the service loads a patch: the function takes the absolute path of a library, and returns the name of the
    /// patch that it has enabled. It is called on a thread of the client's session, possibly on several at once; if it
    /// panics, that is an error.
    ///
    /// Without a loader, requests to load are refused.
    pub fn loader(
        mut self,
        loader: impl Fn(&Path) -> Result<String, Box<dyn Error + Send + Sync>> + Send + Sync + 'static,
    ) -> Self {
        self.loader = Some(Box::new(loader));
        self
    }

    /// Sets how many clients may be connected at a time, apart from those that watch; each has a thread. The default is 32.
    ///
    /// One more displaces the client that has been silent for longest, clients that never sent a request first. It is
    /// only refused if all of them have a request in progress.
    pub fn max_clients(mut self, clients: usize) -> Self {
        self.limits.clients = clients;
        self
    }

    /// Sets how many clients may watch at a time; each has a thread. The default is 16; one more is refused.
    pub fn max_watchers(mut self, watchers: usize) -> Self {
        self.limits.watchers = watchers;
        self
    }

    /// Sets how long a client may take for its first request, if that is less than [for later ones](Self::timeout). The
    /// default is 5 seconds.
    pub fn first_timeout(mut self, timeout: Duration) -> Self {
        self.limits.first_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// Sets how long a client may take for a request, from its last answer on, and for reading an answer. The default is
    /// 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// Sets how many events are queued for a watcher that does not read them; it misses any more. The default is 1024.
    pub fn max_events(mut self, events: usize) -> Self {
        self.limits.events = events;
        self
    }

    /// Begins to listen, on a separate thread.
    ///
    /// A stale socket of this user is replaced; one that a service listens on is not, nor is anything else.
    ///
    /// # Errors
    ///
    /// If there is something else at the path, if others could replace the socket, or if a system call fails: see
    /// [`BindError`].
    pub fn bind(self) -> Result<Control, BindError> {
        let failed = |what| {
            let path = self.path.clone();
            move |source| BindError::Io { what, path, source }
        };
        let socket = Arc::new(Socket::bind(&self.path)?);
        let wakeup = socket::wakeup().map_err(failed("cannot create a wake-up for"))?;
        let shared = Arc::new(Shared::new(self.limits, self.loader, wakeup));
        let server = thread::Builder::new()
            .name("livepatch-ctl".to_owned())
            .spawn({
                let (shared, socket) = (Arc::clone(&shared), Arc::clone(&socket));
                move || serve(&shared, &socket)
            })
            .map_err(failed("cannot create a thread for"))?;
        Ok(Control {
            shared,
            socket: Some(socket),
            server: Some(server),
        })
    }
}

impl fmt::Debug for ControlBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlBuilder")
            .field("path", &self.path)
            .field("limits", &self.limits)
            .field("loader", &self.loader.is_some())
            .finish()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.shared.stop();
        socket::wake(&self.shared.wakeup);
        if let Some(server) = self.server.take() {
            let _ = server.join(); // It only accepts, and never waits for long.
        }
        drop(self.socket.take()); // The last reference: removes the file, before any client can notice.
        self.shared.disconnect_all();
        if registry().is_changing_here() {
            return; // A session may wait for the change that this thread is making.
        }
        self.shared.wait_for_others();
    }
}

fn serve(shared: &Arc<Shared>, socket: &Socket) {
    while !shared.is_stopped() {
        match socket::poll(&socket.listener, &shared.wakeup, true, None) {
            Ok(Polled::Readable) => match socket.listener.accept() {
                Ok((stream, _)) => admit(shared, stream),
                // The client has disconnected already, or there was none.
                Err(error) if is_transient(&error) => {}
                Err(_) => thread::sleep(ACCEPT_RETRY),
            },
            Ok(_) => {}
            Err(_) => thread::sleep(ACCEPT_RETRY),
        }
    }
}

fn is_transient(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}

/// Starts a session for a client, or refuses it.
fn admit(shared: &Arc<Shared>, stream: UnixStream) {
    let (user, process) = match socket::peer(&stream) {
        Ok(peer) if socket::is_permitted(peer.0) => peer,
        _ => {
            #[cfg(feature = "tracing")]
            tracing::warn!(target: "livepatch::control", "a client of another user was refused");
            return sessions::refuse(
                &stream,
                ErrorCode::NotPermitted,
                "only the service's own user and root may control it",
            );
        }
    };
    let stream = Arc::new(stream);
    let open = match SessionHandle::open(shared, &stream) {
        Ok(open) => open,
        Err(NotAdmitted::Stopped) => return,
        Err(NotAdmitted::Full) => {
            return sessions::refuse(
                &stream,
                ErrorCode::TooManyClients,
                "too many clients have requests in progress",
            );
        }
    };
    let session = thread::Builder::new().name("livepatch-ctl".to_owned());
    let _ = session.spawn(move || {
        let open = open;
        open.runs_here();
        session::run(&open, &stream, (user, process));
    }); // If no thread can be created, the client is dropped with the closure.
}
