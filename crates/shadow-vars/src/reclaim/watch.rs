//! What concerns the guards of all backends that register their readers.

use std::time::Duration;

use super::participants::{self, Site};
use super::{Asymmetric, Eras, age, scan};

/// See [`report_old_guards`](crate::report_old_guards).
pub(crate) fn report_after(age: Option<Duration>) {
    age::set(age);
    Asymmetric::ages().beat_at_once();
    Eras::ages().beat_at_once();
}

/// Checks the age of guards from time to time, also while nothing is retired, for the backends that can tell.
pub(super) fn beat() {
    scan::beat::<Asymmetric>();
    scan::beat::<Eras>();
}

/// Releases the participants of other threads, in the child of a fork.
pub(crate) fn let_go_of_others() {
    participants::let_go_of_others::<Asymmetric>();
    participants::let_go_of_others::<Eras>();
}
