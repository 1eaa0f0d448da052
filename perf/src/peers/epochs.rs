//! The collector of crossbeam-epoch, which several peers share.

/// Advances crossbeam-epoch far enough to free what was retired before, if no guard is held.
pub(crate) fn flush_epochs() {
    for _ in 0..8 {
        crossbeam_epoch::pin().flush();
    }
}
