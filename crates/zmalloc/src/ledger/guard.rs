//! The way to the pool's lock.

use super::fork;
use super::pool::Pool;

/// Runs a section that takes the pool's lock, or `None` on a thread that holds it already: in a signal handler that
/// interrupted it, which must not wait for itself.
pub(crate) fn with_pool<R>(section: impl FnOnce(&'static Pool) -> R) -> Option<R> {
    fork::watch();
    let pool = super::pool();
    (!pool.is_locked_here()).then(|| section(pool))
}
