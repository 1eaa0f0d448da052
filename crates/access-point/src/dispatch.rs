//! The switch from the old code to the fixed code, while threads run.
//!
//! As in the kernel's live patching, each task switches by itself, at a point where it is inside
//! none of the functions that change; from there on it calls the new ones. Between the switch and
//! the moment the last task has gone over there is a transition, in which both versions run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use parking_lot::Mutex;

use crate::net::Frame;
use crate::station::{Link, Station, Tx};
use crate::{fixed, old};

/// The functions that the patch replaces.
pub(crate) struct Functions {
    /// Queues the frame if its station sleeps.
    pub(crate) tx_ps_buf: fn(&Station, &Frame) -> Result<Tx>,
    /// Delivers what was buffered and marks the station awake.
    pub(crate) ps_deliver_wakeup: fn(&Station) -> Result<()>,
    /// Makes a station, not yet known to anybody.
    pub(crate) sta_info_alloc: fn(u32, Link) -> Result<Arc<Station>>,
    /// Frees a station nobody uses any more; returns how many shadow variables went with it.
    pub(crate) sta_info_free: fn(Arc<Station>) -> usize,
}

static VERSIONS: [Functions; 2] = [old::FUNCTIONS, fixed::FUNCTIONS];

/// The version that tasks should run, and the one each of them does run.
#[derive(Default)]
pub(crate) struct Switch {
    target: AtomicUsize,
    tasks: Mutex<Vec<Arc<AtomicUsize>>>,
}

impl Switch {
    /// A task for the calling thread, in the current version.
    pub(crate) fn task(&self) -> Task<'_> {
        let mut tasks = self.tasks.lock();
        let version = self.target.load(Ordering::Acquire);
        let shown = Arc::new(AtomicUsize::new(version));
        tasks.push(Arc::clone(&shown));
        Task {
            switch: self,
            version,
            shown,
        }
    }

    /// Starts the transition to the fixed code.
    ///
    /// `first` goes over at once. It must be the task that frees stations: an old
    /// `sta_info_free` would forget the variables that a fixed function has already made.
    pub(crate) fn patch(&self, first: &mut Task<'_>) {
        first.adopt(VERSIONS.len() - 1);
        // Release: with the Acquire of `quiescent`. No other task makes a variable before.
        self.target.store(VERSIONS.len() - 1, Ordering::Release);
    }

    /// Whether every task runs the target version.
    pub(crate) fn is_complete(&self) -> bool {
        let target = self.target.load(Ordering::Relaxed);
        // Acquire: with the Release of `adopt`. What a task did in old code is over.
        self.tasks
            .lock()
            .iter()
            .all(|shown| shown.load(Ordering::Acquire) >= target)
    }
}

/// One thread's share in the switch.
pub(crate) struct Task<'s> {
    switch: &'s Switch,
    version: usize,
    shown: Arc<AtomicUsize>,
}

impl Task<'_> {
    /// The functions to call until the next quiescent point.
    pub(crate) fn functions(&self) -> &'static Functions {
        &VERSIONS[self.version]
    }

    /// To be called outside of all [`Functions`]: goes over if there is a new version.
    pub(crate) fn quiescent(&mut self) {
        // Acquire: with the Release of `patch`.
        let target = self.switch.target.load(Ordering::Acquire);
        if target != self.version {
            self.adopt(target);
        }
    }

    fn adopt(&mut self, version: usize) {
        self.version = version;
        // Release: with the Acquire of `is_complete`.
        self.shown.store(version, Ordering::Release);
    }
}

impl Drop for Task<'_> {
    /// A thread that has ended runs no old code.
    fn drop(&mut self) {
        self.shown.store(usize::MAX, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_waits_for_every_task() {
        let switch = Switch::default();
        let (mut first, mut second, third) = (switch.task(), switch.task(), switch.task());
        assert!(switch.is_complete());
        switch.patch(&mut first);
        assert!(std::ptr::eq(first.functions(), &VERSIONS[1]));
        assert!(
            std::ptr::eq(second.functions(), &VERSIONS[0]),
            "not before its quiescent point"
        );
        second.quiescent();
        assert!(std::ptr::eq(second.functions(), &VERSIONS[1]));
        assert!(!switch.is_complete());
        drop(third);
        assert!(switch.is_complete());
        assert!(
            std::ptr::eq(switch.task().functions(), &VERSIONS[1]),
            "a late task starts new"
        );
    }
}
