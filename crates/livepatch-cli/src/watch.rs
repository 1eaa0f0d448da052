//! Watching a transition.

use std::io::Write;
use std::time::Duration;

use livepatch::control::{Answer, ClientError};

use crate::args::Args;
use crate::end::{End, Failure};
use crate::service::connect;
use crate::{show, text};

pub(crate) fn watch(
    args: &Args,
    out: &mut impl Write,
    name: Option<&str>,
    follow: bool,
    interval: Duration,
) -> Result<End, Failure> {
    let mut in_transition = false;
    for answer in connect(args)?.watch(name, Some(interval))? {
        let answer = answer?;
        if args.json {
            show::json(out, &answer)?;
        } else {
            print_answer(out, &answer, in_transition)?;
        }
        // So that the reader of a pipe sees each line at once; and a closed pipe is noticed here.
        out.flush()?;
        if let Answer::Transition { transition, .. } = &answer {
            in_transition = transition.is_some();
            if !in_transition && !follow {
                return Ok(End::Done);
            }
        }
    }
    Err(ClientError::Closed.into())
}

fn print_answer(out: &mut impl Write, answer: &Answer, in_transition: bool) -> Result<(), Failure> {
    match answer {
        Answer::Event { event } => writeln!(out, "{}", text::plain(&event.to_string()))?,
        Answer::Missed { events } => writeln!(out, "({events} events were missed)")?,
        Answer::Transition {
            transition: Some(transition),
            held_up_by,
        } => {
            writeln!(out, "{}", text::transition(transition))?;
            for task in held_up_by {
                writeln!(out, "  {}", text::task(task))?;
            }
        }
        Answer::Transition { transition: None, .. } if in_transition => writeln!(out, "the transition has ended")?,
        Answer::Transition { transition: None, .. } => writeln!(out, "no patch is in transition")?,
        _ => {}
    }
    Ok(())
}
