//! The libraries that a patch's code is in.

use super::State;

#[cfg(all(feature = "library", target_os = "linux"))]
pub(crate) use in_libraries::Code;
#[cfg(not(all(feature = "library", target_os = "linux")))]
pub(crate) use in_program::Code;

#[cfg(all(feature = "library", target_os = "linux"))]
mod in_libraries {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::State;
    use crate::library::Library;

    /// What must stay loaded until all else of a patch is dropped.
    #[derive(Default)]
    pub(crate) struct Code {
        /// The library that the patch came in.
        own: Option<Arc<Library>>,
        /// Those of earlier holders of its states: data and variables that it took over may be theirs.
        others: Mutex<Vec<Arc<Library>>>,
    }

    impl Code {
        /// The patch is what this library exports.
        pub(crate) fn came_in(&mut self, library: Arc<Library>) {
            self.own = Some(library);
        }

        pub(crate) fn is_in_library(&self) -> bool {
            self.own.is_some()
        }

        /// Keeps the libraries of a patch whose states are taken over.
        pub(crate) fn keep(&self, earlier: &Self) {
            if std::ptr::eq(self, earlier) {
                return;
            }
            let theirs: Vec<_> = earlier
                .own
                .iter()
                .cloned()
                .chain(earlier.others.lock().clone())
                .collect();
            let mut others = self.others.lock();
            for library in theirs {
                let known = self.own.iter().chain(&*others).any(|one| Arc::ptr_eq(one, &library));
                if !known {
                    others.push(library);
                }
            }
        }

        /// The patch is dropped: what its library must wait for.
        pub(crate) fn go(&self, states: &[State], forced: bool) {
            let Some(own) = &self.own else { return };
            if forced {
                own.stay("a transition away from it was forced");
            }
            let owned = states.iter().flat_map(|state| &state.owned);
            own.owe(owned.map(|owned| Arc::clone(&owned.synchronize)));
        }
    }
}

#[cfg(not(all(feature = "library", target_os = "linux")))]
mod in_program {
    use super::State;

    /// All code is the program's: nothing needs care.
    #[derive(Default)]
    pub(crate) struct Code {}

    #[allow(clippy::unused_self, reason = "as with libraries")]
    impl Code {
        pub(crate) fn is_in_library(&self) -> bool {
            false
        }

        pub(crate) fn keep(&self, _: &Self) {}

        pub(crate) fn go(&self, _: &[State], _: bool) {}
    }
}
