//! Retiring: the way into the lists, and the work that follows; and the end of a store's lists. Cites the rules of
//! [`retired`](super::retired).

use std::ptr::NonNull;
use std::sync::Arc;

use super::Reclaim;
use super::chain::Chain;
use super::list::List;
use super::object::{Link, Objects};
use super::retired::{RetireLists, Retired};
use super::sift::Effort;
use super::upkeep::Fills;
use super::weights::LARGE;
use crate::shard::Shard;
use crate::sync::Ordering;

impl<O: Objects> RetireLists<O> {
    /// Retires an object that is unreachable for new readers (R1). Runs no foreign code; the caller has to call
    /// [`follow_up`](Self::follow_up) where that is allowed. `has_drop` says that the object has a destructor.
    ///
    /// # Safety
    ///
    /// The object has been unlinked for good, is retired once, and has this many bytes. The caller is pinned.
    #[inline(always)]
    pub(crate) unsafe fn retire<R: Reclaim>(
        self: &Arc<Self>,
        object: NonNull<Link>,
        bytes: u64,
        has_drop: bool,
        shard: Shard,
    ) -> Retired {
        // SAFETY: the caller guarantees that the object is unlinked and retired once, and that it is pinned.
        unsafe {
            if let Some(retired) = self.retire_exactly::<R>(object, bytes) {
                return retired;
            }
            match if shard.is_own() { self.own.get(shard) } else { None } {
                Some(list) => self.retire_in::<R>((list, shard), object, bytes, has_drop),
                None => self.retire_slow::<R>(object, bytes, has_drop, shard),
            }
        }
    }

    /// Slow half of [`retire`](Self::retire): the shard is not owned by the thread, or has no list yet.
    ///
    /// # Safety
    ///
    /// Same as [`retire`](Self::retire).
    #[cold]
    #[inline(never)]
    unsafe fn retire_slow<R: Reclaim>(
        self: &Arc<Self>,
        object: NonNull<Link>,
        bytes: u64,
        has_drop: bool,
        shard: Shard,
    ) -> Retired {
        // SAFETY: guaranteed by the caller; `list` returns the list with its shard.
        unsafe { self.retire_in::<R>(self.list(shard), object, bytes, has_drop) }
    }

    /// Like [`retire`](Self::retire), in a given list.
    ///
    /// # Safety
    ///
    /// Same as [`retire`](Self::retire); `list` is the list of `shard`.
    #[inline(always)]
    unsafe fn retire_in<R: Reclaim>(
        self: &Arc<Self>,
        (list, shard): (&List<O>, Shard),
        object: NonNull<Link>,
        bytes: u64,
        has_drop: bool,
    ) -> Retired {
        shard.add(&list.retired_bytes, bytes);
        let count = shard.add(&list.retired, 1);
        let inside = if R::PUSHES_PLAINLY && shard.is_own() {
            // SAFETY: this thread's own shard, in which it runs nothing else.
            unsafe { list.enter() }
        } else {
            None
        };
        let mut more = match inside {
            // The usual case: plain stores.
            // SAFETY: the caller unlinked the object and retires it once; this thread is the owner and inside.
            Some(state) => unsafe {
                list.push_inside(object, object, count);
                let more = list.free_inside::<R>(&*self.objects, shard, state);
                list.leave();
                more
            },
            // Another thread may be moving the chains, or the shard is shared: compare-exchange.
            // SAFETY: the caller unlinked the object and retires it once.
            None => unsafe {
                list.push(object, object, count);
                list.is_ready::<R>()
            },
        };
        if self.poll.divides(count) || has_drop || bytes >= LARGE {
            let fills = if bytes >= LARGE {
                Fills::AtOnce
            } else if self.batch.divides(count) {
                Fills::Batch
            } else {
                Fills::Nothing
            };
            let to_drop = has_drop.then_some(object);
            // SAFETY: the caller's guard protects the object, which is a variable if it has a destructor.
            more |= unsafe { self.advance_if_due::<R>((list, shard), to_drop, fills) };
        }
        Retired::one(count, more)
    }

    /// Like [`retire`](Self::retire), for a chain of objects.
    ///
    /// # Safety
    ///
    /// Same as [`retire`](Self::retire), for each object.
    pub(crate) unsafe fn retire_chain<R: Reclaim>(
        self: &Arc<Self>,
        chain: Chain,
        has_drop: bool,
        shard: Shard,
    ) -> Retired {
        let (list, shard) = self.list(shard);
        let (Some(last), Some(first)) = (chain.last, NonNull::new(chain.first)) else {
            return Retired {
                count: list.retired.load(Ordering::Relaxed),
                added: 0,
                more: false,
            };
        };
        // SAFETY: the caller guarantees for each object that it is unlinked and retired once, and that it is pinned.
        if let Some(retired) = unsafe { self.retire_chain_exactly::<R>(&chain) } {
            return retired;
        }
        shard.add(&list.retired_bytes, chain.bytes);
        let count = shard.add(&list.retired, chain.count);
        let turn = count / self.batch.get();
        // SAFETY: this thread's own shard, in which it runs nothing else.
        let inside = R::PUSHES_PLAINLY && shard.is_own() && unsafe { list.enter() }.is_some();
        // SAFETY: guaranteed by the caller for each object; `inside` says that this thread is the owner and inside.
        unsafe {
            if inside {
                list.push_inside(first, last, turn);
                list.leave();
            } else {
                list.push(first, last, turn);
            }
        }
        let full = self.batch.is_passed(count, chain.count) || chain.bytes >= LARGE;
        if list.add_weight(chain.weight) || full || has_drop {
            self.advance_now::<R>((list, shard), has_drop);
        }
        Retired {
            count,
            added: chain.count,
            more: R::INTERVALS || list.is_ready::<R>(),
        }
    }

    /// Does the work that [`retire`](Self::retire) must not do: drops ready objects, and visits the shard of an idle
    /// thread. Runs the `Drop` of values.
    #[inline]
    pub(crate) fn follow_up<R: Reclaim>(&self, shard: Shard, retired: Retired) {
        if retired.more {
            self.follow_up_slow::<R>(shard, retired);
        }
    }

    #[cold]
    #[inline(never)]
    fn follow_up_slow<R: Reclaim>(&self, shard: Shard, retired: Retired) {
        let shard = self.used(shard);
        if R::PUSHES_PLAINLY && shard.is_own() && retired.added == 1 {
            // SAFETY: this thread's own shard.
            unsafe { self.drop_few::<R>(shard) };
        } else {
            self.drain::<R>(shard.index);
        }
        if self.batch.is_passed(retired.count, retired.added) {
            // Once per batch, this thread also visits one other shard.
            self.visit_idle::<R>(shard, retired.count / self.batch.get(), 1);
            self.sift::<R>(shard.index, Effort::Few(2 * retired.added.max(self.batch.get())));
        } else {
            self.sift::<R>(shard.index, Effort::Few(2 * retired.added));
        }
    }

    /// Drops all retired objects. A pending callback of an exact backend finds its object gone.
    ///
    /// # Safety
    ///
    /// No guard protects anything of this store any more, and no operation runs.
    pub(crate) unsafe fn drain_all<R: Reclaim>(&self) {
        for (_, list) in self.lists() {
            // A `Drop` may free variables of other stores, never of this one.
            // SAFETY: the caller guarantees that no operation runs.
            for chains in unsafe { list.take_all() } {
                // SAFETY: the caller guarantees that no guard protects the objects.
                unsafe { self.reclaim::<R>(list, chains) };
            }
        }
        // SAFETY: the caller guarantees that no guard protects the objects.
        unsafe {
            self.drain_exact();
        }
    }
}
