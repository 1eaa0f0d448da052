//! The warnings of the process about guards that are held for a long time, and about a barrier that is denied.

use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

static PANICS: AtomicBool = AtomicBool::new(false);

/// Panics at each warning from now on, after recording it.
pub(crate) fn panic() {
    PANICS.store(true, Ordering::Relaxed);
}

/// Records the warnings of the whole process from now on.
pub(crate) fn listen() {
    tracing::subscriber::set_global_default(Listener).expect("one for a process");
}

/// Returns the warnings since the last call.
pub(crate) fn take() -> Vec<String> {
    std::mem::take(&mut *TOLD.lock().unwrap())
}

struct Listener;

#[derive(Default)]
struct Fields {
    thread: Option<String>,
    guards: Option<String>,
    made_at: Option<String>,
    age: Option<String>,
    readers: Option<String>,
    message: Option<String>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let at = match field.name() {
            "thread" => &mut self.thread,
            "guards" => &mut self.guards,
            "made_at" => &mut self.made_at,
            "age" => &mut self.age,
            "readers" => &mut self.readers,
            "message" => &mut self.message,
            _ => return,
        };
        *at = Some(format!("{value:?}"));
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "shadow_vars::events" && *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        assert!(fields.age.is_some() || fields.readers.is_some(), "{event:?}");
        let said = match fields {
            Fields { thread: Some(name), .. } => name,
            Fields {
                readers: Some(readers),
                message,
                ..
            } => format!("{}: {readers} readers", message.unwrap_or_default()),
            Fields {
                guards: Some(guards),
                made_at,
                ..
            } => {
                format!("{guards} at {}", made_at.as_deref().unwrap_or("nowhere"))
            }
            _ => return,
        };
        TOLD.lock().unwrap().push(said);
        assert!(!PANICS.load(Ordering::Relaxed), "a subscriber that panics");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
