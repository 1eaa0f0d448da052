//! The data of a station.
//!
//! The structure is the one the old code was built with. It has no lock that makes "is it asleep?" and "put the frame
//! into its queue" one step, and no field is ever added: the fixed code keeps its additional data as shadow variables.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::frame::Frame;

/// The age at which a frame that is still queued when its station goes to sleep is dropped.
///
/// Only frames that a wake-up missed can be in the queue then. mac80211 expires them after seconds; here naps last
/// milliseconds, and so does this.
pub const EXPIRY: Duration = Duration::from_millis(2);

/// One associated station.
#[derive(Debug)]
pub struct Station {
    /// Its address.
    pub id: u32,
    /// Whether it has announced that it sleeps.
    pub asleep: AtomicBool,
    /// Frames that wait for its wake-up.
    pub ps_tx_buf: PsQueue,
    /// The connection to it.
    pub link: Link,
    /// How many frames for it were sent or queued.
    pub handled: AtomicU64,
    /// Whether it has announced that it leaves.
    pub left: AtomicBool,
}

impl Station {
    /// Returns an awake station with an empty queue.
    pub fn new(id: u32, link: Link) -> Self {
        Self {
            id,
            asleep: AtomicBool::new(false),
            ps_tx_buf: PsQueue::default(),
            link,
            handled: AtomicU64::new(0),
            left: AtomicBool::new(false),
        }
    }

    /// Marks the station asleep. Returns the stale frames that were dropped from its queue.
    pub fn ps_start(&self) -> Vec<Frame> {
        let expired = self.ps_tx_buf.expire(EXPIRY);
        // Relaxed: a thread that sees it late sends one more frame, as to a radio that is not switched off yet.
        self.asleep.store(true, Ordering::Relaxed);
        expired
    }
}

/// What to do with a frame after the power-save check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tx {
    /// Send it now.
    Continue,
    /// It was put into the station's queue.
    Queued,
}

/// The work of both versions of the code between seeing that a station sleeps and queueing its frame.
///
/// In a kernel that is some accounting, and an interrupt at any time. The yield stands for it: it widens a window of
/// instructions to one of microseconds, so that seconds suffice to see the race.
pub fn prepare_to_queue(frame: &Frame) {
    debug_assert!(frame.is_whole());
    thread::yield_now();
}

/// A queue of frames with its own lock, which is held for single operations only.
#[derive(Debug, Default)]
pub struct PsQueue(Mutex<VecDeque<(Instant, Frame)>>);

impl PsQueue {
    /// Appends a frame.
    pub fn push(&self, frame: Frame) {
        self.0.lock().push_back((Instant::now(), frame));
    }

    /// Empties the queue.
    pub fn take_all(&self) -> impl Iterator<Item = Frame> + use<> {
        std::mem::take(&mut *self.0.lock()).into_iter().map(|(_, frame)| frame)
    }

    /// Takes the frames of at least this age out of the queue, and returns them.
    pub fn expire(&self, age: Duration) -> Vec<Frame> {
        let mut queue = self.0.lock();
        let stale = queue.iter().take_while(|(since, _)| since.elapsed() >= age).count();
        queue.drain(..stale).map(|(_, frame)| frame).collect()
    }
}

/// The socket to a station. Its lock keeps frames whole, but does not order them.
#[derive(Debug)]
pub struct Link(Mutex<TcpStream>);

impl Link {
    /// Returns a link to a station over this socket.
    pub fn new(stream: TcpStream) -> Self {
        Self(Mutex::new(stream))
    }

    /// Sends one frame.
    pub fn send(&self, frame: &Frame) -> io::Result<()> {
        self.0.lock().write_all(frame.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stale_frames_expire() {
        let queue = PsQueue::default();
        queue.push(Frame::new(1, 0));
        thread::sleep(Duration::from_millis(20));
        assert!(queue.expire(Duration::from_secs(60)).is_empty());
        queue.push(Frame::new(1, 1));
        let seqs = |frames: Vec<Frame>| frames.iter().map(Frame::seq).collect::<Vec<_>>();
        assert_eq!(seqs(queue.expire(Duration::from_millis(20))), [0]);
        assert_eq!(seqs(queue.take_all().collect()), [1]);
        assert_eq!(queue.take_all().count(), 0);
    }
}
