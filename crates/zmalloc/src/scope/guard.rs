//! A scope entered on a thread.

use super::here::{self, Frame};
use super::node::Node;
use super::{Scope, tree};
use core::marker::PhantomData;

/// The scope is entered on this thread until this is dropped; see [`Scope::enter`]. Stays on its thread:
///
/// ```compile_fail
/// let scope = zmalloc::Scope::new("scope");
/// let guard = scope.enter();
/// std::thread::scope(|threads| threads.spawn(move || drop(guard)).join().unwrap());
/// ```
#[must_use = "the scope is left when the guard is dropped"]
pub struct Guard<'scope> {
    node: &'static Node,
    /// Which entry of the thread's this is.
    entry: u64,
    /// Where the thread was before.
    previous: Frame,
    /// While a handle lives, the node is this scope's.
    scope: PhantomData<&'scope Scope>,
    not_send: PhantomData<*const ()>,
}

impl<'scope> Guard<'scope> {
    #[inline]
    pub(super) fn new(scope: &'scope Scope) -> Guard<'scope> {
        let (entry, previous) = here::enter(scope.node);
        Guard { node: scope.node, entry, previous, scope: PhantomData, not_send: PhantomData }
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        here::leave(Some(self.node), self.entry, self.previous);
    }
}

/// As [`Guard`], with the handle of the scope in it; see [`Scope::entered`].
#[must_use = "the scope is left when the guard is dropped"]
pub struct Entered {
    scope: Scope,
    entry: u64,
    previous: Frame,
    not_send: PhantomData<*const ()>,
}

impl Entered {
    #[inline]
    pub(super) fn new(scope: Scope) -> Entered {
        let (entry, previous) = here::enter(scope.node);
        Entered { scope, entry, previous, not_send: PhantomData }
    }

    /// The scope.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        here::leave(Some(self.scope.node), self.entry, self.previous);
    }
}

impl core::fmt::Debug for Entered {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Entered({})", self.scope.path())
    }
}

impl core::fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Guard({})", tree::path(self.node))
    }
}
