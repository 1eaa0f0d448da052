//! Raw memory: variables of a size and alignment instead of a type, with constructors and destructors in C's form.
//!
//! Proves: memory is zeroed and aligned, a constructor that returns an error leaves no variable, and a request for more than
//! there is (or for raw memory where a type is, or the reverse) is refused.

use std::alloc::Layout;
use std::ffi::{c_int, c_void};
use std::ptr::{from_mut, null_mut};

use shadow_vars::{CtorError, Pinned, RawVar, Reclaim, ShadowId, StoreError, Variable};

use super::interpret::{Interpreter, typed};
use super::model::{Binding, Value};
use super::op::{Key, Op, RAW, RawCtorKind, Shape, Slot};
use super::payload::{Flag, Node, Payload, Plain, Wide};

/// The arguments of the C functions, and their results.
#[derive(Default)]
struct Call {
    obj: usize,
    size: usize,
    serial: u64,
    refuses: bool,
    runs: u32,
    zeroed: bool,
    found: u64,
}

const REFUSAL: c_int = -22;

/// Checks that the memory is zeroed, and writes as much of the serial number as fits.
unsafe extern "C" fn construct(obj: *mut c_void, shadow: *mut c_void, data: *mut c_void) -> c_int {
    // SAFETY: the kit always passes a `Call`, and the store calls back on the same thread, before it returns.
    let call = unsafe { &mut *data.cast::<Call>() };
    call.runs += 1;
    call.obj = obj.addr();
    // SAFETY: the store passes at least the requested bytes, which no other thread has yet.
    let bytes = unsafe { std::slice::from_raw_parts_mut(shadow.cast::<u8>(), call.size) };
    call.zeroed = bytes.iter().all(|&byte| byte == 0);
    for (byte, part) in bytes.iter_mut().zip(call.serial.to_le_bytes()) {
        *byte = part;
    }
    if call.refuses { REFUSAL } else { 0 }
}

/// Reads the serial number back.
unsafe extern "C" fn destroy(obj: *mut c_void, shadow: *mut c_void, data: *mut c_void) {
    // SAFETY: the kit always passes a `Call`, and the store calls back on the same thread, before it returns.
    let call = unsafe { &mut *data.cast::<Call>() };
    call.runs += 1;
    call.obj = obj.addr();
    // SAFETY: the memory is a variable's that was created with this size.
    call.found = unsafe { read(shadow.cast(), call.size) };
}

/// Returns the serial number in memory of this size.
unsafe fn read(at: *const u8, size: usize) -> u64 {
    let mut bytes = [0; 8];
    let size = size.min(bytes.len());
    // SAFETY: the caller has `size` readable bytes.
    bytes[..size].copy_from_slice(unsafe { std::slice::from_raw_parts(at, size) });
    u64::from_le_bytes(bytes)
}

/// Returns as much of a serial number as memory of this size holds.
fn truncate(serial: u64, size: usize) -> u64 {
    let kept = size.min(8) as u32 * 8;
    serial & 1_u64.checked_shl(kept).map_or(u64::MAX, |bit| bit - 1)
}

fn fits(there: Layout, asked: Layout) -> bool {
    asked.size() <= there.size() && asked.align() <= there.align()
}

impl<R: Reclaim> Interpreter<'_, R> {
    pub(super) fn raw(&mut self, op: &Op) {
        match *op {
            Op::RawOnTyped { key } => typed!(key.slot, T => self.raw_on_typed::<T>(key)),
            Op::RawGet { key, shape } => self.raw_get(key.address(), shape),
            Op::RawAlloc { key, shape, how } => self.raw_create(key.address(), shape, how, true),
            Op::RawGetOrAlloc { key, shape, how } => self.raw_create(key.address(), shape, how, false),
            Op::RawFree { key, dtor } => self.raw_free(key.address(), dtor),
            Op::RawFreeAll { dtor } => self.raw_free_all(dtor),
            _ => unreachable!("{op:?} is not raw"),
        }
    }

    /// Requests raw memory where a type is, and the reverse.
    fn raw_on_typed<T: Payload>(&mut self, key: Key) {
        let (obj, id, pin) = (key.address(), key.slot.id(), self.store.pin());
        let layout = Layout::new::<T>();
        if self.model.binding(id) == Binding::Bound {
            assert!(
                matches!(pin.raw_get(obj, id, layout), Err(StoreError::TypeMismatch(_))),
                "raw_get of a typed id"
            );
            // SAFETY: no constructor is given.
            let asked = unsafe { pin.raw_get_or_alloc(obj, id, layout, None, null_mut()) };
            assert!(
                matches!(asked, Err(CtorError::Store(StoreError::TypeMismatch(_)))),
                "raw_get_or_alloc of a typed id"
            );
        }
        // SAFETY: no destructor is given.
        let freed = unsafe { pin.raw_free(obj, id, None, null_mut()) };
        assert!(!freed, "raw_free of a typed id");
        let bare = ShadowId::<T>::new(RAW);
        assert!(pin.get(obj, bare).is_none(), "get of bare memory");
        assert!(!pin.free(obj, bare), "free of bare memory");
        if self.model.binding(RAW) == Binding::Bound {
            assert!(Variable::new_in(bare, self.store).is_err(), "a variable of bare memory");
        }
        let seen = pin.get(obj, ShadowId::<T>::new(id)).map(T::check);
        assert_eq!(
            seen,
            self.model.get(obj, id).map(|value| value.serial),
            "the typed variable"
        );
    }

    fn raw_get(&mut self, obj: usize, shape: Shape) {
        let (pin, asked) = (self.store.pin(), shape.layout());
        let there = self.model.get(obj, RAW).map(|value| value.layout.expect("bare memory"));
        match pin.raw_get(obj, RAW, asked) {
            Ok(found) => {
                assert_eq!(found.is_some(), there.is_some(), "raw_get");
                if let Some(var) = found {
                    self.compare_raw(obj, asked, &var);
                }
            }
            Err(StoreError::LayoutMismatch(_)) => {
                assert!(there.is_some_and(|there| !fits(there, asked)), "refused without cause")
            }
            Err(error) => panic!("raw_get: {error:?}"),
        }
    }

    fn raw_create(&mut self, obj: usize, shape: Shape, how: RawCtorKind, exclusive: bool) {
        let (pin, asked): (Pinned<'_, R>, _) = (self.store.pin(), shape.layout());
        let there = self.model.get(obj, RAW).map(|value| value.layout.expect("bare memory"));
        let mut call = Call {
            size: asked.size(),
            serial: self.counters.serial(),
            refuses: how == RawCtorKind::Refuses,
            ..Call::default()
        };
        let data = from_mut(&mut call).cast::<c_void>();
        let ctor = (how != RawCtorKind::Absent).then_some(construct as _);
        // SAFETY: `construct` may be given a `Call` as its data.
        let made = unsafe {
            match exclusive {
                true => pin.raw_alloc(obj, RAW, asked, ctor, data),
                false => pin.raw_get_or_alloc(obj, RAW, asked, ctor, data),
            }
        };
        let ran = there.is_none() && ctor.is_some();
        assert_eq!(call.runs, u32::from(ran), "runs of a raw constructor");
        assert!(
            !ran || call.zeroed && call.obj == obj,
            "what a raw constructor is given"
        );
        match made {
            Ok(var) => {
                assert!(
                    (!exclusive || there.is_none()) && (!ran || !call.refuses),
                    "created without right"
                );
                if there.is_none() {
                    let serial = if ran { truncate(call.serial, asked.size()) } else { 0 };
                    let value = Value {
                        layout: Some(asked),
                        ..Value::new(serial, false)
                    };
                    self.model.insert(obj, RAW, value);
                }
                self.compare_raw(obj, asked, &var);
            }
            Err(CtorError::Ctor(error)) => {
                assert!(
                    ran && call.refuses && error == REFUSAL,
                    "a raw constructor's error: {error}"
                );
                self.model.failed += 1;
                self.model.tried(RAW);
                assert!(
                    matches!(pin.raw_get(obj, RAW, Shape::Nothing.layout()), Ok(None)),
                    "refused and created"
                );
            }
            Err(CtorError::Store(StoreError::Exists { .. })) => {
                assert!(exclusive && there.is_some(), "refused without cause")
            }
            Err(CtorError::Store(StoreError::LayoutMismatch(_))) => {
                let smaller = there.is_some_and(|there| !fits(there, asked));
                assert!(!exclusive && smaller, "refused without cause");
            }
            Err(CtorError::Store(error)) => panic!("raw_alloc: {error:?}"),
        }
    }

    fn raw_free(&mut self, obj: usize, dtor: bool) {
        let expected = self.model.remove(obj, RAW);
        let mut call = Call {
            size: expected
                .and_then(|value| value.layout)
                .map_or(0, |layout| layout.size()),
            ..Call::default()
        };
        let data = from_mut(&mut call).cast();
        // SAFETY: `destroy` may be given a `Call` as its data.
        let freed = unsafe { self.store.pin().raw_free(obj, RAW, dtor.then_some(destroy as _), data) };
        assert_eq!(freed, expected.is_some(), "raw_free");
        assert_eq!(call.runs, u32::from(dtor && freed), "runs of a raw destructor");
        if let (true, Some(value)) = (dtor, expected) {
            assert_eq!(
                (call.obj, call.found),
                (obj, value.serial),
                "what a raw destructor is given"
            );
        }
    }

    fn raw_free_all(&mut self, dtor: bool) {
        let expected = self.model.remove_all(|_, id| id == RAW);
        let mut call = Call::default();
        let data = from_mut(&mut call).cast();
        // SAFETY: `destroy` may be given a `Call` as its data; it reads no bytes, because the sizes differ.
        let freed = unsafe { self.store.pin().raw_free_all(RAW, dtor.then_some(destroy as _), data) };
        assert_eq!(freed, expected.len(), "raw_free_all");
        assert_eq!(
            call.runs as usize,
            if dtor { freed } else { 0 },
            "runs of a raw destructor"
        );
    }

    fn compare_raw(&mut self, obj: usize, asked: Layout, var: &RawVar<'_>) {
        let value = self.model.get_mut(obj, RAW).expect("bare memory that exists");
        let there = value.layout.expect("bare memory");
        assert!(fits(there, asked), "more asked for than is there");
        assert_eq!(var.layout(), there, "the layout told");
        let at = var.as_ptr().as_ptr();
        assert_eq!(at.addr() % there.align(), 0, "misaligned");
        assert_eq!(
            *value.at.get_or_insert(at.cast()),
            at.cast(),
            "<{obj:#x}, raw> has moved"
        );
        // SAFETY: the guard behind `var` is held, and the variable was created with this size.
        assert_eq!(unsafe { read(at, there.size()) }, value.serial, "<{obj:#x}, raw>");
    }
}
