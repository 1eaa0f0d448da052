//! Records the lifetimes of a real program's objects, for W11.
//!
//! The program is like the front end of a compiler: `syn` parses every Rust file of a folder into its syntax tree, walks it,
//! prints it as tokens, parses those again, and drops both. Its allocations of up to a kilobyte are the objects.
//!
//! Run: `cargo run --release -p perf --features trace --bin record-trace -- FOLDER OUTPUT`

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use syn::visit::{self, Visit};

use trace::Event;

#[path = "../trace.rs"]
mod trace;

/// Larger allocations are buffers rather than objects.
const LARGEST: usize = 1024;
/// Enough to show every pattern, and few enough for a repository.
const MAX_EVENTS: usize = 400_000;

#[global_allocator]
static ALLOCATOR: Recorder = Recorder;

struct Recorder;

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(false) };
    /// Its capacity is reserved before recording begins: it must not allocate while recording.
    static EVENTS: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
}

fn note(event: Event) {
    if RECORDING.get() {
        EVENTS.with_borrow_mut(|events| {
            if events.len() < events.capacity() {
                events.push(event);
            }
        });
    }
}

fn note_alloc(pointer: *mut u8, size: usize) {
    if !pointer.is_null() && size <= LARGEST {
        let (address, size) = (pointer.addr() as u64, size as u64);
        note(Event::Allocated { address, size });
    }
}

fn note_dealloc(pointer: *mut u8, size: usize) {
    if size <= LARGEST {
        let address = pointer.addr() as u64;
        note(Event::Freed { address });
    }
}

// SAFETY: all calls are passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Recorder {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller guarantees that the layout is valid.
        let pointer = unsafe { System.alloc(layout) };
        note_alloc(pointer, layout.size());
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note_dealloc(pointer, layout.size());
        // SAFETY: the caller guarantees that `System` allocated the pointer, through this allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) };
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that `System` allocated the pointer, through this allocator, with this layout, and that
        // the new size is valid.
        let moved = unsafe { System.realloc(pointer, layout, new_size) };
        if !moved.is_null() {
            // An object that grows counts as a new one, even at the same address.
            note_dealloc(pointer, layout.size());
            note_alloc(moved, new_size);
        }
        moved
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, output] = arguments.as_slice() else {
        return Err("usage: record-trace FOLDER OUTPUT".into());
    };
    let mut files = Vec::new();
    rust_files(Path::new(folder), &mut files)?;
    files.sort();
    let sources = files
        .iter()
        .map(std::fs::read_to_string)
        .collect::<Result<Vec<_>, _>>()?;

    EVENTS.with_borrow_mut(|events| events.reserve_exact(MAX_EVENTS));
    RECORDING.set(true);
    let items = parse_all(&sources);
    RECORDING.set(false);

    let events = closed(&EVENTS.take());
    let compressed = trace::encode(&events)?;
    assert_eq!(trace::decode(&compressed)?, events, "what was written is what is read");
    std::fs::write(output, &compressed)?;
    let came = events
        .iter()
        .filter(|event| matches!(event, Event::Allocated { .. }))
        .count();
    println!(
        "{} files, {items} items: {} events, {came} objects, {} alive at once, {} bytes",
        sources.len(),
        events.len(),
        trace::peak(&events),
        compressed.len()
    );
    Ok(())
}

/// The recorded program. A few files are kept while others are processed, as a compiler keeps its crate.
fn parse_all(sources: &[String]) -> usize {
    const KEPT: usize = 8;
    let mut kept: Vec<syn::File> = Vec::new();
    let mut items = 0;
    for source in sources {
        let Ok(file) = syn::parse_str::<syn::File>(source) else {
            continue;
        };
        let mut counter = Counter::default();
        counter.visit_file(&file);
        items += counter.items;
        let tokens: TokenStream = source.parse().unwrap_or_default();
        let again: Result<syn::File, _> = syn::parse2(tokens);
        items += again.map_or(0, |file| file.items.len());
        kept.push(file);
        if kept.len() > KEPT {
            kept.remove(0);
        }
    }
    items
}

/// Counts the functions and types of a file, and collects their names.
#[derive(Default)]
struct Counter {
    items: usize,
    names: HashSet<String>,
}

impl<'ast> Visit<'ast> for Counter {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.items += 1;
        visit::visit_item(self, item);
    }

    fn visit_ident(&mut self, ident: &'ast syn::Ident) {
        self.names.insert(ident.to_string());
    }
}

/// Removes frees without an allocation, and appends a free for each object that was not freed.
fn closed(events: &[Event]) -> Vec<Event> {
    let mut alive = Vec::new();
    let mut known = HashSet::new();
    let mut closed = Vec::with_capacity(events.len());
    for &event in events {
        match event {
            Event::Allocated { address, .. } if known.insert(address) => alive.push(address),
            Event::Freed { address } if known.remove(&address) => {}
            _ => continue,
        }
        closed.push(event);
    }
    alive.retain(|address| known.remove(address));
    closed.extend(alive.into_iter().rev().map(|address| Event::Freed { address }));
    closed
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
