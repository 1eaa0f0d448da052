//! The commands that change something.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use livepatch::control::{Answer, Change, ClientError, ErrorCode, Request};

use crate::args::Args;
use crate::{End, Failure, ask, text};

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
    let answer = ask(
        args,
        &Request::Load {
            path: path.to_owned(),
            wait_ms: wait.map(millis),
            or_reverse,
        },
    )
    .map_err(|failure| already(failure, &[ErrorCode::AlreadyEnabled]))?;
    tell(args, out, &answer, Some(true), wait.is_some())
}

pub(crate) fn disable(
    args: &Args,
    out: &mut impl Write,
    name: &str,
    wait: Option<Duration>,
    or_reverse: bool,
) -> Result<End, Failure> {
    let answer = ask(
        args,
        &Request::Disable {
            patch: name.to_owned(),
            wait_ms: wait.map(millis),
            or_reverse,
        },
    )
    .map_err(|failure| already(failure, &[ErrorCode::UnknownPatch, ErrorCode::AlreadyDisabled]))?;
    tell(args, out, &answer, Some(false), wait.is_some())
}

pub(crate) fn reverse(args: &Args, out: &mut impl Write, name: &str) -> Result<End, Failure> {
    let patch = name.to_owned();
    let answer = ask(args, &Request::Reverse { patch })?;
    tell(args, out, &answer, None, false)
}

pub(crate) fn force(args: &Args, out: &mut impl Write, name: &str, yes: bool) -> Result<End, Failure> {
    if !yes {
        if !io::stdin().is_terminal() {
            let message = "forcing is not asked for on a terminal: give --yes";
            return Err(Failure::Usage(message.to_owned()));
        }
        if !confirm(&mut io::stdin().lock(), &mut io::stderr(), name)? {
            let _ = writeln!(io::stderr(), "livepatch: not forced");
            return Ok(End::Otherwise);
        }
    }
    let patch = name.to_owned();
    let answer = ask(args, &Request::Force { patch })?;
    tell(args, out, &answer, None, false)
}

/// Only a plain yes is one.
fn confirm(from: &mut impl BufRead, to: &mut impl Write, name: &str) -> io::Result<bool> {
    writeln!(
        to,
        "Units of work that hold the transition of '{}' up will go over in the middle of their work,",
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

/// Says how the patch is now, and whether that is what was wanted.
fn tell(
    args: &Args,
    out: &mut impl Write,
    answer: &Answer,
    wanted: Option<bool>,
    waited: bool,
) -> Result<End, Failure> {
    let Answer::Changed(change) = answer else {
        let message = "not what was asked for".to_owned();
        return Err(ClientError::Protocol(message).into());
    };
    if args.json {
        writeln!(out, "{}", answer.to_json().map_err(io::Error::other)?)?;
    } else {
        say(out, change)?;
    }
    Ok(match &change.transition {
        _ if change.reversed => End::Reversed,
        Some(_) if waited => End::StillInTransition,
        Some(_) => End::Done,
        // Somebody else has reversed it meanwhile.
        None if wanted.is_some_and(|wanted| wanted != change.enabled) => End::Otherwise,
        None => End::Done,
    })
}

fn say(out: &mut impl Write, change: &Change) -> io::Result<()> {
    let name = text::plain(&change.patch);
    if change.reversed {
        writeln!(
            out,
            "the transition of patch '{name}' was not over in time, and was reversed"
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

/// A refusal of these kinds says that nothing had to be done.
fn already(failure: Failure, codes: &[ErrorCode]) -> Failure {
    match failure {
        Failure::Client(ClientError::Refused(refused)) if codes.contains(&refused.code) => Failure::AlreadySo(refused),
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
