//! The layout of a node: header, payload, and the parts that only some nodes need.
//!
//! ```text
//! inline:              │ obj │ life │ [raw: size, align] │ payload │
//! out-of-line address: │ obj │ life │ [raw: size, align] │ payload │ record │──▶ │ obj │ life: RECORD │
//! out-of-line id:      │ entry │ as before ...                               │ entry │ obj │ life: RECORD │
//! ```
//!
//! In stores whose backend has intervals, each node and record begins with its own: │ born │ retired │ (entry) │ obj │ life │
//! ...

use std::alloc::Layout;
use std::mem::{align_of, needs_drop, size_of};

use super::node::{Node, WIDE, addr_fits};
use crate::pool::Size;
use crate::reclaim::object::Interval;
use crate::sync::AtomicPtr;

/// The largest supported alignment of a value, in bytes.
pub const MAX_ALIGN: usize = 4096;

/// Drops a payload in place.
pub(crate) type DropValue = unsafe fn(*mut u8);

/// Offset of the layout that each raw node keeps, after its header.
pub(super) const RAW_LAYOUT: usize = size_of::<Node>();
const _: () = assert!(size_of::<Node>().is_multiple_of(align_of::<Layout>()));

/// Returns what a value owns beyond its own bytes: a function of the value's type, called with the address of a value.
pub(crate) type WeighValue = unsafe fn(*const u8) -> usize;

/// How a node's key is represented.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyRepr {
    /// A slot's word can hold the key.
    Inline,
    /// The address does not fit into a word: a tomb needs a record with the key.
    OutOfLineAddr,
    /// Like `OutOfLineAddr`, and the life word cannot hold the id's index: a pointer to the id's entry precedes the header.
    OutOfLineId,
}

impl KeyRepr {
    /// Returns the representation of a key, by the index of its id.
    #[inline]
    pub(super) fn of(obj: usize, index: u32) -> Self {
        match index {
            WIDE.. => Self::OutOfLineId,
            _ if addr_fits(obj) => Self::Inline,
            _ => Self::OutOfLineAddr,
        }
    }
}

/// How the payloads of one id are laid out and dropped.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(super) payload: Layout,
    /// Drops the payload in place. [`IdEntry::drop_value`](crate::entry::IdEntry::drop_value) returns the function to call.
    pub(crate) drop: Option<DropValue>,
    /// Each node has a layout of its own, stored before the payload; `parts` are not used.
    pub(super) raw: bool,
    /// Whether nodes have intervals.
    pub(super) intervals: bool,
    /// The parts of a node, by [`KeyRepr`].
    parts: [Parts; 3],
}

impl Shape {
    /// The shape of raw variables: each has its own layout, and nothing to drop.
    pub(crate) const RAW: Self = Self {
        payload: Layout::new::<()>(),
        drop: None,
        raw: true,
        intervals: false,
        parts: Self::parts(Layout::new::<()>(), false),
    };

    pub(crate) const fn of<T>() -> Self {
        /// Drops a `T` in place.
        unsafe fn drop_value<T>(payload: *mut u8) {
            // SAFETY: called once, for a payload that holds a `T` (see `Node::drop_value`).
            unsafe { payload.cast::<T>().drop_in_place() }
        }
        let drop: Option<DropValue> = if needs_drop::<T>() { Some(drop_value::<T>) } else { None };
        Self {
            payload: Layout::new::<T>(),
            drop,
            raw: false,
            intervals: false,
            parts: Self::parts(Layout::new::<T>(), false),
        }
    }

    /// Returns the shape of the same payload with intervals.
    pub(crate) const fn with_intervals(self) -> Self {
        Self {
            intervals: true,
            parts: Self::parts(self.payload, true),
            ..self
        }
    }

    /// Returns whether variables own no memory outside the pool, whatever their keys.
    pub(crate) fn is_packed(&self) -> bool {
        !self.raw && self.drop.is_none() && self.parts.iter().all(|parts| parts.size.is_packed())
    }

    /// Returns the size of a typed variable whose key is inline, if the prefix needs no padding.
    pub(crate) fn plain(&self) -> Option<Size> {
        let parts = self.parts[KeyRepr::Inline as usize];
        (!self.raw && parts.prefix == prefix_of(KeyRepr::Inline, self.intervals)).then_some(parts.size)
    }

    /// Returns the parts of a node with this payload. Never `None` for a node that was allocated with these arguments.
    #[inline]
    pub(super) fn parts_of(&self, payload: Layout, repr: KeyRepr) -> Option<Parts> {
        if self.raw {
            Parts::new(payload, true, repr, self.intervals)
        } else {
            Some(self.parts[repr as usize])
        }
    }

    const fn parts(payload: Layout, intervals: bool) -> [Parts; 3] {
        match (
            Parts::new(payload, false, KeyRepr::Inline, intervals),
            Parts::new(payload, false, KeyRepr::OutOfLineAddr, intervals),
            Parts::new(payload, false, KeyRepr::OutOfLineId, intervals),
        ) {
            (Some(fits), Some(far), Some(wide)) => [fits, far, wide],
            // No type is so large that a few more words overflow.
            _ => panic!("a type larger than the address space"),
        }
    }
}

/// Returns the number of bytes before the header, without padding.
pub(super) const fn prefix_of(repr: KeyRepr, intervals: bool) -> usize {
    let entry = if matches!(repr, KeyRepr::OutOfLineId) {
        size_of::<*const ()>()
    } else {
        0
    };
    entry + if intervals { size_of::<Interval>() } else { 0 }
}

/// The offsets of the parts of a node, from its header on, and its size.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    pub(super) size: Size,
    /// Bytes before the header.
    pub(super) prefix: usize,
    pub(super) payload: usize,
    pub(super) record: Option<usize>,
}

impl Parts {
    /// Returns `None` if the size overflows.
    const fn new(payload: Layout, raw: bool, repr: KeyRepr, intervals: bool) -> Option<Self> {
        let header = if raw {
            Layout::new::<(Node, Layout)>()
        } else {
            Layout::new::<Node>()
        };
        let Ok((mut layout, offset)) = header.extend(payload) else {
            return None;
        };
        let mut record = None;
        if !matches!(repr, KeyRepr::Inline) {
            let Ok((with_record, at)) = layout.extend(Layout::new::<AtomicPtr<Node>>()) else {
                return None;
            };
            (layout, record) = (with_record, Some(at));
        }
        let prefix = prefix_of(repr, intervals).next_multiple_of(layout.align());
        let Some(size) = layout.size().checked_add(prefix) else {
            return None;
        };
        match Layout::from_size_align(size, layout.align()) {
            Ok(layout) => Some(Self {
                size: Size::of(layout),
                prefix,
                payload: offset,
                record,
            }),
            Err(_) => None,
        }
    }

    /// Returns the parts of the record of a key that is not inline.
    pub(super) fn of_record(repr: KeyRepr, intervals: bool) -> Self {
        let prefix = prefix_of(repr, intervals);
        let header = Layout::new::<Node>();
        Self {
            // SAFETY: the size of a header and a few words does not overflow.
            size: Size::of(unsafe { Layout::from_size_align_unchecked(header.size() + prefix, header.align()) }),
            prefix,
            payload: 0,
            record: None,
        }
    }
}
