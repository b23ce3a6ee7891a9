//! Fork: a child counts on in a segment of its own, from what its parent held.
//!
//! The parent's segment is shared memory, and goes on changing while the child starts. So the parent copies what is in
//! use of it, tens of KiB, right before the fork, and the child begins with that copy, which the fork made its own.

use crate::errno::KeepErrno;
use crate::{mapped, session, tree};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use zmalloc::ledger::Segment;

/// The copy: private memory of a segment's size, of which only what is in use was ever touched.
static COPY: AtomicPtr<Segment> = AtomicPtr::new(null_mut());

/// Has the C library tell us of every fork. Before anyone else, so that in the child ours comes first.
pub(crate) fn watch() {
    // SAFETY: the handlers follow their C signature and never unwind.
    unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
}

pub(crate) extern "C" fn before() {
    let _errno = KeepErrno::new();
    mapped::lock();
    tree::before_fork();
    let Some(segment) = session::segment().filter(|_| session::is_shared()) else { return };
    let mut copy = COPY.load(Ordering::Relaxed);
    if copy.is_null() {
        copy = session::map(-1);
        COPY.store(copy, Ordering::Relaxed);
    }
    if !copy.is_null() {
        // SAFETY: both are mappings of a segment's size, and the copy is used by whoever forks alone: the C library
        // runs the handlers of one fork at a time.
        unsafe {
            let segment: *const Segment = segment;
            copy.cast::<u8>().copy_from_nonoverlapping(segment.cast(), (*segment).bytes_used());
        }
    }
}

pub(crate) extern "C" fn after_in_parent() {
    mapped::unlock();
}

pub(crate) extern "C" fn after_in_child() {
    let _errno = KeepErrno::new();
    mapped::unlock();
    crate::at_limit::after_fork_in_child();
    let Some(segment) = session::segment() else { return tree::after_fork_in_child() };
    let was_shared = session::is_shared();
    let copy = COPY.load(Ordering::Relaxed);
    // SAFETY: the copy is a mapping like the segment. A fork without memory for it makes do with the parent's.
    let parent = unsafe { if was_shared { copy.as_ref().unwrap_or(segment) } else { segment } };
    let (pid, started_ns) = (session::pid(), session::now_ns());
    let fresh = fresh(parent, pid, started_ns);
    if !fresh.is_null() && replace(segment, fresh) {
        session::set_shared(true);
    } else if !fresh.is_null() || was_shared {
        make_private(segment, if fresh.is_null() { copy } else { fresh });
        // SAFETY: made above, and not in the segment's place.
        unsafe { session::unmap(fresh) };
    } else {
        segment.inherit();
    }
    session::publish(segment, pid, started_ns);
    tree::after_fork_in_child();
}

/// A file of the child's own that holds what the parent held, or null.
fn fresh(parent: &Segment, pid: u32, started_ns: u64) -> *mut Segment {
    let fresh = session::create(pid, started_ns, parent.bytes_used());
    if !fresh.is_null() {
        // SAFETY: 1. made above, with memory for that much, and nobody else knows it. 2. Another mapping.
        unsafe { (*fresh).inherit_from(parent) };
    }
    fresh
}

/// Never again into the parent's: private memory takes the segment's place, with what was `held` at the fork.
///
/// Mapped anew, as the kernel may have given the place up when it failed to move something there.
fn make_private(segment: &Segment, held: *const Segment) {
    let made = if held.is_null() { session::map(-1) } else { null_mut() };
    if !made.is_null() {
        // SAFETY: 1. mapped above, and nobody else knows it. 2. Another mapping.
        unsafe { (*made).inherit_from(segment) };
    }
    let held = if held.is_null() { made } else { held };
    if held.is_null() || !session::map_private_at(segment) {
        // SAFETY: no conditions. There is no memory for a page table, and counting on would corrupt the parent's.
        unsafe { libc::abort() };
    }
    session::set_shared(false);
    // SAFETY: 1. mapped above, and nobody else runs. 2. Another mapping. What was made here is used no more.
    unsafe {
        segment.inherit_from(&*held);
        session::unmap(made);
    }
}

/// Moves the memory of `with` to the address of `segment`, which every thread's pointer into it keeps. If that fails,
/// which a sandbox may see to, there may be nothing at the address any more.
fn replace(segment: &Segment, with: *mut Segment) -> bool {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let place: *const Segment = segment;
    // SAFETY: two mappings of this size; nobody else runs in the child, and what is behind the address stays a segment.
    unsafe { libc::syscall(libc::SYS_mremap, with, Segment::BYTES, Segment::BYTES, flags, place) != -1 }
}
