//! Whose each block is: a tag per block, for scopes by owner.
//!
//! The flow of bytes on each thread is known already, and what is allocated belongs where it is allocated. So only one thing
//! has to be told apart: a block that is freed where another tag is in force. Its bytes are taken from the flow there,
//! and given back to whom the tag names. All other operations set or compare a tag and count nothing.

mod tags;

pub(crate) use tags::{TAG_MAX, Tag};

use core::cell::Cell;
use core::sync::atomic::{AtomicPtr, Ordering};
use tags::TAGS;

struct Here {
    /// What new blocks of this thread are tagged with.
    tag: Cell<Tag>,
    /// Bytes that the thread freed while another tag than theirs was in force, since it was last asked.
    others: Cell<u64>,
}

std::thread_local! {
    /// Without a destructor, so that it is there in those of others.
    static HERE: Here = const { Here { tag: Cell::new(0), others: Cell::new(0) } };
}

/// From now on the calling thread's blocks have this tag.
#[inline(always)]
pub(crate) fn enter(tag: Tag) {
    HERE.with(|here| here.tag.set(tag));
}

/// The bytes of others' blocks that the calling thread freed since it was last asked.
#[inline(always)]
pub(crate) fn take_others() -> u64 {
    HERE.with(|here| {
        let others = here.others.get();
        if others != 0 {
            // What a signal handler adds meanwhile stays.
            here.others.set(here.others.get().wrapping_sub(others));
        }
        others
    })
}

/// Tags a new block, or null, as the calling thread's.
#[inline(always)]
pub(crate) fn claim(block: *const u8) {
    TAGS.set(block.addr(), HERE.with(|here| here.tag.get()));
}

/// Whose a block is, if that is another than whom the thread's blocks belong to now.
#[inline(always)]
pub(crate) fn other_owner(block: *const u8) -> Option<Tag> {
    let tag = TAGS.get(block.addr());
    (tag != HERE.with(|here| here.tag.get())).then_some(tag)
}

/// Counts bytes that the calling thread frees and another owns.
pub(crate) fn give_back(owner: Tag, bytes: usize) {
    HERE.with(|here| here.others.set(here.others.get().wrapping_add(bytes as u64)));
    let taker = TAKER.load(Ordering::Acquire);
    if owner != 0 && !taker.is_null() {
        // SAFETY: only `give_back_to` stores here, and only a `Taker`.
        let taker = unsafe { core::mem::transmute::<*mut (), Taker>(taker) };
        taker(owner, bytes as u64);
    }
}

/// Whether any block was ever tagged.
pub(crate) fn is_used() -> bool {
    TAGS.any()
}

/// Who is told of bytes given back to a tag. Called in the midst of a free: neither allocates, waits nor unwinds.
pub(crate) type Taker = fn(owner: Tag, bytes: u64);

static TAKER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Before the first tag is given out.
pub(crate) fn give_back_to(taker: Taker) {
    TAKER.store(taker as *mut (), Ordering::Release);
}
