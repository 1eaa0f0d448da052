//! Events as short words, for exact comparisons.
//!
//! | word | event |
//! |---|---|
//! | `EN` | a patch was found valid and compatible |
//! | `T+ S+ C+ D+` | a patching transition: prepared, starting, completing, complete |
//! | `T- S- C- D-` | an unpatching one |
//! | `REV- REV+` | a transition is reversed, to unpatching or to patching |
//! | `CAN` | an enabling is canceled before its transition started |
//! | `FORCE(n)` | n units are moved over |
//! | `APPLY(m) REVERT(m)` | a patch is applied to a module that is being loaded, or reverted from one that is being unloaded |
//! | `pre(x) post(x) preU(x) postU(x)` | callbacks; x is `v` (the program), `m LIVE`, `m COMING`, `m GOING`, or `s7` (state 7) |
//! | `failed(pre x)` | that callback refused or panicked |
//! | `refused`, `refused(m)` | a patch was not enabled; a module was refused |
//! | `free(s7 0x2*3)` | of state 7, three variables of id 2 were freed |
//! | `unfreed(s7 0x2)` | freeing them panicked |
//!
//! A patch is named as `P:` before the first word that concerns it.

use livepatch::{CallbackKind, CallbackOwner, Context, Direction, Event, ModuleState, PROGRAM};

/// A word, and the patch that it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub patch: Option<String>,
    pub text: String,
}

impl Word {
    pub fn of(patch: impl Into<String>, text: impl Into<String>) -> Self {
        Word {
            patch: Some(patch.into()),
            text: text.into(),
        }
    }

    /// Returns a word that concerns no patch.
    pub fn plain(text: impl Into<String>) -> Self {
        Word {
            patch: None,
            text: text.into(),
        }
    }
}

/// Returns the word of an event.
pub fn word(event: &Event) -> Word {
    let text = match event {
        Event::Enabling { .. } => "EN".to_owned(),
        Event::Initializing { direction, .. } => format!("T{}", sign(*direction)),
        Event::Starting { direction, .. } => format!("S{}", sign(*direction)),
        Event::Completing { direction, .. } => format!("C{}", sign(*direction)),
        Event::Complete { direction, .. } => format!("D{}", sign(*direction)),
        Event::Reversing { to, .. } => format!("REV{}", sign(*to)),
        Event::Canceling { .. } => "CAN".to_owned(),
        Event::Forcing { units, .. } => format!("FORCE({units})"),
        Event::Applying { module, .. } => format!("APPLY({module})"),
        Event::Reverting { module, .. } => format!("REVERT({module})"),
        Event::Callback {
            of, callback, module, ..
        } => callback_text(*callback, of, *module),
        Event::CallbackFailed { of, callback, .. } => format!("failed({} {})", kind(*callback), owner(of)),
        Event::Refused { .. } => "refused".to_owned(),
        Event::ModuleRefused { module, .. } => format!("refused({module})"),
        Event::Freed {
            state,
            shadow,
            variables,
            ..
        } => format!("free(s{state} {shadow:#x}*{variables})"),
        Event::FreeFailed { state, shadow, .. } => format!("unfreed(s{state} {shadow:#x})"),
        other => format!("?{other:?}"),
    };
    Word {
        patch: match event {
            Event::Freed { .. } | Event::FreeFailed { .. } => None, // The rules identify it by the state.
            other => other.patch().map(str::to_owned),
        },
        text,
    }
}

/// Returns the word of a callback, from the data that the callback gets.
pub fn called(callback: CallbackKind, context: &Context<'_>) -> Word {
    let of = match (context.object(), context.state()) {
        (Some(object), None) => CallbackOwner::Object(object.to_owned()),
        (None, Some(state)) => CallbackOwner::State(state.id()),
        both => panic!("a callback is an object's or a state's: {both:?}"),
    };
    Word::of(context.patch().name(), callback_text(callback, &of, context.module()))
}

/// Joins words, with the patches' names.
pub fn render<'w>(words: impl IntoIterator<Item = &'w Word>) -> String {
    let mut text = Vec::new();
    let mut last = None;
    for word in words {
        if word.patch.is_some() && word.patch != last {
            text.push(format!("{}:", word.patch.as_deref().unwrap_or_default()));
            last.clone_from(&word.patch);
        }
        text.push(word.text.clone());
    }
    text.join(" ")
}

/// Returns the words of an enabling without incidents: `full_enable(P: X..)` of the scenarios.
pub fn on(patch: &str, objects: &[&str]) -> String {
    format!(
        "{patch}: EN T+{} S+ C+{} D+",
        each("pre", objects),
        each("post", objects)
    )
}

/// Returns the words of a disabling without incidents.
pub fn off(patch: &str, objects: &[&str]) -> String {
    format!(
        "{patch}: T-{} S- C-{} D-",
        each("preU", objects),
        each("postU", objects)
    )
}

fn each(callback: &str, objects: &[&str]) -> String {
    objects.iter().map(|object| format!(" {callback}({object})")).collect()
}

fn callback_text(callback: CallbackKind, of: &CallbackOwner, module: Option<ModuleState>) -> String {
    let module = match module {
        None => "",
        Some(ModuleState::Coming) => " COMING",
        Some(ModuleState::Live) => " LIVE",
        Some(ModuleState::Going) => " GOING",
    };
    format!("{}({}{module})", kind(callback), owner(of))
}

pub fn sign(direction: Direction) -> char {
    match direction {
        Direction::Patching => '+',
        Direction::Unpatching => '-',
    }
}

fn kind(callback: CallbackKind) -> &'static str {
    match callback {
        CallbackKind::PrePatch => "pre",
        CallbackKind::PostPatch => "post",
        CallbackKind::PreUnpatch => "preU",
        CallbackKind::PostUnpatch => "postU",
    }
}

fn owner(of: &CallbackOwner) -> String {
    match of {
        CallbackOwner::Object(name) if name == PROGRAM => "v".to_owned(),
        CallbackOwner::Object(name) => name.clone(),
        CallbackOwner::State(id) => format!("s{id}"),
    }
}
