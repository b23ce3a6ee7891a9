//! Where the calling thread is, and since when.

use super::node::Node;
use crate::ledger::{self, Totals};
use crate::owner;
use core::cell::{Cell, RefCell};
use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A scope that a thread is in, or none.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    node: Option<&'static Node>,
    /// Whose the node was: a guard that was forgotten does not keep its scope.
    serial: u64,
    /// Which entry of the thread's it is; 0 outside.
    entry: u64,
}

/// Each figure by itself, and those side by side as atomics, which no compiler reads two at a time: right after they were
/// written one by one, the processor would wait for that.
struct Here {
    node: Cell<Option<&'static Node>>,
    serial: AtomicU64,
    entry: AtomicU64,
    /// The thread's sums when it last settled, if it had any.
    since_allocated: AtomicU64,
    since_freed: AtomicU64,
    has_since: Cell<bool>,
    entries: Cell<u64>,
    /// How many there are in `LEFT_EARLY`.
    left_early: Cell<usize>,
}

std::thread_local! {
    /// Without a destructor, so that it is there in those of others.
    static HERE: Here = const {
        Here {
            node: Cell::new(None),
            serial: AtomicU64::new(0),
            entry: AtomicU64::new(0),
            since_allocated: AtomicU64::new(0),
            since_freed: AtomicU64::new(0),
            has_since: Cell::new(false),
            entries: Cell::new(0),
            left_early: Cell::new(0),
        }
    };
    /// Entries left while they were not the innermost, and where each would have gone back to.
    static LEFT_EARLY: RefCell<Vec<(u64, Frame)>> = const { RefCell::new(Vec::new()) };
}

/// Enters a scope, and answers the number of this entry and where the thread was.
#[inline]
pub(super) fn enter(node: &'static Node) -> (u64, Frame) {
    HERE.with(|here| here.go(Some(node), node.serial()))
}

/// Goes outside of every scope; answers as `enter`.
pub(super) fn enter_outside() -> (u64, Frame) {
    HERE.with(|here| here.go(None, 0))
}

/// Leaves the scope that was entered so, or the outside.
#[inline]
pub(super) fn leave(node: Option<&'static Node>, entry: u64, previous: Frame) {
    HERE.with(|here| {
        if here.entry.load(Relaxed) != entry {
            return leave_early(here, node, entry, previous);
        }
        here.settle(1);
        here.set_frame(if here.left_early.get() == 0 { previous } else { still_entered(here, previous) });
    });
}

/// Counts what the thread did until now where it is.
pub(super) fn settle() {
    HERE.with(|here| {
        here.settle(0);
        here.tell_owner();
    });
}

/// Counts what the thread did until now where it is. What it still does counts outside.
pub(super) fn end() {
    HERE.with(|here| {
        here.settle(0);
        here.has_since.set(false);
        here.tell_owner();
    });
}

/// The node that the thread is in, and whose it was when it was entered.
pub(super) fn current() -> Option<(&'static Node, u64)> {
    let frame = HERE.with(Here::frame);
    Some((frame.node?, frame.serial))
}

impl Here {
    #[inline]
    fn go(&self, node: Option<&'static Node>, serial: u64) -> (u64, Frame) {
        self.settle(0);
        let previous = self.frame();
        let entry = self.entries.get() + 1;
        self.entries.set(entry);
        self.set_frame(Frame { node, serial, entry });
        (entry, previous)
    }

    #[inline]
    fn frame(&self) -> Frame {
        Frame { node: self.node.get(), serial: self.serial.load(Relaxed), entry: self.entry.load(Relaxed) }
    }

    #[inline]
    fn set_frame(&self, frame: Frame) {
        self.node.set(frame.node);
        self.serial.store(frame.serial, Relaxed);
        self.entry.store(frame.entry, Relaxed);
        self.tell_owner();
    }

    /// Has new blocks tagged as those of the scope that counts them, if any does.
    #[inline]
    fn tell_owner(&self) {
        let serial = self.serial.load(Relaxed);
        owner::enter(match self.node.get() {
            Some(node) if self.has_since.get() && node.serial() == serial => serial as owner::Tag,
            _ => 0,
        });
    }

    /// A number of the calling thread's, which another has only when this one is gone.
    #[inline]
    fn thread(&self) -> NonZeroUsize {
        core::ptr::NonNull::from_ref(self).addr()
    }

    /// Counts what the thread did since it last settled, but for frees of others' blocks, which are counted there, and that it left the scope so often.
    #[inline]
    fn settle(&self, entered: u64) {
        let now = ledger::thread_totals();
        let others = owner::take_others();
        if let Some(node) = self.node.get()
            && node.serial() == self.serial.load(Relaxed)
        {
            let flow = match now {
                Some(now) if self.has_since.get() => Totals {
                    allocated_bytes: now.allocated_bytes.wrapping_sub(self.since_allocated.load(Relaxed)),
                    freed_bytes: now.freed_bytes.wrapping_sub(self.since_freed.load(Relaxed)).wrapping_sub(others),
                },
                // Its sums are gone, or not its own: what it did meanwhile stays outside.
                _ => Totals::default(),
            };
            node.count(self.thread(), flow, entered);
        }
        self.has_since.set(now.is_some());
        if let Some(now) = now {
            self.since_allocated.store(now.allocated_bytes, Relaxed);
            self.since_freed.store(now.freed_bytes, Relaxed);
        }
    }
}

/// A guard that is not the innermost is dropped: notes where it would have gone back to.
#[cold]
fn leave_early(here: &Here, node: Option<&'static Node>, entry: u64, previous: Frame) {
    if let Some(node) = node {
        node.count(here.thread(), Totals::default(), 1);
    }
    // A thread at its very end has no list any more: then it goes back to a scope that was left, or has ended.
    let noted = LEFT_EARLY.try_with(|list| list.borrow_mut().push((entry, previous)));
    here.left_early.set(here.left_early.get() + usize::from(noted.is_ok()));
}

/// The first frame from this one outwards that was not left early.
#[cold]
fn still_entered(here: &Here, mut frame: Frame) -> Frame {
    // After its destructor the list is empty.
    let _ = LEFT_EARLY.try_with(|list| {
        let mut list = list.borrow_mut();
        while let Some(at) = list.iter().position(|&(entry, _)| entry == frame.entry) {
            frame = list.swap_remove(at).1;
        }
        here.left_early.set(list.len());
        if list.is_empty() {
            list.shrink_to_fit();
        }
    });
    frame
}
