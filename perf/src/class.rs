//! Classes of machines. Which map wins depends mostly on how much of it fits into the caches, so figures from machines with small
//! and with large caches are kept on separate pages, and a target may hold for one class only.

use std::collections::BTreeMap;
use std::fmt;

use clap::ValueEnum;

/// A class of machines, by the size of the last-level cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Class {
    /// Below 64 MiB: a map of a million entries does not fit.
    SmallCache,
    /// 64 MiB and more.
    LargeCache,
    /// The record does not contain the size.
    Unknown,
}

/// The smallest size, in KiB, of a large last-level cache.
const LARGE: u64 = 64 << 10;

impl Class {
    /// Returns the class of a machine, by its caches (sizes in KiB by name), or else by the name of its processor.
    pub(crate) fn of(caches: &BTreeMap<String, u64>, machine: &str) -> Self {
        // The names are in the order of the levels.
        let last = caches.last_key_value().map(|(_, &kib)| kib);
        let named = || {
            // Records made before caches were recorded: the names of Intel's processors contain the size of the last-level cache.
            let (_, rest) = machine.strip_prefix("Intel")?.split_once("cache ")?;
            rest.split(' ').next()?.parse().ok()
        };
        match last.or_else(named) {
            Some(kib) if kib < LARGE => Self::SmallCache,
            Some(_) => Self::LargeCache,
            None => Self::Unknown,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SmallCache => "a last cache below 64 MiB",
            Self::LargeCache => "a last cache of 64 MiB or more",
            Self::Unknown => "caches that were not recorded",
        })
    }
}

/// Returns the data caches of the first core, in KiB by name: `L1d`, `L2`, `L3`.
pub(crate) fn caches() -> BTreeMap<String, u64> {
    let mut caches = BTreeMap::new();
    for index in 0..16 {
        let read = |what: &str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{what}");
            std::fs::read_to_string(path).map(|text| text.trim().to_owned())
        };
        let (Ok(level), Ok(kind), Ok(size)) = (read("level"), read("type"), read("size")) else {
            break;
        };
        let name = match kind.as_str() {
            "Instruction" => continue,
            "Data" => format!("L{level}d"),
            _ => format!("L{level}"),
        };
        if let Some(kib) = kib(&size) {
            caches.insert(name, kib);
        }
    }
    caches
}

/// Converts a size such as `512K` or `32M` to KiB.
pub(crate) fn kib(size: &str) -> Option<u64> {
    let (number, unit) = size.split_at(size.len().checked_sub(1)?);
    let number: u64 = number.parse().ok()?;
    match unit {
        "K" => Some(number),
        "M" => Some(number << 10),
        _ => None,
    }
}
