//! The three ways in which shadow variables are used.
//!
//! All three fix the same race: an access point hands frames to stations that sleep and wake, and a frame that is queued
//! while a station wakes up is lost. The fix is a lock per station, but the station's structure has no field for it.
//!
//! # Matching the parent's lifetime
//!
//! New code creates the variable when it creates the parent, before any other thread can see the parent, and frees it
//! before the parent. Parents that were created by old code have no variable, so every look-up must handle that case.
//!
//! ```
//! use shadow_vars::{ShadowId, ShadowStore};
//! use std::sync::Mutex;
//!
//! struct Station { address: [u8; 6] }
//! const PS_LOCK: ShadowId<Mutex<()>> = ShadowId::new(1);
//!
//! fn station_alloc(store: &ShadowStore, address: [u8; 6]) -> Box<Station> {
//!     let station = Box::new(Station { address });
//!     store.pin().alloc(&*station, PS_LOCK, Mutex::new(())).expect("a new station");
//!     station
//! }
//!
//! fn deliver_wakeup(store: &ShadowStore, station: &Station) {
//!     let pin = store.pin();
//!     let _held = pin.get(station, PS_LOCK).map(|lock| lock.lock().unwrap()); // `None` for an old station
//!     // … hand over the frames …
//! }
//!
//! fn station_free(store: &ShadowStore, station: Box<Station>) {
//!     store.pin().free(&*station, PS_LOCK);
//!     drop(station);
//! }
//!
//! let store = ShadowStore::new();
//! let station = station_alloc(&store, [2, 0, 0, 0, 0, 1]);
//! deliver_wakeup(&store, &station);
//! station_free(&store, station);
//! assert!(store.is_empty());
//! ```
//!
//! # Parents in flight
//!
//! The parents exist and are in use, and only some of them need the variable. The first thread that needs it creates it;
//! the constructor runs once, however many threads need it at the same time.
//!
//! ```
//! # use shadow_vars::{ShadowId, ShadowStore};
//! # use std::sync::Mutex;
//! # struct Station { address: [u8; 6] }
//! # const PS_LOCK: ShadowId<Mutex<u32>> = ShadowId::new(1);
//! fn deliver_wakeup(store: &ShadowStore, station: &Station) -> u32 {
//!     let pin = store.pin();
//!     let lock = pin.get_or_alloc_with(station, PS_LOCK, || Mutex::new(0)).expect("memory for a lock");
//!     let mut wakeups = lock.lock().unwrap();
//!     *wakeups += 1;
//!     *wakeups
//! }
//!
//! let store = ShadowStore::new();
//! let station = Station { address: [2, 0, 0, 0, 0, 2] }; // created long ago, by old code
//! std::thread::scope(|threads| {
//!     for _ in 0..4 {
//!         threads.spawn(|| deliver_wakeup(&store, &station));
//!     }
//! });
//! assert_eq!(deliver_wakeup(&store, &station), 5);
//! assert_eq!(store.stats().created, 1);
//! ```
//!
//! # A flag
//!
//! The existence of the variable is the information: "this parent was created by new code".
//!
//! ```
//! # use shadow_vars::{ShadowId, ShadowStore};
//! # struct Station { address: [u8; 6] }
//! const NEW_CODE: ShadowId<()> = ShadowId::new(2);
//!
//! let store = ShadowStore::new();
//! let (old, new) = (Station { address: [0; 6] }, Station { address: [1; 6] });
//! store.pin().alloc(&new, NEW_CODE, ()).expect("a new station");
//!
//! assert!(store.pin().contains(&new, NEW_CODE));
//! assert!(!store.pin().contains(&old, NEW_CODE)); // still follows the old rules
//! ```
//!
//! The example program `access-point` in this repository implements this story over sockets, and is patched while it
//! runs.
