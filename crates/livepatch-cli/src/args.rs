//! What can be said on the command line.

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
  1  refused by the service, or the change did not end as asked
  2  wrong usage
  3  the service cannot be reached, or gave no answer
  4  still in transition after --wait";

/// Sees and changes the live patches of a running service, over its control socket.
///
/// A patch replaces functions of the service while it runs. It comes into effect by a transition: units of work (requests,
/// messages) that begin run the new functions, those inside finish with the old ones. A unit that takes long holds the
/// transition up; `watch` and `status` say which and where. A transition can be reversed, or forced.
#[derive(Debug, Parser)]
#[command(name = "livepatch", version, about, long_about, after_long_help = EXAMPLES, after_help = "See --help for examples and exit codes.")]
pub(crate) struct Args {
    /// The service's control socket.
    #[arg(long, short, global = true, env = "LIVEPATCH_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Print JSON: the service's answers, one on a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How long to wait for an answer, beside --wait.
    #[arg(long, global = true, value_name = "SECS", default_value = "60", value_parser = seconds)]
    pub(crate) timeout: Duration,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The patches that are enabled or in transition, oldest first.
    List,
    /// Everything: patches with their functions and states, modules, the transition, and the tasks.
    Status,
    /// Loads a patch and enables it.
    ///
    /// The service loads it, with its own rights; a relative path is made absolute here. Without --wait the command ends when
    /// the transition has begun.
    #[command(after_help = "Example:\n  livepatch load ./libfix.so --wait 10")]
    Load {
        /// The patch: a shared library, or whatever the service's loader takes.
        file: PathBuf,
        /// Wait for the end of the transition, at most so long.
        #[arg(long, value_name = "SECS", num_args = 0..=1, default_missing_value = "30", value_parser = seconds)]
        wait: Option<Duration>,
    },
    /// Disables a patch. One whose enabling still runs is reversed.
    #[command(after_help = "Example:\n  livepatch disable fix --wait 10")]
    Disable {
        /// The patch.
        name: String,
        /// Wait for the end of the transition, at most so long.
        #[arg(long, value_name = "SECS", num_args = 0..=1, default_missing_value = "30", value_parser = seconds)]
        wait: Option<Duration>,
    },
    /// Lets the running transition of a patch go back.
    Reverse {
        /// The patch.
        name: String,
    },
    /// Ends the running transition of a patch now, in the middle of units of work.
    ///
    /// Units that hold it up go over in the middle of their work, and may see both versions. What they may still be running is
    /// never unloaded. Asks first on a terminal; without one, --yes must be given.
    #[command(after_help = "Example:\n  livepatch watch fix      # who holds it up, and where\n  livepatch force fix")]
    Force {
        /// The patch.
        name: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Shows the running transition, the tasks that hold it up, and what happens, until the transition ends.
    #[command(after_help = "Examples:\n  livepatch watch\n  livepatch --json watch --follow | jq 'select(.event)'")]
    Watch {
        /// Only this patch.
        name: Option<String>,
        /// Go on when the transition ends, and wait for one if none runs.
        #[arg(long, short)]
        follow: bool,
        /// How often the transition is shown.
        #[arg(long, value_name = "SECS", default_value = "1", value_parser = seconds)]
        interval: Duration,
    },
    /// Prints a script that completes this tool's arguments.
    #[command(
        after_help = "Example:\n  livepatch completions bash > ~/.local/share/bash-completion/completions/livepatch"
    )]
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

impl Args {
    /// The socket's path. Without one, ends the program as clap does.
    pub(crate) fn socket(&self) -> &Path {
        self.socket.as_deref().unwrap_or_else(|| {
            let message = "no control socket: give --socket PATH, or set LIVEPATCH_SOCKET";
            Self::command()
                .error(ErrorKind::MissingRequiredArgument, message)
                .exit()
        })
    }
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
