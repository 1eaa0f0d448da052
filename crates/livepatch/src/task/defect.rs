//! Deliberate defects, for models only; in ordinary builds [`Model::breaks`](super::model::Model::breaks) is constant
//! `false`.
//!
//! A model that cannot fail proves nothing. Each variant breaks one rule of the page, and a model must notice.

/// A rule that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Defect {
    /// O2: a unit checks the side again without a barrier.
    NoLightBarrier,
    /// O2: a flip is followed by a scan of the words without a barrier.
    NoHeavyBarrier,
    /// O2: a unit does not check the side again.
    NoSecondLook,
    /// O3: a unit leaves by a Relaxed store.
    RelaxedLeave,
    /// O3: a unit begins by a Relaxed store.
    RelaxedBegin,
    /// O1: the flip is Relaxed.
    RelaxedFlip,
    /// T5: beginning inside another's unit takes no lock.
    InsideUnlocked,
    /// T4: transitions end without a scan.
    NoScan,
    /// T6: a scan ignores units that an earlier transition has forced.
    ForcedForgotten,
    /// O4: a unit is forced by a plain store.
    ForceByStore,
    /// T7: a unit is forced in its word only.
    ForcedKeepsSide,
    /// T7: a unit assumes that its side is the one that it has tried.
    SideFromBefore,
    /// T7: a unit that begins stores its side, and does not check whether it was forced meanwhile.
    ForcedUnseen,
    /// O5: a thread that fences does not get to see FENCES.
    FencesUnseen,
    /// O5: a flip clears FENCES.
    FlipForgetsFences,
}
