//! All contenders, one adapter file each: the map as its own documentation would have a user write it.

use std::marker::PhantomData;

use shadow_vars::{Asymmetric, Epoch, Seize};

use crate::keys::KeySet;
use crate::store::{AHash, About, FoldHash, Hashing, Kind, Store};
use crate::workloads::{Held, Job, Measured, run_from_empty};

mod dashmap;
mod flurry;
mod kernel;
mod leapfrog;
mod nosync;
mod papaya;
mod rwlock;
mod scc_index;
mod scc_map;
mod shadow;
mod skipmap;

/// A map, with each hasher that it is tried with.
pub(crate) struct Contender {
    pub(crate) about: About,
    pub(crate) variants: Vec<Variant>,
}

/// A map with one hasher.
pub(crate) struct Variant {
    /// `own` if the map is not given one.
    pub(crate) hasher: &'static str,
    pub(crate) bench: &'static dyn Bench,
}

/// Everything that is done with a map, compiled for each: dynamic at its face, static in its loops.
pub(crate) trait Bench: Sync {
    /// A map that holds the keys.
    fn build(&self, keys: &KeySet) -> Box<dyn Built>;

    /// Runs a workload that begins with an empty map.
    fn run_from_empty(&self, job: &Job<'_>) -> Measured;

    /// A map that holds the keys, made with room for them from the beginning or not, and nothing else.
    fn hold(&self, keys: &KeySet, with_capacity: bool) -> Box<dyn Send>;

    /// Checks that the adapter does what the workloads take for granted.
    #[cfg(test)]
    fn conform(&self);
}

/// A map that holds a key set.
pub(crate) trait Built {
    fn run(&self, job: &Job<'_>) -> Measured;
}

/// All contenders, in the order of reports.
pub(crate) fn all() -> Vec<Contender> {
    vec![
        own::<shadow::Shadow<Asymmetric>>(),
        own::<shadow::Shadow<Epoch>>(),
        own::<shadow::Shadow<Seize>>(),
        hashed::<papaya::Papaya<FoldHash>, papaya::Papaya<AHash>>(),
        hashed::<scc_map::SccMap<FoldHash>, scc_map::SccMap<AHash>>(),
        hashed::<scc_index::SccIndex<FoldHash>, scc_index::SccIndex<AHash>>(),
        hashed::<dashmap::Dash<FoldHash>, dashmap::Dash<AHash>>(),
        hashed::<dashmap::Dash7<FoldHash>, dashmap::Dash7<AHash>>(),
        hashed::<flurry::Flurry<FoldHash>, flurry::Flurry<AHash>>(),
        hashed::<leapfrog::Leapfrog<FoldHash>, leapfrog::Leapfrog<AHash>>(),
        hashed::<rwlock::Locked<FoldHash>, rwlock::Locked<AHash>>(),
        own::<skipmap::Skip>(),
        own::<kernel::KernelDesign>(),
        hashed::<nosync::NoSync<FoldHash>, nosync::NoSync<AHash>>(),
    ]
}

/// Whether a name is that of a concurrent map from the registry.
pub(crate) fn is_peer(name: &str) -> bool {
    all()
        .iter()
        .any(|contender| contender.about.name == name && contender.about.kind == Kind::Peer)
}

/// Lets crossbeam-epoch go on far enough that what was retired before is freed, if nobody holds it.
fn flush_epochs() {
    for _ in 0..8 {
        crossbeam_epoch::pin().flush();
    }
}

struct Runner<S>(PhantomData<fn() -> S>);

impl<S: Store> Runner<S> {
    const BENCH: &'static dyn Bench = &Self(PhantomData);
}

fn own<S: Store>() -> Contender {
    Contender {
        about: S::ABOUT,
        variants: vec![variant::<S>("own")],
    }
}

fn hashed<F: Store, A: Store>() -> Contender {
    Contender {
        about: F::ABOUT,
        variants: vec![variant::<F>(FoldHash::NAME), variant::<A>(AHash::NAME)],
    }
}

fn variant<S: Store>(hasher: &'static str) -> Variant {
    Variant {
        hasher,
        bench: Runner::<S>::BENCH,
    }
}

impl<S: Store> Bench for Runner<S> {
    fn build(&self, keys: &KeySet) -> Box<dyn Built> {
        Box::new(Held::<S>::build(keys))
    }

    fn run_from_empty(&self, job: &Job<'_>) -> Measured {
        run_from_empty::<S>(job)
    }

    fn hold(&self, keys: &KeySet, with_capacity: bool) -> Box<dyn Send> {
        let entries = keys.present.len() + keys.wide.len();
        let store = if with_capacity {
            S::with_capacity(entries)
        } else {
            S::new()
        };
        for key in keys.present.iter().chain(&keys.wide) {
            store.load(key.key());
        }
        store.settle();
        Box::new(store)
    }

    #[cfg(test)]
    fn conform(&self) {
        crate::tests::conformance::check::<S>();
    }
}

impl<S: Store> Built for Held<S> {
    fn run(&self, job: &Job<'_>) -> Measured {
        self.run(job)
    }
}
