//! A program that uses the store, and a harness that runs it on arbitrary inputs and compares it with a model.
//!
//! The harness is the function [`check`]. Here it is called with pseudo-random bytes, or with files, for instance those that
//! a fuzzer has found: `cargo run --example fuzz -- FILE…`. In a target of cargo-fuzz it is called by
//! `fuzz_target!(|bytes: &[u8]| check(&steps(bytes)))`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs};

use arbitrary::{Arbitrary, Unstructured};
use shadow_vars::{ShadowId, ShadowStore};

/// The program: sessions, to which notes are attached.
struct Notebook {
    store: ShadowStore,
    /// How many notes exist, including those that are freed and not dropped yet.
    notes: Arc<AtomicUsize>,
}

/// A type that other code defines.
struct Session(#[expect(dead_code, reason = "it gives the session an address of its own")] u64);

const NOTE: ShadowId<Note> = ShadowId::new(1);

struct Note {
    text: u8,
    notes: Arc<AtomicUsize>,
}

impl Drop for Note {
    fn drop(&mut self) {
        self.notes.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Notebook {
    /// Attaches a note, unless the session has one. Returns whether it was attached.
    fn note(&self, session: &Session, text: u8) -> bool {
        self.notes.fetch_add(1, Ordering::Relaxed);
        let notes = Arc::clone(&self.notes);
        self.store.pin().alloc(session, NOTE, Note { text, notes }).is_ok()
    }

    /// Returns the session's note.
    fn read(&self, session: &Session) -> Option<u8> {
        self.store.pin().get(session, NOTE).map(|note| note.text)
    }

    /// Removes the session's note, and returns whether there was one.
    fn remove(&self, session: &Session) -> bool {
        self.store.pin().free(session, NOTE)
    }

    /// Ends a session. Its address will be used again, so its note has to be freed before.
    fn close(&self, session: Box<Session>) {
        self.store.pin().free_object(&*session);
        drop(session);
    }
}

/// One step of an input. Sessions are numbered, so that most steps hit one that exists.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    Open { session: u8 },
    Note { session: u8, text: u8 },
    Read { session: u8 },
    Remove { session: u8 },
    Close { session: u8 },
    RemoveAll,
    Flush,
}

/// How many sessions there are at a time.
const SESSIONS: u8 = 24;

/// Runs the steps, and compares each answer with that of a model.
fn check(steps: &[Step]) {
    let notes = Arc::new(AtomicUsize::new(0));
    let book = Notebook {
        // Small, so that few steps suffice to replace tables and to drop values.
        store: ShadowStore::builder().capacity(0).batch(1).build().expect("memory"),
        notes: Arc::clone(&notes),
    };
    let mut sessions: BTreeMap<u8, Box<Session>> = BTreeMap::new();
    let mut model: BTreeMap<u8, u8> = BTreeMap::new();
    for step in steps {
        match *step {
            Step::Open { session } => {
                let session = session % SESSIONS;
                sessions.entry(session).or_insert_with(|| Box::new(Session(0)));
            }
            Step::Note { session, text } => {
                if let Some(opened) = sessions.get(&(session % SESSIONS)) {
                    let is_new = !model.contains_key(&(session % SESSIONS));
                    assert_eq!(book.note(opened, text), is_new, "{step:?}");
                    model.entry(session % SESSIONS).or_insert(text);
                }
            }
            Step::Read { session } => {
                if let Some(opened) = sessions.get(&(session % SESSIONS)) {
                    assert_eq!(book.read(opened), model.get(&(session % SESSIONS)).copied(), "{step:?}");
                }
            }
            Step::Remove { session } => {
                if let Some(opened) = sessions.get(&(session % SESSIONS)) {
                    let there = model.remove(&(session % SESSIONS)).is_some();
                    assert_eq!(book.remove(opened), there, "{step:?}");
                }
            }
            Step::Close { session } => {
                if let Some(closed) = sessions.remove(&(session % SESSIONS)) {
                    model.remove(&(session % SESSIONS));
                    book.close(closed);
                }
            }
            Step::RemoveAll => {
                assert_eq!(book.store.pin().free_all(NOTE), model.len());
                model.clear();
            }
            Step::Flush => book.store.flush(),
        }
        assert_eq!(book.store.len(), model.len(), "after {step:?}");
    }
    // Each note is dropped exactly once: those that are live, and those that wait.
    assert!(notes.load(Ordering::Relaxed) >= model.len());
    drop(book);
    assert_eq!(notes.load(Ordering::Relaxed), 0);
}

/// Reads steps to the end of the bytes. (A derived `Vec<Step>` would end at the first byte that says so: short inputs.)
fn steps(bytes: &[u8]) -> Vec<Step> {
    let mut left = Unstructured::new(bytes);
    let mut steps = Vec::new();
    while !left.is_empty() {
        steps.extend(left.arbitrary::<Step>());
    }
    steps
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files: Vec<String> = env::args().skip(1).collect();
    for file in &files {
        check(&steps(&fs::read(file)?));
        println!("{file}: passed");
    }
    if files.is_empty() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..500 {
            let words = next() % 200;
            let bytes: Vec<u8> = (0..words).flat_map(|_| next().to_le_bytes()).collect();
            check(&steps(&bytes));
        }
        println!("500 inputs passed");
    }
    Ok(())
}
