//! One run: the threads, and the order in which they start and end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

use access_point_interface::frame::FRAME;
use anyhow::{Result, anyhow};

use crate::ap::AccessPoint;
use crate::clients::Client;
use crate::manager::Manager;
use crate::net::{self, Inlet, NOTICE, Outlet};
use crate::options::Options;
use crate::phase::Clock;
use crate::radios::Radios;
use crate::report::Report;
use crate::sleepers::Sleeper;
use crate::world::World;

/// Runs until `enough` is set, and compares the counts.
pub(crate) fn run(options: &Options, clock: Arc<Clock>, enough: &AtomicBool) -> Result<Report> {
    let ap = &AccessPoint::new(clock);
    let until = &Until::default();
    let (frames_out, frames_in) = channels::<FRAME>(options.threads)?;
    let (notices_out, notices_in) = channels::<NOTICE>(options.threads.div_ceil(2))?;
    let (radios, polls) = both((0..notices_out.len()).map(|_| Radios::new()))?;
    let world = &World {
        clients: frames_out.iter().map(|_| Client::default()).collect(),
        sleepers: notices_out.into_iter().map(Sleeper::new).collect(),
        radios,
    };
    let mut seeds = fastrand::Rng::with_seed(options.seed);

    thread::scope(|scope| {
        // If this thread panics, the others must still end.
        let _end = EndAll(until);
        let mut manager = Manager::new(options, ap, world, &until.trouble);
        let (mut receivers, mut senders, mut nappers) = (Vec::new(), Vec::new(), Vec::new());
        if options.live {
            // Without a reader, the run goes on.
            scope.spawn(|| ap.live.report(&ap.clock, &until.reported, &mut io::stdout()));
        }
        for (radios, poll) in world.radios.iter().zip(polls) {
            receivers.push(scope.spawn(|| until.watch(|| radios.run(poll, &until.closed, &ap.live))));
        }
        for ((client, outlet), inlet) in world.clients.iter().zip(frames_out).zip(frames_in) {
            let seed = seeds.u64(..);
            senders.push(scope.spawn(|| until.watch(|| ap.tx_worker(inlet))));
            senders.push(scope.spawn(move || until.watch(|| client.run(outlet, &until.sent, seed))));
        }
        for (sleeper, inlet) in world.sleepers.iter().zip(notices_in) {
            let seed = seeds.u64(..);
            nappers.push(scope.spawn(|| until.watch(|| ap.rx_worker(inlet))));
            nappers.push(scope.spawn(move || until.watch(|| sleeper.run(&until.napped, seed))));
        }

        // Each group ends when everything that the previous one has sent is handled.
        let stayed = manager.stay(enough);
        until.sent.store(true, Ordering::Relaxed);
        let sent = join(senders);
        until.napped.store(true, Ordering::Relaxed);
        let napped = join(nappers);
        let freed = manager.free_everything();
        until.closed.store(true, Ordering::Relaxed);
        let received = join(receivers);
        until.reported.store(true, Ordering::Relaxed);

        // The error of the thread that failed first explains more than its consequences in others.
        let accounts = received?.into_iter().flatten().collect();
        sent?;
        napped?;
        stayed?;
        freed?;
        manager.settle(accounts)
    })
}

/// The conditions that end the threads.
#[derive(Default)]
struct Until {
    /// The clients have sent enough.
    sent: AtomicBool,
    /// The stations have napped enough.
    napped: AtomicBool,
    /// The access point has closed all links.
    closed: AtomicBool,
    /// The live counters no longer change.
    reported: AtomicBool,
    /// A thread has failed.
    trouble: AtomicBool,
}

impl Until {
    /// Runs a thread's work. If it fails or panics, that is recorded for the whole run.
    fn watch<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        struct Armed<'a>(&'a AtomicBool);
        impl Drop for Armed<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let armed = Armed(&self.trouble);
        let done = work()?;
        std::mem::forget(armed);
        Ok(done)
    }
}

/// Ends all threads when it is dropped.
struct EndAll<'a>(&'a Until);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        for end in [&self.0.sent, &self.0.napped, &self.0.closed, &self.0.reported] {
            end.store(true, Ordering::Relaxed);
        }
    }
}

/// Waits for all threads of a group, and returns the first error.
fn join<T>(threads: Vec<ScopedJoinHandle<'_, Result<T>>>) -> Result<Vec<T>> {
    let ends: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
    ends.into_iter()
        .map(|end| end.map_err(|_| anyhow!("a thread has panicked"))?)
        .collect()
}

fn channels<const N: usize>(count: usize) -> Result<(Vec<Outlet>, Vec<Inlet<N>>)> {
    both((0..count).map(|_| Ok(net::channel()?)))
}

/// Returns the left and the right halves of all pairs, or the first error.
fn both<A, B>(pairs: impl Iterator<Item = Result<(A, B)>>) -> Result<(Vec<A>, Vec<B>)> {
    Ok(pairs.collect::<Result<Vec<_>>>()?.into_iter().unzip())
}
