//! Calls of foreign code: callbacks, observers, subscribers, formatters, destructors.
//!
//! The caller always continues: a panic becomes its message. No other file of the life cycle may catch panics
//! (`ci/arch.sh`), because dropping a panic's payload is such a call too, which is easily forgotten. No such call is made
//! under one of our locks: the callee could take the same.

use std::any::Any;
use std::fmt::Display;
use std::mem;
use std::panic::{self, AssertUnwindSafe};

use crate::fork;

/// Calls `call`, and returns the message if it panics.
pub(crate) fn guarded<R>(call: impl FnOnce() -> R) -> Result<R, String> {
    debug_assert!(!fork::is_in_section(), "another's code under a lock of ours");
    panic::catch_unwind(AssertUnwindSafe(call)).map_err(message)
}

/// Calls code whose failure has no effect: a panic is ignored.
pub(crate) fn quietly(call: impl FnOnce()) {
    let _ = guarded(call);
}

/// Drops a value whose destructor may be foreign code.
pub(crate) fn discard<T>(value: T) {
    quietly(|| drop(value));
}

/// Formats a value whose `Display` may be foreign code.
pub(crate) fn text(of: &(impl Display + ?Sized)) -> String {
    guarded(|| of.to_string()).unwrap_or_else(|panic| format!("(no text: it panicked: {panic})"))
}

/// Returns the message of a panic. Drops the payload; if that panics too, leaks the second payload.
pub(crate) fn message(payload: Box<dyn Any + Send>) -> String {
    let text = match payload.downcast_ref::<&str>() {
        Some(text) => Some((*text).to_owned()),
        None => payload.downcast_ref::<String>().cloned(),
    };
    // Dropping the second payload could panic again: leak it.
    let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))).map_err(mem::forget);
    text.unwrap_or_else(|| "a panic with no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics with another of its kind when it is dropped.
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
