//! The session of one client: reads requests, carries them out, and sends the answers.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::protocol::{Answer, Change, ErrorCode, MAX_REQUEST, Refused, Request, load_failed};
use super::sessions::{SessionHandle, Shared};
use super::{socket, watch};
use crate::callout;
use crate::events::Direction;
use crate::registry::{TaskStatus, registry};

/// How often a session that waits for a transition checks whether its client is still connected.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Serves a client of this user and process until it disconnects, or an error closes the connection.
pub(super) fn run(open: &SessionHandle, stream: &UnixStream, peer: (u32, i32)) {
    let shared = &*open.shared;
    let mut lines = Lines {
        stream,
        buffer: Vec::new(),
        timeout: shared.limits.first_timeout.min(shared.limits.timeout),
    };
    let send = |answer: &Answer| socket::send(stream, answer, shared.limits.timeout);
    loop {
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => return,
            Err(refused) => {
                let _ = send(&Answer::Error(refused));
                return;
            }
        };
        if !open.begin_request() {
            return;
        }
        lines.timeout = shared.limits.timeout;
        let answer = match Request::from_line(&line) {
            Ok(Request::Watch { patch, interval_ms }) => match open.begin_watch() {
                Ok(()) => {
                    // The watch ends with the connection.
                    let _ = watch::run(shared, stream, patch.as_deref(), interval_ms);
                    return;
                }
                Err(refused) => Err(refused),
            },
            Ok(request) => {
                trace(&request, peer);
                let answered = callout::guarded(|| answer(shared, stream, request));
                answered.unwrap_or_else(|panic| {
                    let message = format!("the request panicked: {panic}");
                    Err(Refused::new(ErrorCode::Internal, message))
                })
            }
            Err(refused) => Err(refused),
        };
        open.end_request(); // A client that does not read its answer counts as silent too.
        if send(&answer.unwrap_or_else(Answer::Error)).is_err() {
            return;
        }
    }
}

fn answer(shared: &Shared, stream: &UnixStream, request: Request) -> Result<Answer, Refused> {
    match request {
        Request::List {} => {
            let status = registry().status();
            Ok(Answer::Patches {
                patches: status.patches,
                transition: status.transition,
            })
        }
        Request::Status {} => Ok(Answer::Status {
            status: registry().status(),
        }),
        Request::Load {
            path,
            wait_ms,
            or_reverse,
        } => {
            let patch = load(shared, Path::new(&path))?;
            Ok(changed(
                stream,
                patch,
                wait_ms,
                or_reverse.then_some(Direction::Patching),
            ))
        }
        Request::Disable {
            patch,
            wait_ms,
            or_reverse,
        } => {
            registry().disable(&patch)?;
            Ok(changed(
                stream,
                patch,
                wait_ms,
                or_reverse.then_some(Direction::Unpatching),
            ))
        }
        Request::Reverse { patch } => {
            registry().reverse(&patch)?;
            Ok(changed(stream, patch, None, None))
        }
        Request::Force { patch } => {
            registry().force(&patch)?;
            Ok(changed(stream, patch, None, None))
        }
        Request::Watch { .. } => Err(Refused::new(ErrorCode::Internal, "a watch has no single answer")),
    }
}

fn load(shared: &Shared, path: &Path) -> Result<String, Refused> {
    let Some(loader) = &shared.loader else {
        let message = "this service cannot load patches: its control socket has no loader";
        return Err(Refused::new(ErrorCode::NoLoader, message));
    };
    if !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
        let message = format!("{path:?} is not an absolute path: the service has its own working directory");
        return Err(Refused::new(ErrorCode::BadRequest, message));
    }
    match callout::guarded(|| loader(path)) {
        Ok(loaded) => loaded.map_err(|error| load_failed(&*error)),
        Err(panic) => {
            let message = format!("the loader panicked: {panic}");
            Err(Refused::new(ErrorCode::LoadFailed, message))
        }
    }
}

/// Returns the answer about the patch once its transition has ended, the time is up, or the client has disconnected. If
/// the time is up, reverses the transition first, if it still has the direction `reverse`.
fn changed(stream: &UnixStream, patch: String, wait_ms: Option<u64>, reverse: Option<Direction>) -> Answer {
    let mut reversed = false;
    if let Some(wait) = wait_ms.map(Duration::from_millis)
        && wait_for(stream, &patch, wait) == Waited::TimedOut
        && let Some(direction) = reverse
    {
        // It fails if the transition has just ended, or has been reversed in another way.
        reversed = registry().reverse_from(&patch, direction).is_ok();
        wait_for(stream, &patch, wait);
    }
    let status = registry().status();
    let held_up_by: Vec<TaskStatus> = status.holding_up().cloned().collect();
    let enabled = status.patches.iter().any(|one| one.name == patch && one.enabled);
    let transition = status.transition.filter(|transition| transition.patch == patch);
    let held_up_by = if transition.is_some() { held_up_by } else { Vec::new() };
    Answer::Changed(Change {
        patch,
        enabled,
        reversed,
        transition,
        held_up_by,
    })
}

/// The outcome of waiting for a transition.
#[derive(PartialEq, Eq)]
enum Waited {
    /// The transition has ended.
    Ended,
    /// The client has disconnected: nothing more is done for it.
    Disconnected,
    /// The time is up.
    TimedOut,
}

/// Waits for the end of the transition of this patch.
fn wait_for(stream: &UnixStream, patch: &str, wait: Duration) -> Waited {
    let until = Instant::now().checked_add(wait);
    loop {
        let remaining = until.map_or(POLL_INTERVAL, |until| until.saturating_duration_since(Instant::now()));
        match registry().wait(remaining.min(POLL_INTERVAL)) {
            Err(error) if error.patch == patch && socket::is_hung_up(stream) => return Waited::Disconnected,
            Err(error) if error.patch == patch && remaining.is_zero() => return Waited::TimedOut,
            Err(error) if error.patch == patch => {}
            // If another patch is in transition, this one's has ended.
            _ => return Waited::Ended,
        }
    }
}

#[cfg(feature = "tracing")]
fn trace(request: &Request, (user, process): (u32, i32)) {
    let (name, about) = match request {
        Request::Load { path, .. } => ("load", path),
        Request::Disable { patch, .. } => ("disable", patch),
        Request::Reverse { patch } => ("reverse", patch),
        Request::Force { patch } => ("force", patch),
        Request::List {} | Request::Status {} | Request::Watch { .. } => return,
    };
    tracing::info!(target: "livepatch::control", user, process, request = name, about, "{name} {about:?} by user {user}");
}

#[cfg(not(feature = "tracing"))]
fn trace(_: &Request, _: (u32, i32)) {}

/// Reads a client's lines, with limits on their length and time.
struct Lines<'s> {
    stream: &'s UnixStream,
    buffer: Vec<u8>,
    timeout: Duration,
}

impl Lines<'_> {
    /// Returns the next line, without its newline; `None` if the client has disconnected. After an error the session ends.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Refused> {
        let until = Instant::now() + self.timeout;
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=searched + end).collect();
                line.pop();
                if line.len() <= MAX_REQUEST {
                    return Ok(Some(line));
                }
                return Err(too_long());
            }
            searched = self.buffer.len();
            if searched > MAX_REQUEST {
                return Err(too_long());
            }
            let remaining = until.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Err(Refused::new(ErrorCode::TimedOut, "no complete request arrived in time"));
            }
            let mut chunk = [0; 4096];
            if self.stream.set_read_timeout(Some(remaining)).is_err() {
                return Ok(None);
            }
            let mut stream = self.stream;
            match stream.read(&mut chunk) {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                // Never carried out: the missing part may have changed its meaning.
                Ok(0) => {
                    return Err(Refused::new(
                        ErrorCode::BadRequest,
                        "the request has no newline at its end",
                    ));
                }
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if is_again(&error) => {}
                Err(_) => return Ok(None),
            }
        }
    }
}

fn is_again(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

fn too_long() -> Refused {
    let message = format!("the request is longer than {MAX_REQUEST} bytes");
    Refused::new(ErrorCode::TooLong, message)
}
