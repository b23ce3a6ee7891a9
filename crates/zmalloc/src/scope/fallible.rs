//! Sections whose allocations a scope may refuse.

use super::{here, settle};
use crate::ledger;

/// Runs a section in which an allocation is refused that would take a scope, which the calling thread is in, above its hard
/// limit. Everywhere else scopes refuse nothing, as what is refused to most of Rust's collections aborts the process.
///
/// So it is for `try_reserve`, and what else answers refusals with an error:
///
/// ```
/// use zmalloc::{Scope, Zmalloc, scope};
///
/// #[global_allocator]
/// static HEAP: Zmalloc = Zmalloc::new();
///
/// let tenant = Scope::new("tenant-42");
/// tenant.set_limit_bytes_hard(Some(1 << 20));
/// tenant.run(|| {
///     let mut list: Vec<u8> = Vec::new();
///     assert!(scope::fallible(|| list.try_reserve(2 << 20)).is_err());
///     assert!(scope::fallible(|| list.try_reserve(100_000)).is_ok());
/// });
/// ```
///
/// Exact for the flow of this thread; what other threads do in the scope is known as they enter and leave scopes.
///
/// Cost: within the section each allocation settles the scope, about 20 ns.
pub fn fallible<R>(section: impl FnOnce() -> R) -> R {
    /// Sets back how it was, also after a panic.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            set_fallible(self.0);
        }
    }
    let _restore = Restore(set_fallible(true));
    section()
}

/// Whether the calling thread is in such a section from now on, for who has no closure to hand over, like another language.
/// Answers whether it was, which is to be set again after.
pub fn set_fallible(fallible: bool) -> bool {
    ledger::ask_always(fallible)
}

/// Whether so many bytes more take no scope of the calling thread above its hard limit.
#[cold]
pub(crate) fn admits_here(bytes: usize) -> bool {
    settle();
    let mut next = here::current().and_then(|(node, serial)| (node.serial() == serial).then_some(node));
    while let Some(node) = next {
        let after = i128::from(node.live_total()) + bytes as i128;
        if node.limit_hard().get().is_some_and(|limit| after > i128::from(limit)) {
            return false;
        }
        next = node.parent();
    }
    true
}
