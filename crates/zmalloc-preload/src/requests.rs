//! What `zm` asks of this process while it runs, in its segment: done by whichever thread comes to use up what it was given of
//! the ledger, so after at most some tens of KiB that a thread allocates.

use crate::errno::KeepErrno;
use crate::{at_limit, beneath, session};
use core::sync::atomic::{AtomicU32, Ordering};

/// Looks whether something is asked, and does it: then true. Where the ledger's lock is not held, and nothing of the allocator
/// beneath.
#[inline]
pub(crate) fn look() -> bool {
    session::segment().is_some_and(|segment| segment.request().is_asked()) && serve()
}

#[cold]
fn serve() -> bool {
    /// The process that is at it: not one that was forked meanwhile.
    static SERVING: AtomicU32 = AtomicU32::new(0);
    let Some(segment) = session::of_this_process() else { return false };
    // Another thread; or this one, which allocates meanwhile.
    if SERVING.swap(session::pid(), Ordering::Acquire) == session::pid() {
        return false;
    }
    let _errno = KeepErrno::new();
    segment.request().serve(|request| {
        if let Some(limit) = request.limit {
            at_limit::set(limit.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)));
        }
        !request.purge || beneath::purge()
    });
    SERVING.store(0, Ordering::Release);
    true
}
