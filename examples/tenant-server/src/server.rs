//! What is served, and the layer that keeps tenants within their budgets.

use crate::tenants::{Tenant, Tenants};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use http_body_util::BodyExt;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceExt};
use zmalloc::scope::{self, OverBudget};
use zmalloc::{DefaultBackend, Report};
use zmalloc_scopes::http::HttpBudgetLayer;
use zmalloc_scopes::{FutureScopeExt, Held};

/// Serves until `stopped` is ready.
///
/// # Errors
/// Of the listener.
pub async fn serve(
    listener: TcpListener,
    tenants: Tenants,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = tower::make::Shared::new(service(Arc::new(tenants)));
    axum::serve(listener, service).with_graceful_shutdown(stopped).await
}

/// The routes, within the layer.
fn service(
    tenants: Arc<Tenants>,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static {
    let routes = Router::new()
        .route("/tenants/{tenant}", delete(remove_tenant))
        .route("/tenants/{tenant}/documents", delete(clear_documents))
        .route("/tenants/{tenant}/documents/{document}", get(get_document).put(put_document))
        .route("/tenants/{tenant}/render/{copies}", get(render))
        .route("/metrics", get(metrics))
        .route("/report", get(report))
        .route("/scopes", get(scopes))
        .with_state(tenants.clone());
    // Outermost, where requests come from the connection as they are.
    let layer = HttpBudgetLayer::new(
        move |request: &Request| {
            let tenant = tenant_of(&tenants, request)?;
            Some(tenant.scope.clone())
        },
        |over: OverBudget| refused(&over),
    );
    layer.layer(routes).map_response(|response: Response<_>| response.map(Body::new))
}

/// The tenant whose budget bounds a request: none for those that release memory, which must not be refused.
fn tenant_of(tenants: &Tenants, request: &Request) -> Option<Arc<Tenant>> {
    let name = tenant_name(request.uri())?;
    match *request.method() {
        Method::PUT => tenants.find_or_add(name),
        Method::GET => tenants.find(name),
        _ => None,
    }
}

/// As the path has it, so that no other spelling is another tenant for the layer than for a route.
fn tenant_name(uri: &Uri) -> Option<&str> {
    uri.path().strip_prefix("/tenants/")?.split('/').next()
}

/// The tenant of a request, if there is one.
struct Of(Arc<Tenant>);

impl FromRequestParts<Arc<Tenants>> for Of {
    type Rejection = Response;

    async fn from_request_parts(head: &mut Parts, tenants: &Arc<Tenants>) -> Result<Of, Response> {
        tenant_name(&head.uri).and_then(|name| tenants.find(name)).map(Of).ok_or_else(|| match head.method {
            // The layer would have made it.
            Method::PUT => (StatusCode::INSUFFICIENT_STORAGE, "there are as many tenants as may be\n").into_response(),
            _ => not_found("tenant"),
        })
    }
}

async fn put_document(
    Of(tenant): Of,
    Path((_, name)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Response> {
    let document = read(body, &tenant).await?;
    tenant.documents.insert(&name, document);
    let is_near = tenant.scope.is_over_limit_soft();
    Ok((StatusCode::CREATED, [(NEAR_LIMIT, if is_near { "yes" } else { "no" })]).into_response())
}

/// Tells a tenant that it is over its soft limit.
const NEAR_LIMIT: HeaderName = HeaderName::from_static("x-near-memory-limit");

/// A body as one block, unless the tenant goes over its limit with it or there is no memory for it. Then what was read is
/// dropped, and so is the rest as it comes, since most clients look for an answer only when they have sent all.
async fn read(mut body: Body, tenant: &Tenant) -> Result<Held<Vec<u8>>, Response> {
    let scope = &tenant.documents.scope;
    let mut document = Held::new(scope, Vec::new());
    let (mut unread, mut refusal) = (UNREAD_BYTES, None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response())?;
        let Some(data) = frame.data_ref() else { continue };
        if refusal.is_none() {
            let reserved = scope.run(|| document.try_reserve(data.len()));
            refusal = match reserved {
                Err(_) => Some(no_memory()),
                Ok(()) => {
                    document.extend_from_slice(data);
                    tenant.scope.check_limit_hard().err().map(|over| refused(&over))
                }
            };
        }
        if refusal.is_some() {
            scope.run(|| *document = Vec::new());
            match unread.checked_sub(data.len()) {
                Some(left) => unread = left,
                None => break,
            }
        }
    }
    refusal.map_or(Ok(document), Err)
}

const UNREAD_BYTES: usize = 1 << 20;

async fn get_document(Of(tenant): Of, Path((_, name)): Path<(String, String)>) -> Response {
    tenant.documents.get(&name).map_or_else(|| not_found("document"), IntoResponse::into_response)
}

async fn clear_documents(Of(tenant): Of) -> String {
    format!("{} documents removed\n", tenant.documents.clear())
}

async fn remove_tenant(State(tenants): State<Arc<Tenants>>, uri: Uri) -> Response {
    let is_removed = tenant_name(&uri).is_some_and(|name| tenants.remove(name));
    if is_removed { StatusCode::NO_CONTENT.into_response() } else { not_found("tenant") }
}

/// All of a tenant's documents as hexadecimal text, so many times: as big as one asks for. Nothing here looks at the limit:
/// it is looked at whenever this waits.
async fn render(Of(tenant): Of, Path((_, copies)): Path<(String, usize)>) -> Response {
    let page = async {
        let mut page = String::new();
        for _ in 0..copies {
            for document in tenant.documents.all() {
                for line in document.chunks(32) {
                    line.iter().for_each(|byte| page.extend([byte >> 4, byte & 15].map(digit)));
                    page.push('\n');
                }
                tokio::task::yield_now().await;
            }
        }
        page
    };
    // Freed where it was allocated, when it has been sent.
    let page = Held::new(&tenant.render, page.in_scope(&tenant.render).await);
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Bytes::from_owner(page)).into_response()
}

fn digit(nibble: u8) -> char {
    char::from_digit(nibble.into(), 16).expect("below 16")
}

async fn metrics() -> Response {
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, media_type)], figures().to_open_metrics()).into_response()
}

async fn report() -> Response {
    axum::Json(figures()).into_response()
}

async fn scopes() -> String {
    scope::snapshot().to_string()
}

fn figures() -> scope::ReportWithScopes {
    Report::of::<DefaultBackend>().with_scopes()
}

/// 503, and why.
fn refused(over: &OverBudget) -> Response {
    let mut why = serde_json::to_value(over).expect("figures and names");
    why["error"] = over.to_string().into();
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], axum::Json(why)).into_response()
}

/// 503 where not the tenant but the process has no more.
fn no_memory() -> Response {
    let why = "there is no memory for this now\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], why).into_response()
}

fn not_found(what: &str) -> Response {
    (StatusCode::NOT_FOUND, format!("no such {what}\n")).into_response()
}
