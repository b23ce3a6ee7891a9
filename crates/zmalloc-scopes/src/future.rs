//! Futures in a scope, written after them.

use zmalloc::Scope;
use zmalloc::scope::{Budgeted, Scoped};

/// [`Scope::scoped`] and [`Scope::budgeted`] at the end of a chain.
///
/// ```
/// use zmalloc::Scope;
/// use zmalloc_scopes::FutureScopeExt;
///
/// async fn answer(tenant: &Scope) -> String {
///     async { "answer".to_owned() }.in_scope(tenant).await
/// }
/// ```
pub trait FutureScopeExt: Future + Sized {
    /// The future, in the scope whenever it is polled and when it is dropped.
    fn in_scope(self, scope: &Scope) -> Scoped<Self> {
        scope.scoped(self)
    }

    /// The same, which ends with an error when the scope is over its hard limit after a poll.
    fn in_budget(self, scope: &Scope) -> Budgeted<Self> {
        scope.budgeted(self)
    }
}

impl<F: Future> FutureScopeExt for F {}
