//! Process-wide settings, made once by a service for all its stores.

use std::io;
use std::time::Duration;

use crate::heap::Heap;
use crate::reclaim::background;
use crate::reclaim::watch;

/// Starts the background reclaimer: a thread that drops freed values with destructors, of every store of the process,
/// within 100 ms of the time when no guard holds them back any more, even if no operation runs on any store. Without it,
/// they are dropped by later operations (see [`docs::limits`](crate::docs::limits)), which an idle service does not
/// perform.
///
/// There is one such thread in the process, and it runs until the process ends; if it already runs, this does nothing. It
/// wakes 25 times a second, and costs readers nothing. The child of a fork has none until it calls this function.
///
/// # Errors
///
/// If the system cannot create a thread.
pub fn start_reclaimer() -> io::Result<()> {
    background::start::<Heap>()
}

/// Sets the age after which a guard is reported, for the whole process; `None` disables the reports. The default is ten
/// seconds: longer than any guard that is meant to be short, and short enough that at 50,000 replacements a second only
/// some 40 MB wait.
///
/// Such a guard is reported once, by a `tracing` warning (with the feature of that name). The report has the name of the
/// thread that holds the guard (the name that Linux had for the thread when it first used a store, 15 bytes at most); for
/// [owned guards](crate::ShadowStore::pin_owned) it has the place in the source where they were taken, and guards that
/// were taken at one place at about the same time are reported together. While the guard is held,
/// [`Stats::old_guards`](crate::Stats::old_guards), [`Stats::oldest_guard`](crate::Stats::oldest_guard) and
/// [`Stats::held_back_bytes`](crate::Stats::held_back_bytes) show it. After [`repin`](crate::Pinned::repin), a guard
/// counts as new.
///
/// Guards themselves become no slower, as they are checked by reclamation. So the age counts from the time when something
/// first waits for the guard to be dropped, to within an eighth of the age that is set, and the report is made when
/// reclamation next advances: by an operation that frees, `flush`, `synchronize`, [`stats`](crate::ShadowStore::stats),
/// or the [background reclaimer](start_reclaimer). The last two also see guards for which nothing waits. The check takes
/// negligible time.
///
/// Applies to [`Asymmetric`](crate::Asymmetric) and [`Eras`](crate::Eras), to each for its own guards.
/// [`Epoch`](crate::Epoch) and `Seize` do not tell which guards a grace period waits for; with them, watch
/// [`Stats::oldest_retired`](crate::Stats::oldest_retired).
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
    watch::report_after(after);
}
