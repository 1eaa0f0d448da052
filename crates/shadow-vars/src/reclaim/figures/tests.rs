//! Statistics at their limits: counters that have wrapped around, counters read while they changed, sums beyond 64
//! bits.

use super::*;
use crate::reclaim::counters::ahead;
use crate::reclaim::object::{Freed, Interval, Weighed};
use crate::reclaim::{Asymmetric, Reclaim};
use crate::shard::Shard;
use crate::sync::stat;

/// Objects that each claim to own everything. None is ever on a list.
struct Heavy;

impl Objects for Heavy {
    type Kind = ();

    unsafe fn free_plain<R: Reclaim>(&self, _: NonNull<Link>, _: Shard, _: &mut Option<()>) -> Option<u64> {
        unreachable!("nothing is retired")
    }

    unsafe fn interval(&self, _: NonNull<Link>) -> NonNull<Interval> {
        unreachable!("nothing is retired")
    }

    unsafe fn reclaim(&self, _: NonNull<Link>, _: Shard) -> Freed {
        unreachable!("nothing is retired")
    }

    unsafe fn weigh(&self, _: NonNull<Link>) -> Weighed {
        Weighed {
            bytes: u64::MAX,
            panicked: true,
        }
    }

    unsafe fn bytes(&self, _: NonNull<Link>) -> u64 {
        unreachable!("nothing is retired")
    }

    fn settle(&self, _: Shard) {}

    unsafe fn poison(&self, _: NonNull<Link>) -> Freed {
        unreachable!("nothing is retired")
    }

    unsafe fn free_poisoned(&self, _: NonNull<Link>, _: Shard) {
        unreachable!("nothing is retired")
    }
}

const SHARDS: usize = 3;

/// Makes this many lists, with counters as if this much had been retired and reclaimed in each.
fn lists(retired: u64, reclaimed: u64) -> std::sync::Arc<RetireLists<Heavy>> {
    let lists = RetireLists::new(SHARDS, 64, std::sync::Arc::new(Heavy)).expect("there is memory");
    for shard in 0..SHARDS {
        let (list, _) = lists.list(Shard::at(shard));
        for counter in [&list.retired, &list.retired_bytes] {
            counter.store(retired, Ordering::Relaxed);
        }
        for counter in [&list.reclaimed, &list.reclaimed_bytes] {
            counter.store(reclaimed, Ordering::Relaxed);
        }
        list.drop_panics.store(retired, Ordering::Relaxed);
    }
    assert_eq!(lists.lists().count(), SHARDS);
    lists
}

/// The retired count may be read before the reclaimed one, and then be the smaller of the two.
#[test]
fn what_is_behind_is_ahead_by_nothing() {
    for (first, second, by) in [
        (0, 0, 0),
        (7, 5, 2),
        (5, 7, 0),
        (0, u64::MAX >> 1, 0),
        (u64::MAX >> 1, 0, u64::MAX >> 1),
        // Wrapped around.
        (3, u64::MAX - 1, 5),
        (u64::MAX - 1, 3, 0),
    ] {
        assert_eq!(ahead(first, second), by, "{first}, {second}");
        assert_eq!(
            difference(&stat::AtomicU64::new(first), &stat::AtomicU64::new(second)),
            by
        );
        let lists = lists(first, second);
        assert_eq!(lists.shared.waiting(), by);
        assert_eq!(lists.shared.pending_bytes(), by);
        assert_eq!(lists.shared.oldest(), None, "nobody looked at the clock");
    }
}

#[test]
fn sums_end_where_their_width_does() {
    let most = u64::MAX >> 1;
    assert_eq!(
        lists(most / 4, 0).pending(),
        ((most / 4 * 3) as usize, (most / 4 * 3) as usize)
    );
    let lists = lists(most, 0);
    assert_eq!(lists.pending(), (usize::MAX, usize::MAX));
    assert_eq!(lists.held_back::<Asymmetric>(7), usize::MAX);
    assert_eq!(lists.drop_panics(), u64::MAX);
    // For one list: its bytes, and what the objects own.
    let (list, _) = lists.list(Shard::at(0));
    list.add_weight(u64::MAX);
    assert_eq!(list.pending_bytes(), u64::MAX);
    list.close_weight();
    assert_eq!(list.pending_bytes(), u64::MAX);
    assert_eq!(lists.pending(), (usize::MAX, usize::MAX));
}

/// Whatever the id's function returns, a sum has room for as many objects as memory has.
#[test]
fn an_object_weighs_4_gib_at_most() {
    let lists = lists(0, 0);
    let object = Link::new(0);
    // SAFETY: `weigh` of this type does not look at the object.
    let weight = unsafe { lists.weigh(NonNull::from(&object)) };
    assert_eq!((weight, lists.weigh_panics()), (1 << 32, 1));
    let list = &lists.shared;
    (0..100_000).for_each(|_| assert!(list.add_weight(weight), "each fills a batch"));
    assert_eq!(list.pending_bytes(), 0, "nothing is retired");
    list.retired.store(100_000, Ordering::Relaxed);
    assert_eq!(list.pending_bytes(), 100_000 << 32);
    list.close_weight();
    assert_eq!(list.pending_bytes(), 100_000 << 32);
    list.reclaimed.store(50_000, Ordering::Relaxed);
    assert_eq!(list.pending_bytes(), 50_000 << 32);
}
