//! The parts that the hand-written tests share: every test on every store, a watchdog, values that are accounted for.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    unused_macros,
    reason = "each test file uses its own part"
)]

#[path = "../common/configs.rs"]
pub mod configs;
pub mod failing;

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, mpsc};
use std::time::Duration;

/// Makes a `#[test]` of each function `fn name<R: Reclaim>(config: &Config)`, for every backend and configuration.
macro_rules! on_every_store {
    ($($name:ident),* $(,)?) => {
        mod asymmetric {
            $(#[test]
            fn $name() {
                crate::support::each_config(crate::$name::<shadow_vars::Asymmetric>);
            })*
        }
        mod epoch {
            $(#[test]
            fn $name() {
                crate::support::each_config(crate::$name::<shadow_vars::Epoch>);
            })*
        }
        mod eras {
            $(#[test]
            fn $name() {
                crate::support::each_config(crate::$name::<shadow_vars::Eras>);
            })*
        }
        #[cfg(feature = "seize")]
        mod seize {
            $(#[test]
            fn $name() {
                crate::support::each_config(crate::$name::<shadow_vars::Seize>);
            })*
        }
    };
}
pub(crate) use on_every_store;

/// Runs a test on every configuration, naming the current one.
pub fn each_config(test: fn(&configs::Config)) {
    for config in configs::Config::all() {
        // Captured unless the test fails.
        println!("configuration {}", config.name);
        within(Duration::from_secs(120), config.name, || test(&config));
    }
}

/// Runs `body`, and ends the process if it takes longer than `limit`: a hanging thread cannot be ended any other way.
pub fn within<T>(limit: Duration, what: &str, body: impl FnOnce() -> T) -> T {
    let (alive, watch) = mpsc::channel::<()>();
    let what = format!("{what}, in test {:?}", std::thread::current().name());
    let watcher = std::thread::spawn(move || {
        if watch.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("hangs: {what} is not done after {limit:?}");
            std::process::abort();
        }
    });
    let result = body();
    drop(alive);
    watcher.join().expect("the watchdog does not panic");
    result
}

const UNBORN: u8 = 0;
const ALIVE: u8 = 1;
const DROPPED: u8 = 2;

/// The accounts of one test's values: each has a serial number, is created once and dropped once.
pub struct Ledger {
    next: AtomicUsize,
    states: Vec<AtomicU8>,
    faults: Mutex<Vec<String>>,
}

impl Ledger {
    /// Returns accounts with room for `limit` values.
    pub fn new(limit: usize) -> Arc<Self> {
        let states = (0..limit).map(|_| AtomicU8::new(UNBORN)).collect();
        Arc::new(Self {
            next: AtomicUsize::new(0),
            states,
            faults: Mutex::default(),
        })
    }

    pub fn value(self: &Arc<Self>) -> Counted {
        // Relaxed, here and below: the ledger gives the store no ordering that it should have itself.
        let serial = self.next.fetch_add(1, Ordering::Relaxed);
        let before = self.states[serial].swap(ALIVE, Ordering::Relaxed);
        assert_eq!(before, UNBORN, "serial {serial} given out twice");
        Counted {
            mark: MARK ^ serial,
            serial,
            ledger: self.clone(),
        }
    }

    /// Returns the number of values created so far.
    pub fn made(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    /// Returns the serial numbers of the values that are not dropped.
    pub fn alive(&self) -> Vec<usize> {
        (0..self.made()).filter(|&serial| self.is_alive(serial)).collect()
    }

    pub fn is_alive(&self, serial: usize) -> bool {
        self.states[serial].load(Ordering::Relaxed) == ALIVE
    }

    /// Checks that every value was dropped, once.
    #[track_caller]
    pub fn assert_balanced(&self) {
        let faults = self.faults.lock().unwrap();
        assert!(faults.is_empty(), "{}", faults.join("; "));
        let alive = self.alive();
        assert!(
            alive.is_empty(),
            "{} of {} values never dropped: {:?}…",
            alive.len(),
            self.made(),
            alive.first()
        );
    }
}

const MARK: usize = 0x5ade_0b1e_c7ed_0001;

/// A value that is accounted for in a [`Ledger`].
pub struct Counted {
    mark: usize,
    serial: usize,
    ledger: Arc<Ledger>,
}

impl Counted {
    /// Returns the serial number; panics if this is not a living value.
    #[track_caller]
    pub fn serial(&self) -> usize {
        assert_eq!(self.mark ^ self.serial, MARK, "not a value");
        assert!(
            self.ledger.is_alive(self.serial),
            "value {} is read after its drop",
            self.serial
        );
        self.serial
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let before = self.ledger.states[self.serial].swap(DROPPED, Ordering::Relaxed);
        if before != ALIVE {
            // The store catches panics of a drop, so a fault is recorded.
            self.ledger
                .faults
                .lock()
                .unwrap()
                .push(format!("value {} dropped twice", self.serial));
        }
        self.mark = 0;
    }
}

/// The payload of panics that a test makes on purpose.
#[derive(Debug, PartialEq, Eq)]
pub struct OnPurpose(pub usize);

/// The payload of drops that panic on purpose.
#[derive(Debug)]
pub struct Spite;

/// Keeps panics that are made on purpose out of the output.
pub fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            if !payload.is::<OnPurpose>() && !payload.is::<Spite>() {
                loud(info);
            }
        }));
    });
}

/// Panics on purpose.
pub fn panic_on_purpose(number: usize) -> ! {
    std::panic::panic_any(OnPurpose(number))
}

/// Runs `body`, which must panic on purpose; returns the number of the panic.
#[track_caller]
pub fn caught<T>(body: impl FnOnce() -> T) -> usize {
    hush();
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)) {
        Ok(_) => panic!("did not panic"),
        Err(panic) => panic.downcast::<OnPurpose>().expect("the panic's own payload").0,
    }
}

/// Returns a number from a simple generator, the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 11) as usize % limit
    }
}
