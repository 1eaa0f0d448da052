//! The sessions of a server: how many there may be, what each is doing, and which one has to make room.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::protocol::{Answer, ErrorCode, Refused};

/// The function by which a service loads a patch.
pub(super) type Loader = Box<dyn Fn(&Path) -> Result<String, Box<dyn Error + Send + Sync>> + Send + Sync>;

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
    /// Wakes the thread that accepts clients.
    pub(super) wakeup: OwnedFd,
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

impl Shared {
    pub(super) fn new(limits: Limits, loader: Option<Loader>, wakeup: OwnedFd) -> Self {
        Self {
            limits,
            loader,
            sessions: Mutex::default(),
            ended: Condvar::new(),
            wakeup,
        }
    }

    /// Returns whether the server is to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.sessions.lock().stopped
    }

    /// Makes the server end: no more sessions begin.
    pub(super) fn stop(&self) {
        self.sessions.lock().stopped = true;
        self.ended.notify_all();
    }

    /// Disconnects all clients.
    pub(super) fn disconnect_all(&self) {
        for session in self.sessions.lock().open.values() {
            let _ = session.stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits until all sessions have ended, except one that the calling thread runs.
    pub(super) fn wait_for_others(&self) {
        let me = thread::current().id();
        let mut sessions = self.sessions.lock();
        while sessions.open.values().any(|session| session.thread != Some(me)) {
            self.ended.wait(&mut sessions);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Sends a refusal if that is possible without waiting, as the client has no session.
pub(super) fn refuse(stream: &UnixStream, code: ErrorCode, message: &str) {
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

/// Why a client gets no session.
pub(super) enum NotAdmitted {
    /// The server is ending.
    Stopped,
    /// All others have requests in progress.
    Full,
}

impl SessionHandle {
    /// Enters a session for this client, making room for it if necessary.
    pub(super) fn open(shared: &Arc<Shared>, stream: &Arc<UnixStream>) -> Result<Self, NotAdmitted> {
        let mut sessions = shared.sessions.lock();
        // Each of these still has a thread, which ends soon: its client is disconnected, and no request of it is carried out.
        while !sessions.stopped && sessions.count(|activity| activity == Activity::Evicted) > shared.limits.clients {
            shared.ended.wait(&mut sessions);
        }
        if sessions.stopped {
            return Err(NotAdmitted::Stopped);
        }
        if !sessions.make_room(&shared.limits) {
            return Err(NotAdmitted::Full);
        }
        sessions.next += 1;
        let number = sessions.next;
        let session = Session {
            stream: Arc::clone(stream),
            thread: None,
            activity: Activity::New,
            since: Instant::now(),
        };
        sessions.open.insert(number, session);
        Ok(Self {
            shared: Arc::clone(shared),
            number,
        })
    }

    /// Notes that the calling thread runs the session.
    pub(super) fn runs_here(&self) {
        if let Some(session) = self.shared.sessions.lock().open.get_mut(&self.number) {
            session.thread = Some(thread::current().id());
        }
    }

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
