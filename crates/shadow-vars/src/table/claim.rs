//! Claim: EMPTY → LINK, the one step by which a key gets a slot in a table (I1).
//!
//! Three operations end in it: an [insert](super::insert), the [placement](super::migrate) of a node that migrates, and, with a
//! tomb in place of the LINK, the [removal](super::remove) of a node whose key has no slot yet in a successor (I3).
//!
//! ```text
//! mark    the bucket, for walks                                              (L6)
//! note    the key's bits in the sieve, for finds                             (L7)
//! cas     EMPTY → LINK                                                       (I1, O1)
//! count   if this call won; make a successor if that passes the load limit   (P4)
//! ```

use super::array::Table;
use super::key::Key;
use super::site::Site;
use super::word::Word;
use super::{Core, Shield};
use crate::defect::Defect;
use crate::reclaim::Reclaim;
use crate::shard::Shard;

impl<R: Reclaim> Core<R> {
    /// Claims a slot for a key: EMPTY → LINK, counted. Returns whether this call did it. The slot is the first EMPTY of the
    /// key's probe, or of a bucket as in L3: then no other slot can have been claimed for the key. If the slot is not in the
    /// key's home, the caller has marked the home already (L6).
    #[inline(always)]
    pub(super) fn claim_slot(
        &self,
        shield: Shield<'_, R>,
        shard: Shard,
        site: Site<'_>,
        key: &Key<'_>,
        link: Word,
    ) -> bool {
        let table = site.table();
        table.mark_slot(site.slot());
        let late = self.planted(Defect::SieveAfterClaim);
        if !late {
            table.note(key.hash);
        }
        let won = site.replace(link);
        if late {
            table.note(key.hash);
        }
        if won {
            self.count_claim(shield, shard, table);
        }
        won
    }

    /// Counts a claim, and makes a successor when the table has passed its load limit.
    #[inline]
    pub(crate) fn count_claim(&self, shield: Shield<'_, R>, shard: Shard, table: &Table) {
        if table.count_claim(shard) && self.is_root(shield, table) {
            // Without memory, the table keeps filling; the operations that need room in a full table return an error.
            let _ = self.successor(shield, table);
        }
    }
}
