//! The messages of the protocol: requests and answers, one JSON object per line.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{ChangeError, EnableError};
use crate::events::Event;
use crate::registry::{PatchStatus, Status, TaskStatus, TransitionStatus};

/// The protocol's version: the `v` of every line. Changes when a line of an older version would be misunderstood.
pub const VERSION: u32 = 1;

/// The maximum length of a request, in bytes, without its newline.
pub const MAX_REQUEST: usize = 64 * 1024;

/// A request of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Request {
    /// Lists the patches. Answered by [`Answer::Patches`].
    List {},
    /// Requests the full status. Answered by [`Answer::Status`].
    Status {},
    /// Loads a patch and enables it. Answered by [`Answer::Changed`].
    Load {
        /// The patch, as the service's loader takes it: an absolute path.
        path: String,
        /// How long to wait for the end of the transition. `None`: do not wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait_ms: Option<u64>,
        /// Reverses the transition if it has not ended by then, and waits for that, at most as long again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        or_reverse: bool,
    },
    /// Disables a patch. Answered by [`Answer::Changed`].
    Disable {
        /// The patch.
        patch: String,
        /// How long to wait for the end of the transition. `None`: do not wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait_ms: Option<u64>,
        /// Reverses the transition if it has not ended by then, and waits for that, at most as long again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        or_reverse: bool,
    },
    /// Reverses the transition of a patch. Answered by [`Answer::Changed`].
    Reverse {
        /// The patch.
        patch: String,
    },
    /// Ends the transition of a patch in the middle of units of work. Answered by [`Answer::Changed`].
    Force {
        /// The patch.
        patch: String,
    },
    /// Reports events as they happen, and running transitions, until the client closes the connection. The first answer
    /// is an [`Answer::Transition`]; then follow those, [`Answer::Event`]s and [`Answer::Missed`].
    Watch {
        /// Only reports what concerns this patch, its library, its states and the modules that it patches; or the module
        /// of this name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patch: Option<String>,
        /// How often a running transition is reported: at most every 10 ms. `None`: every half second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interval_ms: Option<u64>,
    },
}

/// An answer of the service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Answer {
    /// The patches.
    Patches {
        /// The patches that are enabled or in transition, oldest first.
        patches: Vec<PatchStatus>,
        /// The running transition.
        transition: Option<TransitionStatus>,
    },
    /// The full status.
    Status {
        /// The status.
        status: Status,
    },
    /// A change was made, or has begun.
    Changed(Change),
    /// To a watcher: an event.
    Event {
        /// The event.
        event: Event,
    },
    /// To a watcher: the running transition, or `None` if there is none (any more).
    Transition {
        /// The transition.
        transition: Option<TransitionStatus>,
        /// The tasks that hold it up.
        held_up_by: Vec<TaskStatus>,
    },
    /// To a watcher: events were lost, because they arrived faster than they were read.
    Missed {
        /// How many.
        events: u64,
    },
    /// The request was refused.
    Error(Refused),
    /// An answer that is unknown to this version.
    #[serde(other)]
    Unknown,
}

/// A patch after a change, and after waiting for its transition if that was requested.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    /// The patch.
    pub patch: String,
    /// Whether it is enabled. Changes when a transition starts, not when it ends.
    pub enabled: bool,
    /// Whether its transition did not end in time, and was reversed as requested.
    #[serde(default)]
    pub reversed: bool,
    /// Its transition, if that is still running.
    pub transition: Option<TransitionStatus>,
    /// The tasks that hold up the transition.
    pub held_up_by: Vec<TaskStatus>,
}

/// The refusal of a request: a message for people, a code for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The reason, for programs.
    pub code: ErrorCode,
    /// The reason, for people.
    pub message: String,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The line is not a request: not JSON, not UTF-8, a wrong type, a missing or an unknown field.
    BadRequest,
    /// The line is longer than [`MAX_REQUEST`]. The connection is closed.
    TooLong,
    /// No complete request arrived in time. The connection is closed.
    TimedOut,
    /// There is no such request.
    UnknownRequest,
    /// The service speaks another version of the protocol.
    UnsupportedVersion,
    /// The client is of another user. The connection is closed.
    NotPermitted,
    /// The maximum number of clients have requests in progress; or this client was disconnected for another, because it
    /// had been silent for longest. The connection is closed.
    TooManyClients,
    /// The maximum number of clients are watching.
    TooManyWatchers,
    /// The service was built without a way to load patches.
    NoLoader,
    /// The loader refused: the library is not a patch for this service, or the loader has its own reasons.
    LoadFailed,
    /// The patch, or another of its name, is already enabled. Nothing has changed.
    AlreadyEnabled,
    /// The patch's states are not compatible with those of an enabled patch.
    Incompatible,
    /// A function that the patch replaces does not exist, or has another type.
    Unresolved,
    /// A callback of the patch refused, or panicked.
    CallbackRefused,
    /// No patch of that name is enabled, or in transition.
    UnknownPatch,
    /// The patch is already being disabled.
    AlreadyDisabled,
    /// Another patch is in transition.
    Busy,
    /// The patch is not in transition.
    NotInTransition,
    /// The patch is the last holder of a state that cannot be undone.
    Blocked,
    /// The service failed to carry out the request. It continues to run.
    Internal,
    /// From the tool, not from a service: the command line is wrong.
    Usage,
    /// From the tool: no service listens at the socket, or this user may not connect.
    CannotConnect,
    /// From the tool: untrusted users could be listening, or are.
    Untrusted,
    /// From the tool: no answer arrived in time, or none that it understands.
    NoAnswer,
    /// From the tool: its output cannot be written.
    CannotWrite,
    /// A reason that is unknown to this version.
    #[serde(other)]
    Unknown,
}

/// A line: a request or an answer with the protocol's version.
#[derive(Serialize, Deserialize)]
pub(super) struct Line<T> {
    pub(super) v: u32,
    #[serde(flatten)]
    pub(super) body: T,
}

const REQUESTS: [&str; 7] = ["list", "status", "load", "disable", "reverse", "force", "watch"];

impl Request {
    /// Returns the request as a line, without its newline.
    pub(super) fn to_line(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Line { v: VERSION, body: self })
    }

    /// Parses a line, without its newline. Any line yields a request or a refusal.
    pub(super) fn from_line(line: &[u8]) -> Result<Self, Refused> {
        let bad = |message: String| Refused::new(ErrorCode::BadRequest, message);
        let text = std::str::from_utf8(line).map_err(|_| bad("the request is not UTF-8".to_owned()))?;
        // Deep nesting is an error of the parser, and does not overflow the stack.
        let value: Value =
            serde_json::from_str(text).map_err(|error| bad(format!("the request is not JSON: {error}")))?;
        let Value::Object(mut request) = value else {
            return Err(bad("the request is not a JSON object".to_owned()));
        };
        match request.remove("v").as_ref().map(Value::as_u64) {
            Some(Some(version)) if version == u64::from(VERSION) => {}
            Some(Some(version)) => {
                return Err(Refused::new(
                    ErrorCode::UnsupportedVersion,
                    format!("version {version} of the protocol is not supported here, only {VERSION} is"),
                ));
            }
            Some(None) => return Err(bad("`v` is not a version".to_owned())),
            None => return Err(bad("the request has no version `v`".to_owned())),
        }
        match request.get("request").map(Value::as_str) {
            Some(Some(name)) if REQUESTS.contains(&name) => {}
            Some(Some(name)) => {
                let name: String = name.chars().take(64).collect();
                return Err(Refused::new(
                    ErrorCode::UnknownRequest,
                    format!("unknown request {name:?}; the requests are {}", REQUESTS.join(", ")),
                ));
            }
            _ => return Err(bad("`request` is not the name of a request".to_owned())),
        }
        Self::deserialize(Value::Object(request)).map_err(|error| bad(error.to_string()))
    }
}

impl Answer {
    /// Returns the answer as a line, with its newline.
    pub(super) fn to_line(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(&Line { v: VERSION, body: self })?;
        line.push(b'\n');
        Ok(line)
    }

    /// Returns the answer with the protocol's version, as it is sent over the socket: one line of JSON, without its newline.
    ///
    /// # Errors
    ///
    /// None are known: all keys are strings.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Line { v: VERSION, body: self })
    }
}

impl Refused {
    /// Returns a refusal.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl ErrorCode {
    /// Returns the code as it is in JSON.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(Value::String(name)) => name,
            _ => format!("{self:?}"),
        }
    }
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        let code = match error {
            ChangeError::Unknown { .. } => ErrorCode::UnknownPatch,
            ChangeError::AlreadyDisabled { .. } => ErrorCode::AlreadyDisabled,
            ChangeError::Busy { .. } => ErrorCode::Busy,
            ChangeError::NotInTransition { .. } => ErrorCode::NotInTransition,
            ChangeError::Blocked { .. } => ErrorCode::Blocked,
            ChangeError::Reentrant(_) | ChangeError::Forked(_) => ErrorCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

/// Returns the refusal for a loader's error. If that wraps an [`EnableError`], the code is the one of the `EnableError`.
pub(super) fn load_failed(error: &(dyn std::error::Error + 'static)) -> Refused {
    let mut message = error.to_string();
    let mut code = ErrorCode::LoadFailed;
    let mut next = Some(error);
    while let Some(one) = next {
        if let Some(error) = one.downcast_ref() {
            code = match error {
                EnableError::AlreadyEnabled { .. } | EnableError::NameTaken { .. } => ErrorCode::AlreadyEnabled,
                EnableError::Busy { .. } => ErrorCode::Busy,
                EnableError::Incompatible { .. } => ErrorCode::Incompatible,
                EnableError::Resolve(_) => ErrorCode::Unresolved,
                EnableError::Refused(_) => ErrorCode::CallbackRefused,
                EnableError::Reentrant(_) | EnableError::Forked(_) => ErrorCode::Internal,
            };
        }
        let text = one.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        next = one.source();
    }
    Refused::new(code, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code_of(line: &[u8]) -> ErrorCode {
        Request::from_line(line).expect_err("no request").code
    }

    #[test]
    fn requests_are_what_their_lines_say() {
        let all = [
            Request::List {},
            Request::Status {},
            Request::Load {
                path: "/a b".to_owned(),
                wait_ms: Some(7),
                or_reverse: true,
            },
            Request::Disable {
                patch: "größe".to_owned(),
                wait_ms: None,
                or_reverse: false,
            },
            Request::Reverse { patch: "p".to_owned() },
            Request::Force { patch: "p".to_owned() },
            Request::Watch {
                patch: None,
                interval_ms: Some(20),
            },
        ];
        for request in all {
            assert_eq!(Request::from_line(&request.to_line().unwrap()), Ok(request));
        }
        let by_hand = br#" {"request":"disable", "patch":"p", "v":1} "#;
        assert_eq!(
            Request::from_line(by_hand),
            Ok(Request::Disable {
                patch: "p".to_owned(),
                wait_ms: None,
                or_reverse: false,
            })
        );
    }

    #[test]
    fn each_kind_of_nonsense_has_its_refusal() {
        let bad: [&[u8]; 17] = [
            b"",
            b" ",
            b"list",
            b"\xff\xfe",
            b"[1]",
            b"null",
            b"{}",
            b"{\"v\":1}",
            b"{\"v\":\"1\",\"request\":\"list\"}",
            b"{\"v\":-1,\"request\":\"list\"}",
            b"{\"v\":1,\"request\":7}",
            b"{\"v\":1,\"request\":\"list\"",
            b"{\"v\":1,\"request\":\"disable\"}",
            b"{\"v\":1,\"request\":\"disable\",\"patch\":[]}",
            b"{\"v\":1,\"request\":\"disable\",\"patch\":\"p\",\"wait\":3}",
            b"{\"v\":1,\"request\":\"disable\",\"patch\":\"p\",\"wait_ms\":-3}",
            b"{\"v\":1,\"request\":\"disable\",\"patch\":\"p\",\"wait_ms\":1e99}",
        ];
        for line in bad {
            assert_eq!(
                code_of(line),
                ErrorCode::BadRequest,
                "{:?}",
                String::from_utf8_lossy(line)
            );
        }
        assert_eq!(
            code_of(b"{\"v\":2,\"request\":\"list\"}"),
            ErrorCode::UnsupportedVersion
        );
        assert_eq!(code_of(b"{\"v\":1,\"request\":\"lists\"}"), ErrorCode::UnknownRequest);
        assert_eq!(code_of("[".repeat(MAX_REQUEST).as_bytes()), ErrorCode::BadRequest);
        let deep = format!("{{\"v\":1,\"request\":\"list\",\"x\":{}", "{\"x\":".repeat(10_000));
        assert_eq!(code_of(deep.as_bytes()), ErrorCode::BadRequest);
    }

    #[test]
    fn newer_answers_and_codes_are_unknown_not_wrong() {
        let answer: Line<Answer> = serde_json::from_str(r#"{"v":1,"answer":"weather","wind":3}"#).unwrap();
        assert!(matches!(answer.body, Answer::Unknown));
        let answer: Line<Answer> =
            serde_json::from_str(r#"{"v":1,"answer":"error","code":"rain","message":"m"}"#).unwrap();
        assert!(matches!(
            answer.body,
            Answer::Error(Refused {
                code: ErrorCode::Unknown,
                ..
            })
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(line in proptest::collection::vec(any::<u8>(), 0..512)) {
            if let Err(refused) = Request::from_line(&line) {
                prop_assert!(!refused.message.is_empty());
            }
        }

        /// Objects with the right names and arbitrary values.
        #[test]
        fn nor_does_what_looks_like_a_request(
            name in "(list|load|disable|reverse|force|watch|x)",
            key in "(path|patch|wait_ms|interval_ms|v|request|x)",
            value in "(null|true|-1|1e400|0.5|\"a\"|\"\\\\u0000\"|\\[\\]|\\{\\})",
        ) {
            let line = format!("{{\"v\":1,\"request\":\"{name}\",\"{key}\":{value}}}");
            if let Err(refused) = Request::from_line(line.as_bytes()) {
                prop_assert!(!refused.message.is_empty());
            }
        }
    }
}
