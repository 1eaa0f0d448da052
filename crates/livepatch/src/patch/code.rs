//! The libraries that a patch's code is in.

use super::State;

#[cfg(all(feature = "library", target_os = "linux"))]
pub(crate) use in_libraries::{Code, Mapped, loaded, number_of};
#[cfg(not(all(feature = "library", target_os = "linux")))]
pub(crate) use in_program::{Code, Mapped, loaded, number_of};

/// A library in the list of those that are loaded.
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

    /// A library, as long as this is there.
    pub(crate) type Mapped = Arc<Library>;

    /// Which library it is in the list of those that are loaded.
    pub(crate) fn number_of(mapped: &Mapped) -> u64 {
        mapped.number()
    }

    /// The libraries that are loaded.
    pub(crate) fn loaded() -> Vec<Listed> {
        crate::library::listed()
    }

    /// What must stay loaded until all else of a patch is dropped.
    #[derive(Default)]
    pub(crate) struct Code {
        /// The library that the patch came in.
        own: Option<Arc<Library>>,
        /// Those of earlier patches whose data it may have taken over.
        others: Others,
        /// Where this patch's own goes if others have its data: to the patches that were there when it left.
        heirs: Lock<Vec<Others>>,
    }

    type Others = Arc<Lock<Vec<Debt>>>;

    /// A library whose code may be what destroys data of states.
    #[derive(Clone)]
    struct Debt {
        // Before the library: the data's type is known there.
        data: Vec<WeakData>,
        library: Arc<Library>,
    }

    impl Code {
        /// The patch is what this library exports.
        pub(crate) fn came_in(&mut self, library: Arc<Library>) {
            self.own = Some(library);
        }

        pub(crate) fn is_in_library(&self) -> bool {
            self.own.is_some()
        }

        /// The library that the patch came in.
        pub(crate) fn own(&self) -> Option<Mapped> {
            self.own.clone()
        }

        /// The numbers of libraries that it keeps for data.
        pub(crate) fn kept(&self) -> Vec<u64> {
            self.others.lock().iter().map(|debt| debt.library.number()).collect()
        }

        /// The patch has left the list: where others have data of its states, those keep the libraries that may be needed to
        /// destroy them.
        pub(crate) fn lend(&self, states: &[State], heirs: &[Arc<Patch>]) {
            *self.heirs.lock() = heirs.iter().map(|patch| Arc::clone(&patch.code.others)).collect();
            self.bequeath(states);
        }

        fn bequeath(&self, states: &[State]) {
            let heirs = self.heirs.lock().clone();
            if heirs.is_empty() {
                return;
            }
            let own = self.own.iter().map(|library| Debt {
                data: states.iter().flat_map(State::data_ever).collect(),
                library: Arc::clone(library),
            });
            let others = self.others.lock().clone();
            for mut debt in others.into_iter().chain(own) {
                debt.data.retain(|data| data.is_elsewhere(states));
                if debt.data.is_empty() {
                    continue;
                }
                for heir in heirs.iter().filter(|heir| !Arc::ptr_eq(heir, &self.others)) {
                    let mut theirs = heir.lock();
                    match theirs.iter_mut().find(|one| Arc::ptr_eq(&one.library, &debt.library)) {
                        Some(known) => {
                            for data in &debt.data {
                                if !known.data.iter().any(|one| one.is(data)) {
                                    known.data.push(data.clone());
                                }
                            }
                        }
                        None => theirs.push(debt.clone()),
                    }
                }
            }
        }

        /// The patch is dropped: what its library must wait for.
        pub(crate) fn go(&self, states: &[State], forced: bool) {
            self.bequeath(states);
            let Some(own) = &self.own else { return };
            if forced {
                own.stay(Stays::Forced);
            }
            let owned = states.iter().flat_map(|state| &state.owned);
            own.owe(owned.map(|owned| Arc::clone(&owned.synchronize)));
        }
    }
}

#[cfg(not(all(feature = "library", target_os = "linux")))]
mod in_program {
    use std::sync::Arc;

    use super::super::Patch;
    use super::{Listed, State};

    /// There is none.
    #[derive(Clone)]
    pub(crate) enum Mapped {}

    pub(crate) fn number_of(mapped: &Mapped) -> u64 {
        match *mapped {}
    }

    pub(crate) fn loaded() -> Vec<Listed> {
        Vec::new()
    }

    /// All code is the program's: nothing needs care.
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

        pub(crate) fn lend(&self, _: &[State], _: &[Arc<Patch>]) {}

        pub(crate) fn go(&self, _: &[State], _: bool) {}
    }
}
