//! What a fork leaves of the held objects, wherever it cuts off the thread that has them under TAKEN (F4).

use super::*;
use crate::reclaim::steps::at_each_step;

thread_local! {
    static HELD: Cell<*const Held> = const { Cell::new(ptr::null()) };
    static STEPS: Cell<usize> = const { Cell::new(0) };
    /// The fewest and the most objects that a child has found, and the latest that it took for the oldest period.
    static FOUND: Cell<(usize, usize, u64)> = const { Cell::new((usize::MAX, 0, 0)) };
}

impl Held {
    /// Returns what a child has that is forked now.
    fn forked(&self) -> Self {
        let copy = Self::new();
        for (mine, its) in [(&self.rest, &copy.rest), (&self.kept, &copy.kept)] {
            its.store(mine.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        for (mine, its) in [
            (&self.oldest_of_rest, &copy.oldest_of_rest),
            (&self.oldest_of_kept, &copy.oldest_of_kept),
        ] {
            its.store(mine.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        for (mine, its) in [
            (&self.oldest, &copy.oldest),
            (&self.count, &copy.count),
            (&self.drained, &copy.drained),
        ] {
            its.store(mine.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        copy.mend();
        copy
    }

    /// Returns the number of objects in the chains.
    fn objects(&self) -> usize {
        let chains = [&self.rest, &self.kept].map(|chain| {
            let mut next = chain.load(Ordering::Relaxed);
            // SAFETY: objects of the test, which outlive the chains.
            std::iter::from_fn(move || unsafe { next.as_ref() }.inspect(|object| next = object.next())).count()
        });
        chains.iter().sum()
    }

    /// Returns the oldest period of the objects in the chains, as far as it is known.
    fn oldest_in_chains(&self) -> u64 {
        let of = |chain: &AtomicPtr<Link>, oldest: &stat::AtomicU64| {
            let empty = chain.load(Ordering::Relaxed).is_null();
            if empty {
                u64::MAX
            } else {
                oldest.load(Ordering::Relaxed)
            }
        };
        of(&self.rest, &self.oldest_of_rest).min(of(&self.kept, &self.oldest_of_kept))
    }
}

fn look() {
    STEPS.set(STEPS.get() + 1);
    // SAFETY: the test keeps it alive while it steps.
    let child = unsafe { &*HELD.get() }.forked();
    let objects = child.objects();
    assert_eq!(child.is_empty(), objects == 0, "what is held is known to be");
    let (fewest, most, oldest) = FOUND.get();
    FOUND.set((
        fewest.min(objects),
        most.max(objects),
        oldest.max(child.oldest_in_chains()),
    ));
    // All are freed, as by a sift: then nothing is held.
    // SAFETY: a copy that no other thread has, of objects that the test keeps.
    let taken =
        (0..child.count.load(Ordering::Relaxed)).map_while(|_| unsafe { child.next().or_else(|| child.next()) });
    assert_eq!(taken.count(), objects);
    child.publish_oldest();
    assert!(child.is_empty());
}

/// Returns what children find that are forked at each instruction of a call.
fn forked_in<O>(held: &Held, call: impl FnOnce() -> O) -> (O, (usize, usize, u64)) {
    HELD.set(held);
    STEPS.set(0);
    FOUND.set((usize::MAX, 0, 0));
    let answer = at_each_step(look, call);
    assert!(STEPS.get() > 5, "only {} steps", STEPS.get());
    (answer, FOUND.get())
}

#[test]
fn a_fork_loses_what_was_in_hand_and_nothing_else() {
    let objects: Vec<Link> = (0..3).map(|_| Link::new(0)).collect();
    let held = Held::new();
    held.drained.store(9, Ordering::Relaxed);
    for (n, object) in objects.iter().enumerate() {
        // SAFETY: in no chain.
        let ((), found) = forked_in(&held, || unsafe { held.keep(NonNull::from(object), 7 + n as u64) });
        assert_eq!((found.0, found.1), (n, n + 1));
        assert!(n == 0 || found.2 == 7, "{found:?}");
    }
    // At the end of the round, nothing is in hand.
    // SAFETY: no other thread has it, and the test keeps the objects.
    let (none, found) = forked_in(&held, || unsafe { held.next() });
    assert_eq!((none, found), (None, (3, 3, 7)));
    for left in [2, 1, 0] {
        // SAFETY: as above.
        let (some, found) = forked_in(&held, || unsafe { held.next() });
        assert!(some.is_some());
        assert_eq!((found.0, found.1), (left, left + 1));
    }
    // SAFETY: as above.
    let (none, found) = forked_in(&held, || unsafe { held.next() });
    assert_eq!((none, found.0, found.1), (None, 0, 0));
    // A fork of the child while it mends loses nothing either.
    // SAFETY: in no chain.
    objects
        .iter()
        .for_each(|object| unsafe { held.keep(NonNull::from(object), 9) });
    held.rest.store(held.kept.load(Ordering::Relaxed), Ordering::Relaxed);
    held.oldest_of_rest.store(9, Ordering::Relaxed);
    let ((), found) = forked_in(&held, || held.mend());
    assert_eq!(found, (3, 3, 9));
    assert_eq!((held.objects(), held.oldest_in_chains()), (3, 9));
    assert!(held.take_all().contains(&ptr::null_mut()));
}
