//! Every operation, in both forms, on every store: its effect, its result, its errors.

mod support;

use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use shadow_vars::{
    AllocError, CtorError, IntoObjAddr, ObjAddr, Reclaim, ShadowId, StoreError, TypeMismatch, Variable, global,
};
use support::configs::Config;
use support::on_every_store;

on_every_store!(
    create_and_find,
    create_and_find_under_a_guard,
    free_and_free_with,
    free_all_and_free_object,
    free_all_and_free_object_under_a_guard,
    one_id_two_types,
    any_number_is_an_id,
    any_address_is_a_parent,
    values_of_any_size,
    two_stores,
);

const N: ShadowId<u32> = ShadowId::new(0x41);
const TEXT: ShadowId<String> = ShadowId::new(0x43);
const OBJ: usize = 0x5000;

fn exists(obj: usize, id: u64) -> StoreError {
    StoreError::Exists {
        obj: ObjAddr::new(obj),
        id,
    }
}

fn create_and_find<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    let read = |value: &u32| *value;
    // No variable exists yet.
    assert_eq!(
        (
            store.pin().get(OBJ, N).map(read),
            store.pin().get(OBJ, N).cloned(),
            store.pin().contains(OBJ, N)
        ),
        (None, None, false)
    );
    assert!(store.is_empty() && !store.pin().free(OBJ, N) && store.pin().free_all(N) == 0);
    // Each form of creation, on a parent of its own, identified by its number.
    assert_eq!(store.pin().alloc(1, N, 1).map(drop), Ok(()));
    assert_eq!(store.pin().alloc_with(2, N, || 2).map(drop), Ok(()));
    assert_eq!(store.pin().try_alloc_with(3, N, || Ok::<_, ()>(3)).map(drop), Ok(()));
    assert_eq!(store.pin().alloc_with(4, N, u32::default).map(drop), Ok(()));
    assert_eq!(store.pin().get_or_alloc(5, N, 5).map(read), Ok(5));
    assert_eq!(store.pin().get_or_alloc_with(6, N, || 6).map(read), Ok(6));
    assert_eq!(
        store.pin().get_or_try_alloc_with(7, N, || Ok::<_, ()>(7)).map(read),
        Ok(7)
    );
    assert_eq!(store.pin().get_or_alloc_with(8, N, u32::default).map(read), Ok(0));
    assert_eq!(
        store.pin().try_alloc_with(9, N, || Err("no")).map(drop),
        Err(CtorError::Ctor("no"))
    );
    assert_eq!(
        store.pin().get_or_try_alloc_with(9, N, || Err("no")).map(read),
        Err(CtorError::Ctor("no"))
    );
    let values = [
        None,
        Some(1),
        Some(2),
        Some(3),
        Some(0),
        Some(5),
        Some(6),
        Some(7),
        Some(0),
        None,
    ];
    let check = || {
        for (obj, &value) in values.iter().enumerate() {
            assert_eq!(
                (store.pin().get(obj, N).cloned(), store.pin().get(obj, N).map(read)),
                (value, value)
            );
            assert_eq!(store.pin().contains(obj, N), value.is_some());
        }
        assert_eq!((store.len(), store.len_of(N), store.is_empty()), (8, 8, false));
    };
    check();
    // The second time, each one fails or finds the variable, and no constructor runs.
    for (obj, value) in (1..=8).map(|obj| (obj, values[obj].unwrap())) {
        let refused = store.pin().alloc(obj, N, 99).map(drop).unwrap_err();
        assert!(refused.is_exists() && refused.error == exists(obj, 0x41) && refused.value == 99);
        assert_eq!(
            store.pin().alloc_with(obj, N, || unreachable!()).map(drop),
            Err(exists(obj, 0x41))
        );
        let never = || -> Result<u32, ()> { unreachable!() };
        assert_eq!(
            store.pin().try_alloc_with(obj, N, never).map(drop),
            Err(CtorError::Store(exists(obj, 0x41)))
        );
        assert_eq!(store.pin().get_or_alloc(obj, N, 99).map(read), Ok(value));
        assert_eq!(
            store.pin().get_or_alloc_with(obj, N, || unreachable!()).map(read),
            Ok(value)
        );
        assert_eq!(store.pin().get_or_try_alloc_with(obj, N, never).map(read), Ok(value));
    }
    check();
}

fn create_and_find_under_a_guard<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    let variable = Variable::new_in(N, &store).unwrap();
    let pin = store.pin();
    assert!(std::ptr::eq(pin.store(), &raw const store));
    assert_eq!(
        (pin.get(OBJ, N), pin.get(OBJ, &variable), pin.contains(OBJ, N)),
        (None, None, false)
    );
    let made = [
        pin.alloc(1, N, 1).unwrap(),
        pin.alloc_with(2, N, || 2).unwrap(),
        pin.try_alloc_with(3, N, || Ok::<_, ()>(3)).unwrap(),
        pin.alloc_with(4, N, u32::default).unwrap(),
        pin.get_or_alloc(5, N, 5).unwrap(),
        pin.get_or_alloc_with(6, N, || 6).unwrap(),
        pin.get_or_try_alloc_with(7, N, || Ok::<_, ()>(7)).unwrap(),
        pin.get_or_alloc_with(8, N, u32::default).unwrap(),
    ];
    assert_eq!(made, [&1, &2, &3, &0, &5, &6, &7, &0]);
    assert_eq!(pin.try_alloc_with(9, N, || Err("no")), Err(CtorError::Ctor("no")));
    assert_eq!(
        pin.get_or_try_alloc_with(9, N, || Err("no")),
        Err(CtorError::Ctor("no"))
    );
    // Values do not move while the table grows around them.
    (100..300).for_each(|obj| assert_eq!(pin.alloc(obj, N, 0), Ok(&0)));
    for (obj, value) in (1..).zip(made) {
        let never = || -> Result<u32, ()> { unreachable!() };
        let found = [
            pin.get(obj, N).unwrap(),
            pin.get(obj, &variable).unwrap(),
            pin.get_or_alloc(obj, N, 99).unwrap(),
            pin.get_or_alloc_with(obj, N, || unreachable!()).unwrap(),
            pin.get_or_try_alloc_with(obj, N, never).unwrap(),
        ];
        assert!(found.into_iter().all(|found| std::ptr::eq(found, value)));
        assert_eq!(
            pin.alloc(obj, N, 99),
            Err(AllocError {
                value: 99,
                error: exists(obj, 0x41)
            })
        );
        assert_eq!(pin.alloc_with(obj, N, || unreachable!()), Err(exists(obj, 0x41)));
        assert_eq!(
            pin.try_alloc_with(obj, N, never),
            Err(CtorError::Store(exists(obj, 0x41)))
        );
    }
    // Freed, but still valid under guards that already existed.
    assert!((1..=8).all(|obj| pin.free(obj, N)));
    assert_eq!(made, [&1, &2, &3, &0, &5, &6, &7, &0]);
    // The same with an owned guard.
    let owned = store.pin_owned();
    let value = owned.alloc(1, N, 7).unwrap();
    assert!(std::ptr::eq(pin.get(1, N).unwrap(), value));
    assert_eq!(owned.free_with(1, N, |obj, &value| (obj.get(), value)), Some((1, 7)));
    assert_eq!((owned.get(1, N), *value), (None, 7));
}

fn free_and_free_with<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    for round in 0..30 {
        store.pin().alloc(OBJ, TEXT, format!("round {round}")).unwrap();
        if round % 2 == 0 {
            assert!(store.pin().free(OBJ, TEXT));
        } else {
            let text = store.pin().free_with(OBJ, TEXT, |obj, text| {
                assert_eq!(obj.get(), OBJ);
                text.clone()
            });
            assert_eq!(text, Some(format!("round {round}")));
        }
        assert!(!store.pin().contains(OBJ, TEXT) && !store.pin().free(OBJ, TEXT));
        assert_eq!(store.pin().free_with(OBJ, TEXT, |_, _| unreachable!()), None::<()>);
        let pin = store.pin();
        assert!(!pin.free(OBJ, TEXT) && pin.free_with(OBJ, TEXT, |_, _| ()).is_none());
    }
    assert!(store.is_empty());
}

fn free_all_and_free_object<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    (0..100).for_each(|obj| store.pin().alloc(obj, N, obj as u32).map(drop).unwrap());
    (0..50).for_each(|obj| store.pin().alloc(obj, TEXT, obj.to_string()).map(drop).unwrap());
    assert_eq!(
        (
            store.pin().free_object(7),
            store.pin().free_object(7),
            store.pin().free_object(70)
        ),
        (2, 0, 1)
    );
    let mut met = Vec::new();
    assert_eq!(
        store
            .pin()
            .free_all_with(TEXT, |obj, text| met.push((obj.get(), text.parse().unwrap()))),
        49
    );
    met.sort_unstable();
    assert_eq!(
        met,
        (0..50)
            .filter(|&obj| obj != 7)
            .map(|obj| (obj, obj))
            .collect::<Vec<(usize, usize)>>()
    );
    assert_eq!(
        (store.pin().free_all_with(TEXT, |_, _| unreachable!()), store.len_of(N)),
        (0, 98)
    );
    assert_eq!(
        (store.pin().free_all(N), store.pin().free_all(N), store.len()),
        (98, 0, 0)
    );
    #[cfg(feature = "rayon")]
    {
        (0..100).for_each(|obj| store.pin().alloc(obj, N, obj as u32).map(drop).unwrap());
        let sum = AtomicUsize::new(0);
        let add = |obj: ObjAddr, &value: &u32| {
            sum.fetch_add(obj.get() + value as usize, Ordering::Relaxed);
        };
        assert_eq!(
            (
                store.pin().par_free_all_with(N, add),
                sum.into_inner(),
                store.pin().par_free_all(N)
            ),
            (100, 9900, 0)
        );
    }
}

fn free_all_and_free_object_under_a_guard<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    let pin = store.pin();
    let values: Vec<_> = (0..60).map(|obj| pin.alloc(obj, N, obj as u32).unwrap()).collect();
    (0..60).for_each(|obj| assert!(pin.alloc(obj, TEXT, obj.to_string()).is_ok()));
    assert_eq!((pin.free_object(7), pin.free_object(7)), (2, 0));
    let calls = AtomicUsize::new(0);
    let count = |_: ObjAddr, _: &u32| {
        calls.fetch_add(1, Ordering::Relaxed);
    };
    assert_eq!((pin.free_all_with(N, count), calls.load(Ordering::Relaxed)), (59, 59));
    assert_eq!((pin.free_all(TEXT), pin.free_all(TEXT), store.len()), (59, 0, 0));
    assert!(values.into_iter().copied().eq(0..60));
}

/// The first use of an id binds it to a type; a use with another type gets an error and does no harm.
fn one_id_two_types<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    let wrong = ShadowId::<String>::new(N.get());
    let is_bound = || store.stats().ids.iter().any(|ids| ids.id == N.get());
    assert!(!is_bound(), "not bound yet");
    // A look-up binds nothing; a creation does, even if it fails.
    assert!(store.pin().get(OBJ, wrong).cloned().is_none() && !store.pin().free(OBJ, wrong));
    assert!(store.len_of(wrong) == 0 && store.pin().free_all(wrong) == 0 && !is_bound());
    assert_eq!(
        store.pin().try_alloc_with(OBJ, N, || Err(())).map(drop),
        Err(CtorError::Ctor(()))
    );
    store.pin().alloc(OBJ, N, 5).unwrap();
    let mismatch = TypeMismatch {
        id: 0x41,
        bound: "u32".into(),
        asked: "alloc::string::String".into(),
    };
    let error = StoreError::TypeMismatch(mismatch.clone());
    assert_eq!(
        mismatch.to_string(),
        "shadow id 0x41 is bound to `u32` but was used with `alloc::string::String`"
    );
    assert_eq!(Variable::new_in(N, &store).map(|variable| variable.id()), Ok(N));
    assert_eq!(Variable::new_in(wrong, &store), Err(error.clone()));
    assert!(is_bound());
    let pin = store.pin();
    for obj in [OBJ, OBJ + 8] {
        assert_eq!(pin.get(obj, wrong), None);
        assert_eq!(store.pin().get(obj, wrong).map(|_| unreachable!()), None::<()>);
        assert!(!store.pin().contains(obj, wrong) && !store.pin().free(obj, wrong));
        assert_eq!(store.pin().free_with(obj, wrong, |_, _| unreachable!()), None::<()>);
        let refused = store.pin().alloc(obj, wrong, "back".into()).map(drop).unwrap_err();
        assert!(refused.error == error && !refused.is_exists() && refused.value == "back");
        let refused = store
            .pin()
            .get_or_alloc(obj, wrong, "back".into())
            .map(|_| ())
            .unwrap_err();
        assert!(refused.error == error && refused.value == "back");
        assert_eq!(
            store.pin().alloc_with(obj, wrong, || unreachable!()).map(drop),
            Err(error.clone())
        );
        assert_eq!(
            store.pin().get_or_alloc_with(obj, wrong, || unreachable!()).map(|_| ()),
            Err(error.clone())
        );
        let refused = store
            .pin()
            .try_alloc_with(obj, wrong, || -> Result<_, ()> { unreachable!() })
            .map(drop);
        assert_eq!(refused, Err(CtorError::Store(error.clone())));
        let refused = store
            .pin()
            .get_or_try_alloc_with(obj, wrong, || -> Result<_, ()> { unreachable!() })
            .map(|_| ());
        assert_eq!(refused, Err(CtorError::Store(error.clone())));
        // A type of the same size and alignment is another type nevertheless.
        assert!(matches!(
            store
                .pin()
                .alloc_with(obj, ShadowId::<i32>::new(0x41), || unreachable!())
                .map(drop),
            Err(StoreError::TypeMismatch(_))
        ));
        let refused = store
            .pin()
            .get_or_alloc(obj, ShadowId::<f32>::new(0x41), 0.0)
            .map(|_| ())
            .map_err(|failed| failed.error);
        assert!(matches!(refused, Err(StoreError::TypeMismatch(mismatch)) if mismatch.asked == "f32"));
    }
    assert_eq!(
        (
            store.pin().free_all(wrong),
            store.pin().free_all_with(wrong, |_, _| unreachable!()),
            store.len_of(wrong)
        ),
        (0, 0, 0)
    );
    assert_eq!(pin.get(OBJ, ShadowId::<u32>::new(0x1d)), None, "never used");
    let other = String::new();
    let mut found = [Some(&other)];
    pin.get_many(&[OBJ.into()], wrong, &mut found);
    assert_eq!(
        (found, store.pin().get(OBJ, N).cloned(), store.len()),
        ([None], Some(5), 1)
    );
}

/// 70,000 ids: those after the first 65,536 have no place in a slot's word, and leave key records when they are freed.
fn any_number_is_an_id<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    let ids = [0, 1, u64::MAX, u64::MAX - 1, 1 << 63, 1 << 32, 0xffff, 0x1_0000];
    for (value, &id) in (0_u32..).zip(&ids) {
        store.pin().alloc(OBJ, ShadowId::new(id), value).unwrap();
    }
    for (value, &id) in (0_u32..).zip(&ids) {
        assert_eq!(store.pin().get(OBJ, ShadowId::<u32>::new(id)).cloned(), Some(value));
    }
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    assert_eq!(store.pin().ids_of(OBJ), sorted);
    assert_eq!(store.pin().free_object(OBJ), ids.len());
    if config.name != "default" {
        return;
    }
    // Each id is bound by one use, on a parent of its own; then a thousand of them meet on a few parents.
    let many = |n: u64| ShadowId::<u32>::new(0x10_0000 + n);
    for n in 0..70_000_u64 {
        store.pin().alloc(n as usize * 64, many(n), n as u32).unwrap();
    }
    for n in 0..70_000_u64 {
        assert!(store.pin().free(n as usize * 64, many(n)));
    }
    for round in 0..3 {
        for n in 65_000..66_000_u64 {
            store.pin().alloc(OBJ + n as usize % 4 * 8, many(n), n as u32).unwrap();
        }
        for n in 65_000..66_000_u64 {
            assert_eq!(
                store.pin().get(OBJ + n as usize % 4 * 8, many(n)).cloned(),
                Some(n as u32)
            );
            assert!(
                !store.pin().contains(OBJ + n as usize % 4 * 8, many(n - 64_000)),
                "the same low bits of the index"
            );
        }
        let freed: usize = match round {
            0 => (0..4).map(|obj| store.pin().free_object(OBJ + obj * 8)).sum(),
            1 => (65_000..66_000).map(|n| store.pin().free_all(many(n))).sum(),
            _ => (65_000..66_000)
                .filter(|&n| store.pin().free(OBJ + n as usize % 4 * 8, many(n)))
                .count(),
        };
        assert_eq!((freed, store.len()), (1000, 0));
    }
    store.synchronize().unwrap();
    assert_eq!(store.stats().retired_objects, 0);
}

fn any_address_is_a_parent<R: Reclaim>(config: &Config) {
    let addresses = |n: usize| {
        let top = usize::MAX - 8 * n;
        [
            n * 8,
            n * 8 + 1,
            n * 8 + 7,
            (1 << 47) | (n * 8),
            (1 << 48) | (n * 8),
            (1 << 63) | (n * 8),
            top,
            top & !7,
            !0 >> 16 & !7 ^ (n * 8),
        ]
    };
    let objs: Vec<usize> = (0..12).flat_map(addresses).collect();
    let store = config.build::<R>();
    assert_eq!(ObjAddr::PROCESS, ObjAddr::from(0_usize));
    for round in 0..3 {
        (0..)
            .zip(&objs)
            .for_each(|(n, &obj)| store.pin().alloc(obj, N, n).map(drop).unwrap());
        (0..)
            .zip(&objs)
            .for_each(|(n, &obj)| assert_eq!(store.pin().get(obj, N).cloned(), Some(n)));
        let mut met: Vec<_> = store.pin().iter().map(|var| var.obj().get()).collect();
        let mut sorted = objs.clone();
        met.sort_unstable();
        sorted.sort_unstable();
        assert_eq!(met, sorted);
        match round {
            0 => assert!(objs.iter().all(|&obj| store.pin().free(obj, N))),
            1 => assert_eq!(store.pin().free_all(N), objs.len()),
            _ => assert!(objs.iter().all(|&obj| store.pin().free_object(obj) == 1)),
        }
        assert!(store.is_empty() && !objs.iter().any(|&obj| store.pin().contains(obj, N)));
    }
}

#[test]
fn addresses_from_every_source() {
    fn addr_of<How>(obj: impl IntoObjAddr<How>) -> ObjAddr {
        obj.into_obj_addr()
    }
    let mut word = 7_u64;
    let raw = &raw mut word;
    let addr = ObjAddr::new(raw as usize);
    assert_eq!(
        (
            ObjAddr::from(raw),
            ObjAddr::from(raw.cast_const()),
            ObjAddr::from(raw as usize)
        ),
        (addr, addr, addr)
    );
    assert_eq!(ObjAddr::from(NonNull::new(raw).unwrap()), addr);
    assert_eq!((addr_of(&word), ObjAddr::of(&word)), (addr, addr));
    assert_eq!(
        (ObjAddr::from(Pin::new(&word)), ObjAddr::of_pin(&Pin::new(&word))),
        (addr, addr)
    );
    assert_eq!(addr_of(&mut word), addr);

    let (boxed, shared, pinned) = (Box::new(1_u8), Arc::new(2_u16), Box::pin(3_u32));
    assert_eq!(ObjAddr::of_box(&boxed), addr_of(&*boxed));
    assert_ne!(ObjAddr::of_box(&boxed), ObjAddr::from(&raw const boxed));
    assert_eq!(
        (ObjAddr::of_arc(&shared), ObjAddr::of_arc(&shared.clone())),
        (addr_of(&*shared), ObjAddr::from(Arc::as_ptr(&shared)))
    );
    assert_eq!(
        (ObjAddr::of_pin(&pinned), ObjAddr::from(pinned.as_ref())),
        (addr_of(&*pinned), ObjAddr::of(&*pinned))
    );
    // The address of an unsized parent is its start.
    let slice: &[u8] = &[1, 2, 3];
    let (dynamic, text): (Box<dyn std::fmt::Debug>, &str) = (Box::new(5_u8), "text");
    assert_eq!(addr_of(slice), ObjAddr::from(slice.as_ptr()));
    assert_eq!(addr_of(text), ObjAddr::from(text.as_ptr()));
    assert_eq!(ObjAddr::of_box(&dynamic), addr_of(&*dynamic));
    assert!(ObjAddr::new(1) < ObjAddr::new(2));
    assert_eq!(
        (format!("{:?}", ObjAddr::new(255)), ObjAddr::new(255).to_string()),
        ("0xff".into(), "0xff".into())
    );
    assert_eq!(format!("{N:?}"), "ShadowId<u32>(0x41)");
    // Numbers, and types that convert into addresses, are taken as they are.
    struct Session(usize);
    impl From<Session> for ObjAddr {
        fn from(session: Session) -> Self {
            Self::new(session.0)
        }
    }
    assert_eq!(
        (addr_of(0x7f00), addr_of(Session(0x7f00)), addr_of(ObjAddr::new(0x7f00))),
        (0x7f00.into(), 0x7f00.into(), 0x7f00.into())
    );
}

fn values_of_any_size<R: Reclaim>(config: &Config) {
    #[derive(Clone, Copy, PartialEq, Debug)]
    #[repr(C, align(4096))]
    struct Page([u8; 4096]);
    #[derive(Clone, Copy, PartialEq, Debug)]
    #[repr(align(64))]
    struct Nothing;

    fn round_trip<R: Reclaim, T: Copy + PartialEq + std::fmt::Debug + Send + Sync + 'static>(
        config: &Config,
        value: T,
    ) {
        let store = config.build::<R>();
        let id = ShadowId::new(1);
        // One parent whose address fits into a word and one whose does not: the layouts of their nodes differ.
        for obj in [OBJ, OBJ + 1] {
            for n in 0..3 {
                let pin = store.pin();
                let made = match n {
                    0 => pin.alloc(obj, id, value).unwrap(),
                    1 => pin.get_or_alloc(obj, id, value).unwrap(),
                    _ => pin.alloc_with(obj, id, || value).unwrap(),
                };
                assert_eq!((*made, (&raw const *made).addr() % align_of::<T>()), (value, 0));
                assert_eq!(store.pin().free_with(obj, id, |_, &value| value), Some(value));
            }
        }
        store.pin().alloc(OBJ, id, value).unwrap();
        assert_eq!(
            store
                .pin()
                .iter()
                .next()
                .and_then(|var| var.downcast_ref::<T>().copied()),
            Some(value)
        );
    }
    round_trip::<R, _>(config, ());
    round_trip::<R, _>(config, 0xa5_u8);
    round_trip::<R, _>(config, [1_u8, 2, 3]);
    round_trip::<R, _>(config, 1_u128 << 100 | 1);
    round_trip::<R, _>(config, Nothing);
    round_trip::<R, _>(config, Page([0x5a; 4096]));
    // Under sanitizers, the frames that such a value passes through exceed a test's stack.
    thread::scope(|scope| {
        let large = || round_trip::<R, _>(config, [0x77_u8; 100 * 1024]);
        thread::Builder::new()
            .stack_size(64 << 20)
            .spawn_scoped(scope, large)
            .unwrap();
    });
}

fn two_stores<R: Reclaim>(config: &Config) {
    let (first, second) = (config.build::<R>(), config.build::<R>());
    first.pin().alloc(OBJ, N, 1).unwrap();
    assert_eq!(
        (
            second.pin().get(OBJ, N).cloned(),
            second.pin().free(OBJ, N),
            second.pin().free_object(OBJ),
            second.pin().free_all(N)
        ),
        (None, false, 0, 0)
    );
    // In another store, the same id may hold another type.
    let id = ShadowId::<String>::new(N.get());
    second.pin().alloc(OBJ, id, "two".into()).unwrap();
    let pin = first.pin();
    let value = pin.get(OBJ, N).unwrap();
    assert_eq!(
        (second.pin().get(OBJ, id).cloned(), second.pin().free_all(id)),
        (Some("two".into()), 1)
    );
    drop(second);
    assert_eq!((value, first.len()), (&1, 1));
}

#[test]
fn the_global_store() {
    let id = ShadowId::<u32>::new(0x41a1);
    let here = 5_u8;
    global().pin().alloc(&here, id, 9).unwrap();
    let there = std::thread::spawn(move || std::ptr::from_ref(global()).addr());
    assert_eq!(there.join().unwrap(), std::ptr::from_ref(global()).addr());
    assert_eq!(global().pin().free_with(&here, id, |_, &value| value), Some(9));
}
