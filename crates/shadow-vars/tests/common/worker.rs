//! One thread of a round: runs its program, records what it sees.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::yield_now;

use shadow_vars::{CtorError, ObjAddr, Pinned, Reclaim, ShadowId, ShadowStore, StoreError};

use super::history::{Call, Event};
use super::op::{FILLER, Slot};
use super::payload::{Node, Payload, Plain, Provoked};
use super::rounds::{KEYS, Round, Scene, Step, Verb};

const FIRST: ShadowId<Node> = ShadowId::new(Slot::Node.id());
const SECOND: ShadowId<Node> = ShadowId::new(Slot::Twin.id());
const FILL: ShadowId<Plain> = ShadowId::new(FILLER);

/// Why a constructor fails.
struct Refusal;

/// One thread.
pub struct Worker<'a, R: Reclaim> {
    store: &'a ShadowStore<R>,
    scene: &'a Scene,
    thread: usize,
    /// Recorded from within constructors as well.
    events: RefCell<Vec<Event>>,
    /// The existing fillers: from the first number up to the second.
    fillers: Cell<(usize, usize)>,
}

impl<'a, R: Reclaim> Worker<'a, R> {
    pub fn new(store: &'a ShadowStore<R>, scene: &'a Scene, thread: usize) -> Self {
        Worker {
            store,
            scene,
            thread,
            events: RefCell::default(),
            fillers: Cell::default(),
        }
    }

    /// Runs this thread's programs, in step with the others.
    pub fn run(self, rounds: &[Round]) -> Vec<Event> {
        struct Leave<'m>(&'m super::rounds::Meeting);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.abandon();
                }
            }
        }
        let _leave = Leave(&self.scene.meeting);
        for (number, round) in rounds.iter().enumerate() {
            self.scene.meeting.wait();
            self.play(
                &Place {
                    number,
                    unfit: round.manner.unfit,
                },
                round,
            );
            self.scene.meeting.wait();
            if self.thread == 0 {
                self.close(
                    &Place {
                        number,
                        unfit: round.manner.unfit,
                    },
                    round,
                );
            }
        }
        self.fill(0, 0);
        self.events.into_inner()
    }

    fn play(&self, place: &Place, round: &Round) {
        let held = round.manner.hold.then(|| self.store.pin());
        let mut watched: Vec<(&Node, u64)> = Vec::new();
        let longest = round.programs.iter().map(Vec::len).max().unwrap_or(0);
        for number in 0..longest {
            if round.manner.lockstep {
                self.scene.meeting.wait();
            }
            let Some(step) = round.programs[self.thread].get(number) else {
                continue;
            };
            match &held {
                Some(pin) => {
                    if let (Verb::Watch, Some(node)) = (step.verb, self.get(pin, place, step.key)) {
                        watched.push((node, node.check()));
                    }
                    self.act(pin, place, step);
                }
                None => self.act(&self.store.pin(), place, step),
            }
            // Dead fillers make the table change as well as living ones do, and a small table changes more often.
            self.fill(step.fillers, if round.manner.crowd { 12 } else { 1 });
        }
        for (node, serial) in watched {
            assert_eq!(node.check(), serial, "a value changed under a guard");
        }
    }

    /// The first thread ends a round alone: reads what is left, frees it, and checks that it is not found any more.
    fn close(&self, place: &Place, round: &Round) {
        let pin = self.store.pin();
        for key in 0..KEYS {
            self.get(&pin, place, key);
            self.free_with(&pin, place, key);
            self.get(&pin, place, key);
        }
        drop(pin);
        if round.manner.synchronize {
            assert_eq!(self.store.synchronize(), Ok(()));
            let alive = self.scene.counters.alive();
            assert!(alive.is_empty(), "alive though freed and synchronized: {alive:?}");
        }
    }

    fn act(&self, pin: &Pinned<'_, R>, place: &Place, step: &Step) {
        let key = step.key;
        match step.verb {
            Verb::Get | Verb::Watch => {
                self.get(pin, place, key);
            }
            Verb::Contains => {
                let called = self.tick();
                let found = pin.contains(place.obj(key), Place::id(key));
                self.record(place, key, called, Call::Contains(found));
            }
            Verb::Alloc => self.alloc(pin, place, key),
            Verb::AllocWith => self.alloc_with(pin, place, key),
            Verb::GetOrAlloc => self.get_or_alloc(pin, place, key),
            Verb::GetOrAllocWith
            | Verb::GetOrAllocSlowly
            | Verb::GetOrAllocFails
            | Verb::GetOrAllocPanics
            | Verb::GetOrAllocNested => self.construct(pin, place, key, step.verb),
            Verb::Free => {
                let called = self.tick();
                let freed = pin.free(place.obj(key), Place::id(key));
                self.record(place, key, called, Call::Free(freed));
            }
            Verb::FreeWith => self.free_with(pin, place, key),
            Verb::FreeAll => {
                let called = self.tick();
                pin.free_all(FIRST);
                self.record_all(place, &[0, 2], called, |_| vec![Call::Swept]);
            }
            Verb::FreeAllWith => self.free_all_with(pin, place),
            Verb::FreeObject => {
                let called = self.tick();
                pin.free_object(place.obj(0));
                self.record_all(place, &[0, 1], called, |_| vec![Call::Swept]);
            }
            Verb::GetMany => self.get_many(pin, place),
            Verb::Iterate => self.iterate(pin, place),
            Verb::IdsOf => {
                let called = self.tick();
                let ids = pin.ids_of(place.obj(0));
                let found = |key| ids.iter().filter(|&&id| id == Place::id(key).get()).count();
                assert!(found(0) <= 1 && found(1) <= 1, "ids listed twice: {ids:?}");
                self.record_all(place, &[0, 1], called, |key| vec![Call::Contains(found(key) == 1)]);
            }
            Verb::Tidy => {
                self.store.shrink_to_fit();
                self.store.flush();
            }
        }
    }

    fn get<'g>(&self, pin: &'g Pinned<'_, R>, place: &Place, key: usize) -> Option<&'g Node> {
        let called = self.tick();
        let found = pin.get(place.obj(key), Place::id(key));
        self.record(place, key, called, Call::Get(found.map(Node::check)));
        found
    }

    fn alloc(&self, pin: &Pinned<'_, R>, place: &Place, key: usize) {
        let serial = self.scene.counters.serial();
        let value = Node::new(&self.scene.counters, serial);
        let called = self.tick();
        let made = pin.alloc(place.obj(key), Place::id(key), value);
        self.record(place, key, called, Call::Alloc(serial, made.is_ok()));
        match made {
            Ok(node) => assert_eq!(node.check(), serial, "alloc returns its own value"),
            Err(refused) => {
                assert!(refused.is_exists(), "{:?}", refused.error);
                assert_eq!(refused.value.check(), serial, "the value handed back");
            }
        }
    }

    fn alloc_with(&self, pin: &Pinned<'_, R>, place: &Place, key: usize) {
        let serial = self.scene.counters.serial();
        let called = self.tick();
        let made = pin.alloc_with(place.obj(key), Place::id(key), || {
            self.ctor(pin, place, key, Verb::GetOrAllocSlowly)
                .unwrap_or_else(|Refusal| unreachable!());
            Node::new(&self.scene.counters, serial)
        });
        self.record(place, key, called, Call::Alloc(serial, made.is_ok()));
        match made {
            Ok(node) => assert_eq!(node.check(), serial, "alloc returns its own value"),
            Err(error) => assert!(matches!(error, StoreError::Exists { .. }), "{error:?}"),
        }
    }

    fn get_or_alloc(&self, pin: &Pinned<'_, R>, place: &Place, key: usize) {
        let serial = self.scene.counters.serial();
        let value = Node::new(&self.scene.counters, serial);
        let called = self.tick();
        let found = pin.get_or_alloc(place.obj(key), Place::id(key), value);
        let seen = found
            .unwrap_or_else(|refused| panic!("get_or_alloc: {:?}", refused.error))
            .check();
        self.record(place, key, called, Call::GetOrAlloc(serial, seen));
    }

    fn construct(&self, pin: &Pinned<'_, R>, place: &Place, key: usize, how: Verb) {
        let serial = self.scene.counters.serial();
        let ran = Cell::new(false);
        let called = self.tick();
        let found = catch_unwind(AssertUnwindSafe(|| {
            pin.get_or_try_alloc_with(place.obj(key), Place::id(key), || {
                assert!(!ran.replace(true), "a constructor ran twice");
                self.ctor(pin, place, key, how)?;
                Ok(Node::new(&self.scene.counters, serial))
            })
        }));
        let call = match found {
            Ok(Ok(node)) => {
                let seen = node.check();
                assert_eq!(ran.get(), seen == serial, "a constructor's value is the caller's");
                Call::GetOrAlloc(serial, seen)
            }
            Ok(Err(CtorError::Ctor(Refusal))) => Call::CtorFailed,
            Ok(Err(CtorError::Store(error))) => panic!("get_or_try_alloc_with: {error:?}"),
            Err(panic) if panic.is::<Provoked>() => Call::CtorFailed,
            Err(panic) => resume_unwind(panic),
        };
        self.record(place, key, called, call);
    }

    /// The constructor, except for the value.
    fn ctor(&self, pin: &Pinned<'_, R>, place: &Place, key: usize, how: Verb) -> Result<(), Refusal> {
        struct Done<'f>(&'f AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Relaxed);
            }
        }
        let building = &self.scene.building[place.number][key];
        // Relaxed: if the end of one constructor did not happen before the beginning of the next, this may detect it too.
        assert!(!building.swap(true, Ordering::Relaxed), "two constructors at a time");
        let _done = Done(building);
        match how {
            Verb::GetOrAllocSlowly => (0..4).for_each(|_| yield_now()),
            Verb::GetOrAllocFails => return Err(Refusal),
            Verb::GetOrAllocPanics => panic_any(Provoked),
            // Always the next key, so that threads do not wait for each other in a cycle.
            Verb::GetOrAllocNested if key + 1 < KEYS => self.construct(pin, place, key + 1, Verb::GetOrAllocWith),
            _ => {}
        }
        Ok(())
    }

    fn free_with(&self, pin: &Pinned<'_, R>, place: &Place, key: usize) {
        let (obj, id) = (place.obj(key), Place::id(key));
        let called = self.tick();
        let given = pin.free_with(obj, id, |parent, node| {
            let serial = node.check();
            assert_eq!(parent.get(), obj, "a destructor gets the parent's address");
            assert_ne!(
                pin.get(obj, id).map(Node::check),
                Some(serial),
                "found while being destroyed"
            );
            serial
        });
        self.record(place, key, called, Call::FreeWith(given));
    }

    fn free_all_with(&self, pin: &Pinned<'_, R>, place: &Place) {
        let mut given = Vec::new();
        let called = self.tick();
        let freed = pin.free_all_with(FIRST, |obj, node| given.push((obj.get(), node.check())));
        assert_eq!(freed, given.len(), "free_all_with");
        // Earlier rounds have left nothing, and later ones have not begun.
        assert!(
            given.iter().all(|&(obj, _)| obj == place.obj(0) || obj == place.obj(2)),
            "a variable rose again"
        );
        self.record_all(place, &[0, 2], called, |key| {
            let mine = given.iter().filter(|&&(obj, _)| obj == place.obj(key));
            let calls: Vec<_> = mine.map(|&(_, serial)| Call::FreeWith(Some(serial))).collect();
            if calls.is_empty() {
                vec![Call::FreeWith(None)]
            } else {
                calls
            }
        });
    }

    fn get_many(&self, pin: &Pinned<'_, R>, place: &Place) {
        let mut found = [None; KEYS];
        let ids: BTreeSet<u64> = (0..KEYS).map(|key| Place::id(key).get()).collect();
        let called = self.tick();
        for id in ids {
            let keys: Vec<_> = (0..KEYS).filter(|&key| Place::id(key).get() == id).collect();
            let objs: Vec<_> = keys.iter().map(|&key| ObjAddr::new(place.obj(key))).collect();
            let mut some = vec![None; keys.len()];
            pin.get_many(&objs, Place::id(keys[0]), &mut some);
            keys.into_iter().zip(some).for_each(|(key, some)| found[key] = some);
        }
        self.record_all(place, &[0, 1, 2], called, |key| {
            vec![Call::Get(found[key].map(Node::check))]
        });
        let mine: Vec<_> = self.mine().map(|n| ObjAddr::new(self.filler(n))).collect();
        let mut found = vec![None; mine.len()];
        pin.get_many(&mine, FILL, &mut found);
        for (n, found) in self.mine().zip(found) {
            assert_eq!(found.map(Plain::check), Some(n as u64), "a filler that nobody freed");
        }
    }

    /// A variable that exists for the whole of an iteration is found once. One that is created or freed meanwhile may be
    /// found or not: if it is, it existed at some instant; if it is not, it was absent at some instant.
    fn iterate(&self, pin: &Pinned<'_, R>, place: &Place) {
        let mut met = BTreeSet::new();
        let called = self.tick();
        for var in pin.iter() {
            let serial = match var.downcast_ref::<Node>() {
                Some(node) => node.check(),
                None => var.downcast_ref::<Plain>().expect("one of the two types").check(),
            };
            let first = met.insert((var.obj().get(), var.id(), serial));
            assert!(first, "iterated twice: <{:?}, {:#x}>", var.obj(), var.id());
        }
        self.record_all(place, &[0, 1, 2], called, |key| {
            let (obj, id) = (place.obj(key), Place::id(key).get());
            let serials = met.range((obj, id, 0)..=(obj, id, u64::MAX));
            let calls: Vec<_> = serials.map(|&(.., serial)| Call::Get(Some(serial))).collect();
            if calls.is_empty() { vec![Call::Get(None)] } else { calls }
        });
        for n in self.mine() {
            assert!(
                met.contains(&(self.filler(n), FILLER, n as u64)),
                "iteration misses filler {n}"
            );
        }
    }

    /// The thread's own fillers, by number.
    fn mine(&self) -> Range<usize> {
        self.fillers.get().0..self.fillers.get().1
    }

    fn filler(&self, n: usize) -> usize {
        0x66_0000_0000 + (self.thread << 28) + n * 64
    }

    /// Creates this many fillers, and frees the oldest beyond `most`. No other thread knows their addresses, so every answer
    /// is certain.
    fn fill(&self, count: usize, most: usize) {
        let (mut first, mut next) = self.fillers.get();
        for _ in 0..count {
            let made = self
                .store
                .pin()
                .alloc(self.filler(next), FILL, Plain::new(&self.scene.counters, next as u64))
                .map(drop);
            assert!(
                made.is_ok(),
                "a filler exists: {:?}",
                made.err().map(|refused| refused.error)
            );
            next += 1;
        }
        while next - first > most {
            let seen = self.store.pin().get(self.filler(first), FILL).map(Plain::check);
            assert_eq!(seen, Some(first as u64), "a filler that nobody freed");
            assert!(
                self.store.pin().free(self.filler(first), FILL),
                "a filler that nobody freed"
            );
            first += 1;
        }
        self.fillers.set((first, next));
    }

    fn tick(&self) -> u64 {
        self.scene.clock.tick()
    }

    /// Records an operation that returns now.
    fn record(&self, place: &Place, key: usize, called: u64, call: Call) {
        let returned = self.tick();
        let key = place.number * KEYS + key;
        self.events.borrow_mut().push(Event {
            key,
            thread: self.thread,
            called,
            returned,
            call,
        });
    }

    /// Records an operation on several keys that returns now.
    fn record_all(&self, place: &Place, keys: &[usize], called: u64, calls: impl Fn(usize) -> Vec<Call>) {
        for &key in keys {
            calls(key)
                .into_iter()
                .for_each(|call| self.record(place, key, called, call));
        }
    }
}

/// The addresses of a round's variables.
struct Place {
    number: usize,
    unfit: bool,
}

impl Place {
    fn obj(&self, key: usize) -> usize {
        let unfit = [1, 0xbeef << 48][self.number % 2];
        0x1000 + self.number * 0x100 + [0, 0, 0x40][key] + if self.unfit { unfit } else { 0 }
    }

    fn id(key: usize) -> ShadowId<Node> {
        [FIRST, SECOND, FIRST][key]
    }
}
