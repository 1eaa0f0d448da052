//! What a service sets once, for all stores of its process.

#[cfg(not(shadow_loom))]
use std::io;
use std::time::Duration;

#[cfg(not(shadow_loom))]
use crate::heap::Heap;
use crate::reclaim;
#[cfg(not(shadow_loom))]
use crate::reclaim::background;

/// Starts the background reclaimer: a thread that drops freed values with destructors, of every store of the process, within
/// 100 ms of the moment when no guard holds them back any more, even if nothing happens in any store. Without it they are
/// dropped by later operations (see [`docs::limits`](crate::docs::limits)), which a service that falls idle does not make.
///
/// One thread for the process, to its end: does nothing if it runs already. It wakes 25 times a second, and costs readers nothing.
/// The child of a fork has none until it calls this.
///
/// # Errors
///
/// If the system gives no thread.
#[cfg(not(shadow_loom))]
pub fn start_reclaimer() -> io::Result<()> {
    background::start::<Heap>()
}

/// Sets the age after which a guard is reported, for the whole process; `None` for never. Ten seconds unless set: longer than
/// anything that is meant to be short, and while at 50,000 replacements a second some 40 MB wait, not more than there is.
///
/// Such a guard is reported once, by a `tracing` warning (with the feature of that name): with the name of the thread that holds
/// it (as Linux has it when the thread first uses a store: 15 bytes at most), or for [owned guards](crate::ShadowStore::pin_owned) with
/// where they were made; those that were made at one place at about the same time in one report. While it is held,
/// [`Stats::old_guards`](crate::Stats::old_guards), [`Stats::oldest_guard`](crate::Stats::oldest_guard) and
/// [`Stats::held_back_bytes`](crate::Stats::held_back_bytes) show it.
/// [`repin`](crate::Pinned::repin) makes a guard new.
///
/// That costs a guard nothing: whoever reclaims finds out. So the age counts from the moment when something first waits for the
/// guard to go, to within an eighth of the age set, and the report comes where reclamation is pushed on next: by an operation
/// that frees, `flush`, `synchronize`, [`stats`](crate::ShadowStore::stats), or the [background reclaimer](start_reclaimer). The last two
/// also see guards that nothing waits for. Takes no time to speak of.
///
/// With [`Asymmetric`](crate::Asymmetric) and [`Eras`](crate::Eras), each for its own guards. [`Epoch`](crate::Epoch) and `Seize` do not tell which guards a period waits for; there
/// [`Stats::oldest_retired`](crate::Stats::oldest_retired) is what grows.
///
/// ```
/// use std::time::Duration;
/// use shadow_vars::{ShadowStore, report_old_guards};
///
/// report_old_guards(Some(Duration::from_millis(20)));
/// let store = ShadowStore::new();
/// let forgotten = store.pin_owned();
/// while store.stats().old_guards == 0 {
///     std::thread::sleep(Duration::from_millis(5));
/// }
/// drop(forgotten);
/// assert_eq!(store.stats().old_guards, 0);
/// ```
pub fn report_old_guards(after: Option<Duration>) {
    reclaim::report_after(after);
}
