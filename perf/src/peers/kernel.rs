//! The kernel's design of shadow variables, implemented for this study: 4096 chains, chosen by the address alone; one lock for
//! all changes; readers under an epoch.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard};

use crossbeam_epoch::{Atomic, Guard, Owned, Shared, pin};

use crate::peers::epochs::flush_epochs;
use crate::store::{About, Form, Kept, Key, Kind, Stall, Store};

const CHAINS_LOG2: u32 = 12;

pub(crate) struct KernelDesign<V> {
    chains: Box<[Atomic<Node<V>>]>,
    writer: Mutex<()>,
}

struct Node<V> {
    key: Key,
    value: V,
    next: Atomic<Node<V>>,
}

impl<V: Kept> KernelDesign<V> {
    /// Chooses the chain by Fibonacci hashing of the address: the multiplier is the kernel's `GOLDEN_RATIO_64`.
    #[inline]
    fn chain(&self, key: Key) -> &Atomic<Node<V>> {
        let hash = (key.0 as u64).wrapping_mul(0x61c8_8646_80b5_83eb);
        &self.chains[(hash >> (64 - CHAINS_LOG2)) as usize]
    }

    #[inline]
    fn find<'g>(&self, key: Key, guard: &'g Guard) -> Option<&'g Node<V>> {
        // Acquire, here and below: pairs with the Release stores of `push` and `unlink`, so that a node is seen whole.
        let mut at = self.chain(key).load(Ordering::Acquire, guard);
        // SAFETY: a node in a chain was not retired before the guard was made.
        while let Some(node) = unsafe { at.as_ref() } {
            if node.key == key {
                return Some(node);
            }
            at = node.next.load(Ordering::Acquire, guard);
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().expect("no operation panics")
    }

    /// Adds the node at the front of its chain. The caller holds the lock.
    fn push(&self, node: Owned<Node<V>>, guard: &Guard) {
        let chain = self.chain(node.key);
        // Relaxed: only this thread changes chains, because it holds the lock.
        node.next.store(chain.load(Ordering::Relaxed, guard), Ordering::Relaxed);
        // Release: pairs with `find`.
        chain.store(node, Ordering::Release);
    }

    /// Unlinks the nodes that `goes` selects, retires them, and returns their number. The caller holds the lock.
    fn unlink(chain: &Atomic<Node<V>>, guard: &Guard, goes: impl Fn(&Node<V>) -> bool) -> usize {
        let mut count = 0;
        let mut link = chain;
        loop {
            // Relaxed: only this thread changes chains, because it holds the lock.
            let at = link.load(Ordering::Relaxed, guard);
            // SAFETY: a node in a chain was not retired before the guard was made.
            let Some(node) = (unsafe { at.as_ref() }) else {
                return count;
            };
            if goes(node) {
                // Release: pairs with `find`.
                link.store(node.next.load(Ordering::Relaxed, guard), Ordering::Release);
                // SAFETY: the node is in no chain any more, and because of the lock only this thread retires it.
                unsafe { guard.defer_destroy(at) };
                count += 1;
            } else {
                link = &node.next;
            }
        }
    }

    fn node(key: Key) -> Owned<Node<V>> {
        Owned::new(Node {
            key,
            value: V::of(key),
            next: Atomic::null(),
        })
    }
}

impl<V: Kept> Store for KernelDesign<V> {
    const ABOUT: About = About {
        name: "kernel",
        kind: Kind::Design,
        lock_free_reads: true,
        form: Form::Stable,
        any_value: true,
        stall: Stall::Garbage,
        // Chains of 256 entries, on average.
        max_entries: 1 << 20,
        stands_new_keys: true,
    };

    type Guard<'a> = Guard;
    type With<W: Kept> = KernelDesign<W>;

    fn new() -> Self {
        Self {
            chains: (0..1 << CHAINS_LOG2).map(|_| Atomic::null()).collect(),
            writer: Mutex::new(()),
        }
    }

    /// The number of chains is fixed.
    fn with_capacity(_entries: usize) -> Self {
        Self::new()
    }

    #[inline]
    fn guard(&self) -> Guard {
        pin()
    }

    #[inline]
    fn get_in(&self, guard: &Guard, key: Key) -> u64 {
        self.find(key, guard).map_or(0, |node| node.value.first())
    }

    /// Like the kernel: looks up, allocates outside the lock, and looks up again under it.
    fn insert(&self, key: Key) -> bool {
        let guard = &pin();
        if self.find(key, guard).is_some() {
            return false;
        }
        let node = Self::node(key);
        let _lock = self.lock();
        if self.find(key, guard).is_some() {
            return false;
        }
        self.push(node, guard);
        true
    }

    fn get_or_insert(&self, key: Key) -> u64 {
        let guard = &pin();
        if let Some(node) = self.find(key, guard) {
            return node.value.first();
        }
        let node = Self::node(key);
        let _lock = self.lock();
        if let Some(node) = self.find(key, guard) {
            return node.value.first();
        }
        self.push(node, guard);
        V::of(key).first()
    }

    fn remove(&self, key: Key) -> bool {
        let guard = &pin();
        let _lock = self.lock();
        Self::unlink(self.chain(key), guard, |node| node.key == key) == 1
    }

    fn clear_id(&self, id: u64) -> usize {
        let guard = &pin();
        let _lock = self.lock();
        self.chains
            .iter()
            .map(|chain| Self::unlink(chain, guard, |node| node.key.1 == id))
            .sum()
    }

    /// Does not check for a duplicate, which would take hours for a large set.
    fn load(&self, key: Key) {
        let guard = &pin();
        let _lock = self.lock();
        self.push(Self::node(key), guard);
    }

    fn settle(&self) {
        flush_epochs();
    }
}

impl<V> Drop for KernelDesign<V> {
    fn drop(&mut self) {
        // SAFETY: `&mut self`: no other thread reads, so nothing needs protection.
        let guard = unsafe { crossbeam_epoch::unprotected() };
        for chain in &self.chains {
            let mut at: Shared<'_, Node<V>> = chain.load(Ordering::Relaxed, guard);
            while !at.is_null() {
                // SAFETY: each node is in one chain once, and a node in a chain has not been retired.
                let node = unsafe { at.into_owned() };
                at = node.next.load(Ordering::Relaxed, guard);
            }
        }
    }
}
