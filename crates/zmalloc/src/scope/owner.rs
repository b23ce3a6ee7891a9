//! Which scope a block's tag names, and the end of scopes that only their blocks keep.

use super::here;
use super::node::Node;
use crate::ledger;
use crate::owner::{self, TAG_MAX, Tag};
use core::sync::atomic::{AtomicPtr, Ordering};

/// The nodes that have a tag, by it; null for those not yet made.
static NODES: [AtomicPtr<Node>; 1 << Tag::BITS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 1 << Tag::BITS];

/// Scopes whose last block was given back, the latest first.
static DONE: AtomicPtr<Node> = AtomicPtr::new(core::ptr::null_mut());

/// The tag of the node of this index, or 0, nobody's, for those after the last tag.
pub(super) fn tag(index: usize) -> Tag {
    Tag::try_from(index + 1).ok().filter(|&tag| tag <= TAG_MAX).unwrap_or(0)
}

/// Makes a new node known by its tag.
pub(super) fn enlist(node: &'static Node) {
    owner::give_back_to(take_back);
    ledger::before_thread_end(here::end);
    let tag = tag(node.index);
    if tag != 0 {
        NODES[usize::from(tag)].store(core::ptr::from_ref(node).cast_mut(), Ordering::Release);
    }
}

fn take_back(tag: Tag, bytes: u64) {
    // SAFETY: null, or a node, which is never freed.
    let node = unsafe { NODES[usize::from(tag)].load(Ordering::Acquire).as_ref() };
    if let Some(node) = node
        && node.take_back(bytes)
    {
        push(node);
    }
}

fn push(node: &'static Node) {
    let mut first = DONE.load(Ordering::Relaxed);
    loop {
        node.next_done.store(first, Ordering::Relaxed);
        let mine = core::ptr::from_ref(node).cast_mut();
        match DONE.compare_exchange_weak(first, mine, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => first = now,
        }
    }
}

/// Takes one of the scopes whose last block was given back; only for the holder of the tree's lock, so that none comes
/// back while this one is looked at.
pub(super) fn pop() -> Option<&'static Node> {
    let mut first = DONE.load(Ordering::Acquire);
    loop {
        // SAFETY: null, or a node, which is never freed.
        let node = unsafe { first.as_ref() }?;
        let next = node.next_done.load(Ordering::Relaxed);
        match DONE.compare_exchange_weak(first, next, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => return Some(node),
            Err(now) => first = now,
        }
    }
}
