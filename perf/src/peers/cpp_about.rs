//! What is known of the C++ peers, whether the program was built with them or not.

use crate::store::{About, Form, Kind, Stall};

pub(crate) const URCU: About = about("urcu", true, Form::Stable, Stall::Garbage);
pub(crate) const TBB: About = about("tbb", false, Form::Stable, Stall::Blocks);
pub(crate) const BOOST_FLAT: About = about("boost_flat", false, Form::InPlace, Stall::Blocks);
pub(crate) const BOOST_NODE: About = about("boost_node", false, Form::Stable, Stall::Blocks);

/// All of them, in the order of reports.
pub(crate) const ALL: [About; 4] = [URCU, TBB, BOOST_FLAT, BOOST_NODE];

const fn about(name: &'static str, lock_free_reads: bool, form: Form, stall: Stall) -> About {
    About {
        name,
        kind: Kind::Peer,
        lock_free_reads,
        form,
        any_value: false,
        stall,
        max_entries: usize::MAX,
        stands_new_keys: true,
    }
}
