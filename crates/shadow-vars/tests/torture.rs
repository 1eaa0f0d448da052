//! Everything at once: many threads, all operations, few parents, for as long as requested; then the accounts must balance.

mod support;

use std::alloc::Layout;
use std::collections::BTreeSet;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shadow_vars::{CtorError, ObjAddr, Pinned, Reclaim, ShadowId, ShadowStore, Stats, StoreError};
use support::configs::Config;
use support::{OnPurpose, Random, hush, panic_on_purpose, within};

#[test]
#[ignore = "runs for SHADOW_STRESS_SECONDS"]
fn torture() {
    let seconds = std::env::var("SHADOW_STRESS_SECONDS").map_or(60.0, |seconds| seconds.parse().unwrap());
    torture_all(Duration::from_secs_f64(seconds));
}

#[test]
fn torture_short() {
    torture_all(Duration::from_secs(5));
}

fn torture_all(time: Duration) {
    hush();
    let backends = if cfg!(feature = "seize") { 4 } else { 3 };
    let slice = time / (Config::all().len() as u32 * backends);
    for config in Config::all() {
        run::<shadow_vars::Asymmetric>("asymmetric", &config, slice);
        run::<shadow_vars::Epoch>("epoch", &config, slice);
        run::<shadow_vars::Eras>("eras", &config, slice);
        #[cfg(feature = "seize")]
        run::<shadow_vars::Seize>("seize", &config, slice);
    }
}

/// What was constructed and dropped. Relaxed throughout: the accounts give the store no ordering.
#[derive(Default)]
struct Books {
    made: AtomicU64,
    dropped: AtomicU64,
    destroyed: AtomicU64,
}

const MARK: u64 = 0x5ade_0b1e_c7ed_0001;
const BURIED: u64 = 0xdead_dead_dead_dead;

/// A value that knows its key, and whether it may still be read.
struct Value {
    mark: u64,
    obj: usize,
    id: u64,
    destroyed: AtomicBool,
    books: Arc<Books>,
}

impl Value {
    fn new(obj: usize, id: u64, books: &Arc<Books>) -> Self {
        books.made.fetch_add(1, Ordering::Relaxed);
        Self {
            mark: MARK ^ obj as u64 ^ id,
            obj,
            id,
            destroyed: AtomicBool::new(false),
            books: books.clone(),
        }
    }

    #[track_caller]
    fn check(&self, obj: usize, id: u64) {
        assert_eq!(
            (self.mark, self.obj, self.id),
            (MARK ^ obj as u64 ^ id, obj, id),
            "not the value of <{obj:#x}, {id}>"
        );
    }

    #[track_caller]
    fn destroy(&self, obj: usize, id: u64) {
        self.check(obj, id);
        assert!(
            !self.destroyed.swap(true, Ordering::Relaxed),
            "<{obj:#x}, {id}> was destroyed twice"
        );
        self.books.destroyed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        if self.mark != MARK ^ self.obj as u64 ^ self.id {
            // The store would catch a panic, and the accounts cannot be reached from here.
            eprintln!("dropped what is not a living value: {:#x}", self.mark);
            std::process::abort();
        }
        // SAFETY: a field of this value. Volatile, as the compiler sees no later read.
        unsafe { std::ptr::write_volatile(&raw mut self.mark, BURIED) };
        self.books.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

const PARENTS: usize = 300;
const TYPED: [ShadowId<Value>; 3] = [ShadowId::new(0), ShadowId::new(1), ShadowId::new(u64::MAX)];
const PLAIN: ShadowId<[u64; 2]> = ShadowId::new(2);
const RAW: u64 = 3;
const BURST: ShadowId<usize> = ShadowId::new(4);

/// Parents that fit into a word, odd ones, and ones beyond 48 bits.
fn parent(n: usize) -> usize {
    match n % 8 {
        6 => n * 64 + 1,
        7 => n << 50 | 8,
        _ => 0x7f00_0000_0000 + n * 64,
    }
}

struct Worker<'s, R: Reclaim> {
    store: &'s ShadowStore<R>,
    books: Arc<Books>,
    random: Random,
    number: usize,
    burst: usize,
    operations: u64,
    parallel: u64,
}

impl<R: Reclaim> Worker<'_, R> {
    fn key(&mut self) -> (usize, ShadowId<Value>) {
        // A tenth of the parents get half of the operations.
        let n = if self.random.below(2) == 0 {
            self.random.below(PARENTS / 10)
        } else {
            self.random.below(PARENTS)
        };
        (parent(n), TYPED[self.random.below(TYPED.len())])
    }

    fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if self.random.below(4) == 0 {
                let store = self.store;
                let pin = store.pin();
                let mut held = Vec::new();
                for _ in 0..self.random.below(40) {
                    self.one();
                    self.hold(&pin, &mut held);
                }
                for (obj, id, value) in held {
                    Value::check(value, obj, id);
                }
            } else {
                self.one();
            }
            match self.random.below(2000) {
                0 => self.store.synchronize().unwrap(),
                1 => self.clear(),
                2..8 => self.burst(),
                8..12 => self.store.shrink_to_fit(),
                12..30 => self.store.flush(),
                _ => {}
            }
        }
    }

    /// Reads a value that stays valid until the guard is dropped.
    fn hold<'p>(&mut self, pin: &'p Pinned<'_, R>, held: &mut Vec<(usize, u64, &'p Value)>) {
        let (obj, id) = self.key();
        held.extend(pin.get(obj, id).map(|value| (obj, id.get(), value)));
    }

    /// One operation on a variable or a parent.
    fn one(&mut self) {
        self.operations += 1;
        let (obj, id) = self.key();
        let (store, books) = (self.store, self.books.clone());
        let new = || Value::new(obj, id.get(), &books);
        match self.random.below(100) {
            0..25 => {
                if let Some(value) = store.pin().get(obj, id) {
                    value.check(obj, id.get());
                }
            }
            25..35 => {
                // A thousand to one that it exists or is created; never any other error.
                if let Err(refused) = store.pin().alloc(obj, id, new()).map(drop) {
                    assert!(refused.is_exists());
                    refused.value.check(obj, id.get());
                }
            }
            35..42 => store
                .pin()
                .get_or_alloc(obj, id, new())
                .map(|value| value.check(obj, id.get()))
                .unwrap(),
            42..50 => match store
                .pin()
                .get_or_alloc_with(obj, id, new)
                .map(|value| value.check(obj, id.get()))
            {
                Ok(()) | Err(StoreError::Cycle { .. }) => {}
                Err(error) => panic!("{error}"),
            },
            50..53 => self.construct_badly(obj, id),
            53..56 => self.construct_nested(obj, id),
            56..68 => {
                store
                    .pin()
                    .free_with(obj, id, |addr, value| value.destroy(addr.get(), id.get()));
            }
            68..72 => {
                store.pin().free(obj, id);
            }
            72..75 => {
                store.pin().free_object(obj);
            }
            75..79 => {
                let ids = store.pin().ids_of(obj);
                assert!(
                    ids.is_sorted_by(|a, b| a < b) && ids.iter().all(|id| [0, 1, 2, 3, u64::MAX].contains(id)),
                    "{ids:?}"
                );
            }
            79..83 => self.plain(obj),
            83..90 => self.raw(obj),
            90..94 => self.many(),
            94..96 => self.look(),
            96..98 => {
                let pin = store.pin_owned();
                if let Some(value) = pin.get(obj, id) {
                    pin.free(obj, id);
                    thread::yield_now();
                    value.check(obj, id.get());
                }
            }
            98 if self.random.below(20) == 0 => {
                store
                    .pin()
                    .free_all_with(id, |obj, value| value.destroy(obj.get(), id.get()));
            }
            99 if self.random.below(20) == 0 => self.in_parallel(id),
            _ => {
                assert_eq!(
                    store.pin().get(obj, ShadowId::<u8>::new(id.get())).cloned(),
                    None,
                    "another type"
                );
            }
        }
    }

    fn construct_badly(&mut self, obj: usize, id: ShadowId<Value>) {
        let number = self.number;
        if self.random.below(4) > 0 {
            match self
                .store
                .pin()
                .get_or_try_alloc_with(obj, id, || Err(number))
                .map(|value| value.check(obj, id.get()))
            {
                Ok(()) | Err(CtorError::Store(StoreError::Cycle { .. })) => {}
                Err(error) => assert_eq!(error, CtorError::Ctor(number)),
            }
        } else {
            let construct = || {
                self.store
                    .pin()
                    .alloc_with(obj, id, || panic_on_purpose(number))
                    .map(drop)
            };
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(construct)) {
                Ok(Err(StoreError::Exists { .. } | StoreError::Cycle { .. })) => {}
                Ok(other) => panic!("{other:?}"),
                Err(panic) => assert_eq!(panic.downcast_ref(), Some(&OnPurpose(number))),
            }
        }
    }

    /// A constructor that needs another variable, whose constructor may need this one.
    fn construct_nested(&mut self, obj: usize, id: ShadowId<Value>) {
        let (other, other_id) = self.key();
        let (store, books) = (self.store, self.books.clone());
        let result = store
            .pin()
            .get_or_try_alloc_with(obj, id, || {
                let inner = || Value::new(other, other_id.get(), &books);
                store
                    .pin()
                    .get_or_alloc_with(other, other_id, inner)
                    .map(|value| value.check(other, other_id.get()))?;
                Ok(Value::new(obj, id.get(), &books))
            })
            .map(|value| value.check(obj, id.get()));
        match result {
            Ok(()) | Err(CtorError::Store(StoreError::Cycle { .. })) => {}
            Err(CtorError::Ctor(StoreError::Cycle { .. } | StoreError::Recursion { .. })) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn plain(&mut self, obj: usize) {
        if self.random.below(2) == 0 {
            assert_eq!(
                self.store
                    .pin()
                    .get_or_alloc_with(obj, PLAIN, Default::default)
                    .copied(),
                Ok([0; 2])
            );
        } else {
            self.store.pin().free(obj, PLAIN);
        }
    }

    fn raw(&mut self, obj: usize) {
        let pin = self.store.pin();
        let layout = Layout::new::<[u64; 4]>();
        match self.random.below(3) {
            0 => assert!(
                pin.raw_get(obj, RAW, layout)
                    .unwrap()
                    .is_none_or(|var| var.layout() == layout)
            ),
            // SAFETY: no constructor.
            1 => assert!(unsafe { pin.raw_get_or_alloc(obj, RAW, layout, None, null_mut()) }.is_ok()),
            // SAFETY: no destructor.
            _ => drop(unsafe { pin.raw_free(obj, RAW, None, null_mut()) }),
        }
    }

    fn many(&mut self) {
        let (_, id) = self.key();
        let objs: Vec<_> = (0..50).map(|_| ObjAddr::new(self.key().0)).collect();
        let mut found = vec![None; objs.len()];
        let pin = self.store.pin();
        pin.get_many(&objs, id, &mut found);
        for (obj, value) in objs.iter().zip(found) {
            if let Some(value) = value {
                value.check(obj.get(), id.get());
            }
        }
    }

    fn look(&mut self) {
        let pin = self.store.pin();
        let mut met = BTreeSet::new();
        for var in pin.iter() {
            assert!(met.insert((var.obj(), var.id())), "{var:?} met twice");
            if let Some(value) = var.downcast_ref::<Value>() {
                value.check(var.obj().get(), var.id());
            }
        }
    }

    /// A sweep and an iteration by the threads of a pool.
    #[cfg(feature = "rayon")]
    fn in_parallel(&mut self, id: ShadowId<Value>) {
        use rayon::iter::ParallelIterator;

        self.store.pin_owned().par_iter().for_each(|var| {
            if let Some(value) = var.downcast_ref::<Value>() {
                value.check(var.obj().get(), var.id());
            }
        });
        self.store
            .pin()
            .par_free_all_with(id, |obj, value| value.destroy(obj.get(), id.get()));
        self.parallel += 1;
    }

    #[cfg(not(feature = "rayon"))]
    fn in_parallel(&mut self, _: ShadowId<Value>) {}

    /// All parents are freed, so that the table shrinks.
    fn clear(&mut self) {
        (0..PARENTS).for_each(|n| {
            self.store.pin().free_object(parent(n));
        });
        self.store.shrink_to_fit();
    }

    /// Many variables of this thread only, so that the table grows, then shrinks.
    fn burst(&mut self) {
        let own = |n: usize| ((self.number + 1) << 32) | (n * 16);
        let (store, count) = (self.store, self.random.below(self.burst));
        (0..count).for_each(|n| store.pin().alloc(own(n), BURST, n).map(drop).unwrap());
        (0..count).for_each(|n| assert_eq!(store.pin().get(own(n), BURST).cloned(), Some(n)));
        (0..count).for_each(|n| assert_eq!(store.pin().free_with(own(n), BURST, |_, &value| value), Some(n)));
        (0..count).for_each(|n| assert!(!store.pin().contains(own(n), BURST)));
        self.operations += 4 * count as u64;
    }
}

fn run<R: Reclaim>(backend: &str, config: &Config, slice: Duration) {
    let books = Arc::new(Books::default());
    let store = config.build::<R>();
    let stop = AtomicBool::new(false);
    let threads = 4 * thread::available_parallelism().map_or(1, usize::from);
    let start = Instant::now();
    let [operations, parallel] = within(slice + Duration::from_secs(60), config.name, || {
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|number| {
                    let (store, books, stop) = (&store, books.clone(), &stop);
                    let random = Random(0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1) << 20);
                    let burst = if config.provoke.equal_hashes { 40 } else { 1000 };
                    let mut worker = Worker {
                        store,
                        books,
                        random,
                        number,
                        burst,
                        operations: 0,
                        parallel: 0,
                    };
                    scope.spawn(move || {
                        worker.run(stop);
                        [worker.operations, worker.parallel]
                    })
                })
                .collect();
            thread::sleep(slice);
            stop.store(true, Ordering::Relaxed);
            let counts = workers.into_iter().map(|worker| worker.join().unwrap());
            counts.fold([0, 0], |sum, one| [sum[0] + one[0], sum[1] + one[1]])
        })
    });
    let stats = settle(&store, &books);
    drop(store);
    let (made, dropped) = (
        books.made.load(Ordering::Relaxed),
        books.dropped.load(Ordering::Relaxed),
    );
    assert_eq!(made, dropped, "each value made is dropped");
    println!(
        "{backend} {}: {threads} threads, {:?}, {operations} operations, {parallel} in parallel, {made} values made, {dropped} dropped, {} destroyed; \
         {} variables, {} constructors failed, {} growths, {} shrinks, {} rebuilds",
        config.name,
        start.elapsed(),
        books.destroyed.load(Ordering::Relaxed),
        stats.created,
        stats.ctor_failed,
        stats.growths,
        stats.shrinks,
        stats.rebuilds,
    );
}

/// When no operation runs, all ways of counting must agree; and what is freed then must be dropped.
fn settle<R: Reclaim>(store: &ShadowStore<R>, books: &Books) -> Stats {
    let pin = store.pin();
    let mut met: Vec<_> = pin.iter().map(|var| (var.obj().get(), var.id())).collect();
    met.sort_unstable();
    let by_parent = |n| store.pin().ids_of(parent(n)).into_iter().map(move |id| (parent(n), id));
    let mut listed: Vec<_> = (0..PARENTS).flat_map(by_parent).collect();
    listed.sort_unstable();
    assert_eq!(met, listed);
    let stats = store.stats();
    assert_eq!(
        (store.len(), stats.live, stats.created - stats.freed),
        (met.len(), met.len() as u64, met.len() as u64)
    );
    assert_eq!(stats.drop_panics, 0);
    let found = |&&(obj, id): &&(usize, u64)| match id {
        2 => pin.contains(obj, PLAIN),
        3 => pin.raw_get(obj, RAW, Layout::new::<[u64; 4]>()).unwrap().is_some(),
        _ => pin
            .get(obj, ShadowId::<Value>::new(id))
            .inspect(|value| value.check(obj, id))
            .is_some(),
    };
    assert_eq!(met.iter().filter(found).count(), met.len());
    drop(pin);
    store.synchronize().unwrap();
    let typed = met.iter().filter(|(_, id)| ![2, 3].contains(id)).count() as u64;
    let alive = books.made.load(Ordering::Relaxed) - books.dropped.load(Ordering::Relaxed);
    assert_eq!(alive, typed, "what is not freed lives, and nothing else");
    assert_eq!(store.stats().retired_objects, 0);
    assert_eq!(
        (0..PARENTS).map(|n| store.pin().free_object(parent(n))).sum::<usize>(),
        met.len()
    );
    assert!(store.is_empty() && store.pin().iter().next().is_none());
    stats
}
