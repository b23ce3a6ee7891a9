//! The allocator fails the n-th allocation, for every n, under the server and a client of it: see `failing.rs` of the
//! library's tests.
#![cfg(target_os = "linux")]

#[path = "../../../crates/zmalloc/tests/common/child.rs"]
mod child;
#[path = "../../../crates/zmalloc/tests/common/failing.rs"]
mod failing;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use std::error::Error;
use std::future::pending;
use tenant_server::client::Client;
use tenant_server::server;
use tenant_server::tenants::{Limits, Tenants};
use tokio::net::TcpListener;
use zmalloc::scope;

#[test]
fn whichever_allocation_fails_the_server_ends_as_it_should() {
    failing::fail_each_allocation(program);
}

/// One thread, so that the n-th allocation is the same each time.
fn program() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(serve_and_use())
}

async fn serve_and_use() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let tenants = Tenants::new(Limits { soft: 50_000, hard: 200_000 }, 4);
    let served = tokio::spawn(server::serve(listener, tenants, pending()));
    let mut client = Client::connect(address).await.map_err(|error| error.to_string())?;

    // What is refused for want of memory is told, and the connection and the server go on.
    for (size, refusal) in [(30_000, None), (60_000, None), (500_000, Some(StatusCode::SERVICE_UNAVAILABLE))] {
        let path = format!("/tenants/a/documents/{size}");
        let (status, _) = send(&mut client, Method::PUT, &path, vec![1; size].into()).await?;
        let is_expected = status == refusal.unwrap_or(StatusCode::CREATED);
        assert!(is_expected || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
        if !is_expected {
            let (status, _) = send(&mut client, Method::GET, &path, Bytes::new()).await?;
            assert_eq!(status, StatusCode::NOT_FOUND, "what was refused is not kept");
        }
    }
    for path in ["/tenants/a/documents/30000", "/tenants/a/render/1", "/tenants/a/render/100", "/metrics", "/scopes"] {
        send(&mut client, Method::GET, path, Bytes::new()).await?;
    }
    send(&mut client, Method::DELETE, "/tenants/a/documents", Bytes::new()).await?;
    let held = scope::snapshot().scopes.iter().map(|tenants| tenants.total.live_bytes).sum::<i64>();
    assert!((-4096..4096).contains(&held), "{held} bytes are left of what was removed");
    served.abort();
    Ok(())
}

async fn send(
    client: &mut Client,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), Box<dyn Error>> {
    client.send(method, path, body).await.map_err(|error| error.to_string().into())
}
