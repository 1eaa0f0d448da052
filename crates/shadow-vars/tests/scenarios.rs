//! The kernel's own selftest of the shadow variable API, step by step, and the three use cases in its documentation.

mod support;

use std::alloc::Layout;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use shadow_vars::{CtorError, ObjAddr, Reclaim, ShadowId, ShadowStore};
use support::configs::Config;
use support::on_every_store;

on_every_store!(
    basic_api_typed,
    basic_api_raw,
    a_constructor_that_refuses,
    same_life_as_the_parent,
    parents_in_flight,
    a_flag,
);

const A: u64 = 0x1234;
const B: u64 = 0x1235;
const EINVAL: c_int = -22;

thread_local! {
    /// The events, in order. The raw callbacks are plain functions, so the log cannot be passed to them.
    static LOG: RefCell<String> = const { RefCell::new(String::new()) };
    /// The parents, so that the log can name them.
    static OBJS: RefCell<[usize; 3]> = const { RefCell::new([0; 3]) };
}

macro_rules! log {
    ($($what:tt)*) => { LOG.with_borrow_mut(|log| writeln!(log, $($what)*).unwrap()) };
}

fn name(obj: ObjAddr) -> usize {
    OBJS.with_borrow(|objs| {
        objs.iter()
            .position(|&addr| addr == obj.get())
            .expect("one of the parents")
    })
}

/// The numbers that the constructors copy into the variables: of the `i`th parent, 10 + i under A and 20 + i under B.
fn number(i: usize, id: u64) -> usize {
    if id == A { 10 + i } else { 20 + i }
}

/// What the selftest must print, with any interface.
fn expected() -> String {
    let mut log = String::from("get o0 A: none\n");
    for i in 0..3 {
        let form = if i % 2 == 0 { "get_or_alloc" } else { "alloc" };
        write!(
            log,
            "ctor o{i} {a}\n{form} o{i} A: {a}\nctor o{i} {b}\nalloc o{i} B: {b}\n",
            a = 10 + i,
            b = 20 + i
        )
        .unwrap();
    }
    for i in 0..3 {
        write!(log, "get o{i} A: same, {}\nget o{i} B: same, {}\n", 10 + i, 20 + i).unwrap();
    }
    for i in 0..3 {
        writeln!(log, "get_or_alloc o{i} A: same, {}", 10 + i).unwrap();
    }
    for i in 0..3 {
        write!(log, "dtor o{i} {}\nfree o{i} A\nget o{i} A: none\n", 10 + i).unwrap();
    }
    for i in 0..3 {
        writeln!(log, "get o{i} B: same, {}", 20 + i).unwrap();
    }
    log.push_str("free_all B\n");
    for i in 0..3 {
        writeln!(log, "get o{i} B: none").unwrap();
    }
    log
}

/// The seven steps. `get` returns a variable's address and number.
struct Steps<C, G, F, A> {
    /// Creates the `i`th parent's variable, by `get_or_alloc` or by `alloc`.
    create: C,
    get: G,
    free: F,
    free_all: A,
}

type Var = (usize, usize);

impl<C, G, F, A> Steps<C, G, F, A>
where
    C: Fn(bool, usize, u64) -> Var,
    G: Fn(usize, u64) -> Option<Var>,
    F: Fn(usize, u64),
    A: Fn(u64),
{
    fn run(&self) -> String {
        let letter = |id| if id == self::A { 'A' } else { 'B' };
        let same = |i: usize, id: u64, made: Var| match (self.get)(i, id) {
            Some(found) => {
                assert_eq!(found, made);
                log!("get o{i} {}: same, {}", letter(id), found.1);
            }
            None => log!("get o{i} {}: none", letter(id)),
        };
        LOG.take();
        // 1
        same(0, self::A, (0, 0));
        // 2
        let mut made = Vec::new();
        for i in 0..3 {
            let first = (self.create)(i % 2 == 0, i, self::A);
            log!(
                "{} o{i} A: {}",
                if i % 2 == 0 { "get_or_alloc" } else { "alloc" },
                first.1
            );
            let second = (self.create)(false, i, B);
            log!("alloc o{i} B: {}", second.1);
            assert!(made.iter().all(|&(a, b)| a != first && b != second) && first.0 != second.0);
            made.push((first, second));
        }
        // 3
        (0..3).for_each(|i| {
            same(i, self::A, made[i].0);
            same(i, B, made[i].1);
        });
        // 4
        for (i, made) in made.iter().enumerate() {
            let found = (self.create)(true, i, self::A);
            assert_eq!(found, made.0);
            log!("get_or_alloc o{i} A: same, {}", found.1);
        }
        // 5
        for i in 0..3 {
            (self.free)(i, self::A);
            log!("free o{i} A");
            same(i, self::A, (0, 0));
        }
        // 6
        (0..3).for_each(|i| same(i, B, made[i].1));
        // 7
        (self.free_all)(B);
        log!("free_all B");
        (0..3).for_each(|i| same(i, B, (0, 0)));
        LOG.take()
    }
}

fn parents() -> [Box<u64>; 3] {
    let objs = [Box::new(0), Box::new(1), Box::new(2)];
    OBJS.set([0, 1, 2].map(|i: usize| ObjAddr::of_box(&objs[i]).get()));
    objs
}

fn basic_api_typed<R: Reclaim>(config: &Config) {
    let (store, objs) = (config.build::<R>(), parents());
    let pin = store.pin();
    let typed = ShadowId::<usize>::new;
    let var = |value: &usize| (std::ptr::from_ref(value).addr(), *value);
    let steps = Steps {
        create: |get: bool, i: usize, id: u64| {
            let obj = &*objs[i];
            let ctor = || {
                log!("ctor o{} {}", name(ObjAddr::of(obj)), number(i, id));
                number(i, id)
            };
            var(if get {
                pin.get_or_alloc_with(obj, typed(id), ctor)
            } else {
                pin.alloc_with(obj, typed(id), ctor)
            }
            .unwrap())
        },
        get: |i: usize, id: u64| pin.get(&*objs[i], typed(id)).map(var),
        free: |i: usize, id: u64| {
            let freed = pin.free_with(&*objs[i], typed(id), |obj, value| log!("dtor o{} {value}", name(obj)));
            assert_eq!(freed, Some(()));
        },
        free_all: |id: u64| assert_eq!(pin.free_all(typed(id)), 3),
    };
    assert_eq!(steps.run(), expected());
    assert!(store.is_empty());
}

unsafe extern "C" fn log_ctor(obj: *mut c_void, shadow: *mut c_void, data: *mut c_void) -> c_int {
    if data.is_null() {
        return EINVAL;
    }
    // SAFETY: a word, as the tests pass it.
    let number = unsafe { *data.cast::<usize>() };
    // SAFETY: the variable has a word.
    unsafe { shadow.cast::<usize>().write(number) };
    log!("ctor o{} {number}", name(obj.into()));
    0
}

unsafe extern "C" fn log_dtor(obj: *mut c_void, shadow: *mut c_void, _: *mut c_void) {
    // SAFETY: the variable has a word, which the constructor wrote.
    log!("dtor o{} {}", name(obj.into()), unsafe { *shadow.cast::<usize>() });
}

fn basic_api_raw<R: Reclaim>(config: &Config) {
    let (store, objs) = (config.build::<R>(), parents());
    let pin = store.pin();
    let layout = Layout::new::<*const u8>();
    let var = |var: shadow_vars::RawVar<'_>| {
        // SAFETY: all variables are created by `log_ctor`, which writes the word.
        let word = unsafe { var.as_ptr().cast::<usize>().read() };
        (var.as_ptr().addr().get(), word)
    };
    let steps = Steps {
        create: |get: bool, i: usize, id: u64| {
            let mut data = number(i, id);
            let (obj, data) = (&*objs[i], (&raw mut data).cast());
            // SAFETY: the constructor is given a word, and writes one.
            var(unsafe {
                match get {
                    true => pin.raw_get_or_alloc(obj, id, layout, Some(log_ctor), data),
                    false => pin.raw_alloc(obj, id, layout, Some(log_ctor), data),
                }
                .unwrap()
            })
        },
        get: |i: usize, id: u64| pin.raw_get(&*objs[i], id, layout).unwrap().map(var),
        // SAFETY: the destructor reads a word.
        free: |i: usize, id: u64| assert!(unsafe { pin.raw_free(&*objs[i], id, Some(log_dtor), std::ptr::null_mut()) }),
        // SAFETY: no destructor.
        free_all: |id: u64| assert_eq!(unsafe { pin.raw_free_all(id, None, std::ptr::null_mut()) }, 3),
    };
    assert_eq!(steps.run(), expected());
    assert!(store.is_empty());
}

/// Where the kernel returns NULL for any failure, the caller can distinguish a constructor's error from a duplicate.
fn a_constructor_that_refuses<R: Reclaim>(config: &Config) {
    let (store, objs) = (config.build::<R>(), parents());
    let pin = store.pin();
    let layout = Layout::new::<usize>();
    let obj = &*objs[0];
    let null = std::ptr::null_mut();
    // SAFETY: the constructor fails for null data.
    unsafe {
        assert_eq!(
            pin.raw_alloc(obj, A, layout, Some(log_ctor), null).unwrap_err(),
            CtorError::Ctor(EINVAL)
        );
        assert_eq!(
            pin.raw_get_or_alloc(obj, A, layout, Some(log_ctor), null).unwrap_err(),
            CtorError::Ctor(EINVAL)
        );
        assert!(pin.raw_get(obj, A, layout).unwrap().is_none() && !pin.raw_free(obj, A, None, null));
        // Without a constructor, the variable is zeroed.
        let var = pin.raw_alloc(obj, A, layout, None, null).unwrap();
        assert_eq!(var.as_ptr().cast::<usize>().read(), 0);
        // For a variable that exists, no constructor runs.
        assert!(pin.raw_get_or_alloc(obj, A, layout, Some(log_ctor), null).is_ok());
        assert!(matches!(
            pin.raw_alloc(obj, A, layout, Some(log_ctor), null).unwrap_err(),
            CtorError::Store(_)
        ));
    }
    assert_eq!(store.stats().ctor_failed, 2);
}

/// A station of a wireless network, as in the first example: it may sleep, and frames for it are queued meanwhile.
struct Station {
    kept: Mutex<VecDeque<u32>>,
}

/// 2.1: a lock that lives as long as its parent, created and freed by the patched constructor and destructor.
fn same_life_as_the_parent<R: Reclaim>(config: &Config) {
    const PS_LOCK: ShadowId<Mutex<Vec<u32>>> = ShadowId::new(1);

    fn station_alloc<R: Reclaim>(store: &ShadowStore<R>) -> Box<Station> {
        let station = Box::new(Station { kept: Mutex::default() });
        store.pin().alloc(&*station, PS_LOCK, Mutex::default()).unwrap();
        station
    }

    fn station_free<R: Reclaim>(store: &ShadowStore<R>, station: Box<Station>) -> Vec<u32> {
        // Before the parent's memory is deallocated.
        let sent = store
            .pin()
            .free_with(&*station, PS_LOCK, |_, lock| std::mem::take(&mut *lock.lock().unwrap()));
        drop(station);
        sent.unwrap()
    }

    /// Queues a frame, or sends all queued frames; under the lock, so that their order is preserved.
    fn wake_up_or_keep<R: Reclaim>(store: &ShadowStore<R>, station: &Station, frame: Option<u32>) -> bool {
        let pin = store.pin();
        // A station from before the patch has no lock.
        let Some(lock) = pin.get(station, PS_LOCK) else {
            return false;
        };
        let mut sent = lock.lock().unwrap();
        let mut kept = station.kept.lock().unwrap();
        match frame {
            Some(frame) => kept.push_back(frame),
            None => sent.extend(kept.drain(..)),
        }
        true
    }

    let store = config.build::<R>();
    let old = Station { kept: Mutex::default() };
    for round in 0..30 {
        let station = station_alloc(&store);
        thread::scope(|scope| {
            scope.spawn(|| (0..50).for_each(|frame| assert!(wake_up_or_keep(&store, &station, Some(frame)))));
            scope.spawn(|| (0..20).for_each(|_| assert!(wake_up_or_keep(&store, &station, None))));
        });
        assert!(wake_up_or_keep(&store, &station, None) && !wake_up_or_keep(&store, &old, Some(round)));
        let addr = ObjAddr::of_box(&station);
        assert_eq!(station_free(&store, station), (0..50).collect::<Vec<_>>());
        assert!(
            !store.pin().contains(addr, PS_LOCK),
            "whoever gets this address next inherits nothing"
        );
    }
    assert!(store.is_empty());
}

/// 2.2: parents that existed before the patch get their variable at first use, initialised once.
fn parents_in_flight<R: Reclaim>(config: &Config) {
    const COUNTER: ShadowId<AtomicUsize> = ShadowId::new(2);
    let store = config.build::<R>();
    let stations: Vec<_> = (0..40).map(|_| Box::new(Station { kept: Mutex::default() })).collect();
    let constructed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..200 {
                    let pin = store.pin();
                    let counter = pin.get_or_alloc_with(&*stations[turn % 40], COUNTER, || {
                        constructed.fetch_add(1, Ordering::Relaxed);
                        AtomicUsize::new(0)
                    });
                    counter.unwrap().fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(constructed.into_inner(), 40);
    let mut sum = 0;
    // The patch is removed, together with the variables of all parents.
    assert_eq!(
        store
            .pin()
            .free_all_with(COUNTER, |_, counter| sum += counter.load(Ordering::Relaxed)),
        40
    );
    assert_eq!(
        (
            sum,
            stations.iter().any(|station| store.pin().contains(&**station, COUNTER))
        ),
        (800, false)
    );
}

/// 2.3: a variable without content marks the parents that were created by the new code.
fn a_flag<R: Reclaim>(config: &Config) {
    const MADE_BY_PATCH: ShadowId<()> = ShadowId::new(3);
    let store = config.build::<R>();
    let old: Vec<_> = (0..20).map(Box::new).collect();
    let new: Vec<_> = (0..20).map(Box::new).collect();
    new.iter().for_each(|parent| {
        store
            .pin()
            .alloc_with(&**parent, MADE_BY_PATCH, Default::default)
            .map(drop)
            .unwrap()
    });
    let by_patch = |parents: &[Box<i32>]| {
        parents
            .iter()
            .filter(|parent| store.pin().contains(&***parent, MADE_BY_PATCH))
            .count()
    };
    assert_eq!((by_patch(&new), by_patch(&old)), (20, 0));
    assert_eq!(
        (store.len_of(MADE_BY_PATCH), store.pin().free_all(MADE_BY_PATCH)),
        (20, 20)
    );
    assert_eq!(by_patch(&new), 0);
}
