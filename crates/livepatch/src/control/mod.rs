//! The control socket: how operators see and change the patches of a running service.
//!
//! The service opens it; the tool `livepatch` of the crate `livepatch-cli`, or a [`Client`], talks to it.
//!
//! ```
//! use livepatch::control::{Client, Control};
//! use livepatch::{ObjectPatch, Patch, patchable, registry};
//!
//! #[patchable]
//! fn answer() -> u32 { 41 }
//! fn mended() -> u32 { 42 }
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("control");
//! // How this service loads a patch: here by its name only, else from the shared library at the path.
//! let control = Control::builder(&path)
//!     .loader(|path| {
//!         let name = path.file_name().ok_or("no name")?.to_string_lossy();
//!         let patch = Patch::builder(name).object(ObjectPatch::program().function::<answer>(mended)).build()?;
//!         registry().enable(&patch)?;
//!         Ok(patch.name().to_owned())
//!     })
//!     .bind()?;
//!
//! let mut operator = Client::connect(&path)?;
//! assert_eq!(operator.load("/patches/fix", None)?.patch, "fix");
//! assert_eq!(answer(), 42);
//! operator.disable("fix", None)?;
//! assert_eq!(answer(), 41);
//! drop(control); // the socket is gone
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who may
//!
//! The user that the service runs as, and root: nobody else can open the socket, whose mode is 0600 from its first moment,
//! and whoever comes by another way is refused by what the kernel says of the other end (`SO_PEERCRED`). Who may connect may
//! have the service load code, and so do all that the service can. Bind it after privileges are dropped: the user is who the
//! service runs as when a client comes. No directory on the way to the socket, after all symbolic links, may be another
//! user's or open to others ([`UnsafePath`]; sticky ones, like `/tmp`, are allowed); the last is made with mode 0700 if it is
//! not there. A client checks the same, and that the kernel names a user at the other end whom it trusts: see
//! [`Client::builder`].
//!
//! A socket that a service of the same user left behind as it died is replaced; anything else at the path is an error.
//! Two services that start at once on one path: one gets it, the other is told ([`BindError::InUse`]).
//!
//! # What it costs the service
//!
//! A thread that accepts, and one for each client: [at most so many](ControlBuilder::max_clients). Requests are at most
//! [`MAX_REQUEST`] bytes, must be there whole [in time](ControlBuilder::timeout), and their answers taken in time. Changes wait
//! for each other as those of the program do, nothing else of the service waits for a client: a watcher that does not take
//! its events misses some, and is told how many. No input makes it panic, or ends it.
//!
//! # The protocol
//!
//! Each line is a JSON object in UTF-8, ended by a newline, with the protocol's version `v`: [`VERSION`]. A client sends
//! [`Request`]s, and gets one [`Answer`] to each, in order. Durations are whole milliseconds, which names of fields say.
//!
//! ```text
//! > {"v":1,"request":"list"}
//! < {"v":1,"answer":"patches","patches":[{"name":"fix","enabled":true,"transition":false,…}],"transition":null}
//! > {"v":1,"request":"status"}
//! < {"v":1,"answer":"status","status":{"patches":[…],"modules":[],"transition":null,"tasks":[…],"libraries":[]}}
//! > {"v":1,"request":"load","path":"/patches/fix.so","wait_ms":5000}
//! < {"v":1,"answer":"changed","patch":"fix","enabled":true,"reversed":false,"transition":null,"held_up_by":[]}
//! > {"v":1,"request":"disable","patch":"fix"}
//! < {"v":1,"answer":"changed","patch":"fix","enabled":false,"reversed":false,
//!    "transition":{"patch":"fix","direction":"unpatching","running_ms":0,"tasks_left":1,"unsettled":0},
//!    "held_up_by":[{"name":"worker-3","kind":"thread","state":"patched",
//!                   "inside":{"since_ms":0,"entered_at":"src/serve.rs:88:17","entered_by":"guard",
//!                             "switched":false}}]}
//! > {"v":1,"request":"reverse","patch":"fix"}
//! > {"v":1,"request":"force","patch":"fix"}
//! < {"v":1,"answer":"error","code":"not_in_transition","message":"patch `fix` is not in transition"}
//! ```
//!
//! (An answer is on one line; it is broken here to be read.) `changed` is an answer to what was begun: the transition runs
//! on if it is not null. With `wait_ms`, the answer comes when it is over, at the latest after that time; with `or_reverse`
//! beside it, a transition that is not over then goes back, which `reversed` says, and is waited for once more.
//!
//! `watch` ends the questions: from then on the service tells what happens, until the client closes the connection.
//!
//! ```text
//! > {"v":1,"request":"watch","patch":"fix","interval_ms":1000}
//! < {"v":1,"answer":"transition","transition":null,"held_up_by":[]}
//! < {"v":1,"answer":"event","event":{"event":"starting","patch":"fix","direction":"patching"}}
//! < {"v":1,"answer":"transition","transition":{"patch":"fix",…},"held_up_by":[…]}
//! < {"v":1,"answer":"missed","events":12}
//! < {"v":1,"answer":"event","event":{"event":"complete","patch":"fix","direction":"patching","forced":false}}
//! < {"v":1,"answer":"transition","transition":null,"held_up_by":[]}
//! ```
//!
//! The first line says what runs; then a `transition` comes when one begins, while it runs, and, with null, when it is over.
//!
//! Whatever is wrong is an `error` with a `code` ([`ErrorCode`]) for programs and a `message` for people. After a line that
//! is no request the connection goes on; after one that is too long, or too slow, it is closed. A last line without a
//! newline is not carried out. Unknown fields are refused in requests; a client should skip those of answers, and answers,
//! events and codes that it does not know.
//!
//! **One schema for all**: each line, of a service or of the tool with `--json`, is an [`Answer`] with `v`; an event in it is
//! an [`Event`](crate::Event), a refusal a [`Refused`] with an [`ErrorCode`]. The types are the schema, field by field.
//! `v` changes when a line of an older version would be misunderstood; fields, answers, events and codes are added without.
//! What is there already is not an error of its own kind: [`AlreadyEnabled`](ErrorCode::AlreadyEnabled) answers a load,
//! [`UnknownPatch`](ErrorCode::UnknownPatch) and [`AlreadyDisabled`](ErrorCode::AlreadyDisabled) a disabling, so that
//! scripts may repeat both.
//!
//! To watch a patch is to be told all that concerns it: its own events, those of its library and of what its states own, and
//! failures of the modules that it patches. Whether a transition was forced is said with its end, after which the patch may
//! not be there any more.

mod client;
mod protocol;
mod server;
mod session;
mod socket;
mod trust;
mod watch;

pub use client::{Client, ClientBuilder, ClientError, ConnectError, Watch};
pub use protocol::{Answer, Change, ErrorCode, MAX_REQUEST, Refused, Request, VERSION};
pub use server::{Control, ControlBuilder};
pub use socket::BindError;
pub use trust::UnsafePath;
