//! Stores in real processes: forked ones, and ones that a sandbox denies the barrier. Each case is a process of its own, as
//! it changes its process for good.

#![cfg(all(target_os = "linux", not(miri)))]

use std::env;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use shadow_vars::{Epoch, Reclaim, ShadowId, ShadowStore, SyncError};

const CASE: &str = "SHADOW_PROCESS_CASE";

static DROPS: AtomicU64 = AtomicU64::new(0);

struct Counted(#[expect(dead_code, reason = "so that it has memory of its own")] Box<u64>);

impl Counted {
    fn new() -> Self {
        Self(Box::new(7))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        DROPS.fetch_add(1, Ordering::SeqCst);
    }
}

const VALUE: ShadowId<Counted> = ShadowId::new(1);
const TEXT: ShadowId<String> = ShadowId::new(2);

fn drops() -> u64 {
    DROPS.load(Ordering::SeqCst)
}

/// Runs `case` in a process of its own, which is killed when it hangs.
fn in_a_process(name: &str, case: fn()) {
    if env::var(CASE).as_deref() == Ok(name) {
        // SAFETY: only sets a timer, whose signal ends the process.
        unsafe { libc::alarm(300) };
        case();
        return;
    }
    let tests = env::current_exe().unwrap();
    let out = Command::new(tests)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CASE, name)
        .output()
        .unwrap();
    let text = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(text[0].contains("running 1 test"), "no test {name}");
    assert!(out.status.success(), "{name}: {}\n{}\n{}", out.status, text[0], text[1]);
}

macro_rules! processes {
    ($($(#[$meta:meta])* $name:ident => $case:expr;)*) => {$(
        #[test]
        $(#[$meta])*
        fn $name() {
            in_a_process(stringify!($name), $case);
        }
    )*};
}

processes! {
    fork_of_an_idle_process => fork_idle;
    fork_while_others_are_busy => fork_busy;
    fork_while_another_is_pinned => fork_pinned;
    fork_while_others_construct => fork_constructing;
    fork_while_another_drops => fork_dropping;
    fork_while_more_threads_work_than_have_places => fork_shared;
    fork_beside_an_owned_guard => fork_owned;
    fork_by_the_thread_that_is_pinned => fork_by_pinned;
    fork_again_in_the_child => fork_again;
    fork_from_a_constructor => fork_from_constructor;
    fork_with_crossbeam_hangs_nowhere => fork_epoch;
    fork_keeps_what_the_parent_has => fork_parent_goes_on;
    denied_barrier_drops_nothing_unfenced => denied_unfenced;
    denied_barrier_hangs_nowhere => denied_hang;
    denied_barrier_comes_back_as_fences => denied_comes_back;
    denied_barrier_from_the_start => denied_from_the_start;
    denied_barrier_keeps_readers_safe => denied_readers;
}

// Forks.

/// Forks, runs `body` in the child, which has a minute, and says how the child ended: 0 if `body` returned.
fn fork(body: impl FnOnce()) -> i32 {
    // SAFETY: the child uses what this crate promises of stores after a fork, and the standard library's allocator, which
    // follows forks too.
    match unsafe { libc::fork() } {
        -1 => panic!("no fork: {}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: as in `in_a_process`.
            unsafe { libc::alarm(60) };
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: ends the child without the parent's exit handlers.
            unsafe { libc::_exit(if done.is_ok() { 0 } else { 1 }) };
        }
        child => {
            let mut status = 0;
            // SAFETY: a child of this process, and a place for its status.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            status
        }
    }
}

/// What a child does with a store: makes, finds, grows, constructs, frees from threads of its own; in the end everything
/// that it freed is dropped.
fn use_all(store: &ShadowStore) {
    let before = drops();
    for n in 0..500_usize {
        store.alloc(0x10_0000 + n * 64, VALUE, Counted::new()).unwrap();
    }
    thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                for n in (part..500).step_by(4) {
                    let obj = 0x10_0000 + n * 64_usize;
                    store
                        .get_or_alloc_with(
                            obj,
                            TEXT,
                            |_| "made in the child".to_owned(),
                            |text| assert_eq!(text.len(), 17),
                        )
                        .unwrap();
                    assert!(store.free(obj, TEXT));
                    assert!(store.free(obj, VALUE));
                }
            });
        }
    });
    store.synchronize().unwrap();
    assert!(drops() >= before + 500, "{} of 500 dropped", drops() - before);
    let small = store.stats();
    // Garbage does not pile up.
    for n in 0..4_000_usize {
        let _ = store.alloc(0x10_0000 + n % 64 * 64, VALUE, Counted::new());
        store.free(0x10_0000 + n % 64 * 64, VALUE);
    }
    store.synchronize().unwrap();
    assert!(store.stats().retired_objects <= small.retired_objects + 1000);
}

fn children(count: usize, store: &'static ShadowStore) {
    for n in 0..count {
        let status = fork(|| use_all(store));
        assert_eq!(status, 0, "child {n} of {count} (0xe: hung)");
    }
}

fn store() -> &'static ShadowStore {
    Box::leak(Box::new(ShadowStore::builder().batch(4).build().unwrap()))
}

fn fork_idle() {
    children(3, store());
    // Also a store that was used before, by several threads that are gone.
    let store = store();
    thread::scope(|scope| {
        for n in 1..4_usize {
            scope.spawn(move || {
                store.alloc(n * 8, VALUE, Counted::new()).unwrap();
                store.free(n * 8, VALUE);
            });
        }
    });
    children(3, store);
}

/// Works until it is stopped.
fn busy(store: &ShadowStore, part: usize, stop: &AtomicBool) {
    let mut n = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        let obj = 0x1000 + (part * 64 + n % 64) * 64;
        let _ = store.alloc(obj, VALUE, Counted::new());
        let _ = store.get_or_alloc_with(obj, TEXT, |_| "x".into(), |_| ());
        store.free(obj, TEXT);
        store.free(obj, VALUE);
        if n % 512 == 0 {
            store.flush();
        }
        n += 1;
    }
}

fn beside(threads: usize, store: &'static ShadowStore, rounds: usize) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for part in 0..threads {
            let stop = &stop;
            scope.spawn(move || busy(store, part, stop));
        }
        thread::sleep(Duration::from_millis(50));
        let caught = std::panic::catch_unwind(move || children(rounds, store));
        stop.store(true, Ordering::Relaxed);
        caught.unwrap();
    });
}

fn fork_busy() {
    beside(4, store(), 40);
}

/// More threads than places with shards of their own: they share one, under a lock.
fn fork_shared() {
    let cores = thread::available_parallelism().map_or(4, usize::from);
    beside((cores.max(4) * 4 + 3).min(40), store(), 4);
}

fn fork_pinned() {
    let store = store();
    store.alloc(8_usize, VALUE, Counted::new()).unwrap();
    let (ready, wait) = mpsc::channel();
    thread::spawn(move || {
        let pin = store.pin();
        let value = pin.get(8_usize, VALUE).unwrap();
        std::hint::black_box(value);
        ready.send(()).unwrap();
        loop {
            thread::park();
        }
    });
    wait.recv().unwrap();
    children(3, store);
}

fn fork_constructing() {
    let store = store();
    let (ready, wait) = mpsc::channel();
    for n in 1..4_usize {
        let ready = ready.clone();
        thread::spawn(move || {
            let stuck = |_| {
                ready.send(()).unwrap();
                loop {
                    thread::park();
                }
            };
            let _ = store.get_or_alloc_with(n * 8, VALUE, stuck, |_| ());
        });
        wait.recv().unwrap();
    }
    // One waits for the first.
    thread::spawn(move || store.get_or_alloc_with(8_usize, VALUE, |_| Counted::new(), |_| ()));
    thread::sleep(Duration::from_millis(50));
    let status = fork(|| {
        assert!(!store.contains(8_usize, VALUE));
        store
            .get_or_alloc_with(8_usize, VALUE, |_| Counted::new(), |_| ())
            .unwrap();
        store.alloc(16_usize, VALUE, Counted::new()).unwrap();
        assert!(store.contains(8_usize, VALUE) && store.free(16_usize, VALUE));
        assert!(!store.free(24_usize, VALUE), "not constructed");
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    store
                        .get_or_alloc_with(24_usize, VALUE, |_| Counted::new(), |_| ())
                        .unwrap()
                });
            }
        });
        assert_eq!(store.len(), 2);
        use_all(store);
    });
    assert_eq!(status, 0);
}

fn fork_dropping() {
    struct Slow(mpsc::Sender<()>);
    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.0.send(());
            loop {
                thread::park();
            }
        }
    }
    const SLOW: ShadowId<std::sync::Mutex<Slow>> = ShadowId::new(9);
    let store = store();
    let (ready, wait) = mpsc::channel();
    store.alloc(8_usize, SLOW, std::sync::Mutex::new(Slow(ready))).unwrap();
    thread::spawn(move || {
        store.free(8_usize, SLOW);
        let _ = store.synchronize();
    });
    wait.recv().unwrap();
    children(3, store);
}

fn fork_owned() {
    let store = store();
    let guard = store.pin_owned();
    store.alloc(8_usize, VALUE, Counted::new()).unwrap();
    let status = fork(move || {
        assert!(store.free(8_usize, VALUE));
        // It may be somebody's: no value goes, and nobody waits for ever.
        assert_eq!(store.synchronize(), Err(SyncError::Forked));
        assert_eq!(drops(), 0);
        drop(guard);
        store.synchronize().unwrap();
        assert_eq!(drops(), 1);
        use_all(store);
    });
    assert_eq!(status, 0);
}

fn fork_by_pinned() {
    let store = store();
    store.alloc(8_usize, TEXT, "kept".to_owned()).unwrap();
    let pin = store.pin();
    let text = pin.get(8_usize, TEXT).unwrap();
    let status = fork(|| {
        // The guard is this thread's, and is still one.
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(store.free(8_usize, TEXT));
                (0..10).for_each(|_| store.flush());
                let _other = ["over".to_owned(), "over".to_owned()];
            });
        });
        assert_eq!(text, "kept");
        assert_eq!(store.synchronize(), Err(SyncError::Pinned));
    });
    assert_eq!(status, 0);
    assert_eq!(text, "kept");
}

fn fork_again() {
    let store = store();
    let stop: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    thread::spawn(move || busy(store, 0, stop));
    thread::sleep(Duration::from_millis(20));
    let status = fork(|| {
        thread::spawn(move || busy(store, 1, stop));
        thread::sleep(Duration::from_millis(20));
        for _ in 0..10 {
            assert_eq!(fork(|| use_all(store)), 0, "a grandchild");
        }
        stop.store(true, Ordering::Relaxed);
        use_all(store);
    });
    stop.store(true, Ordering::Relaxed);
    assert_eq!(status, 0);
}

/// The forking thread's own construction goes on in both processes.
fn fork_from_constructor() {
    let store = store();
    let mut status = -1;
    let forked = |_| {
        status = fork(|| {
            let again = store.get_or_alloc_with(8_usize, VALUE, |_| Counted::new(), |_| ());
            assert!(again.is_err(), "this thread's own constructor runs");
            store.alloc(16_usize, VALUE, Counted::new()).unwrap();
            store.free(16_usize, VALUE);
            store.flush();
        });
        Counted::new()
    };
    store.get_or_alloc_with(8_usize, VALUE, forked, |_| ()).unwrap();
    assert_eq!(status, 0);
    children(1, store);
}

fn fork_epoch() {
    fork_without_reclamation::<Epoch>();
    #[cfg(feature = "seize")]
    fork_without_reclamation::<shadow_vars::Seize>();
}

/// The child works; what it frees may wait for threads that are gone, but nobody waits for that.
fn fork_without_reclamation<R: Reclaim>()
where
    ShadowStore<R>: Send + Sync,
{
    let store: &'static ShadowStore<R> = Box::leak(Box::new(ShadowStore::<R>::builder().batch(4).build().unwrap()));
    let (ready, wait) = mpsc::channel();
    thread::spawn(move || {
        let _pin = store.pin();
        ready.send(()).unwrap();
        loop {
            thread::park();
        }
    });
    wait.recv().unwrap();
    let status = fork(|| {
        for n in 0..1000_usize {
            store.alloc(n * 8, VALUE, Counted::new()).unwrap();
            assert!(store.contains(n * 8, VALUE) && store.free(n * 8, VALUE));
        }
        assert_eq!(store.synchronize(), Err(SyncError::Forked));
    });
    assert_eq!(status, 0);
}

/// A fork changes nothing in the parent, whose threads go on.
fn fork_parent_goes_on() {
    let store = store();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for part in 0..2 {
            let stop = &stop;
            scope.spawn(move || busy(store, part, stop));
        }
        for _ in 0..50 {
            assert_eq!(fork(|| ()), 0);
        }
        stop.store(true, Ordering::Relaxed);
    });
    use_all(store);
    assert_eq!(store.len(), 0);
    assert_eq!(store.stats().retired_objects, 0);
}

// A sandbox.

/// The system call fails with this error in this process from now on, in all its threads.
fn deny(call: libc::c_long, error: libc::c_int) {
    let jump = |value: u32, yes, no| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: yes,
        jf: no,
        k: value,
    };
    let step = |code: u32, value: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k: value,
    };
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0), // the call's number
        jump(call as u32, 0, 1),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | error as u32),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: a filter that lives for the call; it denies one system call, which this crate may be denied.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let all = libc::SECCOMP_FILTER_FLAG_TSYNC;
        let set = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            all,
            &raw const program,
        );
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    }
}

fn deny_membarrier() {
    deny(libc::SYS_membarrier, libc::EPERM);
}

fn is_there_membarrier() -> bool {
    // SAFETY: asks, and touches no memory.
    unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_QUERY, 0, 0) > 0 }
}

/// A thread that has used the store, and sleeps from then on until the sender goes. Returns when it sleeps.
fn sleeper(store: &'static ShadowStore, work: impl FnOnce(&ShadowStore) + Send + 'static) -> Sleeper {
    let (wake, sleep) = mpsc::channel::<()>();
    let (ready, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        work(store);
        ready.send(()).unwrap();
        let _ = sleep.recv();
    });
    wait.recv().unwrap();
    Sleeper {
        wake: Some(wake),
        thread: Some(thread),
    }
}

struct Sleeper {
    wake: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sleeper {
    fn end(mut self) {
        self.wake = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A thread has used light barriers and sleeps, so no heavy one is to be had: nothing is dropped, and it is said.
fn denied_unfenced() {
    let store = store();
    store.alloc(8_usize, VALUE, Counted::new()).unwrap();
    let other = sleeper(store, |store| assert!(store.contains(8_usize, VALUE)));
    deny_membarrier();
    store.free(8_usize, VALUE);
    (0..100).for_each(|_| store.flush());
    if is_there_membarrier() || store.stats().unsettled_readers > 0 {
        assert_eq!(drops(), 0, "dropped without a barrier");
        assert_eq!(store.synchronize(), Err(SyncError::NoBarrier));
        assert!(store.stats().unsettled_readers >= 1);
    }
    other.end();
    store.synchronize().unwrap();
    assert_eq!((drops(), store.stats().unsettled_readers), (1, 0));
}

/// What an idle thread left in its own shard is not closed by others without a barrier: no hang, and no loss.
fn denied_hang() {
    let store: &'static ShadowStore = Box::leak(Box::new(ShadowStore::new()));
    store.alloc(8_usize, VALUE, Counted::new()).unwrap();
    let other = sleeper(store, |store| assert!(store.free(8_usize, VALUE)));
    deny_membarrier();
    let start = Instant::now();
    let asked = thread::spawn(|| store.synchronize()).join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30));
    if asked.is_ok() {
        assert_eq!(drops(), 1);
    } else {
        assert_eq!((asked, drops()), (Err(SyncError::NoBarrier), 0));
    }
    other.end();
    store.synchronize().unwrap();
    assert_eq!(drops(), 1);
}

/// When every reader has pinned again, all goes on as with fences.
fn denied_comes_back() {
    let store = store();
    let (again, wait) = mpsc::channel::<()>();
    let (ready, is_ready) = mpsc::channel();
    let other = thread::spawn(move || {
        let _ = store.contains(8_usize, VALUE);
        ready.send(()).unwrap();
        for () in wait {
            let _ = store.contains(8_usize, VALUE);
            ready.send(()).unwrap();
        }
    });
    is_ready.recv().unwrap();
    deny_membarrier();
    store.alloc(8_usize, VALUE, Counted::new()).unwrap();
    store.free(8_usize, VALUE);
    (0..10).for_each(|_| store.flush());
    again.send(()).unwrap();
    is_ready.recv().unwrap();
    store.synchronize().unwrap();
    assert_eq!((drops(), store.stats().unsettled_readers), (1, 0));
    use_all(store);
    drop(again);
    other.join().unwrap();
    children(2, store);
}

fn denied_from_the_start() {
    deny_membarrier();
    let store = store();
    let other = sleeper(store, |store| assert!(!store.contains(8_usize, VALUE)));
    use_all(store);
    assert_eq!(store.stats().unsettled_readers, 0);
    other.end();
}

/// Readers look at what they found while others free it and make it anew, across the denial.
fn denied_readers() {
    let store = store();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let pin = store.pin();
                    if let Some(text) = pin.get(8_usize, TEXT) {
                        assert_eq!(text, "sixteen letters.");
                    }
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = store.alloc(8_usize, TEXT, "sixteen letters.".to_owned());
                store.free(8_usize, TEXT);
                store.flush();
            }
        });
        thread::sleep(Duration::from_millis(200));
        deny_membarrier();
        thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
    });
    store.synchronize().unwrap();
    use_all(store);
}
