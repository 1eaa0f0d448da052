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
        /// Those of other patches whose data it may have.
        others: Kept,
        /// Where this patch's own goes if others have its data: to the patches that were there when it left.
        heirs: Lock<Vec<Kept>>,
    }

    type Kept = Arc<Lock<Debts>>;

    #[derive(Default)]
    struct Debts {
        list: Vec<Debt>,
        /// The library of their patch, which it has anyway.
        own: Option<u64>,
        /// Their patch is gone: nothing comes here any more.
        closed: bool,
    }

    /// A library whose code may be what destroys data of states.
    #[derive(Clone)]
    struct Debt {
        library: Arc<Library>,
        /// To let go of these, too, takes the library of their type: all go before any library does.
        data: Vec<WeakData>,
    }

    impl Debts {
        fn add(&mut self, debt: &Debt) {
            if self.closed || self.own == Some(debt.library.number()) {
                return;
            }
            let place = self
                .list
                .iter()
                .position(|one| Arc::ptr_eq(&one.library, &debt.library));
            let place = place.unwrap_or_else(|| {
                self.list.push(Debt {
                    library: Arc::clone(&debt.library),
                    data: Vec::new(),
                });
                self.list.len() - 1
            });
            let known = &mut self.list[place].data;
            for data in &debt.data {
                if !known.iter().any(|one| one.is(data)) {
                    known.push(data.clone());
                }
            }
        }
    }

    impl Code {
        /// The patch is what this library exports.
        pub(crate) fn came_in(&mut self, library: Arc<Library>) {
            self.others.lock().own = Some(library.number());
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
            let others = self.others.lock();
            others.list.iter().map(|debt| debt.library.number()).collect()
        }

        /// The patch has left the list, where these are: whoever may have data of others keeps the libraries that may be
        /// needed to destroy them. In a turn.
        pub(crate) fn lend(&self, states: &[State], others: &[Arc<Patch>]) {
            *self.heirs.lock() = others.iter().map(|patch| Arc::clone(&patch.code.others)).collect();
            self.bequeath(states);
            for other in others {
                // It may have taken over what is not its own, and be dropped after who made that.
                other
                    .code
                    .debts(&other.states)
                    .iter()
                    .for_each(|debt| self.others.lock().add(debt));
                other.states.iter().for_each(State::forget_dead_data);
            }
            states.iter().for_each(State::forget_earlier_data);
        }

        fn bequeath(&self, states: &[State]) {
            let heirs = self.heirs.lock().clone();
            if heirs.is_empty() {
                return;
            }
            for debt in self.debts(states) {
                heirs.iter().for_each(|heir| heir.lock().add(&debt));
            }
        }

        /// The libraries of the data that others have, too.
        fn debts(&self, states: &[State]) -> Vec<Debt> {
            let own = self.own.iter().map(|library| Debt {
                library: Arc::clone(library),
                data: states.iter().flat_map(State::data_ever).collect(),
            });
            let mut debts = self.others.lock().list.clone();
            debts.extend(own);
            debts.retain_mut(|debt| {
                debt.data.retain(|data| data.is_elsewhere(states));
                !debt.data.is_empty()
            });
            debts
        }

        /// The patch is dropped: what its library must wait for.
        pub(crate) fn go(&self, states: &[State], forced: bool) {
            self.bequeath(states);
            let data: Vec<WeakData> = {
                let mut others = self.others.lock();
                others.closed = true;
                others.list.iter_mut().flat_map(|debt| debt.data.drain(..)).collect()
            };
            drop(data);
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
