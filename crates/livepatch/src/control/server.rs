//! The server: who may connect, how many, and the end of all of them.

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

/// How a service loads a patch.
type Loader = Box<dyn Fn(&Path) -> Result<String, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// How long to wait before accepting again when the system has no room for a connection.
const OUT_OF_ROOM: Duration = Duration::from_millis(100);

/// The control socket of this service. Dropping it disconnects all clients, and removes the socket.
///
/// The drop waits for requests that are being carried out, and so for the loader and for callbacks; not for transitions.
/// If a callback, an observer or the loader itself drops it, they go on alone, without an answer.
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

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) clients: usize,
    pub(super) watchers: usize,
    pub(super) first_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) events: usize,
}

/// What the server and its sessions share.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) loader: Option<Loader>,
    sessions: Mutex<Sessions>,
    /// A session ended, or no more is to begin.
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
    doing: Doing,
    /// Since when it does that.
    since: Instant,
}

/// What a client does. The order is that in which those who are silent make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doing {
    /// It has not asked anything yet.
    Nothing,
    /// It has had its answers.
    Idling,
    /// A request of it is carried out.
    Asking,
    Watching,
    /// It has made room, and is about to end.
    Leaving,
}

impl Sessions {
    fn count(&self, of: impl Fn(Doing) -> bool) -> usize {
        self.open.values().filter(|session| of(session.doing)).count()
    }

    /// Makes room for one more client: whether there is.
    fn make_room(&mut self, limits: &Limits) -> bool {
        if self.count(|doing| doing < Doing::Watching) < limits.clients {
            return true;
        }
        let silent = self.open.values_mut().filter(|session| session.doing < Doing::Asking);
        let Some(session) = silent.min_by_key(|session| (session.doing, session.since)) else {
            return false;
        };
        session.doing = Doing::Leaving;
        refuse(
            &session.stream,
            ErrorCode::TooManyClients,
            "silent for longest, and others came",
        );
        let _ = session.stream.shutdown(Shutdown::Both);
        true
    }
}

impl Control {
    /// Begins a control socket at this path. Its directory is made if it is not there, for this user alone.
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

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.socket.as_ref().expect("there until the drop").path
    }
}

impl ControlBuilder {
    /// How the service loads a patch: it takes the path of a library, an absolute one, and gives the name of the patch that
    /// it has enabled. Called on a thread of the client's, maybe on several at once; a panic of it is an error.
    ///
    /// Without one, requests to load are refused.
    pub fn loader(
        mut self,
        loader: impl Fn(&Path) -> Result<String, Box<dyn Error + Send + Sync>> + Send + Sync + 'static,
    ) -> Self {
        self.loader = Some(Box::new(loader));
        self
    }

    /// How many clients may be connected at a time, beside those who watch: each has a thread. 32 unless said otherwise.
    ///
    /// One more takes the place of the client that has been silent for longest, of those that never asked anything first. It
    /// is only refused if all of them have a request being carried out.
    pub fn max_clients(mut self, clients: usize) -> Self {
        self.limits.clients = clients;
        self
    }

    /// How many clients may watch at a time: each has a thread. 16 unless said otherwise; one more is refused.
    pub fn max_watchers(mut self, watchers: usize) -> Self {
        self.limits.watchers = watchers;
        self
    }

    /// How long a client may take for its first request, if not [so long as for the others](Self::timeout). 5 seconds unless
    /// said otherwise.
    pub fn first_timeout(mut self, timeout: Duration) -> Self {
        self.limits.first_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// How long a client may take for a request, from its last answer on, and for taking an answer. 30 seconds unless said
    /// otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// How many events are kept for a watcher that does not take them; what is more, it misses. 1024 unless said otherwise.
    pub fn max_events(mut self, events: usize) -> Self {
        self.limits.events = events;
        self
    }

    /// Listens from now on, on a thread of its own.
    ///
    /// A socket that a service of this user has left behind is replaced; one that is listened on is not, nor anything else.
    ///
    /// # Errors
    ///
    /// If something else is there, if others could replace the socket, or if the system refuses: see [`BindError`].
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
            wakeup: socket::wakeup().map_err(failed("no wake-up for"))?,
        });
        let server = thread::Builder::new()
            .name("livepatch-ctl".to_owned())
            .spawn({
                let (shared, socket) = (Arc::clone(&shared), Arc::clone(&socket));
                move || serve(&shared, &socket)
            })
            .map_err(failed("no thread for"))?;
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
        self.shared.sessions.lock().stopped = true; // No session begins any more.
        self.shared.ended.notify_all();
        socket::wake(&self.shared.wakeup);
        if let Some(server) = self.server.take() {
            let _ = server.join(); // It only accepts, and never waits for long.
        }
        drop(self.socket.take()); // The last: removes the file, before any client can know.
        for session in self.shared.sessions.lock().open.values() {
            let _ = session.stream.shutdown(Shutdown::Both);
        }
        if registry().is_changing_here() {
            return; // A session may wait for what this thread is in the middle of.
        }
        let me = thread::current().id();
        let mut sessions = self.shared.sessions.lock();
        while sessions.open.values().any(|session| session.thread != Some(me)) {
            self.shared.ended.wait(&mut sessions);
        }
    }
}

impl Shared {
    /// Whether the server is to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.sessions.lock().stopped
    }
}

fn serve(shared: &Arc<Shared>, socket: &Socket) {
    while !shared.is_stopped() {
        match socket::poll(&socket.listener, &shared.wakeup, true, None) {
            Ok(Polled::Readable) => match socket.listener.accept() {
                Ok((stream, _)) => admit(shared, stream),
                // The client is gone already, or was a spurious one.
                Err(error) if is_passing(&error) => {}
                Err(_) => thread::sleep(OUT_OF_ROOM),
            },
            Ok(_) => {}
            Err(_) => thread::sleep(OUT_OF_ROOM),
        }
    }
}

fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}

/// Gives a client a session, or says why not.
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
        // Each has a thread still, which ends soon: its client is disconnected, and no request of it is carried out.
        while !sessions.stopped && sessions.count(|doing| doing == Doing::Leaving) > shared.limits.clients {
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
                "too many clients have requests being carried out",
            );
        }
        sessions.next += 1;
        let number = sessions.next;
        let session = Session {
            stream: Arc::clone(&stream),
            thread: None,
            doing: Doing::Nothing,
            since: Instant::now(),
        };
        sessions.open.insert(number, session);
        number
    };
    let open = Open {
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
    }); // If there is no thread, the client is dropped with the closure.
}

/// At once or not at all: nobody waits for a client without a session.
fn refuse(stream: &UnixStream, code: ErrorCode, message: &str) {
    if let (Ok(()), Ok(line)) = (
        stream.set_nonblocking(true),
        Answer::Error(Refused::new(code, message)).to_line(),
    ) {
        let _ = rustix::net::send(stream, &line, rustix::net::SendFlags::NOSIGNAL);
    }
}

/// A session's place in the table.
pub(super) struct Open {
    pub(super) shared: Arc<Shared>,
    number: u64,
}

impl Open {
    /// A request has come: whether it is to be carried out. Not if the client has had to make room.
    pub(super) fn asks(&self) -> bool {
        self.goes_on(Doing::Asking)
    }

    /// A request is answered.
    pub(super) fn idles(&self) {
        self.goes_on(Doing::Idling);
    }

    /// The client watches from now on. An error if too many do.
    pub(super) fn watches(&self) -> Result<(), Refused> {
        let limit = self.shared.limits.watchers;
        let mut sessions = self.shared.sessions.lock();
        if sessions.count(|doing| doing == Doing::Watching) >= limit {
            let message = format!("{limit} clients watch, and no more may");
            return Err(Refused::new(ErrorCode::TooManyWatchers, message));
        }
        if let Some(session) = sessions.open.get_mut(&self.number) {
            session.doing = Doing::Watching;
        }
        Ok(())
    }

    fn goes_on(&self, doing: Doing) -> bool {
        let mut sessions = self.shared.sessions.lock();
        let session = sessions.open.get_mut(&self.number);
        let Some(session) = session.filter(|session| session.doing != Doing::Leaving) else {
            return false;
        };
        (session.doing, session.since) = (doing, Instant::now());
        true
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.sessions.lock().open.remove(&self.number);
        self.shared.ended.notify_all();
    }
}
