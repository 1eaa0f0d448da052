//! Deliberate defects and stopping points, for tests only: in ordinary builds both are constants that compile to nothing.
//!
//! A test that cannot fail proves nothing. Each variant of [`Defect`] breaks one rule of the protocol; the tests in
//! `src/tests` show that a model, the linearizability check or the stress test catches it.

/// Whether a rule is broken on purpose in the whole process, whether its barrier is refused, and whether it is as in a pause:
/// in models only.
pub(crate) use self::model::{is_paused, is_refused, planted_everywhere};
pub(crate) use self::rig::{Poison, Rigging, as_checked};

/// A rule of the protocol that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(any(test, shadow_loom)), expect(dead_code, reason = "planted by tests only"))]
pub(crate) enum Defect {
    /// Insert takes another key's TOMB.
    AnyTomb,
    /// In a bucket, an EMPTY wins over an earlier SEALED.
    EmptyBeforeSealed,
    /// Find and insert take EMPTY for the end of the probe in a table that has a successor.
    AnyIsLast,
    /// Find and insert load the successor without the fence after the relaxed loads.
    LastWithoutFence,
    /// Find takes a key that is not in the sieve for absent, whether there is a successor or not.
    SieveIsLast,
    /// A claim is recorded in the sieve after it was made.
    SieveAfterClaim,
    /// A remover's claim is not recorded in the sieve.
    TombNotNoted,
    /// Find continues after MOVED, and stops at an EMPTY behind it.
    EmptyAfterMovedIsAbsent,
    /// Find takes SEALED for absent.
    SealedIsAbsent,
    /// Find takes FROZEN(dead) for absent (insert continues in the successor).
    FrozenDeadIsAbsent,
    /// Find takes a full table for the last one.
    FullIsAbsent,
    /// Find takes a node under construction for the variable.
    BuildingIsFound,
    /// Insert takes a node under construction for the variable.
    BuildingExists,
    /// Insert takes a dead node for the variable.
    DeadExists,
    /// Insert claims an EMPTY after a MOVED.
    ClaimAfterMoved,
    /// Insert claims in a migrating table instead of sealing.
    NoSeal,
    /// Insert leaves LINK(dead) in a migrating table and claims in the successor.
    DeadLinkLeft,
    /// Insert leaves its TOMB in a migrating table and claims in the successor.
    TombLeft,
    /// Insert puts its node over FROZEN(dead).
    FrozenDeadReused,
    /// Insert retires the dead node that it replaces.
    ReplacerRetires,
    /// Kill without compare-and-swap.
    KillByStore,
    /// Retire before unlink.
    RetireBeforeUnlink,
    /// Unlink by a plain store.
    UnlinkByStore,
    /// Unlink to EMPTY.
    UnlinkToEmpty,
    /// Unlink starts in the table where the node was found.
    UnlinkFromFound,
    /// The remover stops at FROZEN and claims nothing in the successor.
    RemoverStopsAtFrozen,
    /// The remover claims no slot where it finds none.
    RemoverNeverClaims,
    /// The remover leaves FROZEN behind.
    FrozenLeft,
    /// The remover turns FROZEN into TOMB.
    FrozenToTomb,
    /// The remover leaves a TOMB after MOVED, where SEALED is required.
    TombAfterMoved,
    /// A failed constructor's node is retired without being unlinked.
    FailedNotUnlinked,
    /// Migration places a node before it freezes the slot.
    PlaceBeforeFreeze,
    /// Migration marks MOVED before it places.
    MovedBeforePlace,
    /// Migration freezes by a plain store.
    FreezeByStore,
    /// Migration seals by a plain store.
    SealByStore,
    /// Migration seals the last slot of a bucket, and leaves the first EMPTY.
    SealLast,
    /// Migration does not place a node under construction.
    BuildingNotPlaced,
    /// Place puts the node over its key's TOMB.
    PlaceOverTomb,
    /// Place claims an EMPTY after a MOVED.
    PlaceAfterMoved,
    /// Migration retires dead nodes.
    HelperRetires,
    /// The root is swung when one block is finished.
    PromoteEarly,
    /// The old table is retired before the root is swung.
    RetireTableFirst,
    /// A sweep reads `next` before it scans.
    SweepNextFirst,
    /// A sweep continues in the successor without the fence after the relaxed loads.
    SweepWithoutFence,
    /// A pass over one parent's variables reads the place of the first ids only.
    FirstPlaceOnly,
    /// A pass over one parent's variables continues in the successor only if the last place requires it.
    LastPlaceDecides,
    /// A shard's owner pushes by plain stores while another thread closes the shard's batch.
    PushBesideClose,
    /// A thread that closes another shard's batch does not check whether the owner is pushing.
    CloseBesidePush,
    /// A thread that drains another shard does not check whether the owner is inside.
    TakeBesideOwner,
    /// What an owner has in hand counts as dropped.
    HandForgotten,
    /// A close counts itself after it has emptied the chains.
    CountAfterClose,
    /// A mark takes the open objects for a part of the batch that was closed last.
    MarkForgetsOpen,
    /// Light barriers, of the asymmetric backend's readers and of owners that push, are left out.
    NoLightBarrier,
    /// Heavy barriers are left out before readers or owners are scanned.
    NoHeavyBarrier,
    /// A heavy barrier that was refused counts as one.
    RefusedCountsAsFenced,
    /// The asymmetric backend ends a period regardless of its readers.
    ReadersIgnored,
    /// The asymmetric backend ends a period regardless of owned guards.
    OwnedIgnored,
    /// A scan reads the owned guards before it reads which periods have begun.
    OwnedSeenEarly,
    /// With intervals, a reader does not announce the era of what it loads.
    UpperNotPublished,
    /// With intervals, a reader does not repeat the load after it has announced an era.
    NoReload,
    /// With intervals, the readers' announcements are read although no barrier was issued since the period began.
    UppersSeenEarly,
    /// With intervals, an object's birth is later than the era that its creator has announced.
    BornLate,
    /// With intervals, a successor is taken for protected even if its table was retired.
    SuccessorUnchecked,
    /// Operations count on one side, whatever the phase.
    PhaseIgnored,
    /// A snapshot reads both sides before it advances the phase.
    PhaseMovedLast,
    /// A snapshot does not check whether another one has advanced the phase since.
    LookUnchecked,
    /// A snapshot does not make sure that operations of the phase before are seen.
    LookWithoutFence,
}

/// A point inside migration, removal or construction at which a test can stop a thread.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Stage {
    /// A successor was installed.
    Installed,
    /// A block was taken, none of its slots touched.
    BlockTaken,
    /// A slot was frozen or finished; if frozen, its node is not placed.
    Frozen,
    /// A node was placed, its old slot not MOVED.
    Placed,
    /// A slot that led to a node is MOVED.
    SlotDone,
    /// A block is finished, not yet counted.
    BlockDone,
    /// All blocks are finished, the root not swung.
    Finished,
    /// The root was swung, the old table not retired.
    Swung,
    /// A variable was killed, its node still linked.
    Killed,
    /// An unlink went on to a successor.
    UnlinkNext,
    /// No slot leads to the node, it is not yet retired.
    Unlinked,
    /// A key was claimed for a node, whose constructor has not run.
    Claimed,
    /// A sweep has read a bucket.
    Swept,
}

#[cfg(any(test, shadow_loom))]
pub(crate) mod rig {
    use std::cell::Cell;

    use super::{Defect, Stage};
    use crate::sync::stat::{AtomicBool, Ordering};

    std::thread_local! {
        /// Called before every access of this thread to a node or a table.
        pub(crate) static ON_ACCESS: Cell<Option<fn()>> = const { Cell::new(None) };
        /// Bits added to the addresses of this thread's new nodes and tables, as far as checks see them.
        pub(crate) static FAR: Cell<usize> = const { Cell::new(0) };
    }

    /// Called before every access to a node or a table.
    pub(crate) fn access() {
        if let Some(call) = ON_ACCESS.get() {
            call();
        }
    }

    /// Returns an address as checks see it.
    pub(crate) fn as_checked(addr: usize) -> usize {
        addr | FAR.get()
    }

    /// The defect that a test plants, and the function by which it observes stages.
    #[derive(Default)]
    pub(crate) struct Rigging {
        pub(crate) defect: Option<Defect>,
        pub(crate) watch: Option<Box<dyn Fn(Stage) + Send + Sync>>,
    }

    impl Rigging {
        /// Returns whether this rule is broken on purpose.
        #[inline(always)]
        pub(crate) fn has(&self, defect: Defect) -> bool {
            self.defect == Some(defect)
        }

        /// Lets a test stop this thread at a stage.
        #[inline(always)]
        pub(crate) fn at(&self, stage: Stage) {
            if let Some(watch) = &self.watch {
                watch(stage);
            }
        }
    }

    /// Set instead of freeing an object, so that a late access is caught instead of being undefined behaviour.
    #[derive(Default)]
    pub(crate) struct Poison(AtomicBool);

    impl Poison {
        pub(crate) fn set(&self) {
            let before = self.0.swap(true, Ordering::SeqCst);
            assert!(!before, "reclaimed twice");
        }

        /// Clears the mark, when the store is dropped.
        pub(crate) fn clear(&self) {
            self.0.store(false, Ordering::SeqCst);
        }

        /// Called before every access.
        pub(crate) fn check(&self) {
            access();
            assert!(!self.0.load(Ordering::SeqCst), "access after reclamation");
        }
    }
}

#[cfg(not(any(test, shadow_loom)))]
mod rig {
    use super::{Defect, Stage};

    #[inline(always)]
    pub(crate) fn as_checked(addr: usize) -> usize {
        addr
    }

    #[derive(Default)]
    pub(crate) struct Rigging(());

    impl Rigging {
        #[inline(always)]
        pub(crate) fn has(&self, _: Defect) -> bool {
            false
        }

        #[inline(always)]
        pub(crate) fn at(&self, _: Stage) {}
    }

    #[derive(Default)]
    pub(crate) struct Poison(());

    impl Poison {
        #[inline(always)]
        pub(crate) fn check(&self) {}
    }
}

/// What a model changes in its whole process.
#[cfg(all(test, shadow_loom))]
pub(crate) mod model {
    use std::sync::OnceLock;

    use super::Defect;
    use crate::sync::stat::{AtomicBool, Ordering};

    /// The rule that is broken, in code that belongs to no store.
    pub(crate) static EVERYWHERE: OnceLock<Option<Defect>> = OnceLock::new();
    /// Whether the model's system refuses its barrier; then light barriers do nothing.
    pub(crate) static REFUSED: AtomicBool = AtomicBool::new(false);
    /// Whether the model runs as in the middle of a pause; most models have no pauses.
    pub(crate) static PAUSED: AtomicBool = AtomicBool::new(false);

    pub(crate) fn planted_everywhere(defect: Defect) -> bool {
        EVERYWHERE.get() == Some(&Some(defect))
    }

    pub(crate) fn is_refused() -> bool {
        REFUSED.load(Ordering::Relaxed)
    }

    pub(crate) fn is_paused() -> bool {
        PAUSED.load(Ordering::Relaxed)
    }
}

#[cfg(not(all(test, shadow_loom)))]
mod model {
    use super::Defect;

    #[inline(always)]
    pub(crate) fn planted_everywhere(_: Defect) -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn is_refused() -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn is_paused() -> bool {
        false
    }
}
