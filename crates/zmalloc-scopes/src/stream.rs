//! Streams in a scope.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use futures_core::Stream;
use pin_project_lite::pin_project;
use zmalloc::Scope;
use zmalloc::scope::OverBudget;

/// Puts streams into a scope, written after them.
///
/// ```
/// use futures_core::Stream;
/// use zmalloc::Scope;
/// use zmalloc::scope::OverBudget;
/// use zmalloc_scopes::StreamScopeExt;
///
/// fn rows(tenant: &Scope, rows: impl Stream<Item = String>) -> impl Stream<Item = Result<String, OverBudget>> {
///     rows.in_budget(tenant)
/// }
/// ```
pub trait StreamScopeExt: Stream + Sized {
    /// The stream, in the scope whenever it is polled and when it is dropped.
    fn in_scope(self, scope: &Scope) -> ScopedStream<Self> {
        ScopedStream { scope: scope.clone(), stream: Some(self) }
    }

    /// The same, which ends with an error when the scope is over its hard limit.
    fn in_budget(self, scope: &Scope) -> BudgetedStream<Self> {
        BudgetedStream { scoped: self.in_scope(scope) }
    }
}

impl<S: Stream> StreamScopeExt for S {}

pin_project! {
    /// A stream that is in a scope whenever it is polled, and when it is dropped.
    ///
    /// It is dropped, in the scope, as soon as it ended, and goes on to be at its end if it is polled again. Its items
    /// are their taker's: dropped elsewhere they are freed elsewhere, unless they are [`Held`](crate::Held).
    ///
    /// Cost: to enter and leave a scope for each poll.
    #[must_use = "a stream does nothing unless it is polled"]
    #[derive(Debug)]
    pub struct ScopedStream<S> {
        scope: Scope,
        // `None` once it ended.
        #[pin]
        stream: Option<S>,
    }

    impl<S> PinnedDrop for ScopedStream<S> {
        fn drop(this: Pin<&mut Self>) {
            this.end();
        }
    }
}

impl<S> ScopedStream<S> {
    /// The scope it is in.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Drops the stream, in its scope, unless that was done.
    fn end(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.stream.is_some() {
            this.scope.run(|| this.stream.set(None));
        }
    }
}

impl<S: Stream> Stream for ScopedStream<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        let Some(stream) = this.stream.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let _guard = this.scope.enter();
        let item = ready!(stream.poll_next(context));
        if item.is_none() {
            this.stream.set(None);
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.as_ref().map_or((0, Some(0)), S::size_hint)
    }
}

pin_project! {
    /// A stream in a scope, as [`ScopedStream`], that ends when the scope's live bytes, children included, are above its
    /// hard limit: with an error as its last item.
    ///
    /// It looks before each poll, and after one that is pending. An item that is ready is not taken away: the error comes
    /// after it, unless the taker released enough meanwhile. What the stream held is dropped before the error is given
    /// out, and credited in the scope. A stream that nobody polls does not end.
    ///
    /// Cost: that of a scope, and a few loads for each poll; no lock unless it ends.
    #[must_use = "a stream does nothing unless it is polled"]
    #[derive(Debug)]
    pub struct BudgetedStream<S> {
        #[pin]
        scoped: ScopedStream<S>,
    }
}

impl<S> BudgetedStream<S> {
    /// The scope it is in.
    pub fn scope(&self) -> &Scope {
        self.scoped.scope()
    }
}

impl<S: Stream> Stream for BudgetedStream<S> {
    type Item = Result<S::Item, OverBudget>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut scoped = self.project().scoped;
        if scoped.stream.is_none() {
            return Poll::Ready(None);
        }
        let mut look = scoped.scope().check_limit_hard();
        if look.is_ok() {
            if let Poll::Ready(item) = scoped.as_mut().poll_next(context) {
                return Poll::Ready(item.map(Ok));
            }
            look = scoped.scope().check_limit_hard();
        }
        match look {
            Ok(()) => Poll::Pending,
            Err(error) => {
                scoped.end();
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // It may end at any poll, and then with one item more.
        (0, self.scoped.size_hint().1.and_then(|most| most.checked_add(usize::from(self.scoped.stream.is_some()))))
    }
}
