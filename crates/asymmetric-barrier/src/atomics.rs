//! The atomics of protocols, for the crates of this workspace: those of `std`, or in models those of loom. Not part of
//! the public interface.
//!
//! Loom tries two accesses of one word in both orders if it notices that they conflict, but it remembers only one access
//! per word: if a thread loads a word and then exchanges it, its own load hides that another thread had loaded the word
//! before. Read-modify-writes are never overlooked, so a model is explored twice: once with true loads, which may see any
//! store that the memory model allows, and once with loads that are exchanges which fail (`loads_see_the_newest`).

pub use imp::*;

#[cfg(not(shadow_loom))]
#[macro_use]
mod imp {
    pub use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};

    /// Defines a function that is `const`, except in models: loom's atomics have no `const` constructors.
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __const_unless_loom {
        ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$meta])* $vis const fn $($rest)* };
    }

    /// Defines a static of a protocol: in a model, it is initialised anew for each execution.
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __static_global {
        ($(#[$meta:meta])* $(pub($in:ident))? static $name:ident: $of:ty = $init:expr;) => {
            $(#[$meta])* $(pub($in))? static $name: $of = $init;
        };
    }
}

#[cfg(shadow_loom)]
#[macro_use]
mod imp {
    use std::ops::{Deref, DerefMut};
    use std::sync::atomic::AtomicBool;

    pub use loom::lazy_static;
    use loom::sync::atomic;
    pub use loom::sync::atomic::{Ordering, fence};

    static NEWEST: AtomicBool = AtomicBool::new(false);

    /// Sets whether all later loads see the newest store only. Must not be changed during an execution.
    pub fn loads_see_the_newest(newest: bool) {
        NEWEST.store(newest, Ordering::Relaxed);
    }

    macro_rules! modelled {
        ($($name:ident $(<$of:ident>)?, $value:ty, $never:expr;)*) => {$(
            /// Loom's atomic, with loads that can be restricted to the newest store.
            #[derive(Debug, Default)]
            pub struct $name $(<$of>)? (atomic::$name $(<$of>)?);

            impl $(<$of>)? $name $(<$of>)? {
                /// Returns an atomic with this value.
                #[track_caller]
                pub fn new(value: $value) -> Self {
                    Self(atomic::$name::new(value))
                }

                /// Returns the value.
                #[track_caller]
                pub fn load(&self, order: Ordering) -> $value {
                    if NEWEST.load(Ordering::Relaxed) {
                        // No word ever has this value; and if one had, it would be stored unchanged.
                        let (Ok(value) | Err(value)) = self.0.compare_exchange($never, $never, order, order);
                        value
                    } else {
                        self.0.load(order)
                    }
                }
            }

            impl $(<$of>)? Deref for $name $(<$of>)? {
                type Target = atomic::$name $(<$of>)?;

                fn deref(&self) -> &Self::Target {
                    &self.0
                }
            }

            impl $(<$of>)? DerefMut for $name $(<$of>)? {
                fn deref_mut(&mut self) -> &mut Self::Target {
                    &mut self.0
                }
            }
        )*};
    }

    modelled! {
        AtomicPtr<T>, *mut T, std::ptr::without_provenance_mut(usize::MAX);
        AtomicU64, u64, u64::MAX;
        AtomicUsize, usize, usize::MAX;
    }

    /// Defines a function that is not `const`: see the other.
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __const_unless_loom {
        ($($all:tt)*) => { $($all)* };
    }

    /// Defines a static that is initialised anew for each execution of a model.
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __static_global {
        ($(#[$meta:meta])* $(pub($in:ident))? static $name:ident: $of:ty = $init:expr;) => {
            $crate::atomics::lazy_static! { $(#[$meta])* $(pub($in))? static ref $name: $of = $init; }
        };
    }
}
