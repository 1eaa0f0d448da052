//! Loopback sockets and the records sent over them.
//!
//! Everything is TCP, with a window of records in flight, so that no socket ever drops or reorders a frame: a frame that
//! does not arrive at its station was lost by the access point.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// The length of a power-save notice in bytes.
pub(crate) const NOTICE: usize = 8;

/// How long a socket may block before the run is aborted.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a worker waits for a record before it returns to its loop.
const IDLE: Duration = Duration::from_millis(5);
/// Records acknowledged by one byte.
const ACKED: usize = 32;
/// The maximum number of records in flight before the sender waits.
const WINDOW: usize = 4 * ACKED;

/// A station's notice to the access point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It goes to sleep: buffer its frames.
    Sleep(u32),
    /// It is awake again: deliver the buffered frames.
    Wake(u32),
    /// It leaves, and sends no notice after this one.
    Leave(u32),
}

impl Notice {
    /// Returns the notice as it is sent over a socket.
    pub(crate) fn to_bytes(self) -> [u8; NOTICE] {
        let (kind, station) = match self {
            Notice::Sleep(station) => (1u32, station),
            Notice::Wake(station) => (2, station),
            Notice::Leave(station) => (3, station),
        };
        (u64::from(kind) << 32 | u64::from(station)).to_le_bytes()
    }

    /// Parses a notice.
    pub(crate) fn parse(bytes: [u8; NOTICE]) -> io::Result<Self> {
        let word = u64::from_le_bytes(bytes);
        let station = word as u32;
        match word >> 32 {
            1 => Ok(Notice::Sleep(station)),
            2 => Ok(Notice::Wake(station)),
            3 => Ok(Notice::Leave(station)),
            _ => Err(io::Error::new(ErrorKind::InvalidData, "unknown notice")),
        }
    }
}

/// Returns two connected sockets on 127.0.0.1, on ports chosen by the system.
pub(crate) fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    loop {
        let (far, peer) = listener.accept()?;
        // Another local process may have connected first.
        if peer != near.local_addr()? {
            continue;
        }
        for end in [&near, &far] {
            end.set_nodelay(true)?;
            end.set_read_timeout(Some(TIMEOUT))?;
            end.set_write_timeout(Some(TIMEOUT))?;
        }
        return Ok((near, far));
    }
}

/// The sending end of a stream of records, which waits when too many are in flight.
#[derive(Debug)]
pub(crate) struct Outlet {
    stream: TcpStream,
    in_flight: usize,
}

/// The receiving end, which acknowledges records once they have been handled.
#[derive(Debug)]
pub(crate) struct Inlet<const N: usize> {
    stream: TcpStream,
    records: Records<N>,
    unacked: usize,
}

/// The result of reading from an [`Inlet`].
#[derive(Debug)]
pub(crate) enum Next<const N: usize> {
    /// The next record.
    Record([u8; N]),
    /// Nothing arrived for a while.
    Idle,
    /// The sender has finished, and everything was read.
    Finished,
}

/// Returns the two ends of a stream of records of `N` bytes.
pub(crate) fn channel<const N: usize>() -> io::Result<(Outlet, Inlet<N>)> {
    let (near, far) = pair()?;
    far.set_read_timeout(Some(IDLE))?;
    let outlet = Outlet {
        stream: near,
        in_flight: 0,
    };
    let inlet = Inlet {
        stream: far,
        records: Records::new(),
        unacked: 0,
    };
    Ok((outlet, inlet))
}

impl Outlet {
    /// Sends `count` whole records, then waits until there is room in the window.
    pub(crate) fn send(&mut self, records: &[u8], count: usize) -> io::Result<()> {
        self.stream.write_all(records)?;
        self.in_flight += count;
        while self.in_flight > WINDOW {
            let acks = read(&mut self.stream, &mut [0; 64])?;
            if acks == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.in_flight -= acks * ACKED;
        }
        Ok(())
    }

    /// Ends the stream, and waits until all sent records have been handled.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        // Reading to the end also keeps the close from resetting the connection.
        while read(&mut self.stream, &mut [0; 64])? > 0 {}
        Ok(())
    }
}

impl<const N: usize> Inlet<N> {
    /// Returns the next record. Calling it acknowledges that the previous one has been handled.
    pub(crate) fn next(&mut self) -> io::Result<Next<N>> {
        if self.unacked == ACKED {
            self.stream.write_all(&[1])?;
            self.unacked = 0;
        }
        loop {
            if let Some(record) = self.records.next() {
                self.unacked += 1;
                return Ok(Next::Record(record));
            }
            match self.records.fill(&mut self.stream) {
                Ok(0) => return Ok(Next::Finished),
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(Next::Idle);
                }
                Err(e) => return Err(e),
            }
        }
    }
}

/// Reads once. If a signal interrupts that, as it does with sockets that have a timeout, reads again.
fn read(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(into) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Splits a byte stream into records.
#[derive(Debug)]
pub(crate) struct Records<const N: usize> {
    bytes: Vec<u8>,
    read: usize,
    filled: usize,
}

impl<const N: usize> Records<N> {
    /// Returns an empty buffer.
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; 256 * N],
            read: 0,
            filled: 0,
        }
    }

    /// Reads once. All records must have been taken out before.
    pub(crate) fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        self.bytes.copy_within(self.read..self.filled, 0);
        self.filled -= self.read;
        self.read = 0;
        let n = read(from, &mut self.bytes[self.filled..])?;
        if n == 0 && self.filled > 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "incomplete record"));
        }
        self.filled += n;
        Ok(n)
    }

    /// Returns the next complete record.
    pub(crate) fn next(&mut self) -> Option<[u8; N]> {
        let record = self.bytes[self.read..self.filled].first_chunk().copied()?;
        self.read += N;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_round_trip() {
        for notice in [Notice::Sleep(0), Notice::Wake(u32::MAX), Notice::Leave(5)] {
            assert_eq!(Notice::parse(notice.to_bytes()).unwrap(), notice);
        }
        assert!(Notice::parse([0; NOTICE]).is_err());
    }

    #[test]
    fn records_survive_any_cut() {
        let sent: Vec<u8> = (0..40).collect();
        for step in 1..12 {
            let mut records = Records::<8>::new();
            let mut got = Vec::new();
            for mut piece in sent.chunks(step) {
                records.fill(&mut piece).unwrap();
                while let Some(record) = records.next() {
                    got.extend(record);
                }
            }
            assert_eq!(got, sent);
        }
    }
}
