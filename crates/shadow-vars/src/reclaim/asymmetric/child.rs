//! The readers that a fork leaves behind.

use super::super::owned;
use super::{DOMAIN, FENCES, Ordering, Participant};
use crate::sync::{stat, thread_token};

/// In the child of a fork: participants of other threads are nobody's. Owned guards stay: they may be this thread's, so those
/// of before are known by their epochs.
pub(in crate::reclaim) fn let_go_of_others() {
    let me = thread_token();
    for participant in Participant::all() {
        let owner = participant.owner.load(stat::Ordering::Relaxed);
        if participant.taken.load(stat::Ordering::Relaxed) && owner != me {
            participant.retreat();
            participant.guards.set(0);
            participant.let_go();
        }
    }
    DOMAIN.scanning.store(false, stat::Ordering::Relaxed);
    owned::forked(DOMAIN.epoch.fetch_add(1, Ordering::AcqRel) & !FENCES);
}
