//! What stands for an object, and what owns an object's variables: none of them remains at its address.

mod support;

use std::cell::Cell;
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use shadow_vars::{Attached, Handle, Keeper, ObjAddr, Object, Parent, Reclaim, ShadowId, ShadowStore, global};
use support::configs::Config;
use support::{Counted, Ledger, caught, on_every_store, panic_on_purpose};

on_every_store!(
    nothing_is_left_of_a_parent,
    nothing_is_left_of_what_a_handle_kept,
    variables_go_with_the_handle,
    handles_of_every_kind,
);

const VALUE: ShadowId<Counted> = ShadowId::new(0x71);
const N: ShadowId<u32> = ShadowId::new(0x72);

/// A reference to a handle type does not compile where a parent is expected: see the documentation's tests.
#[test]
fn handles_are_known_to_be_handles() {
    fn is_handle<T: Handle + ?Sized>() {}
    is_handle::<&str>();
    is_handle::<&mut u8>();
    is_handle::<Box<dyn std::any::Any>>();
    is_handle::<Arc<[u8]>>();
    is_handle::<std::sync::Weak<str>>();
    is_handle::<std::rc::Rc<u8>>();
    is_handle::<std::rc::Weak<u8>>();
    is_handle::<Pin<Box<u8>>>();
    is_handle::<std::borrow::Cow<'_, str>>();
    is_handle::<std::cell::Ref<'_, u8>>();
    is_handle::<std::cell::RefMut<'_, [u8]>>();
    is_handle::<std::sync::MutexGuard<'_, u8>>();
    is_handle::<std::sync::RwLockReadGuard<'_, u8>>();
    is_handle::<std::sync::RwLockWriteGuard<'_, u8>>();
    is_handle::<Option<Arc<u8>>>();
    // Addresses: the `get` of a map would take references to them.
    is_handle::<usize>();
    is_handle::<ObjAddr>();
    is_handle::<*const u8>();
    is_handle::<*mut str>();
    is_handle::<NonNull<u8>>();
    is_handle::<Parent<u8>>();
    is_handle::<Parent<u8, Arc<shadow_vars::ShadowStore>>>();
    is_handle::<Attached<Arc<u8>>>();
    // And these are objects, although they own memory elsewhere.
    let store = shadow_vars::ShadowStore::new();
    let owners = (
        String::new(),
        vec![1_u8],
        std::sync::Mutex::new(1),
        Some(1_u8),
        std::cell::Cell::new(1),
    );
    assert!(
        !store.pin().contains(&owners, N) && !store.pin().contains(&owners.0, N) && !store.pin().contains(&owners.1, N)
    );
    assert!(
        !store.pin().contains(&owners.2, N)
            && !store.pin().contains(&owners.3, N)
            && !store.pin().contains(&owners.4, N)
    );
}

/// An object whose drop attaches a variable to itself, and then may panic.
struct Clinging<R: Reclaim> {
    store: Arc<ShadowStore<R>>,
    ledger: Arc<Ledger>,
    panics: bool,
    /// Where it was when it was dropped, and which variables were there.
    seen: Arc<std::sync::Mutex<Vec<(ObjAddr, usize)>>>,
}

impl<R: Reclaim> Drop for Clinging<R> {
    fn drop(&mut self) {
        let here = ObjAddr::of(&*self);
        let found = self.store.pin().ids_of(here).len();
        self.seen.lock().unwrap().push((here, found));
        self.store.pin().alloc(here, VALUE, self.ledger.value()).unwrap();
        self.store.pin().alloc(here, N, 7).unwrap();
        if self.panics {
            panic_on_purpose(1);
        }
    }
}

/// Makes an owner in one store, with variables of the object, and drops it.
fn cling<R: Reclaim, O>(
    config: &Config,
    panics: bool,
    own: impl FnOnce(Clinging<R>, Arc<ShadowStore<R>>) -> (O, ObjAddr),
) {
    let (store, ledger) = (Arc::new(config.build::<R>()), Ledger::new(8));
    let seen = Arc::default();
    let clinging = Clinging {
        store: store.clone(),
        ledger: ledger.clone(),
        panics,
        seen: Arc::clone(&seen),
    };
    let (owner, addr) = own(clinging, store.clone());
    store.pin().alloc(addr, VALUE, ledger.value()).unwrap();
    store.pin().alloc(addr.get() + 1, N, 1).unwrap();
    if panics {
        assert_eq!(caught(|| drop(owner)), 1);
    } else {
        drop(owner);
    }
    assert_eq!(
        *seen.lock().unwrap(),
        [(addr, 0)],
        "the variables went before the object"
    );
    assert_eq!(
        (store.pin().ids_of(addr), store.len()),
        (vec![], 1),
        "the next object here would inherit"
    );
    drop(seen);
    store.synchronize().unwrap();
    assert_eq!((ledger.made(), ledger.alive()), (2, vec![]));
    assert_eq!(Arc::strong_count(&store), 1, "the owner let go of the store");
}

fn nothing_is_left_of_a_parent<R: Reclaim>(config: &Config) {
    for panics in [false, true] {
        cling::<R, _>(config, panics, |object, store| {
            let parent = Parent::new_in(object, store);
            let addr = Parent::addr(&parent);
            (parent, addr)
        });
    }
}

fn nothing_is_left_of_what_a_handle_kept<R: Reclaim>(config: &Config) {
    fn attached<R: Reclaim, K: Keeper<Target = Clinging<R>>>(
        keeper: K,
        store: Arc<ShadowStore<R>>,
    ) -> (Attached<K, Arc<ShadowStore<R>>>, ObjAddr) {
        let attached = Attached::new_in(keeper, store);
        assert_eq!(Attached::addr(&attached), ObjAddr::of(&*attached));
        let addr = Attached::addr(&attached);
        (attached, addr)
    }
    for panics in [false, true] {
        cling::<R, _>(config, panics, |object, store| attached(Arc::new(object), store));
        cling::<R, _>(config, panics, |object, store| attached(Rc::new(object), store));
        cling::<R, _>(config, panics, |object, store| attached(Box::new(object), store));
        cling::<R, _>(config, panics, |object, store| attached(Box::pin(object), store));
        cling::<R, _>(config, panics, |object, store| attached(Arc::pin(object), store));
    }
}

fn variables_go_with_the_handle<R: Reclaim>(config: &Config) {
    let (store, ledger) = (config.build::<R>(), Ledger::new(8));
    // A library's object: its variables are found by the library's functions, which have only a reference.
    let theirs = Arc::new(String::from("theirs"));
    let attached = Attached::new_in(theirs.clone(), &store);
    store.pin().alloc(&*attached, VALUE, ledger.value()).unwrap();
    let library = |object: &String| store.pin().contains(object, VALUE);
    assert!(library(&theirs) && library(&theirs.clone()));
    let weak: Weak<String> = Arc::downgrade(&theirs);
    drop(theirs);
    assert!(weak.upgrade().is_some(), "the handle keeps the object");
    // Moving the handle does not move the object.
    let moved = Box::new(attached);
    assert!(library(&moved) && Attached::keeper(&moved).as_str() == "theirs");
    assert_eq!(format!("{moved:?}"), "Attached(\"theirs\")");
    let theirs = Attached::keeper(&moved).clone();
    drop(moved);
    assert!(!library(&theirs) && store.is_empty());
    // Another handle may follow, and the object may be dropped elsewhere first.
    let again = Attached::new_in(theirs, &store);
    store
        .pin()
        .alloc(Attached::addr(&again), VALUE, ledger.value())
        .unwrap();
    let theirs = Attached::into_inner(again);
    assert!(store.is_empty());
    store.pin().alloc(&*theirs, VALUE, ledger.value()).unwrap();
    assert_eq!(store.pin().free_object(&*theirs), 1);
    store.synchronize().unwrap();
    assert_eq!((ledger.made(), ledger.alive()), (3, vec![]));
}

fn handles_of_every_kind<R: Reclaim>(config: &Config) {
    /// A user-defined pointer type.
    struct Mine<'a>(&'a Cell<u32>);
    impl std::ops::Deref for Mine<'_> {
        type Target = Cell<u32>;
        fn deref(&self) -> &Cell<u32> {
            self.0
        }
    }
    impl Keeper for Mine<'_> {}
    let store = config.build::<R>();
    let mut made = 0;
    let mut check = |addr: ObjAddr, drop: &mut dyn FnMut()| {
        store.pin().alloc(addr, N, 1).unwrap();
        drop();
        assert!(store.is_empty());
        made += 1;
    };
    fn owned<K: Keeper, R: Reclaim, How>(keeper: K, store: &ShadowStore<R>) -> (ObjAddr, impl FnMut())
    where
        K::Target: Object<How>,
    {
        let mut attached = Some(Attached::new_in(keeper, store));
        (Attached::addr(attached.as_ref().unwrap()), move || {
            drop(attached.take())
        })
    }
    let cell = Cell::new(1);
    let (addr, mut gone) = owned(&cell, &store);
    check(addr, &mut gone);
    let (addr, mut gone) = owned(Mine(&cell), &store);
    check(addr, &mut gone);
    // Unsized, and of size 0 but with an address.
    let (addr, mut gone) = owned::<Box<dyn Fn() -> u32>, _, _>(
        Box::new({
            let n = 5_u32;
            move || n
        }),
        &store,
    );
    check(addr, &mut gone);
    let (addr, mut gone) = owned::<Arc<[u8]>, _, _>(Arc::from([1, 2, 3]), &store);
    check(addr, &mut gone);
    let (addr, mut gone) = owned(Arc::new(()), &store);
    check(addr, &mut gone);
    let (addr, mut gone) = owned(Rc::pin(7_u8), &store);
    check(addr, &mut gone);
    assert_eq!(made, 6);
}

#[test]
fn a_handle_in_the_global_store() {
    let object = Arc::new(5_u64);
    let attached = Attached::new(object.clone());
    let id = ShadowId::<u32>::new(0x71a1);
    global().pin().alloc(&*object, id, 6).unwrap();
    drop(attached);
    assert!(!global().pin().contains(&*object, id));
}
