//! The format of recorded lifetimes of objects: written by `record-trace`, read by W11.
//!
//! A trace is a sequence of events, each a number in LEB128: the distance of the object's address from that of the event before,
//! in units of 16 bytes, as zigzag; its low bit says whether the object is freed. After an allocation comes the size. The whole
//! is compressed by deflate. Every object that is allocated is freed, so a trace can be replayed repeatedly.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

/// An event of an object's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// An object of this size was allocated at this address.
    Allocated { address: u64, size: u64 },
    /// The object at this address was freed.
    Freed { address: u64 },
}

impl Event {
    pub(crate) fn address(self) -> u64 {
        match self {
            Self::Allocated { address, .. } | Self::Freed { address } => address,
        }
    }
}

/// Addresses are multiples of this.
const UNIT: u64 = 16;

/// Returns the events in compressed form.
#[allow(dead_code, reason = "only the recorder writes")]
pub(crate) fn encode(events: &[Event]) -> io::Result<Vec<u8>> {
    let mut out = DeflateEncoder::new(Vec::new(), Compression::best());
    let mut before = 0_i64;
    for event in events {
        let at = (event.address() / UNIT) as i64;
        let distance = at - before;
        let zigzag = (distance << 1 ^ distance >> 63) as u64;
        match *event {
            Event::Allocated { size, .. } => {
                write_number(&mut out, zigzag << 1)?;
                write_number(&mut out, size)?;
            }
            Event::Freed { .. } => write_number(&mut out, zigzag << 1 | 1)?,
        }
        before = at;
    }
    out.finish()
}

/// Returns the events of a compressed trace.
pub(crate) fn decode(compressed: &[u8]) -> io::Result<Vec<Event>> {
    let mut bytes = Vec::new();
    DeflateDecoder::new(compressed).read_to_end(&mut bytes)?;
    let mut bytes = bytes.as_slice();
    let mut events = Vec::new();
    let mut before = 0_i64;
    while !bytes.is_empty() {
        let number = read_number(&mut bytes)?;
        let zigzag = number >> 1;
        before += (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        let address = before as u64 * UNIT;
        events.push(if number & 1 == 0 {
            let size = read_number(&mut bytes)?;
            Event::Allocated { address, size }
        } else {
            Event::Freed { address }
        });
    }
    Ok(events)
}

/// Returns the most objects that are alive at once.
pub(crate) fn peak(events: &[Event]) -> usize {
    let (mut alive, mut peak) = (0_usize, 0);
    for event in events {
        match event {
            Event::Allocated { .. } => alive += 1,
            Event::Freed { .. } => alive -= 1,
        }
        peak = peak.max(alive);
    }
    peak
}

fn write_number(out: &mut impl Write, mut number: u64) -> io::Result<()> {
    while number >= 0x80 {
        out.write_all(&[number as u8 | 0x80])?;
        number >>= 7;
    }
    out.write_all(&[number as u8])
}

fn read_number(bytes: &mut &[u8]) -> io::Result<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let mut byte = [0];
        bytes.read_exact(&mut byte)?;
        if shift > 63 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a number of more than 64 bits",
            ));
        }
        number |= u64::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            return Ok(number);
        }
    }
}
