//! The readers that hold up a period, in backends with intervals.

/// Lagging readers: the oldest and the newest era of what each may have found (B1).
pub struct Laggards {
    some: [(u64, u64); Self::MOST],
    count: usize,
}

impl Laggards {
    /// If there are more, the newest are merged into one that may have found what any of them has: never the oldest,
    /// which is the stalled one.
    const MOST: usize = 32;

    pub(super) fn new() -> Self {
        Self {
            some: [(0, 0); Self::MOST],
            count: 0,
        }
    }

    pub(super) fn add(&mut self, epoch: u64, upper: u64) {
        match self.some.get_mut(self.count) {
            Some(place) => {
                *place = (epoch, upper);
                self.count += 1;
            }
            None => {
                self.some.sort_unstable();
                let newest = self.some[Self::MOST - 1];
                let last = &mut self.some[Self::MOST - 2];
                *last = (last.0.min(newest.0), last.1.max(newest.1));
                self.some[Self::MOST - 1] = (epoch, upper);
            }
        }
    }

    /// Returns whether a lagging reader may find an object with this interval.
    pub(super) fn may_find(&self, born: u64, retired: u64) -> bool {
        self.some[..self.count]
            .iter()
            .any(|&(epoch, upper)| epoch < retired && born <= upper)
    }
}
