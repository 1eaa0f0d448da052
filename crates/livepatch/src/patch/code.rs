//! The libraries that contain a patch's code.

use super::State;

#[cfg(all(feature = "library", target_os = "linux"))]
pub(crate) use in_libraries::{Code, Mapped, loaded, number_of};
#[cfg(not(all(feature = "library", target_os = "linux")))]
pub(crate) use in_program::{Code, Mapped, loaded, number_of};

/// A library in the list of loaded libraries.
pub(crate) struct Listed {
    pub(crate) number: u64,
    pub(crate) status: super::LibraryStatus,
}

#[cfg(all(feature = "library", target_os = "linux"))]
mod in_libraries {
    use std::sync::Arc;

    use super::super::state::WeakData;
    use super::super::{Patch, Stays};
    use super::{Listed, State};
    use crate::library::Library;
    use crate::sync::Lock;

    /// Keeps a library loaded.
    pub(crate) type Mapped = Arc<Library>;

    /// Returns the library's number in the list of loaded libraries.
    pub(crate) fn number_of(mapped: &Mapped) -> u64 {
        mapped.number()
    }

    /// Returns the libraries that are loaded.
    pub(crate) fn loaded() -> Vec<Listed> {
        crate::library::listed()
    }

    /// The libraries that must stay loaded until the rest of a patch is dropped.
    #[derive(Default)]
    pub(crate) struct Code {
        /// The library that the patch came from.
        own: Option<Arc<Library>>,
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
        library: Arc<Library>,
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
                .position(|one| Arc::ptr_eq(&one.library, &kept.library));
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
        /// Records the library that the patch was exported from.
        pub(crate) fn set_library(&mut self, library: Arc<Library>) {
            self.others.lock().own = Some(library.number());
            self.own = Some(library);
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
        /// may have data of another keeps the libraries that may be needed to destroy them. The caller holds the change
        /// lock.
        pub(crate) fn share_with(&self, states: &[State], others: &[Arc<Patch>]) {
            *self.successors.lock() = others.iter().map(|patch| Arc::clone(&patch.code.others)).collect();
            self.share(states);
            for other in others {
                // This patch may have taken over data of the other, and be dropped after it.
                other
                    .code
                    .libraries(&other.states)
                    .iter()
                    .for_each(|kept| self.others.lock().add(kept));
                other.states.iter().for_each(State::forget_dead_data);
            }
            states.iter().for_each(State::leave_list);
        }

        fn share(&self, states: &[State]) {
            let successors = self.successors.lock().clone();
            if successors.is_empty() {
                return;
            }
            for kept in self.libraries(states) {
                successors.iter().for_each(|successor| successor.lock().add(&kept));
            }
        }

        /// Returns the libraries of data that other patches have, too.
        fn libraries(&self, states: &[State]) -> Vec<KeptLibrary> {
            let own = self.own.iter().map(|library| KeptLibrary {
                library: Arc::clone(library),
                data: states.iter().flat_map(State::all_data).collect(),
            });
            let mut libraries = self.others.lock().list.clone();
            libraries.extend(own);
            libraries.retain_mut(|kept| {
                kept.data.retain(|data| data.is_used_elsewhere(states));
                !kept.data.is_empty()
            });
            libraries
        }

        /// Called when the patch is dropped: shares the libraries of its data with its successors, and tells its own
        /// library what to wait for before it is unloaded.
        pub(crate) fn release(&self, states: &[State], forced: bool) {
            self.share(states);
            let data: Vec<WeakData> = {
                let mut others = self.others.lock();
                others.closed = true;
                others.list.iter_mut().flat_map(|kept| kept.data.drain(..)).collect()
            };
            drop(data);
            let Some(own) = &self.own else { return };
            if forced {
                own.stay(Stays::Forced);
            }
            let owned = states.iter().flat_map(|state| &state.owned);
            own.wait_for(owned.map(|owned| Arc::clone(&owned.synchronize)));
        }
    }
}

#[cfg(not(all(feature = "library", target_os = "linux")))]
mod in_program {
    use std::sync::Arc;

    use super::super::Patch;
    use super::{Listed, State};

    /// There are no libraries.
    #[derive(Clone)]
    pub(crate) enum Mapped {}

    pub(crate) fn number_of(mapped: &Mapped) -> u64 {
        match *mapped {}
    }

    pub(crate) fn loaded() -> Vec<Listed> {
        Vec::new()
    }

    /// All code is in the program, so there is nothing to keep.
    #[derive(Default)]
    pub(crate) struct Code {}

    #[allow(clippy::unused_self, reason = "as with libraries")]
    impl Code {
        pub(crate) fn is_in_library(&self) -> bool {
            false
        }

        pub(crate) fn own(&self) -> Option<Mapped> {
            None
        }

        pub(crate) fn kept(&self) -> Vec<u64> {
            Vec::new()
        }

        pub(crate) fn share_with(&self, _: &[State], _: &[Arc<Patch>]) {}

        pub(crate) fn release(&self, _: &[State], _: bool) {}
    }
}
