//! Cases that change their process permanently: each runs in a process of its own.

use std::env;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use shadow_vars::{Reclaim, ShadowId, ShadowStore};

const CASE: &str = "SHADOW_PROCESS_CASE";

static DROPS: AtomicU64 = AtomicU64::new(0);

pub(crate) struct Counted(#[expect(dead_code, reason = "so that it has memory of its own")] Box<u64>);

impl Counted {
    pub(crate) fn new() -> Self {
        Self(Box::new(7))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        DROPS.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) const VALUE: ShadowId<Counted> = ShadowId::new(1);
pub(crate) const TEXT: ShadowId<String> = ShadowId::new(2);

pub(crate) fn drops() -> u64 {
    DROPS.load(Ordering::SeqCst)
}

/// Runs `case` in a process of its own, which is killed if it hangs.
pub(crate) fn in_a_process(name: &str, case: fn()) {
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

/// A test for each case.
macro_rules! processes {
    ($($(#[$meta:meta])* $name:ident => $case:expr;)*) => {$(
        #[test]
        $(#[$meta])*
        fn $name() {
            process::in_a_process(stringify!($name), $case);
        }
    )*};
}

pub(crate) use processes;

/// Forks, runs `body` in the child, which has a minute, and returns how the child ended: 0 if `body` returned.
pub(crate) fn fork(body: impl FnOnce()) -> i32 {
    // SAFETY: the child uses only what this crate promises of stores after a fork, and the standard library's allocator,
    // which supports forks too.
    match unsafe { libc::fork() } {
        -1 => panic!("no fork: {}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: only sets a timer, whose signal ends the process.
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

/// The operations of a child on a store: creates, finds, grows, constructs, frees from threads of its own; in the end
/// everything that it freed is dropped.
pub(crate) fn use_all<R: Reclaim>(store: &ShadowStore<R>) {
    let before = drops();
    for n in 0..500_usize {
        store.pin().alloc(0x10_0000 + n * 64, VALUE, Counted::new()).unwrap();
    }
    thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                for n in (part..500).step_by(4) {
                    let obj = 0x10_0000 + n * 64_usize;
                    store
                        .pin()
                        .get_or_alloc_with(obj, TEXT, || "made in the child".to_owned())
                        .map(|text| assert_eq!(text.len(), 17))
                        .unwrap();
                    assert!(store.pin().free(obj, TEXT));
                    assert!(store.pin().free(obj, VALUE));
                }
            });
        }
    });
    store.synchronize().unwrap();
    assert!(drops() >= before + 500, "{} of 500 dropped", drops() - before);
    let small = store.stats();
    // Garbage does not accumulate.
    for n in 0..4_000_usize {
        let _ = store
            .pin()
            .alloc(0x10_0000 + n % 64 * 64, VALUE, Counted::new())
            .map(drop);
        store.pin().free(0x10_0000 + n % 64 * 64, VALUE);
    }
    store.synchronize().unwrap();
    assert!(store.stats().retired_objects <= small.retired_objects + 1000);
}

pub(crate) fn children<R: Reclaim>(count: usize, store: &'static ShadowStore<R>) {
    for n in 0..count {
        let status = fork(|| use_all(store));
        assert_eq!(status, 0, "child {n} of {count} (14: killed by its alarm, as it hung)");
    }
}

pub(crate) fn store<R: Reclaim>() -> &'static ShadowStore<R> {
    Box::leak(Box::new(ShadowStore::builder().batch(4).build().unwrap()))
}
