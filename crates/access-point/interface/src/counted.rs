//! Values that record how often they were made and dropped, so that a run can check that nothing is left of a patch.

use std::ops::Deref;

use parking_lot::Mutex;

/// A value that is recorded in a ledger when it is made and when it is dropped.
#[derive(Debug)]
pub struct Counted<T> {
    value: T,
    ledger: &'static Ledger,
    serial: usize,
}

impl<T> Counted<T> {
    /// Returns a value that is recorded in `ledger`.
    pub fn new(value: T, ledger: &'static Ledger) -> Self {
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
#[derive(Debug)]
pub struct Ledger {
    name: String,
    drops: Mutex<Vec<u32>>,
}

/// All ledgers. Never freed, and so valid after the patches that used them are unloaded.
static LEDGERS: Mutex<Vec<&'static Ledger>> = Mutex::new(Vec::new());

impl Ledger {
    /// Returns the ledger of this name.
    pub fn named(name: &str) -> &'static Self {
        let mut all = LEDGERS.lock();
        if let Some(known) = all.iter().find(|ledger| ledger.name == name) {
            return known;
        }
        let ledger: &'static Self = Box::leak(Box::new(Self {
            name: name.to_owned(),
            drops: Mutex::default(),
        }));
        all.push(ledger);
        ledger
    }

    /// Returns all ledgers, in the order in which they were first named.
    pub fn all() -> Vec<&'static Self> {
        LEDGERS.lock().clone()
    }

    /// Returns the name of the kind.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how many values were made.
    pub fn made(&self) -> usize {
        self.drops.lock().len()
    }

    /// Returns how many values were dropped exactly once.
    pub fn dropped_once(&self) -> usize {
        self.drops.lock().iter().filter(|&&times| times == 1).count()
    }

    /// Returns how many values were dropped never, or more than once.
    pub fn wrong(&self) -> usize {
        self.made() - self.dropped_once()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_balances_when_all_are_dropped() {
        let ledger = Ledger::named("test");
        let values = [Counted::new(1, ledger), Counted::new(2, Ledger::named("test"))];
        assert_eq!(*values[1], 2);
        assert_eq!((ledger.made(), ledger.dropped_once(), ledger.wrong()), (2, 0, 2));
        drop(values);
        assert_eq!((ledger.made(), ledger.dropped_once(), ledger.wrong()), (2, 2, 0));
    }
}
