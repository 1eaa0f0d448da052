//! The derives of serde, where that feature is on, and how durations are written.
//!
//! Without the feature the derives exist too, and derive nothing: so the types of statuses and events are written once,
//! with their names on the wire.

pub(crate) use imp::*;

#[cfg(not(feature = "serde"))]
mod imp {
    pub(crate) use livepatch_macros::{NoDeserialize as Deserialize, NoSerialize as Serialize};
}

#[cfg(feature = "serde")]
mod imp {
    pub(crate) use serde::{Deserialize, Serialize};

    /// Durations as whole milliseconds, as the names of the fields say.
    pub(crate) mod millis {
        use std::time::Duration;

        use serde::{Deserialize, Deserializer, Serializer};

        pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
            u64::deserialize(from).map(Duration::from_millis)
        }
    }
}
