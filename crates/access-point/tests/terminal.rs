//! What the program shows and leaves: on a terminal, in a pipe that is closed, and when it is interrupted.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// The size of the terminal.
const COLUMNS: usize = 80;

/// One test at a time: they build the same programs, and two access points would compete for the cores.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a command that runs a small access point in a process group of its own, as a shell does, with its temporary
/// files in a directory.
fn access_point(directory: &Path, seconds: u32) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_access-point"));
    command
        .args(["--stations", "8", "--threads", "2", "--seconds", &seconds.to_string()])
        .env("TMPDIR", directory)
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

/// Returns a terminal: the end of the user, and the end of the program.
fn terminal() -> (File, File) {
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&user).expect("it may be used");
    unlockpt(&user).expect("it can be opened");
    let name = ptsname(&user, Vec::new()).expect("it has a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let program = rustix::fs::open(name, flags, Mode::empty()).expect("it can be opened");
    let size = Winsize {
        ws_row: 24,
        ws_col: COLUMNS as u16,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&program, size).expect("it has a size");
    (user.into(), program.into())
}

/// Runs a command on a terminal, and returns what it has written there and to standard error, and its status.
fn run_on_terminal(mut command: Command) -> (String, String, Option<i32>) {
    let (mut user, program) = terminal();
    let mut child = command.stdout(program).spawn().expect("it starts");
    // With it, the last descriptor of the terminal is closed in this process.
    drop(command);
    let mut written = Vec::new();
    let mut buffer = [0; 4096];
    // Reading fails when the program has closed its end.
    while let Ok(count @ 1..) = user.read(&mut buffer) {
        written.extend_from_slice(&buffer[..count]);
    }
    let errors = errors(&mut child);
    let status = child.wait().expect("it ends");
    (String::from_utf8(written).expect("text"), errors, status.code())
}

fn errors(child: &mut Child) -> String {
    let mut errors = String::new();
    let stderr = child.stderr.as_mut().expect("it is a pipe");
    stderr.read_to_string(&mut errors).expect("text");
    errors
}

/// Sends ctrl-C as a terminal does, to all processes of the group.
fn interrupt(child: &Child) {
    kill_process_group(Pid::from_child(child), Signal::INT).expect("they run");
}

fn assert_empty(directory: &Path) {
    let left: Vec<_> = fs::read_dir(directory).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Returns the parts of the output between line ends and movements of the cursor, without colours.
fn lines(written: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut rest = written.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '\n' | '\r' => lines.push(String::new()),
            '\x1b' => {
                assert_eq!(rest.next(), Some('['), "{written:?}");
                let end = rest.find(char::is_ascii_alphabetic).expect("the sequence ends");
                if end != 'm' {
                    lines.push(String::new());
                }
            }
            letter => lines.last_mut().expect("there is one").push(letter),
        }
    }
    lines
}

#[test]
fn a_terminal_shows_live_counters_and_then_the_table() {
    let _one = one_at_a_time();
    let directory = tempfile::tempdir().expect("a directory");
    let (written, errors, status) = run_on_terminal(access_point(directory.path(), 1));
    assert_eq!(status, Some(0), "{written}{errors}");

    let lines = lines(&written);
    // The rows of the table are padded to the width of the terminal, where the next one begins.
    let rows = lines.iter().flat_map(|line| {
        let letters: Vec<char> = line.chars().collect();
        let rows = letters.chunks(COLUMNS).map(|row| row.iter().collect::<String>());
        rows.collect::<Vec<_>>()
    });
    let rows: Vec<String> = rows.map(|row| row.trim_end().to_owned()).collect();
    let live = |name: &str| {
        let of_name = |row: &&String| {
            row.strip_prefix(name)
                .is_some_and(|rest| rest.split_whitespace().count() == 3)
        };
        rows.iter().filter(of_name).count()
    };
    assert!(live("phase ") >= 2, "{written:?}");
    assert!(live("unpatched ") >= 2, "{written:?}");
    assert!(live("ps-race ") >= 2, "{written:?}");
    assert!(live("ps-race-2 ") >= 2, "{written:?}");
    let table = rows
        .iter()
        .position(|row| row.starts_with("phase  ") && row.ends_with("wakes"));
    assert!(
        rows[table.expect("a table")..]
            .iter()
            .any(|row| row.starts_with("PASS")),
        "{written:?}"
    );
    assert!(written.contains("\x1b[32m"), "no colours: {written:?}");
    // After the table there are whole lines only.
    let (_, report) = written.rsplit_once("stations at a time").expect("a report");
    for line in self::lines(report) {
        assert!(line.chars().count() <= COLUMNS, "{line}");
    }
    assert_empty(directory.path());
}

#[test]
fn no_color_means_no_colours() {
    let _one = one_at_a_time();
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = access_point(directory.path(), 1);
    command.env("NO_COLOR", "1");
    let (written, errors, status) = run_on_terminal(command);
    assert_eq!(status, Some(0), "{written}{errors}");
    let sequences: Vec<&str> = written.split("\x1b[").skip(1).collect();
    // The escape sequences of colours end with an `m`.
    let kind = |sequence: &str| sequence.chars().find(char::is_ascii_alphabetic);
    // Its cursor moves nevertheless.
    assert!(!sequences.is_empty(), "{written:?}");
    assert!(
        sequences.iter().all(|sequence| kind(sequence) != Some('m')),
        "{written:?}"
    );
}

#[test]
fn interrupted_it_reports_what_happened_and_leaves_nothing() {
    let _one = one_at_a_time();
    let directory = tempfile::tempdir().expect("a directory");
    // A run of minutes, unless it is interrupted.
    let mut child = access_point(directory.path(), 60)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
    let mut before = String::new();
    while !before.ends_with("overtaken\n") {
        let count = stdout.read_line(&mut before).expect("text");
        assert_ne!(count, 0, "{before}{}", errors(&mut child));
    }
    assert_ne!(fs::read_dir(directory.path()).expect("it is there").count(), 0);
    interrupt(&child);
    let mut after = String::new();
    stdout.read_to_string(&mut after).expect("text");
    let errors = errors(&mut child);
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{after}{errors}");
    let (_, report) = after.split_once("interrupted; until then:\n").expect("it says so");
    assert!(report.contains("phase") && report.contains("\nunpatched"), "{report}");
    assert!(report.contains("\nPASS") || report.contains("\nFAIL"), "{report}");
    assert!(
        !errors.contains("panicked") && !errors.contains("access-point:"),
        "{errors}"
    );
    assert_empty(directory.path());
}

#[test]
fn a_closed_pipe_ends_the_run() {
    let _one = one_at_a_time();
    let directory = tempfile::tempdir().expect("a directory");
    // A run of minutes, unless it notices that the pipe is closed.
    let mut child = access_point(directory.path(), 60)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let mut stdout = BufReader::with_capacity(1, child.stdout.take().expect("it is a pipe"));
    stdout.read_line(&mut line).expect("text");
    assert!(line.starts_with('…'), "{line}");
    drop(stdout);
    let errors = errors(&mut child);
    // Whatever the verdict is on so short a run.
    assert!(matches!(child.wait().expect("it ends").code(), Some(0 | 1)), "{errors}");
    assert!(
        !errors.contains("panicked") && !errors.contains("access-point:"),
        "{errors}"
    );
    assert_empty(directory.path());
}
