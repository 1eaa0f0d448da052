//! The sizes of new tables.

use crate::ShadowStore;
use crate::reclaim::checked::Checked;
use crate::reclaim::sealed::Backend;
use crate::table::Shield;

/// The sum over all shards is not atomic: its value may never have been true.
#[test]
fn a_sum_that_was_never_true_makes_no_huge_table() {
    let core = ShadowStore::<Checked>::builder().capacity(64).core().unwrap();
    let entry = core.registry.bind::<u8>(1).unwrap();
    (0..1_000_000).for_each(|_| core.nodes.count_created(entry.counts(), core.shard()));
    let _alone = super::alone();
    let _guard = Checked::<true>::pin();
    // SAFETY: the guard lives longer than the shield.
    let shield = unsafe { Shield::new(()) };
    let root = core.root(shield);
    let next = core.successor(shield, root).unwrap();
    assert!(next.capacity() <= 4 * root.capacity(), "{} slots", next.capacity());
}
