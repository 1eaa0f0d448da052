//! The answers that several threads got, and whether one order of instants explains them.
//!
//! Proves: each operation on a variable takes effect at one instant between its call and its return, as if there were
//! one thread and one map. Every call and return takes a number from one shared counter; an operation whose return
//! has a smaller number than another's call came before it, all others may be put in any order that explains the answers.
//! The variables are independent of each other, so each key's history is checked by itself, by the Wing-Gong-Lowe search
//! of `todc-utils`. The search is exponential in what overlaps: histories are kept short, and there are many.
//!
//! The shared counter is also a weakness: on x86, taking a number is a full fence, so recording may hide that an operation
//! lacks a fence at its very beginning or end. The models of the memory ordering are elsewhere.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use todc_utils::linearizability::history::Action;
use todc_utils::{History, Specification, WGLChecker};

/// An operation on one variable, and its answer. Values are distinguished by their serial numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Get(Option<u64>),
    Contains(bool),
    /// `alloc` of this value: whether it was accepted.
    Alloc(u64, bool),
    /// `get_or_alloc` with this value, and the value that was seen.
    GetOrAlloc(u64, u64),
    /// `get_or_try_alloc_with`, whose constructor ran and failed or panicked.
    CtorFailed,
    Free(bool),
    /// `free_with`, and the value passed to its destructor.
    FreeWith(Option<u64>),
    /// Part of a sweep that does not tell whether it freed this variable. A sweep is not atomic, but must free every variable
    /// that exists for the whole of its run; so it is a free at some instant of it, and one more for each variable that was
    /// created meanwhile, which it may have found too.
    Swept,
}

/// One operation on one variable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub key: usize,
    pub thread: usize,
    pub called: u64,
    pub returned: u64,
    pub call: Call,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event {
            key,
            thread,
            called,
            returned,
            call,
        } = self;
        write!(
            f,
            "key {key}: {called:>5} .. {returned:>5} by thread {thread}: {call:?}"
        )
    }
}

/// The shared counter.
#[derive(Default)]
pub struct Clock(AtomicU64);

impl Clock {
    /// Returns the next number.
    pub fn tick(&self) -> u64 {
        // AcqRel: the operation's own accesses stay between its two numbers.
        self.0.fetch_add(1, Ordering::AcqRel)
    }
}

/// A history of one key that no order explains.
pub struct Violation(Vec<Event>);

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "not linearizable:")?;
        self.0.iter().try_for_each(|event| writeln!(f, "  {event:?}"))
    }
}

/// Checks every key's history; returns how many there were.
pub fn check(mut events: Vec<Event>) -> Result<usize, Violation> {
    events.sort_unstable_by_key(|event| (event.key, event.called));
    let mut checked = 0;
    for history in events.chunk_by(|one, next| one.key == next.key) {
        if !is_linearizable(history) {
            return Err(Violation(history.to_vec()));
        }
        checked += 1;
    }
    Ok(checked)
}

/// Returns whether one key's history, recorded in any order, has an explanation.
pub fn is_linearizable(events: &[Event]) -> bool {
    // Each operation is a process of its own for the checker: the numbers alone show which operations a nested one overlaps.
    let mut actions: Vec<_> = events
        .iter()
        .flat_map(|event| std::iter::repeat_n(event, instants(event, events)))
        .enumerate()
        .flat_map(|(process, event)| {
            assert!(event.called < event.returned, "{event:?}");
            let call = (event.called, process, Action::Call(event.call));
            [call, (event.returned, process, Action::Response(event.call))]
        })
        .collect();
    if actions.is_empty() {
        return true;
    }
    actions.sort_unstable_by_key(|&(number, ..)| number);
    let actions = actions
        .into_iter()
        .map(|(_, process, action)| (process, action))
        .collect();
    WGLChecker::<Variable>::is_linearizable(History::from_actions(actions))
}

/// Returns at how many instants an operation may take effect.
fn instants(event: &Event, events: &[Event]) -> usize {
    let creates = |other: &&Event| match other.call {
        Call::Alloc(_, created) => created,
        Call::GetOrAlloc(mine, seen) => mine == seen,
        _ => false,
    };
    let meanwhile = |other: &&Event| other.called < event.returned && event.called < other.returned;
    match event.call {
        Call::Swept => 1 + events.iter().filter(creates).filter(meanwhile).count(),
        _ => 1,
    }
}

/// One variable: the value it has, if it exists. All begin absent.
struct Variable;

impl Specification for Variable {
    type State = Option<u64>;
    type Operation = Call;

    fn init() -> Self::State {
        None
    }

    fn apply(call: &Call, &state: &Self::State) -> (bool, Self::State) {
        match *call {
            Call::Get(seen) => (seen == state, state),
            Call::Contains(found) => (found == state.is_some(), state),
            Call::Alloc(serial, true) => (state.is_none(), Some(serial)),
            Call::Alloc(_, false) => (state.is_some(), state),
            Call::GetOrAlloc(mine, seen) if mine == seen => (state.is_none(), Some(mine)),
            Call::GetOrAlloc(_, seen) => (state == Some(seen), state),
            Call::CtorFailed => (state.is_none(), None),
            Call::Free(freed) => (freed == state.is_some(), None),
            Call::FreeWith(given) => (given == state, None),
            Call::Swept => (true, None),
        }
    }
}
