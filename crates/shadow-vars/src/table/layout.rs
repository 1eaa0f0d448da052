//! How a node is laid out: header, payload, and what those nodes have beside that need more.
//!
//! ```text
//! fits: │ obj │ life │ [raw: size, align] │ payload │
//! far:  │ obj │ life │ [raw: size, align] │ payload │ record │──▶ │ obj │ life: RECORD │
//! wide: │ entry │ far ...                                          │ entry │ obj │ life: RECORD │
//! ```
//!
//! In stores whose backend has intervals, each has its own before all that: │ born │ retired │ (entry) │ obj │ life │ ...

use std::alloc::Layout;
use std::mem::{align_of, needs_drop, size_of};

use super::node::{Node, key_fits};
use crate::pool::Size;
use crate::reclaim::object::Interval;
use crate::registry::IdEntry;
use crate::sync::AtomicPtr;

/// Drops a payload in place.
pub(crate) type DropValue = unsafe fn(*mut u8);

/// Raw nodes keep their layout right behind the header.
pub(super) const RAW_LAYOUT: usize = size_of::<Node>();
const _: () = assert!(size_of::<Node>().is_multiple_of(align_of::<Layout>()));

/// What a payload owns beside its own bytes: a function of the value's type, called by the address of a value.
pub(crate) type WeighValue = unsafe fn(*const u8) -> usize;

/// How much a node's key needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A word can hold it.
    Fits,
    /// A tomb needs a record of it: the address does not fit.
    Far,
    /// The same, and the life word cannot hold the id's index: a pointer to its entry comes before the header.
    Wide,
}

impl Form {
    #[inline]
    pub(super) fn of(obj: usize, entry: &IdEntry) -> Self {
        if key_fits(obj, entry) {
            Self::Fits
        } else if entry.index_fits() {
            Self::Far
        } else {
            Self::Wide
        }
    }
}

/// How the payloads of one id are laid out and dropped.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(super) payload: Layout,
    /// Drops the payload in place. See [`IdEntry::drop_with`] for the one that is called.
    pub(crate) drop: Option<DropValue>,
    /// The layout is the node's own, kept before the payload; `parts` are nobody's.
    pub(super) raw: bool,
    /// Whether nodes have intervals.
    pub(super) intervals: bool,
    /// By form.
    parts: [Parts; 3],
}

impl Shape {
    /// Raw variables: each has its own layout, and nothing to drop.
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

    /// The same, with intervals.
    pub(crate) const fn with_intervals(self) -> Self {
        Self {
            intervals: true,
            parts: Self::parts(self.payload, true),
            ..self
        }
    }

    /// Whether variables own nothing but memory of the pool's, whatever their keys.
    pub(crate) fn is_packed(&self) -> bool {
        !self.raw && self.drop.is_none() && self.parts.iter().all(|parts| parts.whole.is_packed())
    }

    /// The size of a typed variable whose key fits, if it is aligned as its lead is.
    pub(crate) fn plain(&self) -> Option<Size> {
        let parts = self.parts[Form::Fits as usize];
        (!self.raw && parts.lead == lead_of(Form::Fits, self.intervals)).then_some(parts.whole)
    }

    const fn parts(payload: Layout, intervals: bool) -> [Parts; 3] {
        match (
            Parts::new(payload, false, Form::Fits, intervals),
            Parts::new(payload, false, Form::Far, intervals),
            Parts::new(payload, false, Form::Wide, intervals),
        ) {
            (Some(fits), Some(far), Some(wide)) => [fits, far, wide],
            // No type is so large that a few words more overflow.
            _ => panic!("a type larger than the address space"),
        }
    }
}

/// Bytes that come before the header, but for what aligns it.
pub(super) const fn lead_of(form: Form, intervals: bool) -> usize {
    let entry = if matches!(form, Form::Wide) {
        size_of::<*const IdEntry>()
    } else {
        0
    };
    entry + if intervals { size_of::<Interval>() } else { 0 }
}

/// Where the parts of one node are, from its header on.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    pub(super) whole: Size,
    /// What comes before the header.
    pub(super) lead: usize,
    pub(super) payload: usize,
    pub(super) record: Option<usize>,
}

impl Parts {
    /// Nothing if the size overflows.
    const fn new(payload: Layout, raw: bool, form: Form, intervals: bool) -> Option<Self> {
        let header = if raw {
            Layout::new::<(Node, Layout)>()
        } else {
            Layout::new::<Node>()
        };
        let Ok((mut whole, offset)) = header.extend(payload) else {
            return None;
        };
        let mut record = None;
        if !matches!(form, Form::Fits) {
            let Ok((with_record, at)) = whole.extend(Layout::new::<AtomicPtr<Node>>()) else {
                return None;
            };
            (whole, record) = (with_record, Some(at));
        }
        let lead = lead_of(form, intervals).next_multiple_of(whole.align());
        let Some(size) = whole.size().checked_add(lead) else {
            return None;
        };
        match Layout::from_size_align(size, whole.align()) {
            Ok(whole) => Some(Self {
                whole: Size::of(whole),
                lead,
                payload: offset,
                record,
            }),
            Err(_) => None,
        }
    }

    /// Of a node of this entry, which is known if the payload is.
    #[inline]
    pub(super) fn of(entry: &IdEntry, payload: Layout, form: Form) -> Option<Self> {
        if entry.shape.raw {
            Self::new(payload, true, form, entry.shape.intervals)
        } else {
            Some(entry.shape.parts[form as usize])
        }
    }

    /// Of the record of a key that needs one.
    pub(super) fn of_record(form: Form, intervals: bool) -> Self {
        let lead = lead_of(form, intervals);
        let header = Layout::new::<Node>();
        Self {
            // SAFETY: a header and a word more do not overflow.
            whole: Size::of(unsafe { Layout::from_size_align_unchecked(header.size() + lead, header.align()) }),
            lead,
            payload: 0,
            record: None,
        }
    }
}
