//! Requests of HTTP in scopes: with every block of the program counted, nothing is left on either side.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tower_layer::Layer;
use tower_service::Service;
use zmalloc::backend::Libc;
use zmalloc::scope::OverBudget;
use zmalloc::{Scope, Zmalloc};
use zmalloc_scopes::http::{HttpBudgetLayer, RequestBody};

#[global_allocator]
static HEAP: Zmalloc<Libc> = Zmalloc::new();

/// A body that gives each chunk in turn, pending before each.
struct Chunks {
    chunks: VecDeque<Frame<Bytes>>,
    waits: bool,
    is_sized: bool,
}

fn chunks(chunks: impl IntoIterator<Item = Frame<Bytes>>) -> Chunks {
    Chunks { chunks: chunks.into_iter().collect(), waits: true, is_sized: false }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if std::mem::take(&mut self.waits) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.waits = true;
        Poll::Ready(self.chunks.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.chunks.iter().filter_map(Frame::data_ref).map(Bytes::len).sum::<usize>() as u64;
        if self.is_sized { SizeHint::with_exact(bytes) } else { SizeHint::default() }
    }
}

/// A service that keeps the body's bytes until it answers, and answers with as many, in chunks of 100.
#[derive(Clone)]
struct Echo;

impl Service<Request<RequestBody<Chunks>>> for Echo {
    type Response = Response<Chunks>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Chunks>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<Chunks>>) -> Self::Future {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let mut body = pin!(body);
            let mut kept = Vec::new();
            while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
                match frame?.into_data() {
                    Ok(data) => kept.push(data),
                    Err(frame) => assert_eq!(frame.trailers_ref().unwrap()["x-sum"], "7"),
                }
            }
            if head.headers.contains_key("x-panic") {
                std::panic::resume_unwind(Box::new(()));
            }
            let whole = Bytes::from(kept.concat());
            let parts = whole.chunks(100).map(|part| Frame::data(whole.slice_ref(part)));
            let mut body = chunks(parts.collect::<Vec<_>>());
            body.chunks.push_back(Frame::trailers(trailers()));
            let response = Response::builder().header("x-path", head.uri.path()).header("x-of-ours", "a value");
            Ok(response.body(body).expect("valid"))
        })
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_bytes(b"7").unwrap())])
}

/// A request as a connection makes it: all of slices of one buffer.
fn request(bytes: usize) -> Request<Chunks> {
    let buffer = Bytes::from(format!("/tenants/a?b=c token-of-some-length {}", "x".repeat(bytes)).into_bytes());
    let mut request = Request::new(chunks([
        Frame::data(buffer.slice(36..36 + bytes / 2)),
        Frame::data(buffer.slice(36 + bytes / 2..)),
        Frame::trailers(trailers()),
    ]));
    *request.method_mut() = Method::PUT;
    *request.uri_mut() = Uri::from_maybe_shared(buffer.slice(..14)).unwrap();
    let value = HeaderValue::from_maybe_shared(buffer.slice(15..35)).unwrap();
    request.headers_mut().insert("authorization-of-ours", value);
    request
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Polls to the end.
fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context()) {
            return output;
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Reads a body as a connection does, which holds each chunk until the next was read.
fn read<B: Body<Data = Bytes, Error = Error>>(body: B) -> Result<Vec<u8>, Error> {
    let mut body = pin!(body);
    let (mut whole, mut previous) = (Vec::new(), None);
    finish(std::future::poll_fn(|context| {
        loop {
            match std::task::ready!(body.as_mut().poll_frame(context)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                Some(Ok(frame)) => {
                    whole.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                    previous = Some(frame);
                }
            }
        }
    }))?;
    drop(previous);
    Ok(whole)
}

fn service(
    scope: &Scope,
) -> impl Service<
    Request<Chunks>,
    Response = Response<impl Body<Data = Bytes, Error = Error> + use<>>,
    Error = Infallible,
    Future: Send,
> + use<> {
    let scope = scope.clone();
    let refuse = |over: OverBudget| {
        let answer = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE);
        answer.body(chunks([Frame::data(over.to_string().into())])).expect("valid")
    };
    HttpBudgetLayer::new(move |_: &Request<Chunks>| Some(scope.clone()), refuse).layer(Echo)
}

/// In a scope of its own, which is left with nothing.
fn as_connection(section: impl FnOnce()) {
    let connection = Scope::new("connection");
    connection.run(section);
    let figures = connection.figures();
    assert!(figures.own.allocated_bytes > 0);
    assert_eq!(figures.own.live_bytes, 0, "the connection's");
}

#[test]
fn nothing_is_left_of_a_request_on_either_side() {
    let tenant = Scope::new("tenant");
    as_connection(|| {
        let mut service = service(&tenant);
        for bytes in [0, 1, 1000, 100_000] {
            let response = finish(service.call(request(bytes))).unwrap();
            assert_eq!(response.headers()["x-path"], "/tenants/a");
            let whole = read(response.into_body()).unwrap();
            assert_eq!(whole.len(), bytes);
            assert!(whole.iter().all(|byte| *byte == b'x'));
        }
    });
    let own = tenant.figures().own;
    assert_eq!(own.live_bytes, 0, "the tenant's");
    assert!(own.peak_live_bytes > 100_000 && own.peak_live_bytes < 500_000, "{own:?}");
}

#[test]
fn nothing_is_left_when_it_is_cancelled_at_any_poll() {
    let tenant = Scope::new("tenant");
    as_connection(|| {
        let mut service = service(&tenant);
        for polls in 0..5 {
            let mut future = Box::pin(service.call(request(1000)));
            for _ in 0..polls {
                let poll = future.as_mut().poll(&mut context());
                let Poll::Ready(Ok(response)) = poll else { continue };
                let mut body = Box::pin(response.into_body());
                for _ in 0..polls {
                    let _ = body.as_mut().poll_frame(&mut context());
                }
                break;
            }
        }
    });
    assert_eq!(tenant.live_bytes(), 0);
}

#[test]
fn a_panic_leaves_nothing_but_itself() {
    let (tenant, connection) = (Scope::new("tenant"), Scope::new("connection"));
    connection.run(|| {
        let mut panicking = request(1000);
        panicking.headers_mut().insert("x-panic", HeaderValue::from_static("yes"));
        let mut future = Box::pin(service(&tenant).call(panicking));
        let all = std::panic::AssertUnwindSafe(|| finish(future.as_mut()).is_ok());
        assert!(std::panic::catch_unwind(all).is_err());
    });
    // What carries the panic is allocated where that starts, and freed where it is caught.
    let carrier = tenant.live_bytes();
    assert!((0..200).contains(&carrier), "{carrier}");
    assert_eq!(connection.live_bytes(), -carrier);
}

#[test]
fn what_is_refused_is_read_and_leaves_nothing() {
    let tenant = Scope::new("tenant");
    tenant.set_limit_bytes_hard(Some(100_000));
    as_connection(|| {
        let mut service = service(&tenant);
        // While it runs: over with the first chunk, and read on, so that it is pending before the last as well.
        let mut over = pin!(service.call(request(300_000)));
        let polls = std::iter::repeat_with(|| over.as_mut().poll(&mut context())).take_while(Poll::is_pending).count();
        assert_eq!(polls, 2);
        let response = finish(service.call(request(300_000))).unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let why = String::from_utf8(read(response.into_body()).unwrap()).unwrap();
        assert!(why.starts_with("scope tenant is over its budget: "), "{why}");
        assert_eq!(tenant.live_bytes(), 0);
        // Before it starts.
        let kept = tenant.run(|| vec![0_u8; 100_000]);
        let entered = tenant.figures().own.entered;
        let mut future = pin!(service.call(request(1000)));
        let mut polls = 1;
        let response = loop {
            match future.as_mut().poll(&mut context()) {
                Poll::Ready(response) => break response.unwrap(),
                Poll::Pending => polls += 1,
            }
        };
        assert_eq!((response.status(), polls), (StatusCode::SERVICE_UNAVAILABLE, 4), "after three chunks");
        assert_eq!(tenant.figures().own.entered, entered, "the scope has no part in it");
        drop(read(response.into_body()).unwrap());
        tenant.run(|| drop(kept));
        assert_eq!(finish(service.call(request(1000))).unwrap().status(), StatusCode::OK);
    });
    assert_eq!(tenant.live_bytes(), 0);
}

#[test]
fn a_body_that_is_made_while_it_is_sent_ends_over_the_limit() {
    let tenant = Scope::new("tenant");
    as_connection(|| {
        let mut service = service(&tenant);
        let response = finish(service.call(request(1000))).unwrap();
        let mut body = Box::pin(response.into_body());
        assert!(body.as_mut().poll_frame(&mut context()).is_pending());
        tenant.set_limit_bytes_hard(Some(0));
        let Poll::Ready(Some(Err(error))) = body.as_mut().poll_frame(&mut context()) else { panic!("over its limit") };
        assert!(error.downcast_ref::<OverBudget>().is_some(), "{error}");
        assert_eq!(tenant.live_bytes(), 0, "all that it held");
        assert!(matches!(body.as_mut().poll_frame(&mut context()), Poll::Ready(None)));
    });
    let made = tenant.clone();
    tenant.set_limit_bytes_hard(None);
    let sized = HttpBudgetLayer::new(move |_: &Request<String>| Some(made.clone()), |_: OverBudget| unreachable!());
    let mut service = sized.layer(Sized);
    let mut response = finish(service.call(Request::new(String::new()))).unwrap().map(Box::pin);
    tenant.set_limit_bytes_hard(Some(0));
    assert!(response.body_mut().as_mut().poll_frame(&mut context()).is_pending(), "it is made, and is sent");
    assert_eq!(read(response.into_body()).unwrap().len(), 1000);
    assert_eq!(tenant.live_bytes(), 0);
}

/// Answers with a body of known length.
struct Sized;

impl Service<Request<RequestBody<String>>> for Sized {
    type Response = Response<Chunks>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Chunks>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<RequestBody<String>>) -> Self::Future {
        let body = Chunks { is_sized: true, ..chunks([Frame::data(vec![0; 1000].into())]) };
        std::future::ready(Ok(Response::new(body)))
    }
}

/// Answers with the request's body, which so outlives the request.
struct Mirror;

impl Service<Request<RequestBody<Chunks>>> for Mirror {
    type Response = Response<RequestBody<Chunks>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<RequestBody<Chunks>>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<Chunks>>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_body())))
    }
}

#[test]
fn a_requests_body_that_outlives_it_goes_back_to_the_connection() {
    let tenant = Scope::new("tenant");
    as_connection(|| {
        let scope = tenant.clone();
        let layer =
            HttpBudgetLayer::new(move |_: &Request<Chunks>| Some(scope.clone()), |_: OverBudget| unreachable!());
        let mut service = layer.layer(Mirror);
        let whole = finish(service.call(request(1000))).unwrap();
        assert_eq!(read(whole.into_body()).unwrap().len(), 1000);
        drop(finish(service.call(request(1000))).unwrap());
    });
    assert_eq!(tenant.live_bytes(), 0);
}
