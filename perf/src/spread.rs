//! The spread of repetitions.

/// A median, with the least and the greatest of the same repetitions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Returns the spread of at least one value.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let upper = values[values.len() / 2];
        let lower = values[(values.len() - 1) / 2];
        Some(Self {
            median: (lower + upper) / 2.0,
            least,
            most,
        })
    }

    /// Returns half of the width, relative to the median, in percent.
    pub(crate) fn percent(self) -> f64 {
        if self.median == 0.0 {
            0.0
        } else {
            (self.most - self.least) / 2.0 / self.median * 100.0
        }
    }
}
