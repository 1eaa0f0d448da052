//! How a command ends: outcomes and failures, the exit code of each, and how failures are reported.

use std::io::{self, Write};
use std::process::ExitCode;

use livepatch::control::{Answer, ClientError, ConnectError, ErrorCode, Refused};

use crate::text;

/// The outcome of a command, as the tool's exit code. See also [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done = 0,
    /// It was carried out, but the outcome is not the requested one.
    Unexpected = 1,
    /// The transition has not ended after the time to wait.
    StillInTransition = 4,
    /// There was nothing to do.
    NothingToDo = 5,
    /// The transition did not end in time, and was reversed as requested.
    Reversed = 6,
}

/// Why a command failed.
pub(crate) enum Failure {
    Client(ClientError),
    Connect(ConnectError),
    Usage(String),
    /// There was nothing to do, which the service reports as a refusal.
    NothingToDo(Refused),
    Output(io::Error),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    /// Reports the failure on standard error; with `--json` also on standard output, in the form of a service's answer.
    pub(crate) fn report(self, json: bool, out: &mut impl Write) -> ExitCode {
        let (end, refused) = match self {
            // The reader has closed the pipe, as `head` does.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Self::Output(error) => (
                1,
                Refused::new(ErrorCode::CannotWrite, format!("cannot write: {error}")),
            ),
            Self::Usage(message) => (2, Refused::new(ErrorCode::Usage, message)),
            Self::Connect(error) => (3, cannot_connect(&error)),
            Self::Client(ClientError::Refused(refused)) => (1, refused),
            Self::Client(ClientError::Connect(error)) => (3, cannot_connect(&error)),
            Self::Client(error) => (3, Refused::new(ErrorCode::NoAnswer, error.to_string())),
            Self::NothingToDo(refused) => (End::NothingToDo as u8, refused),
        };
        let _ = writeln!(io::stderr(), "livepatch: {}", text::plain(&refused.message));
        if json && let Ok(line) = Answer::Error(refused).to_json() {
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
        ExitCode::from(end)
    }
}

fn cannot_connect(error: &ConnectError) -> Refused {
    let mut code = ErrorCode::Untrusted;
    let mut message = error.to_string();
    match error {
        ConnectError::Untrusted { user, .. } => {
            message.push_str(&format!("; if that is the service's user, give --user {user}"));
        }
        ConnectError::UnsafePath { .. } => {}
        _ => code = ErrorCode::CannotConnect,
    }
    Refused::new(code, message)
}

/// Ends the program as clap does: after its help, or with an error about the command line.
pub(crate) fn end_with(error: &clap::Error) -> ! {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let refused = Refused::new(ErrorCode::Usage, error.to_string());
        if let Ok(json) = Answer::Error(refused).to_json() {
            let _ = writeln!(io::stdout(), "{json}");
        }
    }
    error.exit()
}
