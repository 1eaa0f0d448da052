//! A node with the entry of its id: whose variable it is, and where its parts are.

use std::alloc::Layout;
use std::mem::{align_of, size_of};
use std::ptr::{self, NonNull};

use super::layout::{KeyRepr, Parts, RAW_LAYOUT};
use super::node::{Node, WIDE};
use crate::entry::IdEntry;
use crate::heap::Heap;
use crate::sync::AtomicPtr;

impl Node {
    /// Returns the id's entry. Not for tables.
    #[inline]
    pub(crate) fn entry<'h>(&self, heap: &'h Heap) -> &'h IdEntry {
        match self.index() {
            // SAFETY: entries outlive every node (the registry is dropped after the last).
            WIDE => unsafe { &*self.wide_entry() },
            // SAFETY: this node has the index.
            index => unsafe { heap.entry(index) },
        }
    }

    /// Returns the entry of a node whose index is WIDE.
    fn wide_entry(&self) -> *const IdEntry {
        let header = ptr::with_exposed_provenance::<*const IdEntry>(ptr::from_ref(self).addr());
        // SAFETY: the index is WIDE, so `begin` wrote the pointer there.
        unsafe { header.sub(1).read() }
    }

    /// Returns whether the node is of this key.
    #[inline]
    pub(crate) fn is_for(&self, obj: usize, entry: &IdEntry) -> bool {
        self.check();
        self.obj == obj && self.is_of(entry)
    }

    /// Returns whether the node is of this id.
    #[inline]
    pub(crate) fn is_of(&self, entry: &IdEntry) -> bool {
        match self.index() {
            WIDE => ptr::eq(self.wide_entry(), entry),
            index => index == entry.index,
        }
    }

    /// Returns whether the node is the variable of this key, and exists. May return false for an id whose index is WIDE.
    /// Ordered like [`life`](Self::life).
    #[inline]
    pub(crate) fn is_live_for(&self, obj: usize, entry: &IdEntry) -> bool {
        self.obj == obj && self.life() == entry.live
    }

    #[inline]
    pub(super) fn key_repr(&self) -> KeyRepr {
        KeyRepr::of(self.obj, self.index())
    }

    /// Returns the address of the payload. Not for records and tables.
    ///
    /// # Safety (here and in the functions below that take a pointer)
    ///
    /// The node is allocated and protected by the caller's guard, or owned by the caller alone; `entry` is the node's.
    pub(crate) unsafe fn payload(node: NonNull<Self>, entry: &IdEntry) -> NonNull<u8> {
        // SAFETY: the caller guarantees that the node is allocated; these are the parts with which it was.
        unsafe { node.byte_add(Self::parts(node, entry).payload).cast() }
    }

    /// Returns the payload of a typed variable, whose offset follows from the type alone.
    ///
    /// # Safety
    ///
    /// The node's entry holds `T`, and the payload is initialised.
    #[inline]
    pub(crate) unsafe fn value<'g, T>(node: NonNull<Self>) -> &'g T {
        // SAFETY: the caller guarantees the type, and that the payload is initialised.
        unsafe { Self::value_ptr(node).as_ref() }
    }

    /// Returns the address of the value. Like [`value`](Self::value), but the payload need not be initialised.
    #[inline]
    pub(crate) unsafe fn value_ptr<T>(node: NonNull<Self>) -> NonNull<T> {
        let offset = const { size_of::<Node>().next_multiple_of(align_of::<T>()) };
        // SAFETY: `Layout::extend` puts a `T` after the header at this very offset.
        unsafe { node.byte_add(offset).cast() }
    }

    /// Returns the payload's layout. Not for records and tables.
    #[inline]
    pub(crate) unsafe fn payload_layout(node: NonNull<Self>, entry: &IdEntry) -> Layout {
        if entry.shape.raw {
            // SAFETY: `alloc` wrote it for every raw node.
            unsafe { node.byte_add(RAW_LAYOUT).cast::<Layout>().read() }
        } else {
            entry.shape.payload
        }
    }

    /// Returns the key record of a node whose key does not fit into a word; null once it has become a tomb.
    pub(crate) unsafe fn record<'g>(node: NonNull<Self>, entry: &IdEntry) -> Option<&'g AtomicPtr<Self>> {
        // SAFETY: the caller guarantees that the node is allocated, and of this entry.
        let offset = unsafe { Self::parts(node, entry) }.record?;
        // SAFETY: `alloc` put the pointer there.
        Some(unsafe { node.byte_add(offset).cast().as_ref() })
    }

    #[inline]
    pub(super) unsafe fn parts(node: NonNull<Self>, entry: &IdEntry) -> Parts {
        // SAFETY: the caller guarantees that the node is allocated, and of this entry.
        let (layout, this) = unsafe { (Self::payload_layout(node, entry), node.as_ref()) };
        let parts = entry.shape.parts_of(layout, this.key_repr());
        // The same computation succeeded when the node was allocated.
        parts.unwrap_or_else(|| unreachable!("the layout of an allocated node"))
    }

    /// Tells loom that the memory is freed: an access that does not happen before this, or comes later, fails the model.
    ///
    /// # Safety
    ///
    /// The node is allocated, and reclaimed now. Not for tables.
    #[cfg(shadow_loom)]
    pub(crate) unsafe fn loom_free(node: NonNull<Self>, heap: &Heap) {
        // SAFETY: the caller guarantees that the node is reclaimed now. Loom runs one thread at a time, and none is inside an
        // access to the word.
        unsafe {
            let this = node.as_ref();
            if this.life().state() != super::node::State::Record
                && let Some(record) = Self::record(node, this.entry(heap))
            {
                (*ptr::from_ref(record).cast_mut()).with_mut(|_| ());
            }
            (*node.as_ptr()).life.with_mut(|_| ());
        }
    }
}
