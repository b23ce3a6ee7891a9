//! Bodies that cross the border of a scope.

use super::head::copy_headers;
use super::place::Place;
use crate::Held;
use bytes::{Buf, Bytes};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zmalloc::Scope;

/// The body of a request for a service in a scope: polled, and dropped, where the connection is, its chunks copied by
/// whoever polls.
///
/// It shares what is behind it with the layer, which reads what is left if it has to refuse the request.
#[derive(Debug)]
pub struct RequestBody<B> {
    shared: SharedBody<B>,
}

impl<B> RequestBody<B> {
    pub(super) fn new(shared: SharedBody<B>) -> RequestBody<B> {
        RequestBody { shared }
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let SharedBody { connection, body } = &self.shared;
        let frame = ready!(connection.run(|| lock(body).as_mut().poll_frame(context)));
        Poll::Ready(frame.map(|frame| frame.map(|frame| copy(frame, connection))))
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.shared.body).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.shared.body).size_hint()
    }
}

/// The body of a request as the connection made it.
#[derive(Debug)]
pub(super) struct SharedBody<B> {
    pub(super) connection: Place,
    /// `None` only while it is dropped.
    body: Option<Arc<Mutex<Pin<Box<B>>>>>,
}

impl<B> SharedBody<B> {
    /// Made where the connection is.
    pub(super) fn new(body: B) -> SharedBody<B> {
        SharedBody { connection: Place::current(), body: Some(Arc::new(Mutex::new(Box::pin(body)))) }
    }
}

impl<B: Body> SharedBody<B> {
    /// Reads it to its end, or until so many bytes more were read. By the connection.
    pub(super) fn poll_unread(&self, left: &mut usize, context: &mut Context<'_>) -> Poll<()> {
        let mut body = lock(&self.body);
        while *left > 0 && !body.is_end_stream() {
            match ready!(body.as_mut().poll_frame(context)) {
                Some(Ok(frame)) => *left = left.saturating_sub(frame.data_ref().map_or(0, Buf::remaining)),
                Some(Err(_)) | None => break,
            }
        }
        Poll::Ready(())
    }
}

impl<B> Clone for SharedBody<B> {
    fn clone(&self) -> SharedBody<B> {
        SharedBody { connection: self.connection.clone(), body: self.body.clone() }
    }
}

impl<B> Drop for SharedBody<B> {
    fn drop(&mut self) {
        let body = self.body.take();
        self.connection.run(|| drop(body));
    }
}

fn lock<B>(body: &Option<Arc<Mutex<Pin<Box<B>>>>>) -> MutexGuard<'_, Pin<Box<B>>> {
    let body = body.as_ref().expect("taken only when it is dropped");
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

fn copy<D: Buf>(frame: Frame<D>, connection: &Place) -> Frame<Bytes> {
    match frame.into_data() {
        Ok(mut data) => {
            let mut copy = Vec::with_capacity(data.remaining());
            while data.has_remaining() {
                let chunk = data.chunk();
                copy.extend_from_slice(chunk);
                data.advance(chunk.len());
            }
            connection.run(|| drop(data));
            Frame::data(copy.into())
        }
        Err(frame) => {
            let Ok(trailers) = frame.into_trailers() else { unreachable!("a frame is data or trailers") };
            let copy = copy_headers(&trailers);
            connection.run(|| drop(trailers));
            Frame::trailers(copy)
        }
    }
}

pin_project! {
    /// The body of a response: polled in the scope of its request, and dropped in it, as each of its chunks is.
    ///
    /// It ends with the error [`OverBudget`](zmalloc::scope::OverBudget) when the scope is over its hard limit, before a
    /// poll or after one that is pending; but one of a known length is left alone: it is made, and to send it frees it.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        // `None` for the body of a request that was refused, or is in no scope.
        scope: Option<Scope>,
        // `None` once it ended.
        #[pin]
        body: Option<B>,
    }

    impl<B> PinnedDrop for ResponseBody<B> {
        fn drop(this: Pin<&mut Self>) {
            this.end();
        }
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(scope: Option<Scope>, body: B) -> ResponseBody<B> {
        ResponseBody { scope, body: Some(body) }
    }

    fn end(self: Pin<&mut Self>) {
        let mut this = self.project();
        match this.scope {
            Some(scope) => scope.run(|| this.body.set(None)),
            None => this.body.set(None),
        }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>, Data: Send + 'static>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.as_mut().project();
        let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(None) };
        let Some(scope) = this.scope else {
            let frame = ready!(body.poll_frame(context));
            return Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(whole)).map_err(Into::into)));
        };
        let is_bounded = body.size_hint().exact().is_none();
        let mut look = if is_bounded { scope.check_limit_hard() } else { Ok(()) };
        if look.is_ok() {
            // In the scope as little as it takes: what holds a chunk, or an error, is allocated and freed outside.
            if let Poll::Ready(frame) = scope.run(|| body.poll_frame(context).map_ok(|frame| frame.map_data(whole))) {
                return Poll::Ready(frame.map(|frame| frame.map(|frame| held(frame, scope)).map_err(Into::into)));
            }
            look = if is_bounded { scope.check_limit_hard() } else { Ok(()) };
        }
        match look {
            Ok(()) => Poll::Pending,
            Err(error) => {
                self.end();
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::new, B::size_hint)
    }
}

/// Without a copy if it is `Bytes` already.
fn whole<D: Buf>(mut data: D) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

fn held(frame: Frame<Bytes>, scope: &Scope) -> Frame<Bytes> {
    match frame.into_data() {
        Ok(data) => Frame::data(Bytes::from_owner(Held::new(scope, data))),
        Err(frame) => {
            let Ok(trailers) = frame.into_trailers() else { unreachable!("a frame is data or trailers") };
            let copy = copy_headers(&trailers);
            scope.run(|| drop(trailers));
            Frame::trailers(copy)
        }
    }
}
