//! The way to the pool's lock.

use super::fork;
use super::local::local;
use super::pool::Pool;

/// Runs a section that takes the pool's lock, or `None` on a thread that is inside one already: in a signal handler
/// that interrupted it, which must not wait for itself.
pub(crate) fn with_pool<R>(section: impl FnOnce(&'static Pool) -> R) -> Option<R> {
    fork::watch();
    let local = local();
    if local.busy.replace(true) {
        return None;
    }
    let result = section(super::pool());
    local.busy.set(false);
    Some(result)
}
