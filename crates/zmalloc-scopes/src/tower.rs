//! Services of tower whose requests run in scopes.
//!
//! A request's future is in its scope when it is made, polled and dropped. The service's readiness, what is around the
//! layer, and whoever takes the response are not: what crosses counts where it is allocated and freed. For HTTP, where
//! that is every head and body, the module `http` keeps the border.

use core::pin::Pin;
use core::task::{Context, Poll};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use zmalloc::Scope;
use zmalloc::scope::{Budgeted, OverBudget, Scoped};

/// Runs each request in the scope that a function gives it, or in none.
///
/// ```
/// use tower_layer::Layer;
/// use zmalloc::Scope;
/// use zmalloc_scopes::tower::ScopeLayer;
///
/// # let service = ();
/// let queries = Scope::new("queries");
/// let layer = ScopeLayer::new(move |query: &String| query.starts_with("select").then(|| queries.clone()));
/// let service = layer.layer(service);
/// ```
///
/// The function runs outside of the scope it gives. Cost: that of a scope for each poll.
#[derive(Clone, Copy, Debug)]
pub struct ScopeLayer<Select> {
    select: Select,
}

impl<Select> ScopeLayer<Select> {
    /// With the function that gives requests their scopes: `Fn(&Request) -> Option<Scope>`.
    pub const fn new(select: Select) -> Self {
        ScopeLayer { select }
    }
}

impl<S, Select: Clone> Layer<S> for ScopeLayer<Select> {
    type Service = ScopeService<S, Select>;

    fn layer(&self, inner: S) -> Self::Service {
        ScopeService { inner, select: self.select.clone() }
    }
}

/// The service of [`ScopeLayer`].
#[derive(Clone, Copy, Debug)]
pub struct ScopeService<S, Select> {
    inner: S,
    select: Select,
}

impl<Request, S, Select> Service<Request> for ScopeService<S, Select>
where
    S: Service<Request>,
    Select: Fn(&Request) -> Option<Scope>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ScopedResponse<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let state = match (self.select)(&request) {
            None => MaybeScoped::Plain { future: self.inner.call(request) },
            Some(scope) => {
                let future = scope.run(|| self.inner.call(request));
                MaybeScoped::Scoped { future: scope.scoped(future) }
            }
        };
        ScopedResponse { state }
    }
}

pin_project! {
    /// The future of [`ScopeService`].
    #[must_use = "a future does nothing unless it is polled"]
    #[derive(Debug)]
    pub struct ScopedResponse<F> {
        #[pin]
        state: MaybeScoped<F>,
    }
}

pin_project! {
    #[project = MaybeScopedProjection]
    #[derive(Debug)]
    enum MaybeScoped<F> {
        Plain { #[pin] future: F },
        Scoped { #[pin] future: Scoped<F> },
    }
}

impl<F: Future> Future for ScopedResponse<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().state.project() {
            MaybeScopedProjection::Plain { future } => future.poll(context),
            MaybeScopedProjection::Scoped { future } => future.poll(context),
        }
    }
}

/// As [`ScopeLayer`], and a request whose scope is over its hard limit is answered by a function: before it is given to
/// the service, or, if it goes over while it runs, at the end of that poll, with what it held dropped in the scope.
///
/// The function, `Fn(OverBudget) -> Result<Response, Error>`, runs outside of the scope.
///
/// Requests that release what a scope holds have to be let through by the function that selects: with `None`, and the
/// scope entered where they work.
#[derive(Clone, Copy, Debug)]
pub struct BudgetLayer<Select, Refuse> {
    select: Select,
    refuse: Refuse,
}

impl<Select, Refuse> BudgetLayer<Select, Refuse> {
    /// With the function that gives requests their scopes, and the one that answers for those over their limit.
    pub const fn new(select: Select, refuse: Refuse) -> Self {
        BudgetLayer { select, refuse }
    }
}

impl<S, Select: Clone, Refuse: Clone> Layer<S> for BudgetLayer<Select, Refuse> {
    type Service = BudgetService<S, Select, Refuse>;

    fn layer(&self, inner: S) -> Self::Service {
        BudgetService { inner, select: self.select.clone(), refuse: self.refuse.clone() }
    }
}

/// The service of [`BudgetLayer`].
#[derive(Clone, Copy, Debug)]
pub struct BudgetService<S, Select, Refuse> {
    inner: S,
    select: Select,
    refuse: Refuse,
}

impl<Request, S, Select, Refuse> Service<Request> for BudgetService<S, Select, Refuse>
where
    S: Service<Request>,
    Select: Fn(&Request) -> Option<Scope>,
    Refuse: Fn(OverBudget) -> Result<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BudgetedResponse<S::Future, Refuse>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let refuse = self.refuse.clone();
        let state = match (self.select)(&request) {
            None => State::Plain { future: self.inner.call(request) },
            Some(scope) => match scope.check_limit_hard() {
                Err(error) => State::Refused { error: Some(error) },
                Ok(()) => {
                    let future = scope.run(|| self.inner.call(request));
                    State::Budgeted { future: scope.budgeted(future) }
                }
            },
        };
        BudgetedResponse { state, refuse }
    }
}

pin_project! {
    /// The future of [`BudgetService`].
    ///
    /// # Panics
    /// If it is polled after it was ready.
    #[must_use = "a future does nothing unless it is polled"]
    #[derive(Debug)]
    pub struct BudgetedResponse<F, Refuse> {
        #[pin]
        state: State<F>,
        refuse: Refuse,
    }
}

pin_project! {
    #[project = StateProjection]
    #[derive(Debug)]
    enum State<F> {
        Plain { #[pin] future: F },
        Budgeted { #[pin] future: Budgeted<F> },
        Refused { error: Option<OverBudget> },
    }
}

impl<F, Refuse, Response, Error> Future for BudgetedResponse<F, Refuse>
where
    F: Future<Output = Result<Response, Error>>,
    Refuse: Fn(OverBudget) -> Result<Response, Error>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let error = match this.state.project() {
            StateProjection::Plain { future } => return future.poll(context),
            StateProjection::Budgeted { future } => match core::task::ready!(future.poll(context)) {
                Ok(output) => return Poll::Ready(output),
                Err(error) => error,
            },
            StateProjection::Refused { error } => error.take().expect("a future that was ready is not polled again"),
        };
        Poll::Ready((this.refuse)(error))
    }
}
