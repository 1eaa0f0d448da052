//! What concerns the guards of all backends that register their readers.

use std::time::Duration;

use super::participants::Site;
use super::{Asymmetric, Eras, age};

/// See [`report_old_guards`](crate::report_old_guards).
pub(crate) fn report_after(age: Option<Duration>) {
    age::set(age);
    Asymmetric::ages().beat_at_once();
    Eras::ages().beat_at_once();
}

/// Checks the age of guards from time to time, also while nothing is retired, for the backends that can tell.
#[cfg(not(shadow_loom))]
pub(super) fn beat() {
    super::scan::beat::<Asymmetric>();
    super::scan::beat::<Eras>();
}

/// Releases the participants of other threads, in the child of a fork.
#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
pub(crate) fn let_go_of_others() {
    super::participants::let_go_of_others::<Asymmetric>();
    super::participants::let_go_of_others::<Eras>();
}
