//! A future that ends when its scope is over its hard limit.

use super::over_budget::OverBudget;
use super::{Scope, Scoped};
use core::pin::Pin;
use core::task::{Context, Poll};

/// A future in a scope, as [`Scoped`], that ends with [`OverBudget`] if the scope's live bytes, children included, are
/// above its hard limit after a poll, or those of a scope around it above theirs; see [`Scope::budgeted`].
///
/// What the future held is dropped before the error is given out, and credited in the scope. Other futures go on; those of
/// the same scope that are polled while it is over its limit end too. A future that is ready at that poll is not
/// taken away: it gives what it made.
///
/// Between polls nothing is refused: a future is over its limit by at most what it takes in one poll.
///
/// Cost: that of a scope, and a few loads for each poll; no lock unless it ends.
///
/// # Panics
/// If it is polled after it was ready.
///
/// ```
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
/// use zmalloc::{Scope, Zmalloc, backend::Libc};
///
/// #[global_allocator]
/// static HEAP: Zmalloc<Libc> = Zmalloc::new();
///
/// let tenant = Scope::new("tenant-42");
/// tenant.set_limit_bytes_hard(Some(1 << 20));
/// let mut request = pin!(tenant.budgeted(async {
///     let flood = vec![0u8; 2 << 20];
///     std::future::pending::<()>().await;
///     drop(flood);
/// }));
/// let Poll::Ready(Err(error)) = request.as_mut().poll(&mut Context::from_waker(Waker::noop())) else { panic!() };
/// assert_eq!((error.path.as_str(), error.limit_bytes), ("tenant-42", 1 << 20));
/// assert!(error.live_bytes >= 2 << 20);
/// assert_eq!(tenant.live_bytes(), 0, "what it held is freed");
/// ```
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct Budgeted<F>(Scoped<F>);

impl<F> Budgeted<F> {
    pub(super) fn new(scoped: Scoped<F>) -> Budgeted<F> {
        Budgeted(scoped)
    }

    /// The scope it is in.
    pub fn scope(&self) -> &Scope {
        self.0.scope()
    }
}

impl<F: Future> Future for Budgeted<F> {
    type Output = Result<F::Output, OverBudget>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the only field, pinned with the whole: there is no `Drop`, nothing moves it, and the type is `Unpin`
        // only if it is.
        let mut scoped = unsafe { self.map_unchecked_mut(|this| &mut this.0) };
        if let Poll::Ready(output) = scoped.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        // Here the thread has left the scope, so the poll is counted; and the error's own bytes are not the scope's.
        match OverBudget::of(scoped.scope()) {
            None => Poll::Pending,
            Some(error) => {
                scoped.end();
                Poll::Ready(Err(error))
            }
        }
    }
}
