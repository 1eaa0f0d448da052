//! Tests of the inside of a participant: counters at their limits, and signal handlers at every instruction, for both
//! backends that have participants.

use std::cell::Cell;
use std::{ptr, thread};

use super::*;
use crate::reclaim::sealed::Backend;
use crate::reclaim::{Asymmetric, Eras, alone};
use crate::sync::stat;

fn mine<S: Site>() -> &'static Shared {
    // SAFETY: participants are never freed.
    unsafe { participant::<S>().as_ref() }.expect("pinned before")
}

/// Returns whether this thread is inside.
fn is_announced<S: Site>() -> bool {
    mine::<S>().epoch.load(Ordering::Relaxed) != 0
}

fn guards_that_are_forgotten<S: Site>() {
    thread::spawn(|| {
        let outer = pin::<S>();
        // Simulates this many leaked guards, around each width that a counter might have.
        for bits in [8, 16, 31, 32, 48, 62] {
            for forgotten in [(1_u64 << bits) - 2, (1 << bits) - 1, 1 << bits] {
                mine::<S>().guards.set(forgotten);
                drop(pin::<S>());
                assert_eq!(mine::<S>().guards.get(), forgotten);
                assert!(is_pinned::<S>() && is_announced::<S>(), "{forgotten} guards");
                assert!(mine::<S>().taken.load(stat::Ordering::Relaxed));
            }
        }
        mine::<S>().guards.set(1);
        drop(outer);
        assert!(!is_pinned::<S>() && !is_announced::<S>());
    })
    .join()
    .unwrap();
}

#[test]
fn guards_that_are_forgotten_do_not_carry_into_a_flag() {
    let _alone = alone();
    guards_that_are_forgotten::<Asymmetric>();
    guards_that_are_forgotten::<Eras>();
}

// A thread's last guard gives the participant back, even if it is dropped while the thread's locals are being
// destroyed.
macro_rules! held_to_the_end {
    ($($test:ident: $site:ty;)*) => {$(
        #[test]
        fn $test() {
            let _alone = alone();
            thread_local! {
                static HELD: Cell<Option<Guard<$site>>> = const { Cell::new(None) };
            }
            let address = thread::spawn(|| {
                // Made before the participant's own local, so dropped after it.
                HELD.set(None);
                HELD.set(Some(pin::<$site>()));
                ptr::from_ref(mine::<$site>()).addr()
            })
            .join()
            .unwrap();
            let left = Participant::all::<$site>().find(|participant| ptr::from_ref(*participant).addr() == address);
            let left = left.expect("participants are never freed");
            assert_eq!(left.epoch.load(Ordering::Relaxed), 0);
        }
    )*};
}

held_to_the_end! {
    a_guard_held_to_the_threads_end_is_one: Asymmetric;
    a_guard_of_eras_held_to_the_threads_end_is_one: Eras;
}

/// Signal handlers after every single instruction.
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
mod handlers {
    use super::*;
    use crate::reclaim::steps::at_each_step;
    use crate::sync::stat::AtomicU64 as Count;

    thread_local! {
        static STEPS: Cell<u64> = const { Cell::new(0) };
        static UNPROTECTED: Cell<u64> = const { Cell::new(0) };
        /// Whether the interrupted code has a guard.
        static PINNED: Cell<bool> = const { Cell::new(false) };
    }

    /// Pins, and checks that the thread is inside where it must be.
    fn pins<S: Site>() {
        STEPS.set(STEPS.get() + 1);
        let pin = super::pin::<S>();
        let inside = is_announced::<S>();
        let inner = super::pin::<S>();
        let still = is_announced::<S>();
        drop(inner);
        let outer = is_announced::<S>();
        drop(pin);
        let after = is_announced::<S>() || !PINNED.get();
        if !(inside && still && outer && after) {
            UNPROTECTED.set(UNPROTECTED.get() + 1);
        }
    }

    /// Steps through a pin, a nested pin, a renewal, and their ends.
    fn at_every_instruction<S: Site>() {
        thread::spawn(|| {
            drop(pin::<S>());
            at_each_step(pins::<S>, || {
                let outer = pin::<S>();
                PINNED.set(true);
                outer.renew();
                let inner = pin::<S>();
                drop(inner);
                PINNED.set(false);
                drop(outer);
                let again = pin::<S>();
                PINNED.set(true);
                PINNED.set(false);
                drop(again);
            });
            assert_eq!((mine::<S>().guards.get(), is_announced::<S>()), (0, false));
            let steps = STEPS.get();
            assert!(steps > 60, "only {steps} steps");
            assert_eq!(UNPROTECTED.get(), 0, "of {steps} steps");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_signal_handler_may_pin_between_any_two_instructions() {
        let _alone = alone();
        at_every_instruction::<Asymmetric>();
        at_every_instruction::<Eras>();
    }

    thread_local! {
        /// The step at which another thread begins an era and publishes an object born in it, and the step from which
        /// on the handler looks it up.
        static PUBLISHED_AT: Cell<u64> = const { Cell::new(0) };
        static LOOKED_UP_FROM: Cell<u64> = const { Cell::new(0) };
        /// What was announced at the last load of the word, or slightly later.
        static ANNOUNCED: Cell<u64> = const { Cell::new(0) };
    }

    /// Leads to an object: holds the era of its birth.
    static WORD: Count = Count::new(0);

    fn upper() -> u64 {
        mine::<Eras>().upper.load(Ordering::Relaxed) & !FENCES
    }

    /// Loads the word as a look-up does, and records what has been announced by then.
    fn load(place: <Eras as Backend>::Place) -> u64 {
        Eras::load(place, |_| {
            let word = WORD.load(stat::Ordering::Acquire);
            ANNOUNCED.set(upper());
            word
        })
    }

    fn publishes_and_looks_up() {
        let step = STEPS.get();
        STEPS.set(step + 1);
        if step == PUBLISHED_AT.get() {
            WORD.store(Eras::begin_period(), stat::Ordering::Release);
        }
        if step >= LOOKED_UP_FROM.get() {
            let announced = ANNOUNCED.get();
            let pin = Eras::pin();
            let found = load(Eras::place(&pin));
            if found > ANNOUNCED.replace(announced) {
                UNPROTECTED.set(UNPROTECTED.get() + 1);
            }
        }
    }

    /// B1: a load that counts came after its announcement, whatever a handler has announced meanwhile.
    #[test]
    fn a_signal_handler_may_look_up_between_any_two_instructions() {
        let _alone = alone();
        thread::spawn(|| {
            drop(Eras::pin());
            let mut wrong = 0;
            // Looked up this many steps after the publication: at once, later, never.
            for later in [0, 1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 48, u64::MAX] {
                for publish in 0.. {
                    STEPS.set(0);
                    PUBLISHED_AT.set(publish);
                    LOOKED_UP_FROM.set(publish.saturating_add(later));
                    let pin = Eras::pin();
                    let place = Eras::place(&pin);
                    load(place);
                    let found = at_each_step(publishes_and_looks_up, || load(place));
                    wrong += u64::from(found > ANNOUNCED.get());
                    if STEPS.get() <= publish {
                        assert!(publish > 10, "only {publish} steps");
                        break;
                    }
                }
            }
            assert_eq!((wrong, UNPROTECTED.get()), (0, 0));
        })
        .join()
        .unwrap();
    }
}
