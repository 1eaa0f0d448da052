//! Where nodes come from and go to.

use std::alloc::Layout;
use std::ptr::{self, NonNull};

use super::layout::{Form, Parts, RAW_LAYOUT, WeighValue, lead_of};
use super::node::{Life, Node, State, addr_fits, is_near, key_fits};
use crate::heap::Heap;
use crate::panics;
use crate::pool::{Own, Size};
use crate::reclaim::Reclaim;
use crate::reclaim::object::{Interval, Weighed};
use crate::registry::IdEntry;
use crate::shard::Shard;
use crate::sync::{AtomicPtr, Ordering};

/// What the last node was that was given back in one step, to the thread's own magazine: most come many of a kind.
#[derive(Clone, Copy)]
pub(crate) struct Plain {
    /// Its life word, but for the link: the id's index, and how it ended.
    life: Life,
    bytes: u64,
    to: Own,
}

impl Node {
    /// Allocates a node, payload uninitialised (or zero). Nothing if there is no memory, the size overflows, or the
    /// address does not fit into a word.
    #[inline(always)]
    pub(crate) fn alloc<R: Reclaim>(
        (heap, shard): (&Heap, Shard),
        obj: usize,
        entry: &IdEntry,
        raw: Option<Layout>,
        zeroed: bool,
        life: Life,
    ) -> Option<NonNull<Self>> {
        if let (Some(size), false) = (entry.plain(), zeroed)
            && key_fits(obj, entry)
        {
            let node = Self::checked((heap, shard), heap.pool.alloc(size, shard)?, size, Self::lead::<R>())?;
            let life = match life {
                Life::LIVE => entry.live,
                life => life.of(entry.index),
            };
            // SAFETY: fresh memory of at least a header.
            unsafe { node.write(Self::header(obj, life)) };
            return Some(node);
        }
        Self::alloc_on((heap, shard), obj, entry, raw, zeroed, life)
    }

    /// The same in any case, and not inlined.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_on(
        (heap, shard): (&Heap, Shard),
        obj: usize,
        entry: &IdEntry,
        raw: Option<Layout>,
        zeroed: bool,
        life: Life,
    ) -> Option<NonNull<Self>> {
        let form = Form::of(obj, entry);
        let payload = raw.unwrap_or(entry.shape.payload);
        let parts = Parts::of(entry, payload, form)?;
        let node = Self::alloc_parts((heap, shard), &parts, zeroed)?;
        // SAFETY: fresh memory, laid out as the parts say.
        unsafe { Self::begin(node, obj, entry, life, parts.lead) };
        if let (true, Some(layout)) = (entry.shape.raw, raw) {
            // SAFETY: `Parts` made room for the layout behind the header of a raw node.
            unsafe { node.byte_add(RAW_LAYOUT).cast::<Layout>().write(layout) };
        }
        if let Some(offset) = parts.record {
            let of_record = Parts::of_record(form, entry.shape.intervals);
            let Some(record) = Self::alloc_parts((heap, shard), &of_record, false) else {
                // SAFETY: allocated above as these parts.
                unsafe { Self::dealloc_parts((heap, shard), node, &parts) };
                return None;
            };
            // SAFETY: fresh memory for a record; and room for the pointer, by `Parts`.
            unsafe {
                Self::begin(record, obj, entry, Life::RECORD, of_record.lead);
                node.byte_add(offset)
                    .cast::<AtomicPtr<Self>>()
                    .write(AtomicPtr::new(record.as_ptr()));
            }
        }
        Some(node)
    }

    /// Bytes that come before a typed variable whose key fits, and whose size is [plain](IdEntry::plain).
    #[inline(always)]
    const fn lead<R: Reclaim>() -> usize {
        lead_of(Form::Fits, R::INTERVALS)
    }

    /// Where the interval of a variable or a record is.
    ///
    /// # Safety
    ///
    /// It is allocated, and has one.
    pub(crate) unsafe fn interval(node: NonNull<Self>) -> NonNull<Interval> {
        // SAFETY: the caller's.
        let lead = lead_of(unsafe { node.as_ref() }.form(), true);
        // The pointer may have been a shared reference on its way here, as in `whole`.
        let interval = ptr::with_exposed_provenance_mut(node.addr().get() - lead);
        // SAFETY: not null, as allocated.
        unsafe { NonNull::new_unchecked(interval) }
    }

    /// Writes when a variable was born, and its key record with it.
    ///
    /// # Safety
    ///
    /// It is new, nobody else's, and has an interval.
    pub(crate) unsafe fn set_birth(node: NonNull<Self>, heap: &Heap, born: u64) {
        let interval = Interval::new(born);
        // SAFETY: the caller's, in all of it.
        unsafe {
            Self::interval(node).write(interval);
            if node.as_ref().form() != Form::Fits
                && let Some(record) = Self::record(node, node.as_ref().entry(heap))
                && let Some(record) = NonNull::new(record.load(Ordering::Relaxed))
            {
                Self::interval(record).write(interval);
            }
        }
    }

    /// Writes the header, and what comes before it.
    ///
    /// # Safety
    ///
    /// Fresh memory, of which `lead` bytes lie before the header.
    unsafe fn begin(node: NonNull<Self>, obj: usize, entry: &IdEntry, life: Life, lead: usize) {
        // SAFETY: the caller's. A lead has room for a pointer at its end.
        unsafe {
            if lead > 0 {
                node.cast::<*const IdEntry>().sub(1).write(entry);
            }
            node.write(Self::header(obj, life.of(entry.index)));
        }
    }

    fn alloc_parts((heap, shard): (&Heap, Shard), parts: &Parts, zeroed: bool) -> Option<NonNull<Self>> {
        // No layout here has size 0, as each begins with a header.
        let fresh = heap.pool.alloc(parts.whole, shard)?;
        if zeroed {
            // SAFETY: fresh memory of this size.
            unsafe { fresh.write_bytes(0, parts.whole.bytes()) };
        }
        Self::checked((heap, shard), fresh, parts.whole, parts.lead)
    }

    /// Where the header goes. Nothing, and the memory given back, if the address does not fit into a word.
    #[inline]
    fn checked((heap, shard): (&Heap, Shard), fresh: NonNull<u8>, size: Size, lead: usize) -> Option<NonNull<Self>> {
        // SAFETY: the lead is a part of the whole.
        let node = unsafe { fresh.add(lead) }.cast::<Self>();
        if is_near(node.as_ptr()) {
            return Some(node);
        }
        // SAFETY: allocated just now with this size.
        unsafe { heap.pool.dealloc(fresh, size, shard) };
        None
    }

    /// # Safety
    ///
    /// Once per node, allocated as these parts, when nobody can reach it any more.
    #[inline]
    unsafe fn dealloc_parts((heap, shard): (&Heap, Shard), node: NonNull<Self>, parts: &Parts) {
        // SAFETY: the caller's.
        unsafe { Self::dealloc_size((heap, shard), node, parts.whole, parts.lead) };
    }

    /// # Safety
    ///
    /// As above.
    #[inline(always)]
    unsafe fn dealloc_size((heap, shard): (&Heap, Shard), node: NonNull<Self>, size: Size, lead: usize) {
        // SAFETY: the caller's.
        unsafe { heap.pool.dealloc(Self::whole(node, lead), size, shard) };
    }

    /// The memory of a node that begins so many bytes before it.
    ///
    /// # Safety
    ///
    /// It does.
    #[inline(always)]
    unsafe fn whole(node: NonNull<Self>, lead: usize) -> NonNull<u8> {
        // The pointer may have been a shared reference on its way here; the one from `alloc` may write and free.
        let whole = ptr::with_exposed_provenance_mut(node.addr().get() - lead);
        // SAFETY: not null, as allocated.
        unsafe { NonNull::new_unchecked(whole) }
    }

    /// Bytes held by a variable or a record, its key record not counted.
    #[inline]
    pub(crate) unsafe fn bytes(node: NonNull<Self>, heap: &Heap) -> usize {
        // SAFETY: the caller's.
        let this = unsafe { node.as_ref() };
        match this.life().state() {
            State::Record => Parts::of_record(this.form(), this.entry(heap).shape.intervals)
                .whole
                .bytes(),
            // SAFETY: the caller's.
            _ => unsafe { Self::bytes_as(node, this.entry(heap)) as usize },
        }
    }

    /// The same of a variable of this entry.
    #[inline]
    pub(crate) unsafe fn bytes_as(node: NonNull<Self>, entry: &IdEntry) -> u64 {
        // SAFETY: the caller's.
        let fits = key_fits(unsafe { node.as_ref() }.obj, entry);
        let bytes = match entry.plain() {
            Some(size) if fits => size.bytes(),
            // SAFETY: the caller's.
            _ => unsafe { Self::parts(node, entry) }.whole.bytes(),
        };
        bytes as u64
    }

    /// Drops the value of a DEAD node. Returns false if its `Drop` panicked (the value counts as dropped).
    ///
    /// # Safety
    ///
    /// Once per node, when nobody can reach it any more. Not for tables.
    pub(crate) unsafe fn drop_value(node: NonNull<Self>, heap: &Heap) -> bool {
        // SAFETY: nobody else can reach the node.
        let this = unsafe { node.as_ref() };
        if this.life().state() != State::Dead {
            return true;
        }
        let entry = this.entry(heap);
        let Some(drop) = entry.drop_value() else { return true };
        let dropped = std::panic::catch_unwind(|| {
            // SAFETY: a DEAD node holds a value of its entry's type, and this is its only drop.
            unsafe { drop(Self::payload(node, entry).as_ptr()) }
        });
        dropped.map_err(panics::discard).is_ok()
    }

    /// What the value of a DEAD node owns beside its bytes, as the id's function says; nothing if that panics.
    ///
    /// # Safety
    ///
    /// The node was a variable, and a guard of the caller protects it.
    #[inline(always)]
    pub(crate) unsafe fn weigh_value(node: NonNull<Self>, heap: &Heap) -> Weighed {
        // SAFETY: the caller's.
        let entry = unsafe { node.as_ref() }.entry(heap);
        match entry.weigh_value() {
            // SAFETY: the caller's; the entry's function.
            Some(weigh) => unsafe { Self::weigh_by(node, entry, weigh) },
            None => Weighed::default(),
        }
    }

    /// # Safety
    ///
    /// As [`weigh_value`](Self::weigh_value); the function is one for values of this entry, which is the node's.
    #[cold]
    #[inline(never)]
    unsafe fn weigh_by(node: NonNull<Self>, entry: &IdEntry, weigh: WeighValue) -> Weighed {
        // A constructor that failed has left no value.
        // SAFETY: the caller's.
        if unsafe { node.as_ref() }.life().state() != State::Dead {
            return Weighed::default();
        }
        let weighed = std::panic::catch_unwind(|| {
            // SAFETY: a function for references to the entry's type, which are passed as all pointers are. The value was
            // published, and is there for as long as the guard: a shared reference is what all who found it have.
            unsafe { weigh(Self::payload(node, entry).as_ptr()) }
        });
        let panicked = weighed.is_err();
        Weighed {
            bytes: weighed.map_err(panics::discard).unwrap_or(0) as u64,
            panicked,
        }
    }

    /// Gives a node back in one step if it is a variable that owns nothing: no value to drop, no key record. Its bytes then.
    ///
    /// # Safety
    ///
    /// As [`dealloc`](Self::dealloc). `last` was found out for the same store and shard.
    #[inline(always)]
    pub(crate) unsafe fn free_plain<R: Reclaim>(
        (heap, shard): (&Heap, Shard),
        node: NonNull<Self>,
        last: &mut Option<Plain>,
    ) -> Option<u64> {
        if cfg!(shadow_loom) {
            return None;
        }
        // SAFETY: nobody else can reach the node.
        let this = unsafe { node.as_ref() };
        let life = this.life().without_link();
        if let Some(last) = last
            && last.life == life
            && addr_fits(this.obj)
        {
            // SAFETY: the key fits, and the variable is typed: of this size and lead. This thread keeps its shard.
            unsafe { last.to.dealloc(Self::whole(node, Self::lead::<R>())) };
            return Some(last.bytes);
        }
        // SAFETY: the caller's.
        unsafe { Self::free_plain_on::<R>((heap, shard), node, last) }
    }

    /// The first of its kind. Also found out anew as long as the thread has no magazine.
    #[cold]
    unsafe fn free_plain_on<R: Reclaim>(
        (heap, shard): (&Heap, Shard),
        node: NonNull<Self>,
        last: &mut Option<Plain>,
    ) -> Option<u64> {
        // SAFETY: nobody else can reach the node.
        let this = unsafe { node.as_ref() };
        let (life, size) = (this.life().without_link(), this.plain_size(heap)?);
        let bytes = size.bytes() as u64;
        *last = (heap.pool.own(size, shard)).map(|to| Plain { life, bytes, to });
        // SAFETY: as above.
        unsafe { Self::dealloc_size((heap, shard), node, size, Self::lead::<R>()) };
        Some(bytes)
    }

    /// The size of a variable that owns nothing.
    fn plain_size(&self, heap: &Heap) -> Option<Size> {
        // Records and tables have other layouts.
        if !matches!(self.life().state(), State::Dead | State::Failed) || !self.key_fits() {
            return None;
        }
        let entry = self.entry(heap);
        (!entry.drops).then_some(entry.plain()?)
    }

    /// Gives the memory back, with the key record if it is still here. The value is not dropped.
    ///
    /// # Safety
    ///
    /// Once per node, when nobody can reach it any more. Not for tables.
    pub(crate) unsafe fn dealloc((heap, shard): (&Heap, Shard), node: NonNull<Self>) {
        // SAFETY: nobody else can reach the node.
        let this = unsafe { node.as_ref() };
        let parts = if this.life().state() == State::Record {
            Parts::of_record(this.form(), this.entry(heap).shape.intervals)
        } else {
            let entry = this.entry(heap);
            // SAFETY: nobody else can reach the node.
            let (record, parts) = unsafe { (Self::record(node, entry), Self::parts(node, entry)) };
            // Relaxed: whoever reclaims a node has acquired all that its remover did.
            if let Some(record) = record.and_then(|record| NonNull::new(record.load(Ordering::Relaxed))) {
                // SAFETY: the record never became a tomb, so it is this node's alone.
                unsafe { Self::dealloc((heap, shard), record) };
            }
            parts
        };
        // SAFETY: the caller's.
        unsafe { Self::dealloc_parts((heap, shard), node, &parts) };
    }
}
