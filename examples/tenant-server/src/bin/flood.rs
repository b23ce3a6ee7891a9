//! Some tenants work quietly; then, beside them, one floods the server. Prints what each of both saw.

use bytes::Bytes;
use clap::Parser;
use hyper::{Method, StatusCode};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tenant_server::client::{Client, ClientError};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

/// Measures what a tenant that floods a tenant-server does to the others.
#[derive(Parser)]
struct Arguments {
    /// The server
    #[arg(long, default_value = "127.0.0.1:8080")]
    server: SocketAddr,
    /// Seconds without the flood, and as many with it
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Tenants that work quietly: each stores and reads a document of 4 KiB, 50 times a second
    #[arg(long, default_value_t = 4)]
    quiet_tenants: usize,
    /// Connections of the tenant that floods
    #[arg(long, default_value_t = 4)]
    flood_connections: usize,
    /// Documents a second that each of these uploads
    #[arg(long, default_value_t = 100)]
    flood_rate: u32,
    /// Bytes of each of these
    #[arg(long, default_value_t = 256 << 10)]
    flood_document_bytes: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match measure(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flood: {error}; is a tenant-server at {}? Otherwise: --server ADDRESS", arguments.server);
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<(), ClientError> {
    println!("{:<30}{:>10}{:>10}{:>10}{:>10}  answers", "", "requests", "p50", "p99", "max");
    phase(arguments, false).await?;
    phase(arguments, true).await
}

/// What one tenant or several saw.
#[derive(Default)]
struct Seen {
    times: Vec<Duration>,
    answers: BTreeMap<StatusCode, usize>,
    refusal: Option<Bytes>,
}

async fn phase(arguments: &Arguments, with_flood: bool) -> Result<(), ClientError> {
    let end = Instant::now() + Duration::from_secs_f64(arguments.seconds);
    let server = arguments.server;
    let mut quiet = JoinSet::new();
    for number in 0..arguments.quiet_tenants {
        quiet.spawn(work(server, end, format!("quiet-{number}"), None, 4 << 10, Duration::from_millis(20)));
    }
    let mut flood = JoinSet::new();
    let pause = Duration::from_secs(1) / arguments.flood_rate.max(1);
    for number in 0..if with_flood { arguments.flood_connections } else { 0 } {
        flood.spawn(work(server, end, "flood".to_owned(), Some(number), arguments.flood_document_bytes, pause));
    }
    let seen = together(quiet).await?;
    row(if with_flood { "quiet tenants, with the flood" } else { "quiet tenants" }, &seen);
    if with_flood {
        let seen = together(flood).await?;
        row("the flood", &seen);
        if let Some(refusal) = seen.refusal {
            println!("\nthe first refusal: {}", String::from_utf8_lossy(&refusal));
        }
    }
    Ok(())
}

/// At a steady rate stores and reads one document; or, with the number of a connection, stores one more each time.
async fn work(
    server: SocketAddr,
    end: Instant,
    tenant: String,
    flood: Option<usize>,
    size: usize,
    pause: Duration,
) -> Result<Seen, ClientError> {
    let mut client = Client::connect(server).await?;
    let document = Bytes::from(vec![7; size]);
    let mut seen = Seen::default();
    let mut ticks = interval(pause);
    // What could not be sent in time is not sent later all at once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        ticks.tick().await;
        if Instant::now() >= end {
            break;
        }
        let name = flood.map_or_else(|| "the-one".to_owned(), |connection| format!("{connection}-{number}"));
        let path = format!("/tenants/{tenant}/documents/{name}");
        seen.send(&mut client, Method::PUT, &path, document.clone()).await?;
        if flood.is_none() {
            seen.send(&mut client, Method::GET, &path, Bytes::new()).await?;
        }
    }
    sleep_until(end.into()).await;
    Ok(seen)
}

impl Seen {
    async fn send(&mut self, client: &mut Client, method: Method, path: &str, body: Bytes) -> Result<(), ClientError> {
        let start = Instant::now();
        let (status, answer) = client.send(method, path, body).await?;
        self.times.push(start.elapsed());
        *self.answers.entry(status).or_default() += 1;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            self.refusal.get_or_insert(answer);
        }
        Ok(())
    }
}

async fn together(mut tasks: JoinSet<Result<Seen, ClientError>>) -> Result<Seen, ClientError> {
    let mut all = Seen::default();
    while let Some(seen) = tasks.join_next().await {
        let seen = seen??;
        all.times.extend(seen.times);
        seen.answers.into_iter().for_each(|(status, times)| *all.answers.entry(status).or_default() += times);
        all.refusal = all.refusal.or(seen.refusal);
    }
    all.times.sort_unstable();
    Ok(all)
}

fn row(who: &str, seen: &Seen) {
    let at = |hundredths: usize| {
        let last = seen.times.len().saturating_sub(1);
        let time = seen.times.get(last * hundredths / 100).copied().unwrap_or_default();
        format!("{:.2} ms", time.as_secs_f64() * 1000.0)
    };
    let answers: Vec<String> =
        seen.answers.iter().map(|(status, times)| format!("{times} x {}", status.as_u16())).collect();
    let answers = answers.join(", ");
    println!("{who:<30}{:>10}{:>10}{:>10}{:>10}  {answers}", seen.times.len(), at(50), at(99), at(100));
}
