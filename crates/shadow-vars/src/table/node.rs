//! Nodes: one allocation of header, payload and (for keys that do not fit into a word) a pointer to a key record.
//!
//! ```text
//! fits:     │ obj │ entry │ life │ [raw: size, align] │ payload │
//! does not: │ obj │ entry │ life │ [raw: size, align] │ payload │ record │──▶ │ obj │ entry │ life: RECORD │
//! ```
//!
//! The **life** word holds the state in its low three bits. What the other bits mean depends on the state: who builds
//! (BUILDING), nothing (LIVE), the next node of a retire list (all others, once retired).

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::mem::{align_of, needs_drop, size_of};
use std::ptr::{self, NonNull};

use crate::registry::IdEntry;
#[cfg(any(test, shadow_loom))]
use crate::sync::stat;
use crate::sync::{AtomicPtr, AtomicU64, Ordering};

/// The header of a variable, of a key record, and of a retired table.
#[repr(C)]
pub(crate) struct Node {
    pub(crate) obj: usize,
    /// Null for a table; otherwise an entry of the store's registry, which outlives every node.
    entry: *const IdEntry,
    life: AtomicU64,
    /// Set in place of freeing by the checked backend, so that a late access is caught instead of undefined.
    #[cfg(any(test, shadow_loom))]
    reclaimed: stat::AtomicBool,
}

// SAFETY: the fields are plain or atomic, and the entry is `Send` and `Sync`; payloads are reached through the unsafe
// functions below, whose callers only store values that are `Send` and `Sync`.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

/// Where a node is in its life. Only ever moves down this list, and from `Building` at most once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Its constructor runs; the key is claimed, the variable does not exist yet.
    Building,
    /// The variable exists.
    Live,
    /// The variable was freed; its value is dropped when the node is reclaimed.
    Dead,
    /// The constructor failed; there is no value.
    Failed,
    /// Not a variable: the key of a tomb.
    Record,
    /// Not a variable: a table on a retire list.
    Table,
}

/// One reading of a life word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Life(u64);

const STATE: u64 = 0b111;
const WAITERS: u64 = 0b1000;
const BUILDER_SHIFT: u32 = 4;

impl Life {
    pub(crate) const LIVE: Self = Self(1);
    pub(crate) const DEAD: Self = Self(2);
    pub(crate) const FAILED: Self = Self(3);
    pub(crate) const RECORD: Self = Self(4);
    pub(crate) const TABLE: Self = Self(5);

    /// Under construction by the thread with this token.
    pub(crate) const fn building(builder: u64) -> Self {
        Self(builder << BUILDER_SHIFT)
    }

    pub(crate) fn state(self) -> State {
        match self.0 & STATE {
            0 => State::Building,
            1 => State::Live,
            2 => State::Dead,
            3 => State::Failed,
            4 => State::Record,
            _ => State::Table,
        }
    }

    /// The token of the building thread. Only for `State::Building`.
    pub(crate) fn builder(self) -> u64 {
        self.0 >> BUILDER_SHIFT
    }

    /// Whether somebody is parked until the constructor ends. Only for `State::Building`.
    pub(crate) fn has_waiters(self) -> bool {
        self.0 & WAITERS != 0
    }

    fn retired(self, next: *mut Node) -> Self {
        Self(self.0 & STATE | next.expose_provenance() as u64)
    }

    fn next_retired(self) -> *mut Node {
        ptr::with_exposed_provenance_mut((self.0 & !STATE) as usize)
    }
}

/// Drops a payload in place.
pub(crate) type DropValue = unsafe fn(*mut u8);

/// How the payloads of one id are laid out and dropped.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    payload: Layout,
    /// Drops the payload in place. See [`IdEntry::drop_with`] for the one that is called.
    pub(crate) drop: Option<DropValue>,
    /// The layout is the node's own, kept before the payload; `parts` are nobody's.
    raw: bool,
    /// Of a node whose key fits into a word, and of one whose key does not.
    parts: [Parts; 2],
}

impl Shape {
    /// Raw variables: each has its own layout, and nothing to drop.
    pub(crate) const RAW: Self = Self {
        payload: Layout::new::<()>(),
        drop: None,
        raw: true,
        parts: Self::parts(Layout::new::<()>()),
    };

    pub(crate) const fn of<T>() -> Self {
        /// Drops a `T` in place.
        unsafe fn drop_value<T>(payload: *mut u8) {
            // SAFETY: called once, for a payload that holds a `T` (see `Node::reclaim`).
            unsafe { payload.cast::<T>().drop_in_place() }
        }
        let drop: Option<DropValue> = if needs_drop::<T>() { Some(drop_value::<T>) } else { None };
        Self {
            payload: Layout::new::<T>(),
            drop,
            raw: false,
            parts: Self::parts(Layout::new::<T>()),
        }
    }

    const fn parts(payload: Layout) -> [Parts; 2] {
        match (Parts::new(payload, false, true), Parts::new(payload, false, false)) {
            (Some(fits), Some(wide)) => [fits, wide],
            // No type is so large that three words more overflow.
            _ => panic!("a type larger than the address space"),
        }
    }
}

/// Where the parts of one node are.
#[derive(Clone, Copy)]
struct Parts {
    whole: Layout,
    payload: usize,
    record: Option<usize>,
}

impl Parts {
    /// Nothing if the size overflows.
    const fn new(payload: Layout, raw: bool, fits: bool) -> Option<Self> {
        let header = if raw {
            Layout::new::<(Node, Layout)>()
        } else {
            Layout::new::<Node>()
        };
        let Ok((whole, offset)) = header.extend(payload) else {
            return None;
        };
        if fits {
            return Some(Self {
                whole,
                payload: offset,
                record: None,
            });
        }
        match whole.extend(Layout::new::<AtomicPtr<Node>>()) {
            Ok((whole, record)) => Some(Self {
                whole,
                payload: offset,
                record: Some(record),
            }),
            Err(_) => None,
        }
    }

    /// Of a node of this entry, which is known if the payload is.
    #[inline]
    fn of(entry: &IdEntry, payload: Layout, fits: bool) -> Option<Self> {
        if entry.shape.raw {
            Self::new(payload, true, fits)
        } else {
            Some(entry.shape.parts[usize::from(!fits)])
        }
    }
}

/// Raw nodes keep their layout right behind the header.
const RAW_LAYOUT: usize = size_of::<Node>();
const _: () = assert!(size_of::<Node>().is_multiple_of(align_of::<Layout>()));
const _: () = assert!(align_of::<Node>() == 8);
#[cfg(not(any(test, shadow_loom)))]
const _: () = assert!(size_of::<Node>() == 24);

impl Node {
    /// Allocates a node, payload uninitialised (or zero). Nothing if there is no memory, the size overflows, or the
    /// address does not fit into a word.
    pub(crate) fn alloc(
        obj: usize,
        entry: &IdEntry,
        raw: Option<Layout>,
        zeroed: bool,
        life: Life,
    ) -> Option<NonNull<Self>> {
        let payload = raw.unwrap_or(entry.shape.payload);
        let parts = Parts::of(entry, payload, key_fits(obj, entry))?;
        let node = Self::alloc_layout(parts.whole, zeroed)?;
        // SAFETY: fresh memory of at least the header's size, aligned to at least the header's alignment.
        unsafe { node.write(Self::header(obj, entry, life)) };
        if let (true, Some(layout)) = (entry.shape.raw, raw) {
            // SAFETY: `Parts` made room for the layout behind the header of a raw node.
            unsafe { node.byte_add(RAW_LAYOUT).cast::<Layout>().write(layout) };
        }
        if let Some(offset) = parts.record {
            let Some(record) = Self::alloc_layout(Layout::new::<Self>(), false) else {
                // SAFETY: allocated above with this layout.
                unsafe { dealloc(node.as_ptr().cast(), parts.whole) };
                return None;
            };
            // SAFETY: fresh memory for a header; and room for the pointer, by `Parts`.
            unsafe {
                record.write(Self::header(obj, entry, Life::RECORD));
                node.byte_add(offset)
                    .cast::<AtomicPtr<Self>>()
                    .write(AtomicPtr::new(record.as_ptr()));
            }
        }
        Some(node)
    }

    /// A header for a table, so that it can travel on retire lists.
    pub(crate) fn for_table() -> Self {
        Self::header(0, ptr::null(), Life::TABLE)
    }

    fn header(obj: usize, entry: *const IdEntry, life: Life) -> Self {
        Self {
            obj,
            entry,
            life: AtomicU64::new(life.0),
            #[cfg(any(test, shadow_loom))]
            reclaimed: false.into(),
        }
    }

    fn alloc_layout(layout: Layout, zeroed: bool) -> Option<NonNull<Self>> {
        // SAFETY: no layout here has size 0, as each begins with a header.
        let fresh = unsafe { if zeroed { alloc_zeroed(layout) } else { alloc(layout) } };
        let fresh = NonNull::new(fresh)?;
        if addr_fits(fresh.as_ptr().expose_provenance()) {
            return Some(fresh.cast());
        }
        // SAFETY: allocated just now with this layout.
        unsafe { dealloc(fresh.as_ptr(), layout) };
        None
    }

    /// The id's entry. Not for tables.
    #[inline]
    pub(crate) fn entry(&self) -> &IdEntry {
        self.check();
        // SAFETY: not null but for tables; entries outlive every node (the registry is dropped after the last).
        unsafe { &*self.entry }
    }

    #[inline]
    pub(crate) fn is_for(&self, obj: usize, entry: &IdEntry) -> bool {
        self.check();
        self.obj == obj && ptr::eq(self.entry, entry)
    }

    /// Whether the variable exists. As [`life`](Self::life).
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.life() == Life::LIVE
    }

    /// Acquire: pairs with the Release half of `publish` and `kill`; who reads LIVE sees the whole value (O3).
    #[inline]
    pub(crate) fn life(&self) -> Life {
        self.check();
        Life(self.life.load(Ordering::Acquire))
    }

    /// LIVE → DEAD: *the* moment of removal (I4). Whether this call did it.
    #[inline]
    #[must_use = "only the winner may run the destructor"]
    pub(crate) fn kill(&self) -> bool {
        self.check();
        // AcqRel: Release for those who read DEAD in `life`, Acquire for the value (partner: `publish`).
        // Relaxed on failure: the caller reads again or gives up.
        self.life
            .compare_exchange(Life::LIVE.0, Life::DEAD.0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// A deliberate defect: kill without compare-and-swap.
    #[cfg(any(test, shadow_loom))]
    pub(crate) fn kill_by_store(&self) -> bool {
        let was_live = self.life().state() == State::Live;
        if was_live {
            self.check();
            self.life.store(Life::DEAD.0, Ordering::Release);
        }
        was_live
    }

    /// BUILDING → LIVE or FAILED, by the builder. What the life was before: with or without waiters.
    pub(crate) fn publish(&self, life: Life) -> Life {
        // AcqRel: Release publishes the payload to `life`; Acquire pairs with `add_waiter`, whose waiter we must wake.
        Life(self.life.swap(life.0, Ordering::AcqRel))
    }

    /// Marks that somebody waits for this builder. Whether the node is still as it was read.
    pub(crate) fn add_waiter(&self, seen: Life) -> bool {
        // AcqRel: Release pairs with `publish`; on failure the caller reads again, so Relaxed is enough.
        seen.has_waiters()
            || self
                .life
                .compare_exchange(seen.0, seen.0 | WAITERS, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// Whether the key can be read back from a TOMB word.
    #[inline]
    pub(crate) fn key_fits(&self) -> bool {
        key_fits(self.obj, self.entry())
    }

    /// Where the payload is. Not for records and tables.
    ///
    /// # Safety (here and in the functions below that take a pointer)
    ///
    /// The node is allocated and under the caller's guard, or the caller's alone.
    pub(crate) unsafe fn payload(node: NonNull<Self>) -> NonNull<u8> {
        // SAFETY: the caller's; and the parts are those that the node was allocated with.
        unsafe { node.byte_add(Self::parts(node).payload).cast() }
    }

    /// The payload of a typed variable, without asking the entry for its place.
    ///
    /// # Safety
    ///
    /// The node's entry holds `T`, and the payload is initialised.
    #[inline]
    pub(crate) unsafe fn value<'g, T>(node: NonNull<Self>) -> &'g T {
        let offset = const { size_of::<Node>().next_multiple_of(align_of::<T>()) };
        // SAFETY: `Layout::extend` puts a `T` behind the header at just this offset.
        unsafe { node.byte_add(offset).cast::<T>().as_ref() }
    }

    /// The payload's layout. Not for records and tables.
    pub(crate) unsafe fn payload_layout(node: NonNull<Self>) -> Layout {
        // SAFETY: the caller's.
        let shape = unsafe { node.as_ref() }.entry().shape;
        if shape.raw {
            // SAFETY: `alloc` wrote it for every raw node.
            unsafe { node.byte_add(RAW_LAYOUT).cast::<Layout>().read() }
        } else {
            shape.payload
        }
    }

    /// The key record of a node whose key does not fit; null once it has become a tomb.
    pub(crate) unsafe fn record<'g>(node: NonNull<Self>) -> Option<&'g AtomicPtr<Self>> {
        // SAFETY: the caller's.
        let offset = unsafe { Self::parts(node) }.record?;
        // SAFETY: `alloc` put it there.
        Some(unsafe { node.byte_add(offset).cast().as_ref() })
    }

    unsafe fn parts(node: NonNull<Self>) -> Parts {
        // SAFETY: the caller's.
        let (layout, this) = unsafe { (Self::payload_layout(node), node.as_ref()) };
        let parts = Parts::of(this.entry(), layout, this.key_fits());
        // The same computation succeeded when the node was allocated.
        parts.unwrap_or_else(|| unreachable!("the layout of an allocated node"))
    }

    /// Bytes held by a variable or a record, its key record not counted.
    pub(crate) unsafe fn bytes(node: NonNull<Self>) -> usize {
        // SAFETY: the caller's.
        unsafe {
            match node.as_ref().life().state() {
                State::Record => size_of::<Self>(),
                _ => Self::parts(node).whole.size(),
            }
        }
    }

    /// Links a retired node before `next`. Readers still read the state, which stays.
    pub(crate) fn set_next_retired(&self, next: *mut Self) {
        // Relaxed: the node's state was settled before; the list's own Release publishes the link.
        let life = Life(self.life.load(Ordering::Relaxed));
        self.life.store(life.retired(next).0, Ordering::Relaxed);
    }

    pub(crate) fn next_retired(&self) -> *mut Self {
        // Relaxed: whoever takes a list over has acquired it.
        Life(self.life.load(Ordering::Relaxed)).next_retired()
    }

    /// Drops the value of a DEAD node. Returns false if its `Drop` panicked (the value counts as dropped).
    ///
    /// # Safety
    ///
    /// Once per node, when nobody can reach it any more. Not for tables.
    pub(crate) unsafe fn drop_value(node: NonNull<Self>) -> bool {
        // SAFETY: nobody else can reach the node.
        let this = unsafe { node.as_ref() };
        match (this.life().state(), this.entry().drop_value()) {
            (State::Dead, Some(drop)) => {
                let dropped = std::panic::catch_unwind(|| {
                    // SAFETY: a DEAD node holds a value of its entry's type, and this is its only drop.
                    unsafe { drop(Self::payload(node).as_ptr()) }
                });
                // A panic's payload may panic again when dropped; leaking it is the safe way out.
                dropped.map_err(std::mem::forget).is_ok()
            }
            _ => true,
        }
    }

    /// Gives a node back in one step if it is a variable that owns nothing: no value to drop, no key record. Its bytes then.
    ///
    /// # Safety
    ///
    /// As [`dealloc`](Self::dealloc).
    #[inline]
    pub(crate) unsafe fn free_plain(node: NonNull<Self>) -> Option<usize> {
        if cfg!(shadow_loom) {
            return None;
        }
        // SAFETY: nobody else can reach the node.
        let this = unsafe { node.as_ref() };
        // Records and tables have other layouts.
        if !matches!(this.life().state(), State::Dead | State::Failed) {
            return None;
        }
        let entry = this.entry();
        if entry.shape.raw || entry.shape.drop.is_some() || !this.key_fits() {
            return None;
        }
        let layout = entry.shape.parts[0].whole;
        let whole: *mut u8 = ptr::with_exposed_provenance_mut(node.addr().get());
        // SAFETY: allocated by `alloc` with this layout.
        unsafe { dealloc(whole, layout) };
        Some(layout.size())
    }

    /// Gives the memory back, with the key record if it is still here. The value is not dropped.
    ///
    /// # Safety
    ///
    /// Once per node, when nobody can reach it any more. Not for tables.
    pub(crate) unsafe fn dealloc(node: NonNull<Self>) {
        // SAFETY: nobody else can reach the node.
        let this = unsafe { node.as_ref() };
        let layout = if this.life().state() == State::Record {
            Layout::new::<Self>()
        } else {
            // SAFETY: nobody else can reach the node.
            let (record, parts) = unsafe { (Self::record(node), Self::parts(node)) };
            // Relaxed: whoever reclaims a node has acquired all that its remover did.
            if let Some(record) = record.and_then(|record| NonNull::new(record.load(Ordering::Relaxed))) {
                // SAFETY: the record never became a tomb, so it is this node's alone.
                unsafe { Self::dealloc(record) };
            }
            parts.whole
        };
        // The pointer may have been a shared reference on its way here; the one from `alloc` may write and free.
        let whole: *mut u8 = ptr::with_exposed_provenance_mut(node.addr().get());
        // SAFETY: allocated by `alloc` with this layout.
        unsafe { dealloc(whole, layout) };
    }

    /// Tells loom that the memory goes: an access that does not happen before this, or comes after, ends the model.
    ///
    /// # Safety
    ///
    /// The node is allocated, and reclaimed now. Not for tables.
    #[cfg(shadow_loom)]
    pub(crate) unsafe fn let_go(node: NonNull<Self>) {
        // SAFETY: the caller's. Loom runs one thread at a time, and none is inside an access to the word.
        unsafe {
            if node.as_ref().life().state() != State::Record
                && let Some(record) = Self::record(node)
            {
                (*ptr::from_ref(record).cast_mut()).with_mut(|_| ());
            }
            (*node.as_ptr()).life.with_mut(|_| ());
        }
    }

    /// Marks the node as reclaimed, in place of freeing it.
    #[cfg(any(test, shadow_loom))]
    pub(crate) fn poison(&self) {
        let before = self.reclaimed.swap(true, Ordering::SeqCst);
        assert!(!before, "reclaimed twice");
    }

    /// Takes the mark away again, for the store's drop.
    #[cfg(any(test, shadow_loom))]
    pub(crate) fn unpoison(&self) {
        self.reclaimed.store(false, Ordering::SeqCst);
    }

    /// With the checked backend, panics on an access after reclamation.
    #[inline]
    pub(crate) fn check(&self) {
        #[cfg(any(test, shadow_loom))]
        super::defect::access();
        #[cfg(any(test, shadow_loom))]
        assert!(!self.reclaimed.load(Ordering::SeqCst), "access after reclamation");
    }
}

/// The bits that an address in a slot's word may have: 3 to 47.
pub(crate) const ADDR: u64 = 0x0000_ffff_ffff_fff8;

/// Whether a slot's word can hold this address.
const fn addr_fits(addr: usize) -> bool {
    addr as u64 & !ADDR == 0
}

/// Whether a TOMB word can hold this key.
pub(crate) fn key_fits(obj: usize, entry: &IdEntry) -> bool {
    addr_fits(obj) && entry.index_fits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_addresses_fit() {
        assert!(addr_fits(0));
        assert!(addr_fits(0xffff_ffff_fff8));
        assert!(!addr_fits(1));
        assert!(!addr_fits(0x1_0000_0000_0000));
        assert!(!addr_fits(usize::MAX));
    }
}
