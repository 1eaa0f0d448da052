//! The recorded trace, and its format.

use std::collections::BTreeSet;

use crate::trace::{Event, decode, encode, peak};

static RECORDED: &[u8] = include_bytes!("../../trace/parse.trace");

#[test]
fn what_is_written_is_what_is_read() {
    let events = [
        Event::Allocated {
            address: 0x5555_0000_0010,
            size: 24,
        },
        Event::Allocated {
            address: 0x7fff_ffff_fff0,
            size: 1024,
        },
        Event::Freed {
            address: 0x5555_0000_0010,
        },
        Event::Allocated { address: 16, size: 0 },
        Event::Freed { address: 16 },
        Event::Freed {
            address: 0x7fff_ffff_fff0,
        },
    ];
    let compressed = encode(&events).unwrap();
    assert_eq!(decode(&compressed).unwrap(), events);
    assert_eq!(peak(&events), 2);
}

#[test]
fn a_damaged_trace_is_an_error() {
    let compressed = encode(&[Event::Allocated {
        address: 1 << 40,
        size: 7,
    }])
    .unwrap();
    assert!(decode(&compressed[..compressed.len() / 2]).is_err());
}

#[test]
fn the_recorded_trace_is_small_and_whole() {
    assert!(RECORDED.len() < 1 << 20);
    let events = decode(RECORDED).unwrap();
    let mut alive = BTreeSet::new();
    for event in &events {
        match event {
            Event::Allocated { address, .. } => assert!(address % 16 == 0 && alive.insert(*address)),
            Event::Freed { address } => assert!(alive.remove(address)),
        }
    }
    assert!(alive.is_empty(), "a replay ends where it began");
    assert!(peak(&events) > 1000);
}
