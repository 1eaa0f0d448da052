//! One client's session: its lines, what they ask, and the answers.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::{Duration, Instant};

use super::protocol::{Answer, Change, ErrorCode, MAX_REQUEST, Refused, Request, load_failed};
use super::server::{Open, Shared};
use super::{socket, watch};
use crate::events::Direction;
use crate::patch::panic_message;
use crate::registry::{TaskStatus, registry};

/// How often who waits for a transition looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(50);

/// Serves a client, of this user and process, until it goes or does what closes the connection.
pub(super) fn run(open: &Open, stream: &UnixStream, peer: (u32, i32)) {
    let shared = &*open.shared;
    let mut lines = Lines {
        stream,
        buffer: Vec::new(),
        timeout: shared.limits.first_timeout.min(shared.limits.timeout),
    };
    let send = |answer: &Answer| send(stream, answer, shared.limits.timeout);
    loop {
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => return,
            Err(refused) => {
                let _ = send(&Answer::Error(refused));
                return;
            }
        };
        if !open.asks() {
            return;
        }
        lines.timeout = shared.limits.timeout;
        let answer = match Request::of_line(&line) {
            Ok(Request::Watch { patch, interval_ms }) => match open.watches() {
                Ok(()) => {
                    // It ends with the connection.
                    let _ = watch::run(shared, stream, patch.as_deref(), interval_ms);
                    return;
                }
                Err(refused) => Err(refused),
            },
            Ok(request) => {
                trace(&request, peer);
                let answered = panic::catch_unwind(AssertUnwindSafe(|| answer(shared, stream, request)));
                answered.unwrap_or_else(|panic| {
                    let message = format!("the request panicked: {}", panic_message(panic));
                    Err(Refused::new(ErrorCode::Internal, message))
                })
            }
            Err(refused) => Err(refused),
        };
        open.idles(); // Who does not take its answer is silent, too.
        if send(&answer.unwrap_or_else(Answer::Error)).is_err() {
            return;
        }
    }
}

/// Sends an answer within the time.
pub(super) fn send(stream: &UnixStream, answer: &Answer, timeout: Duration) -> io::Result<()> {
    let line = answer.to_line().map_err(io::Error::other)?;
    socket::send_all(stream, &line, timeout)
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
        Request::Watch { .. } => Err(Refused::new(ErrorCode::Internal, "a watch has no one answer")),
    }
}

fn load(shared: &Shared, path: &Path) -> Result<String, Refused> {
    let Some(loader) = &shared.loader else {
        let message = "this service loads no patches: its control socket was made without a loader";
        return Err(Refused::new(ErrorCode::NoLoader, message));
    };
    if !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
        let message = format!("{path:?} is no absolute path: the service is in a directory of its own");
        return Err(Refused::new(ErrorCode::BadRequest, message));
    }
    match panic::catch_unwind(AssertUnwindSafe(|| loader(path))) {
        Ok(loaded) => loaded.map_err(|error| load_failed(&*error)),
        Err(panic) => {
            let message = format!("the loader panicked: {}", panic_message(panic));
            Err(Refused::new(ErrorCode::LoadFailed, message))
        }
    }
}

/// How the patch is once its transition is over, or the time is, or the client has gone. If the time is over, the transition
/// is reversed first, if it still has that direction.
fn changed(stream: &UnixStream, patch: String, wait_ms: Option<u64>, reverse: Option<Direction>) -> Answer {
    let mut reversed = false;
    if let Some(wait) = wait_ms.map(Duration::from_millis)
        && wait_for(stream, &patch, wait) == Waited::InVain
        && let Some(direction) = reverse
    {
        // An error: it ended just now, or somebody else was faster.
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

/// How waiting for a transition ended.
#[derive(PartialEq, Eq)]
enum Waited {
    /// It is over.
    Over,
    /// The client has gone: it waits for nothing any more, and nothing is done for it.
    Gone,
    /// The time is over.
    InVain,
}

/// Waits for the end of the transition of this patch.
fn wait_for(stream: &UnixStream, patch: &str, wait: Duration) -> Waited {
    let until = Instant::now().checked_add(wait);
    loop {
        let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()));
        match registry().wait(left.min(LOOK)) {
            Err(error) if error.patch == patch && socket::is_hung_up(stream) => return Waited::Gone,
            Err(error) if error.patch == patch && left.is_zero() => return Waited::InVain,
            Err(error) if error.patch == patch => {}
            // If another patch is in transition, this one's is over.
            _ => return Waited::Over,
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

/// The lines of a client: bounded in length and in time.
struct Lines<'s> {
    stream: &'s UnixStream,
    buffer: Vec<u8>,
    timeout: Duration,
}

impl Lines<'_> {
    /// The next line, without its newline. None: there is none, and nobody to tell. An error ends the session.
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
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Refused::new(ErrorCode::TimedOut, "no whole request came in time"));
            }
            let mut chunk = [0; 4096];
            if self.stream.set_read_timeout(Some(left)).is_err() {
                return Ok(None);
            }
            let mut stream = self.stream;
            match stream.read(&mut chunk) {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                // Never carried out: what is missing may have changed its meaning.
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
