//! Values that know whether they are alive.
//!
//! Proves, together with a store under heavy use: every value that was constructed is dropped exactly once, none is dropped
//! while a reader may use it, and none is read before it is complete or after it was dropped. Every counted value has its own
//! serial number, so that a leaked value, or one dropped twice, can be named.

use std::io::{Write, stderr};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};

const UNBORN: u8 = 0;
const ALIVE: u8 = 1;
const DROPPED: u8 = 2;

/// Combined with the serial number in a living value; stands alone in a dropped one.
const LIVING: u64 = 0x5ade_11fe_c0de_0001;
const BURIED: u64 = 0xdead_dead_dead_dead;

/// The register of one test's values. All accesses are relaxed, so that counting does not give the store under test an
/// ordering that it lacks.
pub struct Counters {
    next: AtomicU64,
    states: Box<[AtomicU8]>,
    spites: AtomicU64,
    faults: Mutex<Vec<String>>,
}

impl Counters {
    /// Returns a register with room for `limit` values.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Counters {
            // Serial 0 is what zeroed and zero-sized values show.
            next: AtomicU64::new(1),
            states: (0..limit).map(|_| AtomicU8::new(UNBORN)).collect(),
            spites: AtomicU64::new(0),
            faults: Mutex::new(Vec::new()),
        })
    }

    /// Returns a serial number that no other value of this register has.
    pub fn serial(&self) -> u64 {
        let serial = self.next.fetch_add(1, Ordering::Relaxed);
        assert!((serial as usize) < self.states.len(), "register too small");
        serial
    }

    /// Returns the serial numbers of the values that have been constructed and not dropped.
    pub fn alive(&self) -> Vec<u64> {
        let born = self.next.load(Ordering::Relaxed);
        (1..born)
            .filter(|&serial| self.state(serial).load(Ordering::Relaxed) == ALIVE)
            .collect()
    }

    /// Returns how many drops panicked on purpose.
    pub fn spites(&self) -> u64 {
        self.spites.load(Ordering::Relaxed)
    }

    /// Checks that every construction has had its drop, and nothing else went wrong. To be called after the store is dropped.
    pub fn assert_balanced(&self) {
        self.assert_no_faults();
        let lost = self.alive();
        assert!(lost.is_empty(), "never dropped: values {lost:?}");
    }

    /// Checks that nothing went wrong so far. A drop cannot report by panicking, as the store catches panics; it reports
    /// here.
    pub fn assert_no_faults(&self) {
        let faults = self.faults.lock().unwrap();
        assert!(faults.is_empty(), "{}", faults.join("; "));
    }

    fn state(&self, serial: u64) -> &AtomicU8 {
        &self.states[serial as usize]
    }

    fn fault(&self, what: String) {
        self.faults.lock().unwrap().push(what);
    }
}

/// The part of a value that counts.
struct Counted {
    canary: u64,
    serial: u64,
    spiteful: bool,
    counters: ManuallyDrop<Arc<Counters>>,
}

impl Counted {
    fn new(counters: &Arc<Counters>, serial: u64, spiteful: bool) -> Self {
        let before = counters.state(serial).swap(ALIVE, Ordering::Relaxed);
        assert_eq!(before, UNBORN, "value {serial} constructed twice");
        Counted {
            canary: LIVING ^ serial,
            serial,
            spiteful,
            counters: ManuallyDrop::new(counters.clone()),
        }
    }

    #[track_caller]
    fn check(&self) -> u64 {
        let (canary, serial) = (self.canary, self.serial);
        assert_eq!(canary, LIVING ^ serial, "not a living value: {serial:#x}");
        let state = self.counters.state(serial).load(Ordering::Relaxed);
        assert_eq!(state, ALIVE, "value {serial} read after its drop");
        serial
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let serial = self.serial;
        if self.canary != LIVING ^ serial {
            // The register cannot be trusted any more than the canary: this memory has been freed or never filled. Written
            // directly to the file, as a test's captured output is lost with the process.
            let _ = writeln!(
                stderr(),
                "dropped what is not a living value: {:#x}, serial {serial:#x}",
                self.canary
            );
            abort();
        }
        let before = self.counters.state(serial).swap(DROPPED, Ordering::Relaxed);
        if before != ALIVE {
            // The other copy of this value has already released its share of the register, so this one keeps it.
            self.counters.fault(format!("value {serial} dropped twice"));
            return;
        }
        // SAFETY: `self` is exclusively borrowed and `canary` is a plain integer. Volatile, as a correct program never reads
        // it again and the compiler would remove the store.
        unsafe { std::ptr::write_volatile(&mut self.canary, BURIED) };
        // SAFETY: this is the value's one drop, and the field is not used after it.
        let counters = unsafe { ManuallyDrop::take(&mut self.counters) };
        if self.spiteful {
            counters.spites.fetch_add(1, Ordering::Relaxed);
            std::panic::panic_any(Provoked);
        }
    }
}

/// A type of values that the kit can store and recognise.
pub trait Payload: Send + Sync + Sized + 'static {
    /// Whether the register counts values of this type.
    const COUNTED: bool;

    fn new(counters: &Arc<Counters>, serial: u64) -> Self;

    /// Like `new`, but the drop panics, if the type has one.
    fn spiteful(counters: &Arc<Counters>, serial: u64) -> Self {
        Self::new(counters, serial)
    }

    /// Returns the serial number that a value made with this one shows.
    fn shows(serial: u64) -> u64 {
        serial
    }

    /// Returns the serial number, after checking that everything else in the value is intact.
    fn check(&self) -> u64;
}

/// A counted value of ordinary size and alignment.
pub struct Node {
    counted: Counted,
    tail: u64,
}

impl Payload for Node {
    const COUNTED: bool = true;

    fn new(counters: &Arc<Counters>, serial: u64) -> Self {
        Node {
            counted: Counted::new(counters, serial, false),
            tail: !serial,
        }
    }

    fn spiteful(counters: &Arc<Counters>, serial: u64) -> Self {
        Node {
            counted: Counted::new(counters, serial, true),
            tail: !serial,
        }
    }

    fn check(&self) -> u64 {
        let serial = self.counted.check();
        assert_eq!(self.tail, !serial, "torn value {serial}");
        serial
    }
}

/// A counted value that is larger than most and more aligned than the allocator's default.
#[repr(align(64))]
pub struct Wide {
    counted: Counted,
    body: [u64; 20],
}

impl Payload for Wide {
    const COUNTED: bool = true;

    fn new(counters: &Arc<Counters>, serial: u64) -> Self {
        Wide {
            counted: Counted::new(counters, serial, false),
            body: [serial; 20],
        }
    }

    fn check(&self) -> u64 {
        assert_eq!(std::ptr::from_ref(self).addr() % 64, 0, "misaligned");
        let serial = self.counted.check();
        assert_eq!(self.body, [serial; 20], "torn value {serial}");
        serial
    }
}

/// A value with a constant that shows serial number 0.
pub trait Zero: Payload {
    const ZERO: Self;
}

/// A value that may be zero, with a part that changes while it is shared.
#[repr(C)]
pub struct Plain {
    serial: u64,
    mark: u64,
    hits: AtomicU64,
}

const MARK: u64 = 0x9e37_79b9_7f4a_7c15;

impl Plain {
    /// Increments the counter, and returns it.
    pub fn hit(&self) -> u64 {
        self.hits.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Clone for Plain {
    fn clone(&self) -> Self {
        Plain {
            serial: self.serial,
            mark: self.mark,
            hits: AtomicU64::new(self.hits.load(Ordering::Relaxed)),
        }
    }
}

impl Zero for Plain {
    const ZERO: Self = Plain {
        serial: 0,
        mark: 0,
        hits: AtomicU64::new(0),
    };
}

impl Payload for Plain {
    const COUNTED: bool = false;

    fn new(_: &Arc<Counters>, serial: u64) -> Self {
        Plain {
            serial,
            mark: serial.wrapping_mul(MARK),
            hits: AtomicU64::new(0),
        }
    }

    fn check(&self) -> u64 {
        assert_eq!(self.mark, self.serial.wrapping_mul(MARK), "torn value");
        self.serial
    }
}

/// A variable that only exists or does not.
#[derive(Clone)]
pub struct Flag;

impl Zero for Flag {
    const ZERO: Self = Flag;
}

impl Payload for Flag {
    const COUNTED: bool = false;

    fn new(_: &Arc<Counters>, _: u64) -> Self {
        Flag
    }

    fn shows(_: u64) -> u64 {
        0
    }

    fn check(&self) -> u64 {
        0
    }
}

/// The payload of a provoked panic.
pub struct Provoked;

/// Keeps provoked panics from being printed; other panics are printed as before.
pub fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Provoked>() {
                loud(info);
            }
        }));
    });
}

/// Ends the process, at the first fault after which the test cannot continue.
pub fn abort() -> ! {
    first_only();
    std::process::abort()
}

/// Returns to one thread, once: the others stay here until it has ended the process. Of two that abort, the second would cut
/// off what a fuzzer still writes down for the first.
pub fn first_only() {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    if TAKEN.swap(true, Ordering::Relaxed) {
        loop {
            std::thread::park();
        }
    }
}
