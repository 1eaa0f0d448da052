//! Rings through a rayon pool (feature `rayon`).
//!
//! A worker that waits for a part of a constructor takes up any other work meanwhile, and what it takes up may ask for the
//! very variable under construction. Then the constructor waits for a part that lies *under* the waiter on its stack, and
//! the waiter for the constructor. Only rayon knows whose part that is. What can be seen is that the pool has come to a
//! stop, so a waiter on a worker looks for that now and then:
//!
//! - **S1** It asks all workers of its pool at once. Who answers has no work at hand. Who neither answers nor waits for a
//!   constructor, computes or is blocked elsewhere: then there is no ring.
//! - **S2** Nobody in the pool waits for a constructor that runs outside it: that one may still end.
//! - **S3** All this several times in a row, the same waiters, the same idle workers in the same frames, and over that time
//!   the idle ones took next to no processor time. So none of them works off what the others leave behind.
//!
//! Then the waiter gives up, which sets free what is under it on its stack.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::panics;
use crate::sync::stat::Mutex;
use crate::sync::{lock_stat, thread_token};
use crate::wait::{List, Waiter};

/// Times in a row that a pool must be found idle.
const ROUNDS: u32 = 4;
/// How long an idle worker may take to answer at first, and at most, if the machine is busy.
const ANSWER: Duration = Duration::from_millis(2);
const LONGEST_ANSWER: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What an idle worker says of itself.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    thread: u64,
    /// Where its stack ends.
    frame: usize,
    /// What it has computed so far.
    computed: Duration,
}

/// A question to all workers of a pool. Workers that are busy get to it later, when nobody listens any more.
struct Question {
    /// In no order. Nothing once the time is up.
    answers: Mutex<Option<Vec<Answer>>>,
}

impl Question {
    fn answer(&self) {
        let here = 0_u8;
        let answer = Answer {
            thread: thread_token(),
            frame: (&raw const here).addr(),
            computed: computed().unwrap_or(Duration::MAX),
        };
        if let Some(answers) = &mut *lock_stat(&self.answers) {
            answers.push(answer);
        }
    }
}

/// A pool that was found idle.
struct Idle {
    since: Instant,
    rounds: u32,
    answers: Vec<Answer>,
    /// Threads of the pool that wait for constructors, and for which nodes.
    waiters: Vec<(u64, usize)>,
}

impl Idle {
    fn is_like(&self, other: &Self) -> bool {
        let idle = |answer: &Answer| (answer.thread, answer.frame);
        self.waiters == other.waiters && self.answers.iter().map(idle).eq(other.answers.iter().map(idle))
    }

    /// What its idle workers have computed since.
    fn computed(&self, later: &Self) -> Duration {
        let pairs = self.answers.iter().zip(&later.answers);
        pairs.fold(Duration::ZERO, |sum, (then, now)| {
            sum.saturating_add(now.computed.saturating_sub(then.computed))
        })
    }
}

thread_local! {
    /// A thread of this one's pool, once one has answered. Threads stay in their pools.
    static MATE: Cell<u64> = const { Cell::new(0) };
}

/// Looks after one wait on a worker.
pub(crate) struct Watch {
    workers: usize,
    next: Instant,
    pause: Duration,
    idle: Option<Idle>,
}

impl Watch {
    /// Nothing if this thread is in no pool, or the pool cannot be looked at.
    pub(crate) fn of_this_thread() -> Option<Self> {
        let _ = rayon::current_thread_index()?;
        let _ = computed()?;
        let workers = rayon::current_num_threads();
        // Idle workers that are woken search for a moment: that must be little of the time.
        let pause = Duration::from_millis(10.max(workers as u64));
        Some(Self {
            workers,
            next: Instant::now() + pause,
            pause,
            idle: None,
        })
    }

    /// How long to wait before the next look.
    pub(crate) fn pause(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Whether to look now. One waiter does it for all those that are known to be in one pool.
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

    /// Asks who has no work at hand.
    pub(crate) fn ask(&mut self) -> Vec<Answer> {
        let question = Arc::new(Question {
            answers: Mutex::new(Some(Vec::with_capacity(self.workers))),
        });
        let asked = question.clone();
        // A waiter's frame must not be unwound: the list goes through it.
        let sent = catch_unwind(AssertUnwindSafe(|| rayon::spawn_broadcast(move |_| asked.answer())));
        if let Err(payload) = sent {
            panics::discard(payload);
        }
        std::thread::sleep((self.pause / 5).clamp(ANSWER, LONGEST_ANSWER));
        let answers = lock_stat(&question.answers).take();
        let mut answers = answers.unwrap_or_default();
        answers.sort_unstable_by_key(|answer| answer.thread);
        if let Some(mate) = answers.first() {
            MATE.set(mate.thread);
        }
        answers
    }

    /// Whether the pool has come to a stop, as far as the answers and those before them say.
    pub(crate) fn is_stuck(&mut self, list: &List, answers: Vec<Answer>) -> bool {
        let found = self.find_idle(list, answers);
        match (&mut self.idle, found) {
            (Some(before), Some(now)) if before.is_like(&now) => {
                let elapsed = before.since.elapsed();
                // S3. One that works all the time has several times as much.
                if before.computed(&now) > elapsed / 4 {
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

    /// The pool, if it is idle (S1, S2).
    fn find_idle(&self, list: &List, answers: Vec<Answer>) -> Option<Idle> {
        let mut members: Vec<u64> = answers.iter().map(|answer| answer.thread).collect();
        members.push(thread_token());
        // Who has a mate in the pool is in it.
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
        // A worker that answered and waits now had something to do in between.
        if waiting.len() + answers.len() != self.workers {
            return None;
        }
        waiting.sort_unstable();
        Some(Idle {
            since: Instant::now(),
            rounds: 1,
            answers,
            waiters: waiting,
        })
    }
}

/// A thread of this one's pool, or 0.
pub(crate) fn mate() -> u64 {
    MATE.get()
}

/// The processor time that this thread has taken.
fn computed() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writes the time to where it is told.
        let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        (result == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
    #[cfg(not(target_os = "linux"))]
    None
}
