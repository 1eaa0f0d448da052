//! Forks and signals: how a service with worker processes, or with signal handlers, uses a store.
//!
//! What is guaranteed, and by which backend, is in [processes](super::processes).
//!
//! # Worker processes
//!
//! A service that forks workers has the store ready before, so that all workers have the variables that existed then. Each
//! process has its own copy from there on: what a worker creates or frees, no other process sees.
//!
//! Fork from a thread that holds no guard, before other threads use the store. Then nothing is lost, and there are no guards of
//! threads that do not exist in the child. In the child, start the [reclaimer](crate::start_reclaimer) again if the parent had
//! one, and end the process by `_exit` if the parent's destructors must not run twice.
//!
//! ```
//! # #[cfg(target_os = "linux")] {
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use shadow_vars::{ShadowId, global, start_reclaimer};
//!
//! const REQUESTS: ShadowId<AtomicU32> = ShadowId::new(1);
//! let listener = 8_usize; // stands for an object that the workers inherit
//! global().pin().alloc(listener, REQUESTS, AtomicU32::new(0)).unwrap();
//!
//! // SAFETY: this process has one thread, so its child may do everything that it may do itself.
//! let worker = unsafe { libc::fork() };
//! if worker == 0 {
//!     let started = start_reclaimer().is_ok();
//!     let counted = global().pin().get(listener, REQUESTS).map(|requests| requests.fetch_add(1, Ordering::Relaxed));
//!     let freed = global().pin().free(listener, REQUESTS) && global().synchronize().is_ok();
//!     // SAFETY: ends the process, without destructors.
//!     unsafe { libc::_exit(i32::from(!(started && counted == Some(0) && freed))) }
//! }
//! let mut status = -1;
//! // SAFETY: the status is written to a local variable.
//! assert_eq!(unsafe { libc::waitpid(worker, &mut status, 0) }, worker);
//! assert_eq!(status, 0);
//! // The child's variable was another one.
//! assert_eq!(global().pin().get(listener, REQUESTS).map(|requests| requests.load(Ordering::Relaxed)), Some(0));
//! # }
//! ```
//!
//! A process with many threads may fork too, and the child may use its stores; [fork](super::processes#fork) lists what is
//! given up. A child that only calls `exec` needs none of this.
//!
//! # Signal handlers
//!
//! A handler may look variables up, for example to find the state of the object that a thread works on, or a flag of the whole
//! process. It may neither create nor free, and its thread must have taken a guard before: take one when the thread starts.
//!
//! ```
//! # #[cfg(target_os = "linux")] {
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use shadow_vars::{ObjAddr, ShadowId, global};
//!
//! /// A variable of the whole process: how often the configuration was to be read again.
//! const RELOADS: ShadowId<AtomicU32> = ShadowId::new(1);
//!
//! extern "C" fn on_hangup(_signal: libc::c_int) {
//!     if let Some(reloads) = global().pin().get(ObjAddr::PROCESS, RELOADS) {
//!         reloads.fetch_add(1, Ordering::Relaxed);
//!     }
//! }
//!
//! // Before the handler: makes the global store, and takes this thread's first guard.
//! global().pin().alloc(ObjAddr::PROCESS, RELOADS, AtomicU32::new(0)).unwrap();
//! // SAFETY: the handler only pins, looks up, and changes an atomic.
//! unsafe { libc::signal(libc::SIGHUP, on_hangup as *const () as libc::sighandler_t) };
//! // SAFETY: the handler is set.
//! unsafe { libc::raise(libc::SIGHUP) };
//! assert_eq!(global().pin().get(ObjAddr::PROCESS, RELOADS).map(|n| n.load(Ordering::Relaxed)), Some(1));
//! # }
//! ```
//!
//! A thread that is stopped inside a handler, while it has a guard, holds back what is freed, as any
//! [stalled guard](super::limits#stalled-guards) does.
