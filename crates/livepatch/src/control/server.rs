//! The server: accepts clients, limits their number, and ends their sessions.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::protocol::{Answer, ErrorCode, Refused};
use super::session;
use super::socket::{self, BindError, Polled, Socket};
use crate::registry::registry;

/// The function by which a service loads a patch.
type Loader = Box<dyn Fn(&Path) -> Result<String, Box<dyn Error + Send + Sync>> + Send + Sync>;

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

/// The limits of clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) clients: usize,
    pub(super) watchers: usize,
    pub(super) first_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) events: usize,
}

/// The state that the server and its sessions share.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) loader: Option<Loader>,
    sessions: Mutex<Sessions>,
    /// Notified when a session has ended, and when no more are to begin.
    ended: Condvar,
    wakeup: OwnedFd,
}

#[derive(Default)]
struct Sessions {
    stopped: bool,
    next: u64,
    open: HashMap<u64, Session>,
}

struct Session {
    stream: Arc<UnixStream>,
    thread: Option<ThreadId>,
    activity: Activity,
    /// The beginning of that activity.
    since: Instant,
}

/// What a client is doing. Ordered: among silent clients, those of a lesser activity are disconnected first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Activity {
    /// It has not sent a request yet.
    New,
    /// Its requests have been answered.
    Idle,
    /// A request is in progress.
    Busy,
    Watching,
    /// It was disconnected to make room, and is about to end.
    Evicted,
}

impl Sessions {
    fn count(&self, of: impl Fn(Activity) -> bool) -> usize {
        self.open.values().filter(|session| of(session.activity)).count()
    }

    /// Makes room for one more client, and returns whether there is.
    fn make_room(&mut self, limits: &Limits) -> bool {
        if self.count(|activity| activity < Activity::Watching) < limits.clients {
            return true;
        }
        let silent = self
            .open
            .values_mut()
            .filter(|session| session.activity < Activity::Busy);
        let Some(session) = silent.min_by_key(|session| (session.activity, session.since)) else {
            return false;
        };
        session.activity = Activity::Evicted;
        refuse(
            &session.stream,
            ErrorCode::TooManyClients,
            "disconnected for another client, as this one had been silent for longest",
        );
        let _ = session.stream.shutdown(Shutdown::Both);
        true
    }
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
        let shared = Arc::new(Shared {
            limits: self.limits,
            loader: self.loader,
            sessions: Mutex::default(),
            ended: Condvar::new(),
            wakeup: socket::wakeup().map_err(failed("cannot create a wake-up for"))?,
        });
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

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.shared.sessions.lock().stopped = true; // No more sessions begin.
        self.shared.ended.notify_all();
        socket::wake(&self.shared.wakeup);
        if let Some(server) = self.server.take() {
            let _ = server.join(); // It only accepts, and never waits for long.
        }
        drop(self.socket.take()); // The last reference: removes the file, before any client can notice.
        for session in self.shared.sessions.lock().open.values() {
            let _ = session.stream.shutdown(Shutdown::Both);
        }
        if registry().is_changing_here() {
            return; // A session may wait for the change that this thread is making.
        }
        let me = thread::current().id();
        let mut sessions = self.shared.sessions.lock();
        while sessions.open.values().any(|session| session.thread != Some(me)) {
            self.shared.ended.wait(&mut sessions);
        }
    }
}

impl Shared {
    /// Returns whether the server is to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.sessions.lock().stopped
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
            return refuse(
                &stream,
                ErrorCode::NotPermitted,
                "only the service's own user and root may control it",
            );
        }
    };
    let stream = Arc::new(stream);
    let number = {
        let mut sessions = shared.sessions.lock();
        // Each of these still has a thread, which ends soon: its client is disconnected, and no request of it is carried out.
        while !sessions.stopped && sessions.count(|activity| activity == Activity::Evicted) > shared.limits.clients {
            shared.ended.wait(&mut sessions);
        }
        if sessions.stopped {
            return;
        }
        if !sessions.make_room(&shared.limits) {
            drop(sessions);
            return refuse(
                &stream,
                ErrorCode::TooManyClients,
                "too many clients have requests in progress",
            );
        }
        sessions.next += 1;
        let number = sessions.next;
        let session = Session {
            stream: Arc::clone(&stream),
            thread: None,
            activity: Activity::New,
            since: Instant::now(),
        };
        sessions.open.insert(number, session);
        number
    };
    let open = SessionHandle {
        shared: Arc::clone(shared),
        number,
    };
    let session = thread::Builder::new().name("livepatch-ctl".to_owned());
    let _ = session.spawn(move || {
        let open = open;
        if let Some(session) = open.shared.sessions.lock().open.get_mut(&open.number) {
            session.thread = Some(thread::current().id());
        }
        session::run(&open, &stream, (user, process));
    }); // If no thread can be created, the client is dropped with the closure.
}

/// Sends a refusal if that is possible without waiting, as the client has no session.
fn refuse(stream: &UnixStream, code: ErrorCode, message: &str) {
    if let (Ok(()), Ok(line)) = (
        stream.set_nonblocking(true),
        Answer::Error(Refused::new(code, message)).to_line(),
    ) {
        let _ = rustix::net::send(stream, &line, rustix::net::SendFlags::NOSIGNAL);
    }
}

/// A session's entry in the table.
pub(super) struct SessionHandle {
    pub(super) shared: Arc<Shared>,
    number: u64,
}

impl SessionHandle {
    /// Begins a request, and returns whether it is to be carried out: not if the client was disconnected to make room.
    pub(super) fn begin_request(&self) -> bool {
        self.set_activity(Activity::Busy)
    }

    /// Ends a request, which has been answered.
    pub(super) fn end_request(&self) {
        self.set_activity(Activity::Idle);
    }

    /// Makes the client a watcher, or returns an error if there are too many.
    pub(super) fn begin_watch(&self) -> Result<(), Refused> {
        let limit = self.shared.limits.watchers;
        let mut sessions = self.shared.sessions.lock();
        if sessions.count(|activity| activity == Activity::Watching) >= limit {
            let message = format!("{limit} clients are watching already, which is the limit");
            return Err(Refused::new(ErrorCode::TooManyWatchers, message));
        }
        if let Some(session) = sessions.open.get_mut(&self.number) {
            session.activity = Activity::Watching;
        }
        Ok(())
    }

    fn set_activity(&self, activity: Activity) -> bool {
        let mut sessions = self.shared.sessions.lock();
        let session = sessions.open.get_mut(&self.number);
        let Some(session) = session.filter(|session| session.activity != Activity::Evicted) else {
            return false;
        };
        (session.activity, session.since) = (activity, Instant::now());
        true
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        self.shared.sessions.lock().open.remove(&self.number);
        self.shared.ended.notify_all();
    }
}
