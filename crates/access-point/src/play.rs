//! The operator's actions: lists patches, loads a patch, loads the next, disables it, lists again.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use serde_json::Value;

use crate::Options;
use crate::build::Programs;

/// How long a transition, or the service's start, may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Runs the service and patches it. Returns whether all went well.
pub(crate) fn play(options: &Options, programs: &Programs) -> Result<bool> {
    let directory = tempfile::tempdir().context("a directory for the control socket")?;
    let operator = Operator {
        programs,
        socket: directory.path().join("control"),
        quiet: options.quiet,
    };
    let mut service = Service::start(options, programs, &operator.socket)?;
    operator.wait_for_socket(&mut service)?;

    let each = Duration::from_secs(options.seconds);
    operator.pass(each, "unpatched: frames are lost");
    operator.load("ps-race")?;
    operator.pass(each, "ps-race: a lock for each station");
    operator.load("ps-race-2")?;
    operator.expect(&["ps-race-2"])?;
    operator.pass(each, "ps-race-2: counts what the locks save");
    operator.show(&["disable", "ps-race-2", "--wait", &TIMEOUT.as_secs().to_string()])?;
    operator.expect(&[])?;
    operator.pass(each, "unpatched again");
    service.end()
}

/// An operator, who has the tool and the socket.
struct Operator<'p> {
    programs: &'p Programs,
    socket: PathBuf,
    quiet: bool,
}

impl Operator<'_> {
    /// Runs the tool, and prints its output.
    fn show(&self, arguments: &[&str]) -> Result<()> {
        let output = self.tool(arguments)?;
        if !self.quiet {
            println!("$ livepatch {}\n{output}", arguments.join(" "));
        }
        Ok(())
    }

    /// Loads a patch, and lists the enabled ones.
    fn load(&self, package: &str) -> Result<()> {
        let file = self.programs.patch(package);
        let file = file.to_str().context("a path that is text")?;
        let output = self.tool(&["load", file, "--wait", &TIMEOUT.as_secs().to_string()])?;
        if !self.quiet {
            let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy();
            println!("$ livepatch load {name} --wait {}\n{output}", TIMEOUT.as_secs());
        }
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
            if let Some(status) = service.child.try_wait()? {
                bail!("the service ended immediately: {status}");
            }
            ensure!(started.elapsed() < TIMEOUT, "the service created no control socket");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits, with a progress bar on a terminal.
    fn pass(&self, time: Duration, what: &'static str) {
        let bar = match self.quiet {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(time.as_millis() as u64).with_message(what),
        };
        if !self.quiet {
            println!("… {what}, {} s\n", time.as_secs());
        }
        let started = Instant::now();
        while started.elapsed() < time {
            bar.set_position(started.elapsed().as_millis() as u64);
            thread::sleep(Duration::from_millis(20));
        }
        bar.finish_and_clear();
    }
}

/// The access point's process.
struct Service {
    child: Child,
}

impl Service {
    fn start(options: &Options, programs: &Programs, socket: &Path) -> Result<Self> {
        let mut command = programs.command("access-point-service");
        command.arg("--socket").arg(socket);
        command.args(["--stations", &options.stations.to_string()]);
        command.args(["--threads", &options.threads.to_string()]);
        command.args(["--seed", &options.seed.to_string()]);
        if options.quiet {
            command.arg("--quiet");
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Ok(Self {
            child: child.context("starting the service")?,
        })
    }

    /// Ends the service, and prints its report. Returns whether all went well.
    fn end(mut self) -> Result<bool> {
        drop(self.child.stdin.take());
        let mut report = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut report)?;
        }
        print!("{report}");
        Ok(self.child.wait()?.success())
    }
}

impl Drop for Service {
    /// Ends the service after an error.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
