//! Deliberate defects and stopping places, for tests only: in ordinary builds both are constants that vanish.
//!
//! A test that cannot fail proves nothing. Each variant of [`Defect`] breaks one rule of the protocol; the tests in
//! `src/tests` show that a model, the linearizability check or the stress test catches it.

use super::Core;
use crate::reclaim::Reclaim;

/// A rule of the protocol that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(any(test, shadow_loom)), expect(dead_code, reason = "planted by tests only"))]
pub(crate) enum Defect {
    /// Insert takes another key's TOMB.
    AnyTomb,
    /// In a bucket, an EMPTY wins over an earlier SEALED.
    EmptyBeforeSealed,
    /// Find and insert take EMPTY for the end in a table that has a successor.
    AnyIsLast,
    /// Find and insert ask for the successor before what relaxed loads said is sure.
    LastWithoutFence,
    /// Find takes what a sieve does not have for absent, whether there is a successor or not.
    SieveIsLast,
    /// A sieve is told of a claim when that has been made.
    SieveAfterClaim,
    /// A sieve is not told of a remover's claim.
    TombNotNoted,
    /// Find goes to the successor at the first MOVED… and stops at EMPTY after it.
    EmptyAfterMovedIsAbsent,
    /// Find takes SEALED for absent.
    SealedIsAbsent,
    /// Find takes FROZEN(dead) for absent (insert moves on).
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
    /// The remover leaves a TOMB where SEALED is due, after MOVED.
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
    /// A sweep goes on to the successor with what relaxed loads said.
    SweepWithoutFence,
    /// A pass over one parent's variables looks where the first ids put them.
    FirstPlaceOnly,
    /// A pass over one parent's variables goes on to the successor by what the last place said.
    LastPlaceDecides,
    /// A shard's owner pushes by plain stores beside one who closes it.
    PushBesideClose,
    /// Who closes another's shard does not look whether its owner is pushing.
    CloseBesidePush,
    /// Who drains another's shard does not look whether its owner is inside.
    TakeBesideOwner,
    /// What an owner has in hand counts as dropped.
    HandForgotten,
    /// A close counts itself after it has emptied the chains.
    CountAfterClose,
    /// A mark takes what is open for a part of the batch that was closed last.
    MarkForgetsOpen,
    /// Light barriers, of the asymmetric backend's readers and of owners who push, are left out.
    NoLightBarrier,
    /// Heavy barriers are left out, before readers or owners are looked at.
    NoHeavyBarrier,
    /// A heavy barrier that was refused counts as one.
    RefusedCountsAsFenced,
    /// The asymmetric backend ends a period whatever its readers say.
    ReadersIgnored,
    /// The asymmetric backend ends a period whatever owned guards there are.
    OwnedIgnored,
    /// A scan looks for owned guards before it reads which periods have begun.
    OwnedSeenEarly,
    /// With intervals, a reader does not announce the era of what it loads.
    UpperNotPublished,
    /// With intervals, a reader does not load again after it has announced an era.
    NoReload,
    /// With intervals, what readers have announced is looked at though no barrier came since the period began.
    UppersSeenEarly,
    /// With intervals, an object is born later than whoever made it has announced.
    BornLate,
    /// With intervals, a successor is taken for protected whatever became of its table.
    SuccessorUnchecked,
    /// Operations count on one side, whatever the phase.
    PhaseIgnored,
    /// A look reads both sides before it moves the phase.
    PhaseMovedLast,
    /// A look does not ask whether another one has moved the phase since.
    LookUnchecked,
    /// A look does not see to it that operations of the phase before are seen.
    LookWithoutFence,
}

/// What is broken in the whole process, for code that belongs to no store.
#[cfg(all(test, shadow_loom))]
pub(crate) static EVERYWHERE: std::sync::OnceLock<Option<Defect>> = std::sync::OnceLock::new();

/// Whether this rule is broken on purpose in the whole process.
#[cfg(all(test, shadow_loom))]
pub(crate) fn planted_everywhere(defect: Defect) -> bool {
    EVERYWHERE.get() == Some(&Some(defect))
}

/// Never, but in models.
#[inline(always)]
#[cfg(not(all(test, shadow_loom)))]
pub(crate) fn planted_everywhere(_: Defect) -> bool {
    false
}

/// A place inside migration, removal or construction where a test can stop a thread.
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
    /// A sweep has looked at a bucket.
    Swept,
}

#[cfg(any(test, shadow_loom))]
thread_local! {
    /// What a test calls before every access of this thread to a node or a table.
    pub(crate) static ON_ACCESS: std::cell::Cell<Option<fn()>> = const { std::cell::Cell::new(None) };
}

#[cfg(any(test, shadow_loom))]
thread_local! {
    /// Bits that this thread's new nodes and tables are said to have in their addresses, beside their own.
    pub(crate) static FAR: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Every access to a node or a table comes by here first.
#[cfg(any(test, shadow_loom))]
pub(crate) fn access() {
    if let Some(call) = ON_ACCESS.get() {
        call();
    }
}

/// What a test plants and watches.
#[derive(Default)]
#[cfg(any(test, shadow_loom))]
pub(crate) struct Rigging {
    pub(crate) defect: Option<Defect>,
    pub(crate) watch: Option<Box<dyn Fn(Stage) + Send + Sync>>,
}

impl<R: Reclaim> Core<R> {
    /// Whether this rule is broken on purpose.
    #[inline(always)]
    #[cfg(any(test, shadow_loom))]
    pub(crate) fn planted(&self, defect: Defect) -> bool {
        self.rigging.defect == Some(defect)
    }

    /// Never, in ordinary builds.
    #[inline(always)]
    #[cfg(not(any(test, shadow_loom)))]
    pub(crate) fn planted(&self, _: Defect) -> bool {
        false
    }

    /// A place where a test can stop this thread.
    #[inline(always)]
    pub(crate) fn at(&self, _stage: Stage) {
        #[cfg(any(test, shadow_loom))]
        if let Some(watch) = &self.rigging.watch {
            watch(_stage);
        }
    }
}
