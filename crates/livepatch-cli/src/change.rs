//! The commands that change patches.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use livepatch::control::{Answer, Change, ClientError, ErrorCode, Request};

use crate::args::Args;
use crate::end::{End, Failure};
use crate::service::send_request;
use crate::text;

pub(crate) fn load(
    args: &Args,
    out: &mut impl Write,
    file: &Path,
    wait: Option<Duration>,
    or_reverse: bool,
) -> Result<End, Failure> {
    let absolute = match std::path::absolute(file) {
        Ok(path) => path,
        Err(error) => return Err(Failure::Usage(format!("{}: {error}", file.display()))),
    };
    let Some(path) = absolute.to_str() else {
        return Err(Failure::Usage(format!("{} is not UTF-8", file.display())));
    };
    let answer = send_request(
        args,
        &Request::Load {
            path: path.to_owned(),
            wait_ms: wait.map(millis),
            or_reverse,
        },
    )
    .map_err(|failure| nothing_to_do(failure, &[ErrorCode::AlreadyEnabled]))?;
    report(args, out, &answer, Some(true), wait.is_some())
}

pub(crate) fn disable(
    args: &Args,
    out: &mut impl Write,
    name: &str,
    wait: Option<Duration>,
    or_reverse: bool,
) -> Result<End, Failure> {
    let answer = send_request(
        args,
        &Request::Disable {
            patch: name.to_owned(),
            wait_ms: wait.map(millis),
            or_reverse,
        },
    )
    .map_err(|failure| nothing_to_do(failure, &[ErrorCode::UnknownPatch, ErrorCode::AlreadyDisabled]))?;
    report(args, out, &answer, Some(false), wait.is_some())
}

pub(crate) fn reverse(args: &Args, out: &mut impl Write, name: &str) -> Result<End, Failure> {
    let patch = name.to_owned();
    let answer = send_request(args, &Request::Reverse { patch })?;
    report(args, out, &answer, None, false)
}

pub(crate) fn force(args: &Args, out: &mut impl Write, name: &str, yes: bool) -> Result<End, Failure> {
    if !yes {
        if !io::stdin().is_terminal() {
            let message = "without a terminal, forcing requires --yes";
            return Err(Failure::Usage(message.to_owned()));
        }
        if !confirm(&mut io::stdin().lock(), &mut io::stderr(), name)? {
            let _ = writeln!(io::stderr(), "livepatch: not forced");
            return Ok(End::Unexpected);
        }
    }
    let patch = name.to_owned();
    let answer = send_request(args, &Request::Force { patch })?;
    report(args, out, &answer, None, false)
}

/// Asks for confirmation. Only a plain "yes" or "y" confirms.
fn confirm(from: &mut impl BufRead, to: &mut impl Write, name: &str) -> io::Result<bool> {
    writeln!(
        to,
        "Units of work that hold up the transition of '{}' will be moved over in the middle of their work,",
        text::plain(name)
    )?;
    writeln!(
        to,
        "and may see both versions. The code they may be in is never unloaded."
    )?;
    write!(to, "Force it? [y/N] ")?;
    to.flush()?;
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Prints the patch's status after the change, and returns whether it is the requested one.
fn report(
    args: &Args,
    out: &mut impl Write,
    answer: &Answer,
    wanted: Option<bool>,
    waited: bool,
) -> Result<End, Failure> {
    let Answer::Changed(change) = answer else {
        let message = "an answer to another request".to_owned();
        return Err(ClientError::Protocol(message).into());
    };
    if args.json {
        writeln!(out, "{}", answer.to_json().map_err(io::Error::other)?)?;
    } else {
        print_change(out, change)?;
    }
    Ok(match &change.transition {
        _ if change.reversed => End::Reversed,
        Some(_) if waited => End::StillInTransition,
        Some(_) => End::Done,
        // Another client has reversed it meanwhile.
        None if wanted.is_some_and(|wanted| wanted != change.enabled) => End::Unexpected,
        None => End::Done,
    })
}

fn print_change(out: &mut impl Write, change: &Change) -> io::Result<()> {
    let name = text::plain(&change.patch);
    if change.reversed {
        writeln!(
            out,
            "the transition of patch '{name}' did not end in time, and was reversed"
        )?;
    }
    match &change.transition {
        None if change.enabled => writeln!(out, "patch '{name}' is enabled"),
        None => writeln!(out, "patch '{name}' is disabled"),
        Some(transition) => {
            writeln!(out, "{}", text::transition(transition))?;
            change
                .held_up_by
                .iter()
                .try_for_each(|task| writeln!(out, "  {}", text::task(task)))
        }
    }
}

/// Turns a refusal of these kinds into a failure that says that there was nothing to do.
fn nothing_to_do(failure: Failure, codes: &[ErrorCode]) -> Failure {
    match failure {
        Failure::Client(ClientError::Refused(refused)) if codes.contains(&refused.code) => {
            Failure::NothingToDo(refused)
        }
        other => other,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_yes_confirms() {
        let said = |line: &str| {
            let mut asked = Vec::new();
            let yes = confirm(&mut line.as_bytes(), &mut asked, "a\u{1b}[2Jb").unwrap();
            let asked = String::from_utf8(asked).unwrap();
            assert!(asked.contains("[y/N]") && !asked.contains('\u{1b}'), "{asked}");
            yes
        };
        assert!(said("y\n") && said("YES\n") && said(" yes"));
        assert!(!said("") && !said("\n") && !said("n\n") && !said("yesterday\n"));
    }
}
