//! Deadlocks through work stealing in a rayon pool (feature `rayon`).
//!
//! A worker that waits for a part of a constructor executes other work meanwhile, and that work may need the very variable
//! under construction. Then the constructor waits for a part that lies *under* the waiter on its stack, and the waiter for the
//! constructor. Only rayon knows whose part that is. What can be observed is that the pool has come to a stop, so a waiter on
//! a worker checks for that periodically:
//!
//! - **S1** It sends a job to all workers of its pool at once. A worker that runs it has no other work. A worker that neither
//!   runs it nor waits for a constructor computes or is blocked elsewhere: then there is no deadlock.
//! - **S2** No thread in the pool waits for a constructor that runs outside it: that one may still end.
//! - **S3** All this holds several times in a row, with the same waiters and the same idle workers in the same frames, and
//!   over that time the idle ones took next to no processor time. So none of them executes the work that others leave behind.
//!
//! Then the waiter gives up, which releases what is under it on its stack.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::panics;
use crate::sync::stat::Mutex;
use crate::sync::{lock_stat, thread_token};
use crate::waiters::{List, Waiter};

/// Times in a row that a pool must be found idle.
const ROUNDS: u32 = 4;
/// How long idle workers are given to reply: at first, and at most, if the machine is busy.
const REPLY_TIME: Duration = Duration::from_millis(2);
const LONGEST_REPLY_TIME: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The reply of an idle worker.
#[derive(Clone, Copy)]
pub(crate) struct Reply {
    thread: u64,
    /// The address of its stack top.
    frame: usize,
    /// The processor time that it has taken so far.
    cpu_time: Duration,
}

/// A job for all workers of a pool. Busy workers get to it later, when the replies are not read any more.
struct IdlePoll {
    /// In no order. `None` once the time is up.
    replies: Mutex<Option<Vec<Reply>>>,
}

impl IdlePoll {
    fn reply(&self) {
        let here = 0_u8;
        let reply = Reply {
            thread: thread_token(),
            frame: (&raw const here).addr(),
            cpu_time: cpu_time().unwrap_or(Duration::MAX),
        };
        if let Some(replies) = &mut *lock_stat(&self.replies) {
            replies.push(reply);
        }
    }
}

/// An observation that a pool is idle.
struct Idle {
    since: Instant,
    rounds: u32,
    replies: Vec<Reply>,
    /// Threads of the pool that wait for constructors, and for which nodes.
    waiters: Vec<(u64, usize)>,
}

impl Idle {
    fn is_like(&self, other: &Self) -> bool {
        let idle = |reply: &Reply| (reply.thread, reply.frame);
        self.waiters == other.waiters && self.replies.iter().map(idle).eq(other.replies.iter().map(idle))
    }

    /// Returns the processor time that the idle workers took between this observation and a later one.
    fn cpu_time(&self, later: &Self) -> Duration {
        let pairs = self.replies.iter().zip(&later.replies);
        pairs.fold(Duration::ZERO, |sum, (then, now)| {
            sum.saturating_add(now.cpu_time.saturating_sub(then.cpu_time))
        })
    }
}

thread_local! {
    /// A thread of the same pool, once one has replied. Threads stay in their pools.
    static MATE: Cell<u64> = const { Cell::new(0) };
}

/// The checks during one wait on a worker.
pub(crate) struct Watch {
    workers: usize,
    next: Instant,
    pause: Duration,
    idle: Option<Idle>,
}

impl Watch {
    /// Returns `None` if this thread is in no pool, or the pool cannot be checked.
    pub(crate) fn of_this_thread() -> Option<Self> {
        let _ = rayon::current_thread_index()?;
        let _ = cpu_time()?;
        let workers = rayon::current_num_threads();
        // Idle workers that are woken search for work for a short while: that must be a small part of the time.
        let pause = Duration::from_millis(10.max(workers as u64));
        Some(Self {
            workers,
            next: Instant::now() + pause,
            pause,
            idle: None,
        })
    }

    /// Returns how long to wait before the next check.
    pub(crate) fn pause(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Returns whether to check now. Of the waiters that are known to be in one pool, one checks for all.
    pub(crate) fn is_due(&mut self, list: &List) -> bool {
        let (now, me, mate) = (Instant::now(), thread_token(), mate());
        if now < self.next {
            return false;
        }
        let of_this_pool = |waiter: &Waiter| mate != 0 && waiter.mate.get() == mate;
        let mut others = list.iter().filter(|waiter| of_this_pool(waiter) && waiter.thread < me);
        if others.next().is_some() {
            self.next = now + self.pause;
            return false;
        }
        true
    }

    /// Finds the workers that have no other work, and returns their replies.
    pub(crate) fn poll_workers(&mut self) -> Vec<Reply> {
        let poll = Arc::new(IdlePoll {
            replies: Mutex::new(Some(Vec::with_capacity(self.workers))),
        });
        let job = poll.clone();
        // The waiter's frame must not be unwound: the list links it.
        let sent = catch_unwind(AssertUnwindSafe(|| rayon::spawn_broadcast(move |_| job.reply())));
        if let Err(payload) = sent {
            panics::discard(payload);
        }
        std::thread::sleep((self.pause / 5).clamp(REPLY_TIME, LONGEST_REPLY_TIME));
        let replies = lock_stat(&poll.replies).take();
        let mut replies = replies.unwrap_or_default();
        replies.sort_unstable_by_key(|reply| reply.thread);
        if let Some(mate) = replies.first() {
            MATE.set(mate.thread);
        }
        replies
    }

    /// Returns whether the pool has come to a stop, by these replies and the previous ones.
    pub(crate) fn is_stuck(&mut self, list: &List, replies: Vec<Reply>) -> bool {
        let found = self.find_idle(list, replies);
        match (&mut self.idle, found) {
            (Some(before), Some(now)) if before.is_like(&now) => {
                let elapsed = before.since.elapsed();
                // S3. A worker that works all the time takes several times as much.
                if before.cpu_time(&now) > elapsed / 4 {
                    self.idle = None;
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                } else {
                    before.rounds += 1;
                    if before.rounds >= ROUNDS {
                        return true;
                    }
                }
            }
            (_, now) => {
                if now.is_none() {
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
                self.idle = now;
            }
        }
        self.next = Instant::now() + self.pause;
        false
    }

    /// Returns the observation, if the pool is idle (S1, S2).
    fn find_idle(&self, list: &List, replies: Vec<Reply>) -> Option<Idle> {
        let mut members: Vec<u64> = replies.iter().map(|reply| reply.thread).collect();
        members.push(thread_token());
        // A waiter whose mate is in the pool is in it, too.
        let waiters = || list.iter().filter(|waiter| waiter.mate.get() != 0);
        loop {
            let known = members.len();
            for waiter in waiters() {
                if !members.contains(&waiter.thread) && members.contains(&waiter.mate.get()) {
                    members.push(waiter.thread);
                }
            }
            if members.len() == known {
                break;
            }
        }
        if members.len() != self.workers {
            return None;
        }
        let mut waiting: Vec<(u64, usize)> = Vec::new();
        for waiter in list.iter().filter(|waiter| members.contains(&waiter.thread)) {
            if !members.contains(&waiter.builder) {
                return None;
            }
            waiting.push((waiter.thread, waiter.node));
        }
        // A worker that both replied and waits did something in between.
        if waiting.len() + replies.len() != self.workers {
            return None;
        }
        waiting.sort_unstable();
        Some(Idle {
            since: Instant::now(),
            rounds: 1,
            replies,
            waiters: waiting,
        })
    }
}

/// Returns a thread of the same pool, or 0.
pub(crate) fn mate() -> u64 {
    MATE.get()
}

/// Returns the processor time that this thread has taken.
fn cpu_time() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writes the time to the given address.
        let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        (result == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
    #[cfg(not(target_os = "linux"))]
    None
}
