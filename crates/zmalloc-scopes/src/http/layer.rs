//! The layer.

use super::body::{RequestBody, ResponseBody, SharedBody};
use super::head::{copy_request, copy_response};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use zmalloc::Scope;
use zmalloc::scope::{Budgeted, OverBudget};

/// Runs each request in the scope that a function gives it, and answers by another function when that is over its hard
/// limit: before the service sees the request, or at the end of a poll. See the [module](super).
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use tower_layer::Layer;
/// use zmalloc::Scope;
/// use zmalloc::scope::OverBudget;
/// use zmalloc_scopes::http::HttpBudgetLayer;
///
/// # let service = ();
/// let uploads = Scope::new("uploads");
/// uploads.set_limit_bytes_hard(Some(64 << 20));
/// let select = move |request: &Request<()>| (request.method() == "PUT").then(|| uploads.clone());
/// let refuse = |over: OverBudget| {
///     Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(over.to_string()).expect("valid")
/// };
/// let service = HttpBudgetLayer::new(select, refuse).layer(service);
/// ```
///
/// Both functions run outside of the scope. Requests that release what a scope holds have to be let through: with `None`,
/// and the scope entered where they work.
///
/// What is left of the body of a request that is refused is read first, and dropped, up to 1 MiB: to answer before would
/// make many clients see a broken connection in place of the answer. That takes as long as the client takes to send it:
/// where that matters, a timeout belongs around the layer.
///
/// Cost: that of a scope for each poll; for a request, two allocations, a copy of each head, and of the body that the
/// service reads.
#[derive(Clone, Copy, Debug)]
pub struct HttpBudgetLayer<Select, Refuse> {
    select: Select,
    refuse: Refuse,
}

impl<Select, Refuse> HttpBudgetLayer<Select, Refuse> {
    /// With the function that gives requests their scopes, `Fn(&Request<B>) -> Option<Scope>`, and the one that answers
    /// for those over their limit, `Fn(OverBudget) -> Response<R>`.
    pub const fn new(select: Select, refuse: Refuse) -> Self {
        HttpBudgetLayer { select, refuse }
    }
}

impl<S, Select: Clone, Refuse: Clone> Layer<S> for HttpBudgetLayer<Select, Refuse> {
    type Service = HttpBudgetService<S, Select, Refuse>;

    fn layer(&self, inner: S) -> Self::Service {
        HttpBudgetService { inner, select: self.select.clone(), refuse: self.refuse.clone() }
    }
}

/// The service of [`HttpBudgetLayer`].
#[derive(Clone, Copy, Debug)]
pub struct HttpBudgetService<S, Select, Refuse> {
    inner: S,
    select: Select,
    refuse: Refuse,
}

impl<S, Select, Refuse, B, R> Service<Request<B>> for HttpBudgetService<S, Select, Refuse>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    Select: Fn(&Request<B>) -> Option<Scope>,
    Refuse: Fn(OverBudget) -> Response<R> + Clone,
    B: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = HttpBudgetResponse<S::Future, Refuse, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let scope = (self.select)(&request);
        let (mut head, body) = request.into_parts();
        let body = SharedBody::new(body);
        let state = match scope {
            None => State::Plain { future: self.inner.call(Request::from_parts(head, RequestBody::new(body))) },
            Some(scope) => match scope.check_limit_hard() {
                Err(error) => State::Refused { error: Some(error), body: Some(body), left: UNREAD_BYTES },
                Ok(()) => {
                    let future = scope.run(|| {
                        let head = copy_request(&mut head);
                        self.inner.call(Request::from_parts(head, RequestBody::new(body.clone())))
                    });
                    State::Budgeted { future: scope.budgeted(future), body: Some(body) }
                }
            },
        };
        HttpBudgetResponse { state, refuse: self.refuse.clone() }
    }
}

/// As much is read of the body of a request that is refused.
const UNREAD_BYTES: usize = 1 << 20;

pin_project! {
    /// The future of [`HttpBudgetService`].
    ///
    /// # Panics
    /// If it is polled after it was ready.
    #[must_use = "a future does nothing unless it is polled"]
    #[derive(Debug)]
    pub struct HttpBudgetResponse<F, Refuse, B> {
        #[pin]
        state: State<F, B>,
        refuse: Refuse,
    }
}

pin_project! {
    #[project = StateProjection]
    #[derive(Debug)]
    enum State<F, B> {
        Plain { #[pin] future: F },
        Budgeted { #[pin] future: Budgeted<F>, body: Option<SharedBody<B>> },
        Refused { error: Option<OverBudget>, body: Option<SharedBody<B>>, left: usize },
    }
}

impl<F, Refuse, B, R, E> Future for HttpBudgetResponse<F, Refuse, B>
where
    F: Future<Output = Result<Response<R>, E>>,
    Refuse: Fn(OverBudget) -> Response<R>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProjection::Plain { future } => {
                    let response = ready!(future.poll(context))?;
                    return Poll::Ready(Ok(response.map(|body| ResponseBody::new(None, body))));
                }
                StateProjection::Budgeted { mut future, body } => match ready!(future.as_mut().poll(context)) {
                    Ok(response) => return Poll::Ready(Ok(leave(response?, future.scope()))),
                    Err(error) => {
                        let body = body.take();
                        this.state.set(State::Refused { error: Some(error), body, left: UNREAD_BYTES });
                    }
                },
                StateProjection::Refused { error, body, left } => {
                    if let Some(unread) = body {
                        ready!(unread.poll_unread(left, context));
                        *body = None;
                    }
                    let error = error.take().expect("a future that was ready is not polled again");
                    return Poll::Ready(Ok((this.refuse)(error).map(|body| ResponseBody::new(None, body))));
                }
            }
        }
    }
}

/// A response, outside of the scope that made it.
fn leave<R>(response: Response<R>, scope: &Scope) -> Response<ResponseBody<R>> {
    let (mut head, body) = response.into_parts();
    let copy = copy_response(&mut head);
    scope.run(|| drop(head));
    Response::from_parts(copy, ResponseBody::new(Some(scope.clone()), body))
}
