//! Patch points: functions whose calls go where the unit's side says.

use std::any::{TypeId, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::Location;

use crate::sync::Ordering;
use crate::task::{self, Outside, Place, Side};

/// Under loom too: statics are made at compile time. Models have [`Sides`] of loom's.
use std::sync::atomic::AtomicPtr;

/// A function marked [`patchable`](crate::patchable), as a type of the same name: what a patch names to replace it.
pub trait Patchable {
    /// The function's type, as a pointer: `for<'a> fn(&'a Request) -> Answer`.
    type Fn: Copy + 'static;

    /// The function's patch point.
    fn point() -> &'static PatchPoint<Self::Fn>;
}

/// Where the calls of one patchable function part. Made by [`patchable`](crate::patchable).
pub struct PatchPoint<F> {
    raw: RawPoint,
    /// Invariant: replacements go in as what calls get out.
    function: PhantomData<fn(F) -> F>,
}

/// A patch point of whatever type, as lists of points have it. See [`points!`](crate::points).
pub struct RawPoint {
    sides: Sides<AtomicPtr<()>>,
    original: Address,
    name: &'static str,
    signature: fn() -> Signature,
    place: Place,
}

/// What each side calls. See T1, T2 of the page.
pub(crate) struct Sides<P>([P; 2]);

/// An atomic pointer, `std`'s or loom's.
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
    /// What units on this side call.
    #[inline(always)]
    pub(crate) fn get(&self, side: Side) -> *mut () {
        // Relaxed: stored before the flip that the unit has acquired (O1), and not changed while it is inside (T2).
        // SAFETY: a side is 0 or 1.
        let pointer = unsafe { self.0.get_unchecked(side.index()) };
        pointer.load(Ordering::Relaxed)
    }

    /// Sets what a side calls (T2: nobody is on it).
    pub(crate) fn set(&self, side: Side, function: *mut ()) {
        // Relaxed: the flip that follows releases it (O1).
        self.0[side.index()].store(function, Ordering::Relaxed);
    }

    /// Gives one side what the other has.
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

/// A function's address, as only its type's owner may call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(*const ());

// SAFETY: functions may be called from every thread; the address is only made into a function of its own type again.
unsafe impl Send for Address {}
// SAFETY: as above.
unsafe impl Sync for Address {}

impl Address {
    /// The address of a function pointer.
    ///
    /// # Safety
    ///
    /// `F` is a function pointer type.
    pub(crate) unsafe fn of<F: Copy>(function: F) -> Self {
        assert_eq!(size_of::<F>(), size_of::<*const ()>());
        // SAFETY: a function pointer, by contract, of the same size.
        Self(unsafe { mem::transmute_copy(&function) })
    }
}

impl<F: Copy + 'static> PatchPoint<F> {
    /// The point of `original`, known by `name`.
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

    /// The running task goes on with the unit that it is in, to call the function of its side. Else [`begin`](Self::begin) is
    /// to follow.
    ///
    /// # Safety
    ///
    /// It does follow if this is an error, before anything else of this crate is called.
    #[inline(always)]
    #[doc(hidden)]
    pub unsafe fn enter_inside(&self) -> Result<Call<F>, Outside> {
        // SAFETY: by contract.
        let inside = unsafe { task::enter_inside() }?;
        let side = inside.record().side();
        // SAFETY: `F` is a function pointer type, that of the point (`new`).
        Ok(unsafe { self.raw.call(side) })
    }

    /// The running task begins a unit, to call the function of its side. If that takes longer,
    /// [`begin_seldom`](Self::begin_seldom) is to follow, as promised to `enter_inside`.
    #[inline(always)]
    #[doc(hidden)]
    pub fn begin(&self, outside: Outside) -> Result<Call<F>, Outside> {
        let (_, side) = task::begin(outside, || self.raw.place)?;
        // SAFETY: as in `enter_inside`.
        Ok(unsafe { self.raw.call(side) })
    }

    /// The running task begins a unit, to call the function of its side: a thread's first, or while a transition starts.
    #[doc(hidden)]
    pub fn begin_seldom(&self, outside: Outside) -> Call<F> {
        let inside = task::begin_seldom(outside, self.raw.place);
        let side = inside.record().side();
        // SAFETY: as in `enter_inside`.
        unsafe { self.raw.call(side) }
    }

    /// The running task begins a unit, or goes on with the one it is in, to call the function of its side.
    #[inline]
    #[doc(hidden)]
    pub fn enter(&self) -> Call<F> {
        // SAFETY: `F` is a function pointer type, that of the point (`new`).
        unsafe { self.raw.enter() }
    }

    /// The point without its type.
    pub const fn raw(&self) -> &RawPoint {
        &self.raw
    }
}

impl RawPoint {
    /// What the function is known by: its path, or what its attribute says.
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
        // SAFETY: by contract.
        unsafe {
            let inside = task::enter(|| self.place);
            let side = inside.record().side();
            self.call(side)
        }
    }

    /// A call of this task, which has entered for it and is on this side.
    ///
    /// # Safety
    ///
    /// `F` is a function pointer type, that of the point.
    #[inline(always)]
    unsafe fn call<F>(&self, side: Side) -> Call<F> {
        let address = self.sides.get(side);
        Call {
            // SAFETY: by contract; and only functions of that type are put here.
            function: unsafe { mem::transmute_copy(&address) },
            _not_send: PhantomData,
        }
    }

    /// Sets what a side calls (T2: nobody is on it).
    pub(crate) fn set(&self, side: Side, function: Address) {
        self.sides.set(side, function.0.cast_mut());
    }

    /// Gives one side what the other has.
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

/// A call that is on its way: the function to call, and the unit that it is part of.
#[doc(hidden)]
#[derive(Debug)]
pub struct Call<F> {
    function: F,
    _not_send: PhantomData<*const ()>,
}

impl<F: Copy> Call<F> {
    /// The function that the unit's side has.
    ///
    /// # Safety
    ///
    /// It is called, if at all, before `self` is dropped: its code may go when the unit ends.
    #[inline]
    #[must_use]
    pub unsafe fn function(&self) -> F {
        self.function
    }
}

impl<F> Drop for Call<F> {
    #[inline(always)]
    fn drop(&mut self) {
        task::leave_call();
    }
}
