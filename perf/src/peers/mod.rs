//! All contenders, one adapter file each: the map is used as its own documentation recommends.

use std::marker::PhantomData;

use shadow_vars::{Asymmetric, Epoch, Eras, Seize};

use crate::keys::KeySet;
use crate::store::{AHash, About, FoldHash, Form, Hashing, Kind, Store, Value};
use crate::workloads::{Held, Job, Measured, run_from_empty};

#[cfg(any(perf_urcu, perf_tbb, perf_boost_flat, perf_boost_node))]
mod cpp;
mod dashmap;
mod epochs;
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

/// The name of the default store, which the targets are about.
pub(crate) const OURS: &str = "shadow";
/// The name of the same store, with the id given to each operation.
pub(crate) const BY_ID: &str = "shadow-by-id";

/// A map, with the hashers with which it is measured.
pub(crate) struct Contender {
    pub(crate) about: About,
    pub(crate) variants: Vec<Variant>,
}

/// A map with one hasher.
pub(crate) struct Variant {
    /// `own` if the map chooses its hasher.
    pub(crate) hasher: &'static str,
    pub(crate) bench: &'static dyn Bench,
}

/// The operations on a map, compiled for each: dynamic dispatch on the outside, static in the loops.
pub(crate) trait Bench: Sync {
    /// Builds a map that holds the keys.
    fn build(&self, keys: &KeySet) -> Box<dyn Built>;

    /// Runs a workload that begins with an empty map.
    fn run_from_empty(&self, job: &Job<'_>) -> Measured;

    /// Builds a map that holds the keys and nothing else, made with room for them or grown.
    fn hold(&self, keys: &KeySet, with_capacity: bool) -> Box<dyn Send>;

    /// Checks that the adapter has the properties that the workloads rely on.
    #[cfg(test)]
    fn conform(&self);
}

/// A map that holds a key set.
pub(crate) trait Built {
    fn run(&self, job: &Job<'_>) -> Measured;
}

/// Returns all contenders, in the order of reports.
pub(crate) fn all() -> Vec<Contender> {
    type Boxed = Box<Value>;
    let mut all = vec![
        own::<shadow::Shadow<Asymmetric, Value>>(),
        own::<shadow::Shadow<Asymmetric, Value, true>>(),
        own::<shadow::Shadow<Epoch, Value>>(),
        own::<shadow::Shadow<Seize, Value>>(),
        own::<shadow::Shadow<Eras, Value>>(),
        hashed::<papaya::Papaya<Value, FoldHash>, papaya::Papaya<Value, AHash>>(),
        hashed::<scc_map::SccMap<Boxed, FoldHash>, scc_map::SccMap<Boxed, AHash>>(),
        hashed::<scc_map::SccMap<Value, FoldHash>, scc_map::SccMap<Value, AHash>>(),
        hashed::<scc_index::SccIndex<Boxed, FoldHash>, scc_index::SccIndex<Boxed, AHash>>(),
        hashed::<scc_index::SccIndex<Value, FoldHash>, scc_index::SccIndex<Value, AHash>>(),
        hashed::<dashmap::Dash<Boxed, FoldHash>, dashmap::Dash<Boxed, AHash>>(),
        hashed::<dashmap::Dash<Value, FoldHash>, dashmap::Dash<Value, AHash>>(),
        hashed::<dashmap::Dash7<Boxed, FoldHash>, dashmap::Dash7<Boxed, AHash>>(),
        hashed::<dashmap::Dash7<Value, FoldHash>, dashmap::Dash7<Value, AHash>>(),
        hashed::<flurry::Flurry<Value, FoldHash>, flurry::Flurry<Value, AHash>>(),
        hashed::<leapfrog::Leapfrog<Value, FoldHash>, leapfrog::Leapfrog<Value, AHash>>(),
        hashed::<rwlock::Locked<Boxed, FoldHash>, rwlock::Locked<Boxed, AHash>>(),
        hashed::<rwlock::Locked<Value, FoldHash>, rwlock::Locked<Value, AHash>>(),
        own::<skipmap::Skip<Value>>(),
    ];
    all.extend(from_cpp());
    all.extend([
        own::<kernel::KernelDesign<Value>>(),
        hashed::<nosync::NoSync<Boxed, FoldHash>, nosync::NoSync<Boxed, AHash>>(),
    ]);
    all
}

/// Returns the C++ peers that were built.
fn from_cpp() -> Vec<Contender> {
    vec![
        #[cfg(perf_urcu)]
        own::<cpp::Urcu>(),
        #[cfg(perf_tbb)]
        own::<cpp::Tbb>(),
        #[cfg(perf_boost_flat)]
        own::<cpp::BoostFlat>(),
        #[cfg(perf_boost_node)]
        own::<cpp::BoostNode>(),
    ]
}

/// Returns whether the map of that name is a C++ peer.
pub(crate) fn is_from_cpp(name: &str) -> bool {
    from_cpp().iter().any(|contender| contender.about.name == name)
}

/// The C++ peers that this program was built without, with the reasons.
pub(crate) const MISSING: &str = env!("PERF_CPP_MISSING");

/// Returns the versions of all peers that it was built with.
pub(crate) fn versions() -> String {
    let cpp = option_env!("PERF_CPP_PEERS").unwrap_or_default();
    [env!("PERF_PEERS"), cpp].join(", ").trim_end_matches(", ").to_owned()
}

/// Returns whether the name is that of a concurrent map from a registry or a distribution.
pub(crate) fn is_peer(name: &str) -> bool {
    about(name).is_some_and(|about| about.kind == Kind::Peer)
}

/// Returns the properties of the map of that name.
pub(crate) fn about(name: &str) -> Option<About> {
    let mut all = all().into_iter().map(|contender| contender.about);
    all.find(|about| about.name == name)
}

/// Which peers are compared with. Maps that do not move their values count as of both forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peers {
    /// Peers whose references to values stay valid: where a map moves its entries, the values are boxed.
    Boxed,
    /// Peers with values in place.
    InPlace,
    /// Peers whose references to values stay valid and whose readers take no lock.
    LockFree,
    /// Peers of both forms.
    All,
}

impl Peers {
    /// Both forms, in the order of the tables.
    pub(crate) const FORMS: [Self; 2] = [Self::Boxed, Self::InPlace];

    pub(crate) fn have(self, about: &About) -> bool {
        about.kind == Kind::Peer
            && match self {
                Self::Boxed => about.form != Form::InPlace,
                Self::InPlace => about.form != Form::Boxed,
                Self::LockFree => about.form != Form::InPlace && about.lock_free_reads,
                Self::All => true,
            }
    }

    /// Returns the word for the form of their values.
    pub(crate) fn values(self) -> &'static str {
        match self {
            Self::Boxed => "boxed",
            Self::InPlace => "in place",
            Self::LockFree => "boxed, without locks",
            Self::All => "boxed or in place",
        }
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
