//! The operator's tool: inspects and changes the live patches of a running service, over its control socket.

#[cfg(not(target_os = "linux"))]
compile_error!("control sockets of livepatch are for Linux");

mod args;
mod change;
mod show;
mod text;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use livepatch::control::{Answer, Client, ClientError, ConnectError, ErrorCode, Refused, Request};

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::try_parse().unwrap_or_else(|error| end_with(&error));
    let mut out = io::BufWriter::new(io::stdout().lock());
    let ended = run(&args, &mut out);
    let flushed = out.flush().map_err(Failure::Output);
    match ended.and_then(|end| flushed.map(|()| end)) {
        Ok(end) => ExitCode::from(end as u8),
        Err(failure) => failure.report(&args, &mut out),
    }
}

/// Ends the program as clap does: after its help, or with an error about the command line.
fn end_with(error: &clap::Error) -> ! {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let refused = Refused::new(ErrorCode::Usage, error.to_string());
        if let Ok(json) = Answer::Error(refused).to_json() {
            let _ = writeln!(io::stdout(), "{json}");
        }
    }
    error.exit()
}

/// The outcome of a command, as the tool's exit code. See also [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
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
enum Failure {
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

fn run(args: &Args, out: &mut impl Write) -> Result<End, Failure> {
    match &args.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(
                *shell,
                &mut <Args as clap::CommandFactory>::command(),
                "livepatch",
                &mut script,
            );
            out.write_all(&script)?;
            Ok(End::Done)
        }
        Command::List => {
            let answer = send_request(args, &Request::List {})?;
            show::list(args, out, &answer)?;
            Ok(End::Done)
        }
        Command::Status => {
            let answer = send_request(args, &Request::Status {})?;
            show::status(args, out, &answer)?;
            Ok(End::Done)
        }
        Command::Load { file, wait, or_reverse } => change::load(args, out, file, *wait, *or_reverse),
        Command::Disable { name, wait, or_reverse } => change::disable(args, out, name, *wait, *or_reverse),
        Command::Reverse { name } => change::reverse(args, out, name),
        Command::Force { name, yes } => change::force(args, out, name, *yes),
        Command::Watch { name, follow, interval } => watch::watch(args, out, name.as_deref(), *follow, *interval),
    }
}

fn connect(args: &Args) -> Result<Client, Failure> {
    let mut service = Client::builder(args.socket());
    if let Some(user) = args.user {
        service = service.trust_user(user);
    }
    let mut client = service.connect().map_err(Failure::Connect)?;
    client.set_timeout(Some(args.timeout));
    Ok(client)
}

fn send_request(args: &Args, request: &Request) -> Result<Answer, Failure> {
    Ok(connect(args)?.request(request)?)
}

impl Failure {
    /// Reports the failure on standard error; with `--json` also on standard output, in the form of a service's answer.
    fn report(self, args: &Args, out: &mut impl Write) -> ExitCode {
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
        if args.json
            && let Ok(json) = Answer::Error(refused).to_json()
        {
            let _ = writeln!(out, "{json}").and_then(|()| out.flush());
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
