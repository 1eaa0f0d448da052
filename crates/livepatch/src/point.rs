//! Patch points: functions whose calls are dispatched by the unit's side.

use std::any::{TypeId, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::Location;

use crate::sync::Ordering;
use crate::task::{self, Outside, Place, Side};

// Under loom too: statics are initialised at compile time. Models have [`Sides`] of loom's.
use std::sync::atomic::AtomicPtr;

/// A function marked [`patchable`](crate::patchable), as a type of the same name, by which a patch replaces it.
pub trait Patchable {
    /// The function's type, as a pointer: `for<'a> fn(&'a Request) -> Answer`.
    type Fn: Copy + 'static;

    /// The function's patch point.
    fn point() -> &'static PatchPoint<Self::Fn>;
}

/// The point at which the calls of one patchable function are dispatched. Made by [`patchable`](crate::patchable).
pub struct PatchPoint<F> {
    raw: RawPoint,
    /// Invariant: replacements are put in, and calls take them out.
    function: PhantomData<fn(F) -> F>,
}

/// A patch point without its type, as in lists of points. See [`points!`](crate::points).
pub struct RawPoint {
    sides: Sides<AtomicPtr<()>>,
    original: Address,
    name: &'static str,
    signature: fn() -> Signature,
    place: Place,
}

/// The function of each side. See T1, T2 of the page.
pub(crate) struct Sides<P>([P; 2]);

/// An atomic pointer, of `std` or loom.
pub(crate) trait Pointer {
    fn load(&self, order: Ordering) -> *mut ();
    fn store(&self, pointer: *mut (), order: Ordering);
}

impl Pointer for AtomicPtr<()> {
    #[inline(always)]
    fn load(&self, order: Ordering) -> *mut () {
        self.load(order)
    }

    #[inline(always)]
    fn store(&self, pointer: *mut (), order: Ordering) {
        self.store(pointer, order);
    }
}

impl<P> Sides<P> {
    pub(crate) const fn new(sides: [P; 2]) -> Self {
        Self(sides)
    }
}

impl<P: Pointer> Sides<P> {
    /// Returns the function that units on this side call.
    #[inline(always)]
    pub(crate) fn get(&self, side: Side) -> *mut () {
        // Relaxed: stored before the flip that the unit has acquired (O1), and not changed while it is inside (T2).
        // SAFETY: a side is 0 or 1.
        let pointer = unsafe { self.0.get_unchecked(side.index()) };
        pointer.load(Ordering::Relaxed)
    }

    /// Sets the function of a side (T2: no unit is on it).
    pub(crate) fn set(&self, side: Side, function: *mut ()) {
        // Relaxed: the flip that follows releases it (O1).
        self.0[side.index()].store(function, Ordering::Relaxed);
    }

    /// Copies the function of one side to the other.
    pub(crate) fn copy(&self, from: Side, to: Side) {
        self.set(to, self.get(from));
    }
}

/// The type of a function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature {
    id: TypeId,
    pub(crate) name: &'static str,
}

impl Signature {
    pub(crate) fn of<F: 'static>() -> Self {
        Self {
            id: TypeId::of::<F>(),
            name: type_name::<F>(),
        }
    }
}

/// The address of a function, whose type is recorded elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(*const ());

// SAFETY: functions may be called from every thread; the address is only converted back to a function of its own type.
unsafe impl Send for Address {}
// SAFETY: as above.
unsafe impl Sync for Address {}

impl Address {
    /// Returns the address of a function pointer.
    ///
    /// # Safety
    ///
    /// `F` is a function pointer type.
    pub(crate) unsafe fn of<F: Copy>(function: F) -> Self {
        assert_eq!(size_of::<F>(), size_of::<*const ()>());
        // SAFETY: the caller guarantees that `F` is a function pointer type; the sizes are equal.
        Self(unsafe { mem::transmute_copy(&function) })
    }
}

impl<F: Copy + 'static> PatchPoint<F> {
    /// Returns the point of `original`, known by `name`.
    ///
    /// # Safety
    ///
    /// `F` is a function pointer type, and `original` the address of a function of that type.
    #[doc(hidden)]
    #[track_caller]
    pub const unsafe fn new(name: &'static str, original: *const ()) -> Self {
        assert!(size_of::<F>() == size_of::<*const ()>());
        Self {
            raw: RawPoint {
                sides: Sides::new([AtomicPtr::new(original.cast_mut()), AtomicPtr::new(original.cast_mut())]),
                original: Address(original),
                name,
                signature: Signature::of::<F>,
                place: Place::of_call(Location::caller()),
            },
            function: PhantomData,
        }
    }

    /// Continues the unit that the running task is in, and returns the call of its side's function. If the task is in no
    /// unit, the caller must [`begin`](Self::begin) one.
    ///
    /// # Safety
    ///
    /// If this is an error, `begin` follows before anything else of this crate is called.
    #[inline(always)]
    #[doc(hidden)]
    pub unsafe fn enter_inside(&self) -> Result<Call<F>, Outside> {
        // SAFETY: the caller guarantees that `begin` follows an error.
        let inside = unsafe { task::enter_inside() }?;
        let side = inside.record().side();
        // SAFETY: `F` is a function pointer type, that of the point (`new`).
        Ok(unsafe { self.raw.call(side) })
    }

    /// Begins a unit of the running task, and returns the call of its side's function. If this is an error,
    /// [`begin_seldom`](Self::begin_seldom) must follow, by the contract of `enter_inside`.
    #[inline(always)]
    #[doc(hidden)]
    pub fn begin(&self, outside: Outside) -> Result<Call<F>, Outside> {
        let (_, side) = task::try_begin(outside, || self.raw.place)?;
        // SAFETY: as in `enter_inside`.
        Ok(unsafe { self.raw.call(side) })
    }

    /// Slow path of [`begin`](Self::begin): a thread's first unit, or one that begins while a transition starts.
    #[doc(hidden)]
    pub fn begin_seldom(&self, outside: Outside) -> Call<F> {
        let inside = task::begin_slow(outside, self.raw.place);
        let side = inside.record().side();
        // SAFETY: as in `enter_inside`.
        unsafe { self.raw.call(side) }
    }

    /// Begins a unit of the running task, or continues the one it is in, and returns the call of its side's function.
    #[inline]
    #[doc(hidden)]
    pub fn enter(&self) -> Call<F> {
        // SAFETY: `F` is a function pointer type, that of the point (`new`).
        unsafe { self.raw.enter() }
    }

    /// Returns the point without its type.
    pub const fn raw(&self) -> &RawPoint {
        &self.raw
    }
}

impl RawPoint {
    /// Returns the name of the function: its path, or the name that its attribute gives.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn signature(&self) -> Signature {
        (self.signature)()
    }

    pub(crate) fn original(&self) -> Address {
        self.original
    }

    /// See [`PatchPoint::enter`].
    ///
    /// # Safety
    ///
    /// `F` is a function pointer type, that of the point.
    #[inline(always)]
    pub(crate) unsafe fn enter<F>(&self) -> Call<F> {
        // SAFETY: the caller guarantees that `F` is the point's function type.
        unsafe {
            let inside = task::enter(|| self.place);
            let side = inside.record().side();
            self.call(side)
        }
    }

    /// Returns a call of this task, which has entered its unit for it and is on this side.
    ///
    /// # Safety
    ///
    /// `F` is a function pointer type, that of the point.
    #[inline(always)]
    unsafe fn call<F>(&self, side: Side) -> Call<F> {
        let address = self.sides.get(side);
        Call {
            // SAFETY: the caller guarantees that `F` is the point's function type; only functions of that type are stored
            // here.
            function: unsafe { mem::transmute_copy(&address) },
            _not_send: PhantomData,
        }
    }

    /// Sets the function of a side.
    ///
    /// # Safety
    ///
    /// The function is of the point's type, and no unit is on that side, nor can begin there (T2), unless the side has that
    /// function already.
    pub(crate) unsafe fn set(&self, side: Side, function: Address) {
        self.sides.set(side, function.0.cast_mut());
    }

    /// Copies the function of one side to the other.
    pub(crate) fn copy(&self, from: Side, to: Side) {
        self.sides.copy(from, to);
    }
}

impl fmt::Debug for RawPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPoint")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for PatchPoint<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}

/// A call in progress: the function to call, and the unit that it is part of.
#[doc(hidden)]
#[derive(Debug)]
pub struct Call<F> {
    function: F,
    _not_send: PhantomData<*const ()>,
}

impl<F: Copy> Call<F> {
    /// Returns the function of the unit's side.
    ///
    /// # Safety
    ///
    /// The function is called, if at all, before `self` is dropped: its code may be unloaded when the unit ends.
    #[inline]
    #[must_use]
    pub unsafe fn function(&self) -> F {
        self.function
    }
}

impl<F> Drop for Call<F> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: a call is only made for a task that has entered it; it stays on its thread, and leaves once, here.
        unsafe { task::leave_call() };
    }
}
