//! The operator's actions: lists patches, loads a patch, loads the next, disables it, lists again.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::build::Programs;
use crate::options::Options;
use crate::screen::{Phase, Screen};

/// How long a transition, or the service's start, may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All went well.
    Passed,
    /// Frames were lost while patched, or something of a patch was left.
    Failed,
    /// A signal ended the run early.
    Interrupted,
}

/// Runs the service and patches it.
pub(crate) fn play(options: &Options, programs: &Programs) -> Result<Outcome> {
    let signalled = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        // The second one ends the process at once.
        flag::register_conditional_default(signal, Arc::clone(&signalled))?;
        flag::register(signal, Arc::clone(&signalled))?;
    }
    let directory = tempfile::tempdir().context("a directory for the control socket")?;
    let screen = Arc::new(Screen::new(options.quiet));
    let operator = Operator {
        programs,
        socket: directory.path().join("control"),
        screen: &screen,
        signalled: &signalled,
    };
    let mut service = Service::start(options, programs, &operator.socket, &screen)?;
    let acted = operator.act(&mut service, Duration::from_secs(options.seconds));
    if let Err(error) = acted {
        // A signal reaches the tool and the service, too: what fails then is no error.
        if !operator.is_over() {
            return Err(error);
        }
    }
    let (report, passed) = service.end()?;
    screen.finish();
    let interrupted = signalled.load(Ordering::Relaxed);
    if interrupted {
        screen.result("interrupted; until then:\n");
    }
    screen.result(&report);
    Ok(match (interrupted, passed) {
        (true, _) => Outcome::Interrupted,
        (false, true) => Outcome::Passed,
        (false, false) => Outcome::Failed,
    })
}

/// An operator, who has the tool and the socket.
struct Operator<'p> {
    programs: &'p Programs,
    socket: PathBuf,
    screen: &'p Screen,
    /// Set by a signal.
    signalled: &'p AtomicBool,
}

impl Operator<'_> {
    /// Loads and disables the patches, each after this time. Returns early if the run [is over](Self::is_over).
    fn act(&self, service: &mut Service, each: Duration) -> Result<()> {
        self.wait_for_socket(service)?;
        self.pass(service, each, "unpatched: frames are lost")?;
        self.load("ps-race")?;
        self.pass(service, each, "ps-race: a lock for each station")?;
        self.load("ps-race-2")?;
        self.expect(&["ps-race-2"])?;
        self.pass(service, each, "ps-race-2: counts what the locks save")?;
        self.show(&["disable", "ps-race-2", "--wait", &TIMEOUT.as_secs().to_string()])?;
        self.expect(&[])?;
        self.pass(service, each, "unpatched again")
    }

    /// Returns whether the run is to end early: a signal has come, or the output has no reader any more.
    fn is_over(&self) -> bool {
        self.signalled.load(Ordering::Relaxed) || self.screen.is_closed()
    }

    /// Runs the tool, and prints its output.
    fn show(&self, arguments: &[&str]) -> Result<()> {
        let output = self.tool(arguments)?;
        self.screen
            .say(&format!("$ livepatch {}\n{output}", arguments.join(" ")));
        Ok(())
    }

    /// Loads a patch, and lists the enabled ones.
    fn load(&self, package: &str) -> Result<()> {
        let file = self.programs.patch(package);
        let file = file.to_str().context("a path that is text")?;
        let output = self.tool(&["load", file, "--wait", &TIMEOUT.as_secs().to_string()])?;
        let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy();
        let seconds = TIMEOUT.as_secs();
        self.screen
            .say(&format!("$ livepatch load {name} --wait {seconds}\n{output}"));
        self.show(&["list"])
    }

    fn tool(&self, arguments: &[&str]) -> Result<String> {
        let output = self
            .programs
            .command("livepatch")
            .arg("--socket")
            .arg(&self.socket)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("running livepatch")?;
        if output.status.signal() == Some(SIGINT) {
            self.signalled.store(true, Ordering::Relaxed);
        }
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("livepatch {}: {}: {}", arguments.join(" "), output.status, said.trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Checks that these patches are enabled, and no others.
    fn expect(&self, names: &[&str]) -> Result<()> {
        let answer: Value = serde_json::from_str(&self.tool(&["--json", "list"])?)?;
        let patches = answer["patches"].as_array().context("an answer without patches")?;
        let there: Vec<&str> = patches.iter().filter_map(|patch| patch["name"].as_str()).collect();
        ensure!(there == names, "patches {there:?} are enabled, expected {names:?}");
        Ok(())
    }

    fn wait_for_socket(&self, service: &mut Service) -> Result<()> {
        let started = Instant::now();
        while !self.socket.exists() {
            self.check(service)?;
            ensure!(started.elapsed() < TIMEOUT, "the service created no control socket");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits, while the live counters are shown.
    fn pass(&self, service: &mut Service, time: Duration, what: &str) -> Result<()> {
        self.screen.say(&format!("… {what}, {} s\n", time.as_secs()));
        let started = Instant::now();
        while started.elapsed() < time {
            self.check(service)?;
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Returns an error if the run is over, or the service has ended.
    fn check(&self, service: &mut Service) -> Result<()> {
        ensure!(!self.is_over(), "interrupted");
        if let Some(status) = service.child.try_wait()? {
            bail!("the service has ended: {status}");
        }
        Ok(())
    }
}

/// The access point's process.
struct Service {
    child: Child,
    /// Shows the live counters; returns the other lines, which are the report.
    reader: Option<JoinHandle<String>>,
}

impl Service {
    fn start(options: &Options, programs: &Programs, socket: &Path, screen: &Arc<Screen>) -> Result<Self> {
        let mut command = programs.command("access-point-service");
        command.arg("--socket").arg(socket);
        command.args(["--stations", &options.stations.to_string()]);
        command.args(["--threads", &options.threads.to_string()]);
        command.args(["--seed", &options.seed.to_string()]);
        command.arg(if options.quiet { "--quiet" } else { "--live" });
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.context("starting the service")?;
        let stdout = child.stdout.take().context("the service's output")?;
        let screen = Arc::clone(screen);
        let reader = Some(thread::spawn(move || read(stdout, &screen)));
        Ok(Self { child, reader })
    }

    /// Ends the service. Returns its report, and whether all went well.
    fn end(mut self) -> Result<(String, bool)> {
        drop(self.child.stdin.take());
        let report = self.reader.take().map(JoinHandle::join).transpose();
        let report = report.map_err(|_| anyhow!("the thread that reads the report has panicked"))?;
        Ok((report.unwrap_or_default(), self.child.wait()?.success()))
    }
}

/// Shows the live counters until the service ends, and returns the rest of its output.
fn read(stdout: ChildStdout, screen: &Screen) -> String {
    let mut report = String::new();
    // An error ends the report; the service's exit status tells whether it is complete.
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        match Phase::parse(&line) {
            Some(phase) => screen.show(phase),
            None => report.extend([line.as_str(), "\n"]),
        }
    }
    report
}

impl Drop for Service {
    /// Ends the service after an error.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
