//! The control socket, in one process: a service and its clients.
#![cfg(all(feature = "control", target_os = "linux"))]

mod clients;
mod malformed;
mod requests;
mod socket;
mod trust;
mod watch;

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use livepatch::control::{Client, ClientError, ConnectError, Control, ControlBuilder, ErrorCode};
use livepatch::{ObjectPatch, Patch, patchable, registry, unit};
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

/// A service, for one test at a time, as the process has one registry. Leaves nothing enabled.
struct Service {
    control: Option<Control>,
    directory: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Service {
    fn new() -> Self {
        Self::with(|builder| builder.loader(load))
    }

    fn with(options: impl FnOnce(ControlBuilder) -> ControlBuilder) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = TempDir::new().unwrap();
        let control = options(Control::builder(directory.path().join("control")))
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

    fn client(&self) -> Client {
        Client::connect(self.path()).unwrap()
    }

    fn stream(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// Sends raw bytes and nothing more; returns all answers, line by line.
    fn exchange(&self, bytes: &[u8]) -> Vec<serde_json::Value> {
        let mut stream = self.stream();
        // The service may close the connection before it has read all.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answers = Vec::new();
        let _ = stream.read_to_end(&mut answers);
        String::from_utf8(answers)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
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

/// Loads the patch that is named like the file; some names are special.
fn load(path: &Path) -> Result<String, Box<dyn Error + Send + Sync>> {
    match path.file_name().and_then(|name| name.to_str()).ok_or("no name")? {
        "panics" => panic!("the loader's own panic"),
        "missing" => Err("no such library".into()),
        name => {
            let patch = patch(name);
            registry().enable(&patch)?;
            Ok(name.to_owned())
        }
    }
}

fn patch(name: &str) -> Arc<Patch> {
    let program = ObjectPatch::program().function::<answer>(mended);
    Patch::builder(name).object(program).build().unwrap()
}

/// A thread in a unit, which holds up transitions until it is told to leave, or dropped.
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

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ErrorCode {
    match result {
        Err(ClientError::Refused(refused)) => {
            assert!(!refused.message.is_empty());
            refused.code
        }
        other => panic!("not refused: {other:?}"),
    }
}
