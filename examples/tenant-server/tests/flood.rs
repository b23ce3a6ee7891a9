//! The server as it is run, flooded by one tenant: what that one sees, what the others see, and what is left after it.

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use tenant_server::client::Client;
use tokio::task::JoinSet;

const HARD: i64 = 4 << 20;
/// What the map of documents may take after the last look.
const NAMES: i64 = 4096;
const DOCUMENT: usize = 100_000;

/// The program, ended when it is dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Server {
        let limits = ["--tenant-soft-bytes", "2000000", "--tenant-hard-bytes", "4194304", "--most-tenants", "8"];
        let mut process = Command::new(env!("CARGO_BIN_EXE_tenant-server"))
            .args(["--listen", "127.0.0.1:0"])
            .args(limits)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").expect("an address").parse().unwrap();
        Server { process, address }
    }

    async fn connect(&self) -> Client {
        Client::connect(self.address).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

async fn put(client: &mut Client, tenant: &str, name: &str, size: usize) -> (StatusCode, Bytes) {
    let path = format!("/tenants/{tenant}/documents/{name}");
    client.send(Method::PUT, &path, vec![b'x'; size].into()).await.unwrap()
}

async fn get(client: &mut Client, path: &str) -> (StatusCode, Bytes) {
    client.send(Method::GET, path, Bytes::new()).await.unwrap()
}

async fn delete(client: &mut Client, path: &str) -> StatusCode {
    client.send(Method::DELETE, path, Bytes::new()).await.unwrap().0
}

/// The live bytes of a tenant, and of each of its parts.
async fn live(client: &mut Client, tenant: &str) -> (i64, [i64; 2]) {
    let (status, body) = get(client, "/report").await;
    assert_eq!(status, StatusCode::OK);
    let report: Value = serde_json::from_slice(&body).unwrap();
    let tenants = &report["scopes"]["scopes"][0];
    assert_eq!(tenants["path"], "tenants");
    let tenant = tenants["children"].as_array().unwrap().iter().find(|scope| scope["name"] == tenant).unwrap();
    let part = |number: usize| tenant["children"][number]["total"]["live_bytes"].as_i64().unwrap();
    (tenant["total"]["live_bytes"].as_i64().unwrap(), [part(0), part(1)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_floods_is_told_why_and_the_others_are_served() {
    let server = Server::start();
    let mut flood = JoinSet::new();
    for connection in 0..4 {
        let mut client = server.connect().await;
        flood.spawn(async move {
            let mut answers = Vec::new();
            for number in 0..50 {
                answers.push(put(&mut client, "flood", &format!("{connection}-{number}"), DOCUMENT).await);
            }
            answers
        });
    }
    let mut quiet = server.connect().await;
    for number in 0..100 {
        assert_eq!(put(&mut quiet, "quiet", "document", 4096).await.0, StatusCode::CREATED, "{number}");
        let (status, body) = get(&mut quiet, "/tenants/quiet/documents/document").await;
        assert_eq!((status, body.len()), (StatusCode::OK, 4096));
    }

    let answers = flood.join_all().await.concat();
    let (stored, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(status, _)| *status == StatusCode::CREATED);
    assert!((10..=41).contains(&stored.len()), "{} of {DOCUMENT} bytes", stored.len());
    assert_eq!(stored.len() + refused.len(), 200);
    for (status, body) in refused {
        assert_eq!(*status, StatusCode::SERVICE_UNAVAILABLE);
        let why: Value = serde_json::from_slice(body).unwrap();
        assert_eq!((&why["path"], &why["limit_bytes"]), (&"tenants/flood".into(), &HARD.into()));
        assert!(why["live_bytes"].as_i64().unwrap() > HARD, "{why}");
        assert_eq!(why["largest_children"][0]["path"], "tenants/flood/documents");
        assert!(why["error"].as_str().unwrap().starts_with("scope tenants/flood is over its budget: "), "{why}");
    }

    // It holds what it stored, within its limit, and goes on to read it.
    let (holds, [documents, render]) = live(&mut quiet, "flood").await;
    let (least, most) = ((stored.len() * DOCUMENT) as i64, HARD + NAMES);
    assert!((least..=most).contains(&documents), "{documents}");
    assert_eq!((holds, render), (documents, 0), "requests that have ended hold nothing");
    // And when all is removed, which is not refused, nothing at all.
    assert_eq!(delete(&mut quiet, "/tenants/flood/documents").await, StatusCode::OK);
    assert_eq!(live(&mut quiet, "flood").await, (0, [0, 0]));
    assert_eq!(put(&mut quiet, "flood", "again", DOCUMENT).await.0, StatusCode::CREATED);
    assert_eq!(delete(&mut quiet, "/tenants/quiet").await, StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_grows_over_the_limit_ends_and_what_it_held_is_freed() {
    let server = Server::start();
    let mut client = server.connect().await;
    assert_eq!(put(&mut client, "tenant", "document", DOCUMENT).await.0, StatusCode::CREATED);
    let (stored, _) = live(&mut client, "tenant").await;
    let (status, page) = get(&mut client, "/tenants/tenant/render/2").await;
    assert_eq!((status, page.len()), (StatusCode::OK, 2 * (2 * DOCUMENT + DOCUMENT / 32)));
    let (_, [_, once]) = live(&mut client, "tenant").await;

    let (status, body) = get(&mut client, "/tenants/tenant/render/1000000").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let why: Value = serde_json::from_slice(&body).unwrap();
    let largest: Vec<_> = why["largest_children"].as_array().unwrap().iter().map(|child| &child["path"]).collect();
    assert_eq!(largest, ["tenants/tenant/render", "tenants/tenant/documents"]);

    let (held, [_, render]) = live(&mut client, "tenant").await;
    // Not the page's: each thread of tokio keeps a list of those that yielded, which grows where the first one does.
    let of_tokio = 64 * 2;
    assert!((0..=of_tokio).contains(&(held - stored)) && (0..=of_tokio).contains(&render), "{held} {stored} {render}");
    assert!((0..=of_tokio).contains(&once), "{once}");
    assert_eq!(get(&mut client, "/tenants/tenant/documents/document").await.0, StatusCode::OK);
}

#[tokio::test]
async fn edges() {
    let server = Server::start();
    let mut client = server.connect().await;
    // Another spelling is another tenant, not a way around a budget.
    assert_eq!(put(&mut client, "%61", "d", 10).await.0, StatusCode::CREATED);
    assert_eq!(get(&mut client, "/tenants/a/documents/d").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&mut client, "/tenants/%61/documents/d").await.0, StatusCode::OK);
    // More tenants than there may be.
    for number in 0..7 {
        assert_eq!(put(&mut client, &number.to_string(), "d", 10).await.0, StatusCode::CREATED);
    }
    assert_eq!(put(&mut client, "one-more", "d", 10).await.0, StatusCode::INSUFFICIENT_STORAGE);
    // A document that is over the limit alone (as a vector that doubles), and sent to the end although it is refused.
    let (status, why) = put(&mut client, "0", "large", 3_000_000).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{why:?}");
    assert_eq!(get(&mut client, "/tenants/0/documents/d").await.0, StatusCode::OK, "what was refused is not kept");
    let (status, metrics) = get(&mut client, "/metrics").await;
    let metrics = String::from_utf8(metrics.into()).unwrap();
    assert!(status == StatusCode::OK && metrics.ends_with("# EOF\n"));
    assert!(metrics.contains("zmalloc_scope_limit_hard_bytes{scope=\"tenants/%61\"} 4194304\n"), "{metrics}");
    assert!(metrics.contains("\nzmalloc_used_bytes "));
}

#[test]
fn an_address_in_use_is_said() {
    let server = Server::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenant-server"));
    let output = command.args(["--listen", &server.address.to_string()]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("in use") && error.contains("--listen"), "{error}");
}
