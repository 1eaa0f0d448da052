//! The stores on which every test runs: the default, one store for each rare path that is made common, and one for all of
//! them.
//!
//! A table of one bucket grows after a handful of insertions, a block of the smallest size splits a migration between all
//! threads, equal hashes make every key collide with every other, a batch of one reclaims at once, and separate ids place
//! each of a parent's variables elsewhere.

use shadow_vars::{Provoke, Reclaim, ShadowStore};

/// One way to build a store. The name is for messages, and for tests that need this one, as positions in a list change.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub name: &'static str,
    pub provoke: Provoke,
}

impl Config {
    /// Returns every configuration; the first is the one that users get.
    pub fn all() -> [Config; 7] {
        let plain = Provoke::default();
        [
            Config {
                name: "default",
                provoke: plain,
            },
            Config {
                name: "smallest-table",
                provoke: Provoke {
                    smallest_table: true,
                    ..plain
                },
            },
            Config {
                name: "smallest-block",
                provoke: Provoke {
                    smallest_block: true,
                    ..plain
                },
            },
            Config {
                name: "equal-hashes",
                provoke: Provoke {
                    equal_hashes: true,
                    ..plain
                },
            },
            Config {
                name: "batch-of-one",
                provoke: Provoke {
                    batch_of_one: true,
                    ..plain
                },
            },
            Config {
                name: "ids-apart",
                provoke: Provoke {
                    smallest_table: true,
                    ids_apart: true,
                    ..plain
                },
            },
            Config::provoked(),
        ]
    }

    /// Everything at once.
    pub fn provoked() -> Config {
        Config {
            name: "all-provoked",
            provoke: Provoke {
                smallest_table: true,
                smallest_block: true,
                equal_hashes: true,
                batch_of_one: true,
                unpacked: true,
                ids_apart: true,
            },
        }
    }

    /// Smallest table and smallest block with real hashes: the most migrations for a given number of insertions.
    pub fn migrating() -> Config {
        Config {
            name: "migrating",
            provoke: Provoke {
                smallest_table: true,
                smallest_block: true,
                ..Provoke::default()
            },
        }
    }

    /// Returns all of them, and the one that migrates most.
    pub fn every() -> Vec<Config> {
        let mut every = Config::all().to_vec();
        every.push(Config::migrating());
        every
    }

    /// Returns the configuration of this name.
    #[track_caller]
    pub fn named(name: &str) -> Config {
        let found = Config::every().into_iter().find(|config| config.name == name);
        found.unwrap_or_else(|| panic!("no configuration is called {name:?}"))
    }

    /// Builds a store of this configuration. The seed is fixed: a failure must be reproducible.
    pub fn build<R: Reclaim>(&self) -> ShadowStore<R> {
        ShadowStore::builder()
            .hash_seed(0x5eed)
            .provoke(self.provoke)
            .build()
            .expect("a test configuration builds")
    }
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
