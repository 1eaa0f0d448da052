//! Events reach `tracing` with each id as a field of its own.
#![cfg(feature = "tracing")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use livepatch::{ObjectPatch, Patch, State, patchable, registry};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The level and fields of an event.
type Seen = (Level, BTreeMap<&'static str, String>);

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Seen>>>);

struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "livepatch"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push((*event.metadata().level(), fields.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[patchable]
fn answer() -> u32 {
    41
}

fn mended() -> u32 {
    42
}

#[test]
fn ids_are_fields() {
    let log = Log::default();
    let patch = Patch::builder("p")
        .object(ObjectPatch::program().function::<answer>(mended).post_patch(|_| {}))
        .object(ObjectPatch::module("m").pre_patch(|_| Err("not today".into())))
        .state(State::new(7, 1).pre_patch(|_| Ok(())))
        .build()
        .unwrap();
    tracing::subscriber::with_default(log.clone(), || {
        registry().enable(&patch).unwrap();
        assert_eq!(answer(), 42);
        assert!(registry().module_coming("m", []).is_err());
        registry().disable("p").unwrap();
    });
    let log = log.0.lock().unwrap();
    let find = |wanted: &[(&str, &str)]| {
        let has = |(_, fields): &&Seen| {
            wanted
                .iter()
                .all(|(name, value)| fields.get(name).is_some_and(|is| is == value))
        };
        let found = log.iter().find(has);
        found.unwrap_or_else(|| panic!("no {wanted:?} in {log:#?}"))
    };
    find(&[("event", "starting"), ("patch", "p"), ("direction", "patching")]);
    find(&[("event", "complete"), ("patch", "p"), ("direction", "unpatching")]);
    find(&[
        ("event", "callback"),
        ("patch", "p"),
        ("state", "7"),
        ("callback", "pre_patch"),
    ]);
    let (level, fields) = find(&[("event", "callback"), ("object", "program"), ("callback", "post_patch")]);
    assert_eq!(*level, Level::INFO);
    assert!(!fields.contains_key("state") && !fields.contains_key("direction") && !fields.contains_key("error"));
    assert!(fields["message"].contains("post_patch"));
    find(&[("event", "applying"), ("patch", "p"), ("module", "m")]);
    find(&[("event", "callback"), ("object", "m"), ("module_state", "coming")]);
    let (level, fields) = find(&[("event", "callback_failed"), ("object", "m"), ("callback", "pre_patch")]);
    assert_eq!(*level, Level::ERROR);
    assert!(fields["error"].contains("not today"));
    find(&[("event", "module_refused"), ("module", "m")]);
}
