//! The libraries that contain a patch's code, and how long they stay loaded.
//!
//! A patch keeps the library that it came from ([`Mapping`]), and those of other patches whose data it may have: the
//! destructors of the data are there. When a patch leaves the list of the registry, it and the patches that are in it
//! tell each other their libraries ([`Code::share_with`]); when it is dropped, it hands on what is still in use
//! ([`Code::release`]).

use std::sync::Arc;

use super::Stays;
use super::data::{DataCell, Synchronize, WeakData};
use crate::sync::Lock;

/// A loaded library. It stays loaded for as long as there is a reference to it.
pub(crate) trait Mapping: Send + Sync {
    /// Returns its number in the list of loaded libraries.
    fn number(&self) -> u64;

    /// Makes it stay loaded for good.
    fn stay(&self, why: Stays);

    /// Adds stores to wait for before it is unloaded.
    fn wait_for(&self, pending: Vec<Synchronize>);
}

/// Keeps a library loaded.
pub(crate) type Mapped = Arc<dyn Mapping>;

/// The libraries that must stay loaded until the rest of a patch is dropped.
#[derive(Default)]
pub(crate) struct Code {
    /// The library that the patch came from.
    own: Option<Mapped>,
    /// Libraries of other patches, whose data this one may have.
    others: SharedKept,
    /// The patches that were in the list when this one left: they retain its libraries if they have its data.
    successors: Lock<Vec<SharedKept>>,
}

type SharedKept = Arc<Lock<KeptLibraries>>;

#[derive(Default)]
struct KeptLibraries {
    list: Vec<KeptLibrary>,
    /// The library of their own patch, which is kept anyway.
    own: Option<u64>,
    /// Their patch has been dropped: nothing is added any more.
    closed: bool,
}

/// A library that may contain the destructor of states' data.
#[derive(Clone)]
struct KeptLibrary {
    library: Mapped,
    /// The data. Dropping even weak references needs the library of their type: all are dropped before any library.
    data: Vec<WeakData>,
}

impl KeptLibraries {
    fn add(&mut self, kept: &KeptLibrary) {
        if self.closed || self.own == Some(kept.library.number()) {
            return;
        }
        let place = self
            .list
            .iter()
            .position(|one| one.library.number() == kept.library.number());
        let place = place.unwrap_or_else(|| {
            self.list.push(KeptLibrary {
                library: Arc::clone(&kept.library),
                data: Vec::new(),
            });
            self.list.len() - 1
        });
        let known = &mut self.list[place].data;
        for data in &kept.data {
            if !known.iter().any(|one| one.is(data)) {
                known.push(data.clone());
            }
        }
    }
}

impl Code {
    /// Returns the code of a patch from this library, or from the program.
    pub(crate) fn new(own: Option<Mapped>) -> Self {
        let this = Self::default();
        this.others.lock().own = own.as_ref().map(|library| library.number());
        Self { own, ..this }
    }

    pub(crate) fn is_in_library(&self) -> bool {
        self.own.is_some()
    }

    /// Returns the library that the patch came from.
    pub(crate) fn own(&self) -> Option<Mapped> {
        self.own.clone()
    }

    /// Returns the numbers of the libraries that are kept for data.
    pub(crate) fn kept(&self) -> Vec<u64> {
        let others = self.others.lock();
        others.list.iter().map(|kept| kept.library.number()).collect()
    }

    /// Shares libraries between the patch, which has left the list, and the patches that are in it: each patch that
    /// may have data of another keeps the libraries that may be needed to destroy them. Each patch is given by its code
    /// and the data of its states. The caller holds the change lock.
    pub(crate) fn share_with(&self, data: &[&DataCell], others: &[(&Self, Vec<&DataCell>)]) {
        *self.successors.lock() = others.iter().map(|(other, _)| Arc::clone(&other.others)).collect();
        self.share(data);
        for (other, theirs) in others {
            // This patch may have taken over data of the other, and be dropped after it.
            other
                .libraries(theirs)
                .iter()
                .for_each(|kept| self.others.lock().add(kept));
            theirs.iter().for_each(|cell| cell.forget_dead());
        }
        data.iter().for_each(|cell| cell.leave_list());
    }

    fn share(&self, data: &[&DataCell]) {
        let successors = self.successors.lock().clone();
        if successors.is_empty() {
            return;
        }
        for kept in self.libraries(data) {
            successors.iter().for_each(|successor| successor.lock().add(&kept));
        }
    }

    /// Returns the libraries of data that other patches have, too.
    fn libraries(&self, data: &[&DataCell]) -> Vec<KeptLibrary> {
        let own = self.own.iter().map(|library| KeptLibrary {
            library: Arc::clone(library),
            data: data.iter().flat_map(|cell| cell.all()).collect(),
        });
        let mut libraries = self.others.lock().list.clone();
        libraries.extend(own);
        libraries.retain_mut(|kept| {
            kept.data.retain(|one| one.is_used_elsewhere(data));
            !kept.data.is_empty()
        });
        libraries
    }

    /// Called when the patch is dropped: shares the libraries of its data with its successors, and tells its own
    /// library what to wait for before it is unloaded.
    pub(crate) fn release(&self, data: &[&DataCell], pending: impl Iterator<Item = Synchronize>, forced: bool) {
        self.share(data);
        let kept: Vec<WeakData> = {
            let mut others = self.others.lock();
            others.closed = true;
            others.list.iter_mut().flat_map(|kept| kept.data.drain(..)).collect()
        };
        drop(kept);
        let Some(own) = &self.own else { return };
        if forced {
            own.stay(Stays::Forced);
        }
        own.wait_for(pending.collect());
    }
}
