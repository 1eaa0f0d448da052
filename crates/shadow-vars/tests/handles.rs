//! Guards that move between threads, parents that free their variables, stores that cannot be built, untyped variables.

mod support;

use std::alloc::Layout;
use std::ffi::{c_int, c_void};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use shadow_vars::{
    BuildError, CtorError, Epoch, LayoutMismatch, ObjAddr, OwnedPinned, Parent, Provoke, RawVar, Reclaim, ShadowId,
    ShadowStore, StoreError, TypeMismatch, global,
};
use support::configs::Config;
use support::{Counted, Ledger, OnPurpose, caught, on_every_store, panic_on_purpose};

on_every_store!(
    an_owned_guard_travels,
    an_owned_guard_across_an_await,
    repin_keeps_the_store_usable,
    guards_nest_and_end_in_any_order,
    a_parent_frees_its_variables,
    a_parent_whose_drop_panics,
    raw_variables,
    raw_constructors_and_destructors,
    raw_layouts,
    raw_and_typed_ids,
);

const VALUE: ShadowId<Counted> = ShadowId::new(0x51);
const N: ShadowId<u32> = ShadowId::new(0x52);

fn an_owned_guard_travels<R: Reclaim>(config: &Config) {
    fn is_send_and_sync<T: Send + Sync>(_: &T) {}
    let ledger = Ledger::new(10);
    let store = config.build::<R>();
    store.pin().alloc(8, VALUE, ledger.value()).unwrap();
    let guard = store.pin_owned();
    is_send_and_sync(&guard);
    let (send, receive) = mpsc::channel::<OwnedPinned<'_, R>>();
    thread::scope(|scope| {
        let (store, ledger) = (&store, &ledger);
        scope.spawn(move || {
            let guard = receive.recv().unwrap();
            let value = guard.get(8, VALUE).unwrap();
            assert!(store.pin().free(8, VALUE));
            // Used by two threads at once.
            thread::scope(|scope| {
                let other = scope.spawn(|| {
                    guard
                        .get_or_alloc_with(16, VALUE, || ledger.value())
                        .map(Counted::serial)
                });
                assert_eq!(other.join().unwrap(), Ok(1));
            });
            (0..100).for_each(|_| store.flush());
            assert_eq!(value.serial(), 0);
            // Dropped here, not on the thread that made it.
        });
        send.send(guard).unwrap();
    });
    store.synchronize().unwrap();
    assert_eq!(ledger.alive(), [1]);
}

/// Runs a future on this thread, which sleeps while it waits.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Ready the second time, woken by another thread.
struct Later(Option<thread::JoinHandle<()>>);

impl Future for Later {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(thread) = self.0.take() {
            thread.join().unwrap();
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        self.0 = Some(thread::spawn(move || waker.wake()));
        Poll::Pending
    }
}

fn an_owned_guard_across_an_await<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(10);
    let store = config.build::<R>();
    store.pin().alloc(8, VALUE, ledger.value()).unwrap();
    let handler = async {
        let guard = store.pin_owned();
        let value = guard.get(8, VALUE).unwrap();
        Later(None).await;
        assert!(store.pin().free(8, VALUE));
        Later(None).await;
        store.flush();
        value.serial()
    };
    // The future is `Send`, so it may continue elsewhere: here on another thread.
    let serial = thread::scope(|scope| scope.spawn(|| block_on(handler)).join().unwrap());
    assert_eq!(serial, 0);
    store.synchronize().unwrap();
    assert_eq!(ledger.alive(), []);
}

fn repin_keeps_the_store_usable<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    let (mut local, mut owned) = (store.pin(), store.pin_owned());
    for n in 0..200 {
        assert_eq!(local.alloc(8, N, n), Ok(&n));
        local.repin();
        assert_eq!(owned.get(8, N), Some(&n));
        owned.repin();
        assert!(local.free(8, N) && !owned.contains(8, N));
    }
}

fn guards_nest_and_end_in_any_order<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(10);
    let (store, other) = (config.build::<R>(), config.build::<R>());
    store.pin().alloc(8, VALUE, ledger.value()).unwrap();
    let outer = store.pin();
    let inner = store.pin();
    let elsewhere = other.pin();
    let value = inner.get(8, VALUE).unwrap();
    assert!(store.pin().free(8, VALUE));
    drop(outer);
    drop(elsewhere);
    (0..100).for_each(|_| store.flush());
    assert_eq!(value.serial(), 0);
    drop(inner);
    store.synchronize().unwrap();
    other.synchronize().unwrap();
    assert_eq!(ledger.alive(), []);
}

fn a_parent_frees_its_variables<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(100);
    let store = Arc::new(config.build::<R>());
    let mut parent = Parent::new_in(vec![1, 2], &*store);
    let addr = Parent::addr(&parent);
    assert_eq!(addr, ObjAddr::of(&*parent));
    store.pin().alloc(addr, VALUE, ledger.value()).unwrap();
    store.pin().alloc(addr, N, 1).unwrap();
    store.pin().alloc(addr.get() + 1, N, 2).unwrap();
    parent.push(3);
    let moved = Box::new(parent);
    assert_eq!(
        (Parent::addr(&moved), moved.len(), format!("{moved:?}")),
        (addr, 3, "Parent([1, 2, 3])".into())
    );
    drop(moved);
    assert_eq!(
        (store.pin().ids_of(addr), store.len()),
        (vec![], 1),
        "the neighbour stays"
    );

    // The object still exists, its variables do not.
    let parent = Parent::new_in(ledger.value(), store.clone());
    store.pin().alloc(Parent::addr(&parent), N, 3).unwrap();
    assert_eq!((Arc::strong_count(&store), store.len_of(N)), (2, 2));
    let object = Parent::into_inner(parent);
    assert_eq!((object.serial(), Arc::strong_count(&store), store.len_of(N)), (1, 1, 1));

    // Parents of size 0 have addresses of their own.
    let parents: Vec<_> = (0..20).map(|_| Parent::new_in((), store.clone())).collect();
    (0..20).for_each(|n| {
        store
            .pin()
            .alloc(Parent::addr(&parents[n]), N, n as u32)
            .map(drop)
            .unwrap()
    });
    assert!((0..20).all(|n| store.pin().get(Parent::addr(&parents[n]), N).cloned() == Some(n as u32)));
    drop(parents);
    assert_eq!(store.len(), 1);
    // A parent may be the last owner of its store.
    let last = Parent::new_in(ledger.value(), Arc::new(config.build::<R>()));
    drop(last);
    drop((object, store));
    ledger.assert_balanced();
}

fn a_parent_whose_drop_panics<R: Reclaim>(config: &Config) {
    struct Spiteful(#[expect(dead_code, reason = "only dropped")] Counted);
    impl Drop for Spiteful {
        fn drop(&mut self) {
            panic_on_purpose(1);
        }
    }
    let ledger = Ledger::new(10);
    let store = Arc::new(config.build::<R>());
    let parent = Parent::new_in(Spiteful(ledger.value()), store.clone());
    store.pin().alloc(Parent::addr(&parent), VALUE, ledger.value()).unwrap();
    assert_eq!(caught(|| drop(parent)), 1);
    assert_eq!(
        (store.len(), Arc::strong_count(&store)),
        (0, 1),
        "variables and handle are let go all the same"
    );
    // A parent that is dropped while its thread panics.
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let parent = Parent::new_in(ledger.value(), &*store);
        store.pin().alloc(Parent::addr(&parent), VALUE, ledger.value()).unwrap();
        panic_on_purpose(2);
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&OnPurpose(2)));
    assert!(store.is_empty());
    drop(store);
    ledger.assert_balanced();
}

#[test]
fn a_parent_in_the_global_store() {
    let parent = Parent::new(5_u64);
    let id = ShadowId::<u32>::new(0x51a1);
    global().pin().alloc(Parent::addr(&parent), id, 6).unwrap();
    let addr = Parent::addr(&parent);
    assert_eq!(Parent::into_inner(parent), 5);
    assert!(!global().pin().contains(addr, id));
}

#[test]
fn builders() {
    let build = |capacity| ShadowStore::<Epoch>::builder().capacity(capacity).hash_seed(1).build();
    for capacity in [0, 1, 7, 8, 9, 1000, 1024, 1025, 100_000] {
        let store = build(capacity).unwrap();
        assert!(
            store.capacity() >= capacity && store.capacity() <= (4 * capacity).max(64),
            "{capacity}"
        );
        (0..capacity).for_each(|obj| store.pin().alloc(obj * 8, N, 0).map(drop).unwrap());
        assert_eq!(store.stats().growths, 0, "there was room for {capacity}");
        assert_eq!(
            (store.pin().free_all(N), store.capacity() >= capacity),
            (capacity, true)
        );
    }
    for asked in [
        usize::MAX,
        usize::MAX / 2,
        usize::MAX / 8,
        1 << 60,
        1 << 48,
        (1 << 42) + 1,
    ] {
        let error = build(asked).unwrap_err();
        assert_eq!(error, BuildError::CapacityTooLarge { asked });
        assert_eq!(error.to_string(), format!("no table can hold {asked} shadow variables"));
    }
    // A table of 64 TiB needs an entire address space.
    assert_eq!(build(1 << 42).unwrap_err(), BuildError::OutOfMemory { asked: 1 << 42 });
    let panic = catch_unwind(|| ShadowStore::with_capacity(usize::MAX)).unwrap_err();
    assert_eq!(
        panic.downcast_ref::<String>().unwrap(),
        &format!("no table can hold {} shadow variables", usize::MAX)
    );
    assert!(ShadowStore::with_capacity(100).capacity() >= 100);
    assert!(ShadowStore::new().is_empty() && ShadowStore::<Epoch>::default().is_empty());

    for batch in [0, 1, 2, 1000, usize::MAX] {
        let store = ShadowStore::<Epoch>::builder()
            .batch(batch)
            .provoke(Provoke::default())
            .build()
            .unwrap();
        for obj in 0..300 {
            store.pin().alloc(obj, N, 1).unwrap();
            assert!(store.pin().free(obj, N));
        }
        store.synchronize().unwrap();
        assert_eq!(store.stats().retired_objects, 0);
    }
    assert!(format!("{:?}", ShadowStore::<Epoch>::builder().capacity(5)).contains("capacity: 5"));
    assert!(format!("{:?}", ShadowStore::new()).contains("len: 0"));
}

const RAW: u64 = 0x53;

/// Counts its calls in the data and writes 1, 2, 3, … into the variable; fails with the parent's address if that is small.
unsafe extern "C" fn construct(obj: *mut c_void, shadow: *mut c_void, data: *mut c_void) -> c_int {
    // SAFETY: the tests pass an `AtomicUsize`, and variables of two words at least.
    let (calls, words) = unsafe { (&*data.cast::<AtomicUsize>(), &mut *shadow.cast::<[u64; 2]>()) };
    assert_eq!(*words, [0, 0], "comes zeroed");
    calls.fetch_add(1, Ordering::Relaxed);
    *words = [1, obj.addr() as u64];
    if obj.addr() < 8 { obj.addr() as c_int } else { 0 }
}

/// Adds the variable's first word to the data.
unsafe extern "C" fn destroy(obj: *mut c_void, shadow: *mut c_void, data: *mut c_void) {
    // SAFETY: the tests pass an `AtomicUsize`, and variables of two words at least.
    let (sum, words) = unsafe { (&*data.cast::<AtomicUsize>(), &*shadow.cast::<[u64; 2]>()) };
    assert_eq!(words[1], obj.addr() as u64);
    sum.fetch_add(words[0] as usize, Ordering::Relaxed);
}

fn bytes<'g>(var: &RawVar<'g>) -> &'g [u8] {
    // SAFETY: the tests read while no thread writes, under the guard that `var` came from.
    unsafe { std::slice::from_raw_parts(var.as_ptr().as_ptr(), var.layout().size()) }
}

fn raw_variables<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    let pin = store.pin();
    let layout = Layout::from_size_align(24, 8).unwrap();
    assert!(pin.raw_get(8, RAW, layout).unwrap().is_none());
    for obj in [8, 9, 1 << 50, 0] {
        // SAFETY: no constructor.
        let var = unsafe { pin.raw_alloc(obj, RAW, layout, None, null_mut()) }.unwrap();
        assert_eq!((bytes(&var), var.layout()), (&[0; 24][..], layout));
        // SAFETY: no other thread has it.
        unsafe { var.as_ptr().write_bytes(7, 24) };
        let found = pin.raw_get(obj, RAW, layout).unwrap().unwrap();
        assert_eq!((found.as_ptr(), bytes(&found)), (var.as_ptr(), &[7; 24][..]));
        // SAFETY: no constructor.
        let again = unsafe { pin.raw_get_or_alloc(obj, RAW, layout, None, null_mut()) }.unwrap();
        assert_eq!(again.as_ptr(), var.as_ptr());
        // SAFETY: no constructor.
        let refused = unsafe { pin.raw_alloc(obj, RAW, layout, None, null_mut()) }.unwrap_err();
        assert_eq!(
            refused,
            CtorError::Store(StoreError::Exists {
                obj: obj.into(),
                id: RAW
            })
        );
        assert_eq!(pin.ids_of(obj), [RAW]);
    }
    let met: Vec<_> = pin.iter().map(|var| (var.id(), var.type_name().to_owned())).collect();
    assert_eq!(met, vec![(RAW, "raw".to_owned()); 4]);
    assert_eq!(store.pin().free_object(9), 1);
    // SAFETY: no destructor.
    unsafe {
        assert!(pin.raw_free(8, RAW, None, null_mut()) && !pin.raw_free(8, RAW, None, null_mut()));
        assert_eq!(
            (
                pin.raw_free_all(RAW, None, null_mut()),
                pin.raw_free_all(RAW, None, null_mut())
            ),
            (2, 0)
        );
    }
    assert!(store.is_empty());
}

fn raw_constructors_and_destructors<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    let pin = store.pin();
    let layout = Layout::new::<[u64; 2]>();
    let (calls, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (count, add) = ((&raw const calls).cast_mut().cast(), (&raw const sum).cast_mut().cast());
    // SAFETY: `construct` accepts `count` as its data.
    let refused = unsafe { pin.raw_alloc(5, RAW, layout, Some(construct), count) }.unwrap_err();
    assert_eq!(refused, CtorError::Ctor(5), "the constructor's own result");
    assert!(pin.raw_get(5, RAW, layout).unwrap().is_none());
    for obj in (8..168).step_by(8) {
        // SAFETY: `construct` accepts `count` as its data.
        let var = unsafe { pin.raw_get_or_alloc(obj, RAW, layout, Some(construct), count) }.unwrap();
        assert_eq!(bytes(&var)[8..], (obj as u64).to_ne_bytes());
        // SAFETY: `construct` accepts `count` as its data.
        unsafe { pin.raw_get_or_alloc(obj, RAW, layout, Some(construct), count) }.unwrap();
        // SAFETY: `construct` accepts `count` as its data.
        assert!(unsafe { pin.raw_alloc(obj, RAW, layout, Some(construct), count) }.is_err());
    }
    assert_eq!(calls.load(Ordering::Relaxed), 21, "once for each");
    // SAFETY: `destroy` accepts `add` as its data.
    assert!(unsafe { pin.raw_free(8, RAW, Some(destroy), add) && !pin.raw_free(8, RAW, Some(destroy), add) });
    assert_eq!(sum.load(Ordering::Relaxed), 1);
    // SAFETY: `destroy` accepts `add` as its data.
    assert_eq!(unsafe { pin.raw_free_all(RAW, Some(destroy), add) }, 19);
    assert_eq!((sum.load(Ordering::Relaxed), store.stats().ctor_failed), (20, 1));
}

fn raw_layouts<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    let pin = store.pin();
    let layout = |size, align| Layout::from_size_align(size, align).unwrap();
    // SAFETY: no constructor.
    let alloc = |obj: usize, layout| unsafe { pin.raw_alloc(obj, RAW, layout, None, null_mut()) };
    // SAFETY: no constructor.
    let get_or_alloc = |obj: usize, layout| unsafe { pin.raw_get_or_alloc(obj, RAW, layout, None, null_mut()) };
    let sizes = [
        (0, 1),
        (0, 4096),
        (1, 1),
        (3, 2),
        (16, 16),
        (100, 64),
        (5000, 4096),
        (100 << 10, 8),
    ];
    // One id may have variables of many layouts, on parents that fit into a word, and on odd ones.
    for (n, &(size, align)) in sizes.iter().enumerate() {
        for obj in [n * 8, n * 8 + 1] {
            let var = alloc(obj, layout(size, align)).unwrap();
            assert_eq!((bytes(&var).len(), var.as_ptr().addr().get() % align), (size, 0));
            assert!(bytes(&var).iter().all(|&byte| byte == 0));
            // SAFETY: no other thread has it.
            unsafe { var.as_ptr().write_bytes(0xff, size) };
        }
    }
    // A smaller and less aligned layout is accepted, a larger or more aligned one is not.
    let obj = 4 * 8;
    assert_eq!(
        pin.raw_get(obj, RAW, layout(8, 8)).unwrap().unwrap().layout(),
        layout(16, 16)
    );
    assert_eq!(get_or_alloc(obj, layout(1, 1)).unwrap().layout(), layout(16, 16));
    for (size, align) in [(17, 1), (1, 32), (32, 32)] {
        let (has, asked) = ((16, 16), (size, align));
        let mismatch = LayoutMismatch {
            obj: obj.into(),
            id: RAW,
            has,
            asked,
        };
        assert_eq!(
            pin.raw_get(obj, RAW, layout(size, align)).err(),
            Some(StoreError::LayoutMismatch(mismatch.clone()))
        );
        assert_eq!(
            get_or_alloc(obj, layout(size, align)).err(),
            Some(StoreError::LayoutMismatch(mismatch).into())
        );
        assert!(matches!(
            alloc(obj, layout(size, align)),
            Err(CtorError::Store(StoreError::Exists { .. }))
        ));
    }
    let invalid = CtorError::Store(StoreError::InvalidLayout { size: 8, align: 8192 });
    assert_eq!(alloc(800, layout(8, 8192)).err(), Some(invalid.clone()));
    assert_eq!(get_or_alloc(800, layout(8, 8192)).err(), Some(invalid));
    for size in [
        isize::MAX as usize - 7,
        isize::MAX as usize - 40,
        isize::MAX as usize / 2,
        1 << 60,
    ] {
        assert_eq!(
            alloc(800, layout(size, 8)).err(),
            Some(CtorError::Store(StoreError::OutOfMemory))
        );
        assert_eq!(
            get_or_alloc(801, layout(size, 8)).err(),
            Some(CtorError::Store(StoreError::OutOfMemory))
        );
    }
    assert_eq!(store.len(), 2 * sizes.len());
}

fn raw_and_typed_ids<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    let pin = store.pin();
    let layout = Layout::new::<u32>();
    store.pin().alloc(8, N, 5).unwrap();
    let mismatch = TypeMismatch {
        id: N.get(),
        bound: "u32".into(),
        asked: "raw".into(),
    };
    let error = StoreError::TypeMismatch(mismatch);
    assert_eq!(pin.raw_get(8, N.get(), layout).err(), Some(error.clone()));
    // SAFETY: no callbacks.
    unsafe {
        assert_eq!(
            pin.raw_alloc(16, N.get(), layout, None, null_mut()).err(),
            Some(CtorError::Store(error.clone()))
        );
        assert_eq!(
            pin.raw_get_or_alloc(8, N.get(), layout, None, null_mut()).err(),
            Some(CtorError::Store(error))
        );
        assert!(!pin.raw_free(8, N.get(), None, null_mut()));
        assert_eq!(pin.raw_free_all(N.get(), None, null_mut()), 0);
        pin.raw_alloc(8, RAW, layout, None, null_mut()).unwrap();
    }
    let typed = ShadowId::<u32>::new(RAW);
    assert_eq!(
        (
            pin.get(8, typed),
            pin.free(8, typed),
            pin.free_all(typed),
            store.len_of(typed)
        ),
        (None, false, 0, 0)
    );
    assert!(matches!(
        store.pin().alloc_with(8, typed, Default::default),
        Err(StoreError::TypeMismatch(_))
    ));
    assert_eq!((store.len(), store.pin().free_object(8)), (2, 2));
}
