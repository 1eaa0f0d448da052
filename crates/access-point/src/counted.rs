//! Values that know how often they were made and dropped.

use std::ops::Deref;

use parking_lot::Mutex;

/// The locks that stations got while they were in flight.
pub(crate) static LOCKS_IN_FLIGHT: Ledger = Ledger::new("ps_lock, station in flight");
/// The locks that stations were made with.
pub(crate) static LOCKS_NEW: Ledger = Ledger::new("ps_lock, made with station");
/// The flags on stations of the new code.
pub(crate) static FLAGS: Ledger = Ledger::new("flag, made with station");

/// A value that is entered in a ledger when it is made and when it is dropped.
pub(crate) struct Counted<T> {
    value: T,
    ledger: &'static Ledger,
    serial: usize,
}

impl<T> Counted<T> {
    pub(crate) fn new(value: T, ledger: &'static Ledger) -> Self {
        let mut drops = ledger.drops.lock();
        drops.push(0);
        Self {
            value,
            ledger,
            serial: drops.len() - 1,
        }
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        self.ledger.drops.lock()[self.serial] += 1;
    }
}

/// How often each value of one kind was dropped.
pub(crate) struct Ledger {
    /// What the kind is called in the report.
    pub(crate) name: &'static str,
    drops: Mutex<Vec<u32>>,
}

impl Ledger {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            drops: Mutex::new(Vec::new()),
        }
    }

    /// Values made.
    pub(crate) fn made(&self) -> usize {
        self.drops.lock().len()
    }

    /// Values dropped exactly once.
    pub(crate) fn dropped_once(&self) -> usize {
        self.drops.lock().iter().filter(|&&times| times == 1).count()
    }

    /// Values dropped never, or more than once.
    pub(crate) fn wrong(&self) -> usize {
        self.made() - self.dropped_once()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_balances_when_all_are_dropped() {
        static LEDGER: Ledger = Ledger::new("test");
        let values = [Counted::new(1, &LEDGER), Counted::new(2, &LEDGER)];
        assert_eq!(*values[1], 2);
        assert_eq!((LEDGER.made(), LEDGER.dropped_once(), LEDGER.wrong()), (2, 0, 2));
        drop(values);
        assert_eq!((LEDGER.made(), LEDGER.dropped_once(), LEDGER.wrong()), (2, 2, 0));
    }
}
