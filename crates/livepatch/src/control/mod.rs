//! The control socket: operators inspect and change the patches of a running service through it.
//!
//! The service opens it; the tool `livepatch` of the crate `livepatch-cli`, or a [`Client`], connects to it.
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
//! // How this service loads a patch: here by its name only, normally from the shared library at the path.
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
//! drop(control); // the socket is removed
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Permissions
//!
//! The user that the service runs as, and root. No other user can open the socket, whose mode is 0600 from the beginning,
//! and a client that gets through in another way is refused by the credentials that the kernel reports for it
//! (`SO_PEERCRED`). Clients can make the service load code, and so can do everything that the service can. Bind the
//! socket after privileges are dropped: the user that counts is the one that the service runs as when a client connects.
//! No directory on the path to the socket, after resolving all symbolic links, may belong to another user or be writable
//! by others ([`UnsafePath`]; sticky ones, like `/tmp`, are allowed); the last one is created with mode 0700 if it does
//! not exist. A client checks the same, and that the kernel reports a trusted user at the other end: see
//! [`Client::builder`].
//!
//! A socket that a crashed service of the same user has left is replaced; anything else at the path is an error. If two
//! services start on one path at the same time, one gets it and the other fails with [`BindError::InUse`].
//!
//! # Costs
//!
//! One thread that accepts connections, and one for each client, of which there is [a
//! maximum](ControlBuilder::max_clients). Requests are limited to [`MAX_REQUEST`] bytes, must arrive completely [in
//! time](ControlBuilder::timeout), and their answers must be read in time. Changes wait for each other as those of the
//! program do; nothing else in the service waits for a client: a watcher that does not read its events misses some, and
//! is told how many. No input makes the service panic or end.
//!
//! # The protocol
//!
//! Each line is a JSON object in UTF-8, ended by a newline, with the protocol's version `v`: [`VERSION`]. A client sends
//! [`Request`]s, and gets one [`Answer`] to each, in order. Durations are whole milliseconds, as the names of their
//! fields say.
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
//! (An answer is one line; it is broken here for reading.) `changed` answers a change that has begun: if its transition
//! is not null, that is still running. With `wait_ms`, the answer is sent when the transition has ended, or after that
//! time; with `or_reverse` in addition, a transition that has not ended by then is reversed, as `reversed` reports, and
//! waited for once more.
//!
//! `watch` is the last request on a connection: from then on the service reports events, until the client closes the
//! connection.
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
//! The first line reports the running transition; later a `transition` is sent when one begins, while it runs, and, with
//! null, when it has ended.
//!
//! Every failure is an `error` with a `code` ([`ErrorCode`]) for programs and a `message` for people. After a line that
//! is not a valid request the connection continues; after one that is too long, or too slow, it is closed. A last line
//! without a newline is not carried out. Unknown fields are refused in requests; a client should ignore unknown fields of
//! answers, and unknown answers, events and codes.
//!
//! **One schema for all**: each line, of a service or of the tool with `--json`, is an [`Answer`] with `v`; an event in
//! it is an [`Event`](crate::Event), a refusal a [`Refused`] with an [`ErrorCode`]. The types are the schema, field by
//! field. `v` changes when a line of an older version would be misunderstood; fields, answers, events and codes are added
//! without changing it. Repeating a request that has already taken effect has a code of its own, so that scripts may
//! repeat it: [`AlreadyEnabled`](ErrorCode::AlreadyEnabled) for loading, [`UnknownPatch`](ErrorCode::UnknownPatch) and
//! [`AlreadyDisabled`](ErrorCode::AlreadyDisabled) for disabling.
//!
//! Watching a patch reports everything that concerns it: its own events, those of its library and of the variables that
//! its states own, and failures of the modules that it patches. Whether a transition was forced is reported at its end,
//! after which the patch may no longer exist.

mod client;
mod protocol;
mod server;
mod session;
mod sessions;
mod socket;
mod trust;
mod watch;

pub use client::{Client, ClientBuilder, ClientError, ConnectError, Watch};
pub use protocol::{Answer, Change, ErrorCode, MAX_REQUEST, Refused, Request, VERSION};
pub use server::{Control, ControlBuilder};
pub use socket::BindError;
pub use trust::UnsafePath;
