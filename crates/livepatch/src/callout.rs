//! Calls of code that is not ours: callbacks, observers, subscribers, formatters, destructors.
//!
//! Whatever it does, the caller goes on: a panic becomes its message. No other file of the life cycle may catch panics
//! (`ci/arch.sh`), so that none can forget that dropping a panic's payload is such a call, too. And none is made under a lock
//! of ours: it could ask for the same.

use std::any::Any;
use std::fmt::Display;
use std::mem;
use std::panic::{self, AssertUnwindSafe};

use crate::fork;

/// Calls it. If it panics: what it said.
pub(crate) fn guarded<R>(call: impl FnOnce() -> R) -> Result<R, String> {
    debug_assert!(!fork::is_in_section(), "another's code under a lock of ours");
    panic::catch_unwind(AssertUnwindSafe(call)).map_err(message)
}

/// Calls what has no say: a panic of it is ignored.
pub(crate) fn quietly(call: impl FnOnce()) {
    let _ = guarded(call);
}

/// Drops what may be another's.
pub(crate) fn discard<T>(value: T) {
    quietly(|| drop(value));
}

/// The text of what may be another's.
pub(crate) fn text(of: &(impl Display + ?Sized)) -> String {
    guarded(|| of.to_string()).unwrap_or_else(|panic| format!("(no text: it panicked: {panic})"))
}

/// What a panic said. Its payload is dropped, unless that panics.
pub(crate) fn message(payload: Box<dyn Any + Send>) -> String {
    let text = match payload.downcast_ref::<&str>() {
        Some(text) => Some((*text).to_owned()),
        None => payload.downcast_ref::<String>().cloned(),
    };
    // The second payload may be as bad as the first: leaked.
    let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))).map_err(mem::forget);
    text.unwrap_or_else(|| "a panic with no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics as it is dropped, with another of its kind.
    struct Endless;

    impl Drop for Endless {
        fn drop(&mut self) {
            panic::resume_unwind(Box::new(Self));
        }
    }

    struct Mute;

    impl Display for Mute {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic::resume_unwind(Box::new(Endless))
        }
    }

    #[test]
    fn nothing_comes_out_of_a_call() {
        let endless = || panic::resume_unwind(Box::new(Endless));
        assert_eq!(guarded(endless), Err("a panic with no text".to_owned()));
        quietly(endless);
        discard(Endless);
        assert_eq!(text(&Mute), "(no text: it panicked: a panic with no text)");
        let said = guarded(|| panic::resume_unwind(Box::new("why".to_owned())));
        assert_eq!(said, Err::<(), _>("why".to_owned()));
        assert_eq!((guarded(|| 1), text(&2)), (Ok(1), "2".to_owned()));
    }
}
