//! The operator's tool: inspects and changes the live patches of a running service, over its control socket.

#[cfg(not(target_os = "linux"))]
compile_error!("control sockets of livepatch are for Linux");

mod args;
mod change;
mod end;
mod service;
mod show;
mod text;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use livepatch::control::Request;

use args::{Args, Command};
use end::{End, Failure, end_with};
use service::send_request;

fn main() -> ExitCode {
    let args = Args::try_parse().unwrap_or_else(|error| end_with(&error));
    let mut out = io::BufWriter::new(io::stdout().lock());
    let ended = run(&args, &mut out);
    let flushed = out.flush().map_err(Failure::Output);
    match ended.and_then(|end| flushed.map(|()| end)) {
        Ok(end) => ExitCode::from(end as u8),
        Err(failure) => failure.report(args.json, &mut out),
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
