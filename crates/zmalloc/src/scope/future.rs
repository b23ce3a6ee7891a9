//! A future in a scope.

use super::Scope;
use core::pin::Pin;
use core::task::{Context, Poll};

/// A future that is in a scope whenever it is polled, and when it is dropped; see [`Scope::scoped`].
///
/// It is dropped, in the scope, as soon as it is ready.
///
/// # Panics
/// If it is polled after it was ready.
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct Scoped<F> {
    scope: Scope,
    /// Pinned with the whole, and dropped in place; `None` once it was ready.
    future: Option<F>,
}

impl<F> Scoped<F> {
    pub(super) fn new(scope: Scope, future: F) -> Scoped<F> {
        Scoped { scope, future: Some(future) }
    }

    /// The scope it is in.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Drops the future, in its scope, unless that was done.
    pub(super) fn end(self: Pin<&mut Self>) {
        let (scope, mut future) = self.project();
        scope.run(|| future.set(None));
    }

    fn project(self: Pin<&mut Self>) -> (&Scope, Pin<&mut Option<F>>) {
        // SAFETY: `future` is the one field that is pinned. Nothing moves out of it: `Drop` drops it in place as well;
        // and the type is `Unpin` only if it is.
        unsafe {
            let this = self.get_unchecked_mut();
            (&this.scope, Pin::new_unchecked(&mut this.future))
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let (scope, mut future) = self.project();
        let _guard = scope.enter();
        let poll = future.as_mut().as_pin_mut().expect("a future that was ready is not polled again").poll(context);
        if poll.is_ready() {
            future.set(None);
        }
        poll
    }
}

impl<F> Drop for Scoped<F> {
    fn drop(&mut self) {
        if self.future.is_some() {
            // SAFETY: it was pinned, if ever, where it is, and is not used after.
            unsafe { Pin::new_unchecked(self) }.end();
        }
    }
}
