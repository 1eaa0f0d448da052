//! The operator's tool: sees and changes the live patches of a running service, over its control socket.

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
use livepatch::control::{Answer, Client, ClientError, Request};

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let ended = run(&args, &mut out);
    let flushed = out.flush().map_err(Failure::Output);
    match ended.and_then(|end| flushed.map(|()| end)) {
        Ok(end) => ExitCode::from(end as u8),
        Err(failure) => failure.report(&args, &mut out),
    }
}

/// How a command ended, as the tool's exit code. The rest are [`Failure`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done = 0,
    /// It was carried out, but what came of it is not what was asked for.
    Otherwise = 1,
    /// Wrong usage that clap does not see.
    Usage = 2,
    /// The transition runs on after the time that was to be waited.
    StillInTransition = 4,
}

/// Why there is no result.
enum Failure {
    Client(ClientError),
    Connect(io::Error),
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
            let answer = ask(args, &Request::List {})?;
            show::list(args, out, &answer)?;
            Ok(End::Done)
        }
        Command::Status => {
            let answer = ask(args, &Request::Status {})?;
            show::status(args, out, &answer)?;
            Ok(End::Done)
        }
        Command::Load { file, wait } => change::load(args, out, file, *wait),
        Command::Disable { name, wait } => change::disable(args, out, name, *wait),
        Command::Reverse { name } => change::reverse(args, out, name),
        Command::Force { name, yes } => change::force(args, out, name, *yes),
        Command::Watch { name, follow, interval } => watch::watch(args, out, name.as_deref(), *follow, *interval),
    }
}

fn connect(args: &Args) -> Result<Client, Failure> {
    let mut client = Client::connect(args.socket()).map_err(Failure::Connect)?;
    client.set_timeout(Some(args.timeout));
    Ok(client)
}

fn ask(args: &Args, request: &Request) -> Result<Answer, Failure> {
    Ok(connect(args)?.request(request)?)
}

impl Failure {
    /// Says it on standard error; with `--json`, a service's refusal and whatever else as an object on standard output.
    fn report(self, args: &Args, out: &mut impl Write) -> ExitCode {
        let (end, code, message) = match self {
            // Whoever reads has seen enough, as `head` does.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Self::Output(error) => (1, None, format!("cannot write: {error}")),
            Self::Connect(error) => {
                let message = format!("cannot connect to {}: {error}", args.socket().display());
                (3, Some("cannot_connect"), message)
            }
            Self::Client(ClientError::Refused(refused)) => {
                if args.json
                    && let Ok(json) = Answer::Error(refused.clone()).to_json()
                {
                    let _ = writeln!(out, "{json}").and_then(|()| out.flush());
                }
                (1, None, refused.message)
            }
            Self::Client(error) => (3, Some("no_answer"), error.to_string()),
        };
        if args.json
            && let Some(code) = code
        {
            let json = serde_json::json!({"answer": "error", "code": code, "message": message});
            let _ = writeln!(out, "{json}").and_then(|()| out.flush());
        }
        let _ = writeln!(io::stderr(), "livepatch: {}", text::plain(&message));
        ExitCode::from(end)
    }
}
