//! The tool as a process, run against a service, which is this test's own process.

mod scripts;

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use livepatch::control::Control;
use livepatch::{ObjectPatch, Patch, State, patchable, registry, unit};
use parking_lot::{Mutex, MutexGuard};
use tempfile::TempDir;

#[patchable]
fn answer() -> u32 {
    41
}

fn mended() -> u32 {
    42
}

/// A time that only a defect exceeds.
const LONG: Duration = Duration::from_secs(60);

const TOOL: &str = env!("CARGO_BIN_EXE_livepatch");

/// A service, for one test at a time, as the process has one registry. Leaves nothing enabled.
struct Service {
    control: Option<Control>,
    directory: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// Loads the patch that is named like the file.
fn load(path: &Path) -> Result<String, Box<dyn Error + Send + Sync>> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or("no name")?;
    if name.starts_with("bad") {
        return Err("not a patch\u{1b}[2J".into());
    }
    let program = ObjectPatch::program().function::<answer>(mended);
    let module = ObjectPatch::module("absent").post_patch(|_| {});
    let patch = Patch::builder(name).object(program).object(module);
    registry().enable(&patch.state(State::new(7, 1)).build()?)?;
    Ok(name.to_owned())
}

impl Service {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock();
        let directory = TempDir::new().unwrap();
        let control = Control::builder(directory.path().join("control"))
            .loader(load)
            .bind()
            .unwrap();
        Self {
            control: Some(control),
            directory,
            _alone: alone,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    fn tool(&self, arguments: &[&str]) -> Command {
        self.to_run(Command::new(TOOL), arguments)
    }

    fn to_run(&self, mut tool: Command, arguments: &[&str]) -> Command {
        tool.env("LIVEPATCH_SOCKET", self.path()).args(arguments);
        tool.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        tool.current_dir(self.directory.path());
        tool
    }

    /// Runs the tool, and returns its output and exit code.
    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.tool(arguments).output().unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.control.take());
        for patch in registry().status().patches {
            let _ = registry().disable(&patch.name);
            registry().wait(LONG).unwrap();
        }
    }
}

#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn json(&self) -> serde_json::Value {
        assert_eq!(self.out.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// Asserts the exit code, and that nothing is printed on standard error if it is 0.
    #[track_caller]
    fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
        assert_eq!([0, 4, 6].contains(&code), self.err.is_empty(), "{self:?}");
        self
    }
}

/// A thread in a unit, which holds up transitions until it is dropped.
struct Busy(Option<(Sender<()>, JoinHandle<()>)>);

impl Busy {
    fn new(name: &str) -> Self {
        let (leave, told) = channel();
        let (inside, entered) = channel();
        let busy = move || {
            let _unit = unit();
            inside.send(()).unwrap();
            let _ = told.recv();
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(busy).unwrap();
        entered.recv().unwrap();
        Self(Some((leave, thread)))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some((leave, thread)) = self.0.take() {
            drop(leave);
            thread.join().unwrap();
        }
    }
}

#[test]
fn a_patch_is_loaded_listed_and_disabled() {
    let service = Service::new();
    assert_eq!(service.run(&["list"]).with(0).out, "no patch is enabled\n");
    // A relative path is relative to the tool's directory, not to the service's.
    let loaded = service.run(&["load", "fix", "--wait", "60"]).with(0);
    assert_eq!(loaded.out, "patch 'fix' is enabled\n");
    assert_eq!(answer(), 42);
    let list = service.run(&["list"]).with(0).out;
    let cells: Vec<Vec<_>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        cells[0],
        [
            "ORDER",
            "PATCH",
            "ENABLED",
            "TRANSITION",
            "REPLACE",
            "FORCED",
            "OBJECTS"
        ]
    );
    assert_eq!(cells[1], ["1", "fix", "yes", "no", "no", "no", "program", "(absent)"]);
    assert_eq!(cells.len(), 2);
    let disabled = service.run(&["disable", "fix", "--wait"]).with(0);
    assert_eq!(disabled.out, "patch 'fix' is disabled\n");
    assert_eq!(answer(), 41);
}

#[test]
fn the_status_shows_all() {
    let service = Service::new();
    service.run(&["load", "first", "--wait"]).with(0);
    let _busy = Busy::new("slow \u{1b}[31m");
    let loading = service.run(&["load", "/x/second"]).with(0);
    assert!(
        loading
            .out
            .starts_with("patch 'second' is in transition (patching) for "),
        "{loading:?}"
    );
    assert!(
        loading
            .out
            .contains("held up by 1 task\n  slow \\u{1b}[31m (thread): inside for "),
        "{loading:?}"
    );
    assert!(loading.out.contains("main.rs:"), "{loading:?}");
    let status = service.run(&["status"]).with(0).out;
    for wanted in [
        "PATCHED",
        "answer",
        "HELD",
        "ENTERED AT",
        "main.rs:",
        "slow \\u{1b}[31m",
        "unpatched",
    ] {
        assert!(status.contains(wanted), "no {wanted} in\n{status}");
    }
    assert!(!status.contains('\u{1b}'), "{status:?}");
    let json = service.run(&["--json", "status"]).with(0).json();
    assert_eq!(json["answer"], "status");
    assert_eq!(json["status"]["patches"][1]["stack_order"], 2);
    assert_eq!(json["status"]["transition"]["tasks_left"], 1);
}

#[test]
fn json_is_the_services_answers() {
    let service = Service::new();
    let loaded = service.run(&["load", "fix", "--wait", "--json"]).with(0).json();
    assert_eq!(
        (loaded["answer"].as_str(), loaded["enabled"].as_bool()),
        (Some("changed"), Some(true))
    );
    let list = service.run(&["list", "--json"]).with(0).json();
    assert_eq!(list["patches"][0]["name"], "fix");
    let refused = service.run(&["--json", "reverse", "fix"]).with(1).json();
    assert_eq!(
        (refused["answer"].as_str(), refused["code"].as_str()),
        (Some("error"), Some("not_in_transition"))
    );
    let disabled = service.run(&["--json", "disable", "fix", "--wait=60"]).with(0).json();
    assert_eq!(disabled["enabled"], false);
}

#[test]
fn what_the_service_refuses_is_1() {
    let service = Service::new();
    for arguments in [&["reverse", "nothing"][..], &["force", "nothing", "--yes"]] {
        let refused = service.run(arguments).with(1);
        assert_eq!(refused.err, "livepatch: no patch named `nothing` is enabled\n");
        assert!(refused.out.is_empty());
    }
    let refused = service.run(&["load", "bad.so"]).with(1);
    assert_eq!(refused.err, "livepatch: not a patch\\u{1b}[2J\n");
}

#[test]
fn wrong_usage_is_2() {
    let service = Service::new();
    for arguments in [
        &[][..],
        &["reboot"],
        &["load"],
        &["disable"],
        &["disable", "a", "b"],
        &["disable", "a", "--wait=-1"],
        &["force", "fix"],
        &["watch", "--interval", "often"],
    ] {
        service.run(arguments).with(2);
    }
    let mut without = service.tool(&["list"]);
    let ended = Ended::of(without.env_remove("LIVEPATCH_SOCKET").output().unwrap()).with(2);
    assert!(ended.err.contains("LIVEPATCH_SOCKET"), "{ended:?}");
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let mut tool = service.tool(&["load"]);
        let ended = tool.arg(std::ffi::OsStr::from_bytes(b"\xff")).output().unwrap();
        Ended::of(ended).with(2);
    }
}

#[test]
fn no_service_is_3() {
    let service = Service::new();
    let other = service.directory.path().join("stale");
    drop(UnixListener::bind(&other).unwrap());
    let stale = service.run(&["--socket", other.to_str().unwrap(), "list"]).with(3);
    assert!(stale.err.contains("cannot connect to"), "{stale:?}");
    // A service that hangs, and ones that send nonsense.
    std::fs::remove_file(&other).unwrap();
    let listener = UnixListener::bind(&other).unwrap();
    let hangs = service
        .run(&["--socket", other.to_str().unwrap(), "--timeout", "0.05", "list"])
        .with(3);
    assert!(hangs.err.contains("in time"), "{hangs:?}");
    drop(listener.accept().unwrap());
    for nonsense in [
        &b""[..],
        b"\n",
        b"hello\n",
        b"{\"v\":1",
        b"\xff\n",
        b"{\"v\":1,\"answer\":\"weather\"}\n",
    ] {
        let mut tool = service
            .tool(&["--socket", other.to_str().unwrap(), "list"])
            .spawn()
            .unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        BufReader::new(&stream).read_line(&mut String::new()).unwrap();
        stream.write_all(nonsense).unwrap();
        drop(stream);
        drop(tool.stdin.take());
        Ended::of(tool.wait_with_output().unwrap()).with(3);
    }
}

#[test]
fn a_transition_that_lasts_is_4() {
    let service = Service::new();
    let busy = Busy::new("slow");
    let waited = service.run(&["load", "fix", "--wait", "0.05"]).with(4);
    assert!(waited.out.contains("in transition"), "{waited:?}");
    // Reversed, then forced.
    service.run(&["reverse", "fix"]).with(0);
    registry().wait(LONG).unwrap();
    service.run(&["load", "fix"]).with(0);
    assert_eq!(
        service.run(&["force", "fix", "--yes"]).with(0).out,
        "patch 'fix' is enabled\n"
    );
    let waited = service.run(&["disable", "fix", "--wait", "0", "--json"]).with(4).json();
    assert_eq!(waited["held_up_by"][0]["name"], "slow");
    drop(busy);
    registry().wait(LONG).unwrap();
    assert!(registry().status().patches.is_empty());
}

#[test]
fn a_watch_ends_with_the_transition() {
    let service = Service::new();
    assert_eq!(service.run(&["watch"]).with(0).out, "no patch is in transition\n");
    let busy = Busy::new("slow");
    service.run(&["load", "fix"]).with(0);
    let mut watch = service.tool(&["watch", "fix", "--interval", "0.01"]).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().starts_with("patch 'fix' is in transition (patching)"));
    assert!(next().starts_with("  slow (thread): inside for "));
    assert!(next().starts_with("patch 'fix' is in transition (patching)"));
    drop(busy);
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert!(rest.contains(&"'fix': patching complete".to_owned()), "{rest:?}");
    assert_eq!(rest.last().unwrap(), "the transition has ended");
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}

#[test]
fn following_goes_on_in_json_until_the_service_ends() {
    let mut service = Service::new();
    let mut watch = service.tool(&["watch", "--follow", "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert!(next()["transition"].is_null());
    for name in ["one", "two"] {
        service.run(&["load", name, "--wait"]).with(0);
        loop {
            let answer = next();
            if answer["event"]["event"] == "complete" && answer["event"]["patch"] == name {
                break;
            }
        }
    }
    drop(service.control.take());
    assert_eq!(watch.wait().unwrap().code(), Some(3));
}

#[test]
fn a_reader_may_go() {
    let service = Service::new();
    let mut list = service.tool(&["list"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = list.stdout(writer).output().unwrap();
    Ended::of(ended).with(0);
    let mut watch = service.tool(&["watch", "--follow"]).spawn().unwrap();
    let mut stdout = watch.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdout);
    // The tool only notices the closed pipe when it has something to print.
    while watch.try_wait().unwrap().is_none() {
        service.run(&["load", "fix", "--wait"]).with(0);
        service.run(&["disable", "fix", "--wait"]).with(0);
    }
    Ended::of(watch.wait_with_output().unwrap()).with(0);
}

#[test]
fn ctrl_c_ends_a_watch() {
    use std::os::unix::process::ExitStatusExt;
    let service = Service::new();
    // If the tests run as a background job, all their processes ignore the signal.
    let mut listens = Command::new("env");
    listens.args(["--default-signal=INT", TOOL]);
    let mut watch = service.to_run(listens, &["watch", "--follow"]).spawn().unwrap();
    watch.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let process = rustix::process::Pid::from_child(&watch);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    assert_eq!(watch.wait().unwrap().signal(), Some(2));
    assert_eq!(service.run(&["list"]).with(0).out, "no patch is enabled\n");
}

/// Answers the confirmation of `force` on a terminal.
fn force_on_a_terminal(service: &Service, answer: &str) -> Ended {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let terminal = std::fs::File::options().read(true).write(true).open(name).unwrap();
    std::fs::File::from(master.try_clone().unwrap())
        .write_all(answer.as_bytes())
        .unwrap();
    let mut tool = service.tool(&["force", "fix"]);
    Ended::of(tool.stdin(terminal).output().unwrap())
}

#[test]
fn force_asks_on_a_terminal() {
    let service = Service::new();
    let _busy = Busy::new("slow");
    service.run(&["load", "fix"]).with(0);
    let refused = force_on_a_terminal(&service, "n\n");
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("[y/N]") && refused.err.contains("not forced"),
        "{refused:?}"
    );
    assert!(registry().status().transition.is_some());
    let forced = force_on_a_terminal(&service, "y\n");
    assert_eq!(
        (forced.code, forced.out.as_str()),
        (Some(0), "patch 'fix' is enabled\n")
    );
    assert!(registry().status().transition.is_none());
}

#[test]
fn help_and_completions_need_no_service() {
    let service = Service::new();
    let mut help = service.tool(&["--help"]);
    let help = Ended::of(help.env_remove("LIVEPATCH_SOCKET").output().unwrap()).with(0);
    assert!(
        help.out.contains("Examples:") && help.out.contains("Exit codes:"),
        "{help:?}"
    );
    for command in [
        "list",
        "status",
        "load",
        "disable",
        "reverse",
        "force",
        "watch",
        "completions",
    ] {
        assert!(help.out.contains(command), "{command}");
        service.run(&[command, "--help"]).with(0);
    }
    for shell in ["bash", "zsh", "fish"] {
        let mut script = service.tool(&["completions", shell]);
        let script = Ended::of(script.env_remove("LIVEPATCH_SOCKET").output().unwrap()).with(0);
        assert!(script.out.contains("disable"), "{shell}");
    }
    assert!(service.run(&["--version"]).with(0).out.starts_with("livepatch "));
}
