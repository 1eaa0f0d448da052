//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  export LIVEPATCH_SOCKET=/run/user/1000/shop/livepatch
  livepatch list
  livepatch load ./libfix.so --wait 10
  livepatch watch
  livepatch disable fix --wait
  livepatch --json status | jq '.status.tasks[] | select(.inside)'

Exit codes:
  0  done
  1  refused by the service, or the change did not end as requested
  2  wrong usage
  3  the service cannot be reached, is not trusted, or did not answer
  4  still in transition after --wait
  5  nothing to do: the patch to load is enabled, or the one to disable is not
  6  still in transition after --wait, and reversed because of --or-reverse";

/// Inspects and changes the live patches of a running service, over its control socket.
///
/// A patch replaces functions of the service while it runs. It takes effect by a transition: units of work (requests,
/// messages) that begin run the new functions, and units in progress finish with the old ones. A unit that takes long
/// holds up the transition; `watch` and `status` show which and where. A transition can be reversed or forced.
#[derive(Debug, Parser)]
#[command(name = "livepatch", version, about, long_about, after_long_help = EXAMPLES, after_help = "See --help for examples and exit codes.")]
pub(crate) struct Args {
    /// The service's control socket.
    #[arg(long, short, global = true, env = "LIVEPATCH_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// A user whose service is trusted, besides your own and root: a number, or a name in /etc/passwd.
    ///
    /// Needed if the service runs as another user, for instance when root runs this tool. The listening process must be
    /// of a trusted user, and so must the socket and all directories on the way to it, which others must not be able to
    /// write to.
    #[arg(long, short, global = true, env = "LIVEPATCH_USER", value_name = "USER", value_parser = user)]
    pub(crate) user: Option<u32>,
    /// Print JSON: the service's answers, one per line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How long to wait for an answer, in addition to --wait.
    #[arg(long, global = true, value_name = "SECS", default_value = "60", value_parser = seconds)]
    pub(crate) timeout: Duration,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the patches that are enabled or in transition, oldest first.
    List,
    /// Shows everything: patches with their functions and states, modules, the transition, and the tasks.
    Status,
    /// Loads a patch and enables it.
    ///
    /// The service loads it, with its own permissions; a relative path is made absolute here. Without --wait the command
    /// ends when the transition has begun.
    #[command(
        after_help = "Examples:\n  livepatch load ./libfix.so --wait 10\n  livepatch load ./libfix.so --wait 10 --or-reverse"
    )]
    Load {
        /// The patch: a shared library, or whatever the service's loader takes.
        file: PathBuf,
        /// Wait for the end of the transition, at most this long.
        #[arg(long, value_name = "SECS", num_args = 0..=1, default_missing_value = "30", value_parser = seconds)]
        wait: Option<Duration>,
        /// Reverse the transition if it has not ended by then, and wait for that, at most as long again.
        #[arg(long, requires = "wait")]
        or_reverse: bool,
    },
    /// Disables a patch. If it is still being enabled, that is reversed.
    #[command(after_help = "Example:\n  livepatch disable fix --wait 10")]
    Disable {
        /// The patch.
        name: String,
        /// Wait for the end of the transition, at most this long.
        #[arg(long, value_name = "SECS", num_args = 0..=1, default_missing_value = "30", value_parser = seconds)]
        wait: Option<Duration>,
        /// Reverse the transition if it has not ended by then, and wait for that, at most as long again.
        #[arg(long, requires = "wait")]
        or_reverse: bool,
    },
    /// Reverses the running transition of a patch.
    Reverse {
        /// The patch.
        name: String,
    },
    /// Ends the running transition of a patch now, in the middle of units of work.
    ///
    /// Units that hold it up are moved over in the middle of their work, and may see both versions. Code that they may
    /// still be running is never unloaded. Asks for confirmation on a terminal; without one, --yes is required.
    #[command(after_help = "Example:\n  livepatch watch fix      # what holds it up, and where\n  livepatch force fix")]
    Force {
        /// The patch.
        name: String,
        /// Do not ask for confirmation.
        #[arg(long, short)]
        yes: bool,
    },
    /// Shows the running transition, the tasks that hold it up, and events, until the transition ends.
    #[command(after_help = "Examples:\n  livepatch watch\n  livepatch --json watch --follow | jq 'select(.event)'")]
    Watch {
        /// Only this patch.
        name: Option<String>,
        /// Continue when the transition ends, and wait for one if none is running.
        #[arg(long, short)]
        follow: bool,
        /// How often the transition is shown.
        #[arg(long, value_name = "SECS", default_value = "1", value_parser = seconds)]
        interval: Duration,
    },
    /// Prints a completion script for a shell.
    #[command(
        after_help = "Example:\n  livepatch completions bash > ~/.local/share/bash-completion/completions/livepatch"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

impl Args {
    /// Returns the socket's path. If there is none, ends the program as clap does.
    pub(crate) fn socket(&self) -> &Path {
        self.socket.as_deref().unwrap_or_else(|| {
            let message = "no control socket: give --socket PATH, or set LIVEPATCH_SOCKET";
            crate::end::end_with(&Self::command().error(ErrorKind::MissingRequiredArgument, message))
        })
    }
}

fn user(text: &str) -> Result<u32, String> {
    text.parse().or_else(|_| {
        let users = std::fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
        number_of(text, &users).ok_or_else(|| "no such user in /etc/passwd".to_owned())
    })
}

/// Returns a user's number, from lines like those of `/etc/passwd`.
fn number_of(name: &str, users: &str) -> Option<u32> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds() {
        Args::command().debug_assert();
    }

    #[test]
    fn users_have_numbers() {
        let users = "root:x:0:0:root:/root:/bin/sh\nshop:x:998:997::/srv:/bin/false\nbroken:x\nodd:x:no:1::/:\n";
        assert_eq!(number_of("shop", users), Some(998));
        for none in ["sho", "shop:x", "broken", "odd", "x", ""] {
            assert_eq!(number_of(none, users), None, "{none}");
        }
        assert_eq!(user("998"), Ok(998));
        assert!(user("-1").is_err() && user("4294967296").is_err());
    }

    #[test]
    fn reversing_is_after_waiting() {
        let parse = |line: &[&str]| Args::try_parse_from(line).map(drop).map_err(|error| error.kind());
        let without = ["livepatch", "load", "x", "--or-reverse"];
        assert_eq!(parse(&without), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(
            parse(&["livepatch", "load", "x", "--wait", "1", "--or-reverse"]),
            Ok(())
        );
        assert_eq!(parse(&["livepatch", "disable", "x", "--wait", "--or-reverse"]), Ok(()));
    }

    #[test]
    fn waiting_has_a_default_and_takes_parts_of_seconds() {
        let wait = |line: &[&str]| match Args::try_parse_from(line).map(|args| args.command) {
            Ok(Command::Disable { wait, .. }) => Ok(wait),
            Ok(_) => unreachable!("only disable is parsed here"),
            Err(error) => Err(error.kind()),
        };
        assert_eq!(wait(&["livepatch", "disable", "p"]), Ok(None));
        assert_eq!(
            wait(&["livepatch", "disable", "p", "--wait"]),
            Ok(Some(Duration::from_secs(30)))
        );
        assert_eq!(
            wait(&["livepatch", "disable", "--wait=0.5", "p"]),
            Ok(Some(Duration::from_millis(500)))
        );
        for bad in ["-1", "x", "inf", "nan", "1e300"] {
            let line = ["livepatch", "disable", "p", &format!("--wait={bad}")];
            assert_eq!(wait(&line), Err(ErrorKind::ValueValidation), "{bad}");
        }
    }
}
