//! Serves until it is interrupted; says on standard output where.

use clap::Parser;
use std::net::SocketAddr;
use std::process::ExitCode;
use tenant_server::{server, tenants};
use tokio::net::TcpListener;
use zmalloc::Zmalloc;

#[global_allocator]
static HEAP: Zmalloc = Zmalloc::new();

/// A document store in memory whose tenants have budgets.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 for one that is free
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Bytes of a tenant above which it is told
    #[arg(long, default_value_t = 24 << 20)]
    tenant_soft_bytes: u64,
    /// Bytes of a tenant above which its requests are refused
    #[arg(long, default_value_t = 32 << 20)]
    tenant_hard_bytes: u64,
    /// Tenants that there may be
    #[arg(long, default_value_t = 1000)]
    most_tenants: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let limits = tenants::Limits { soft: arguments.tenant_soft_bytes, hard: arguments.tenant_hard_bytes };
    let served = async {
        let listener = TcpListener::bind(arguments.listen).await?;
        println!("http://{}", listener.local_addr()?);
        let stopped = async {
            // Without the signal's handler, it ends as by default.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending().await
            }
        };
        server::serve(listener, tenants::Tenants::new(limits, arguments.most_tenants), stopped).await
    };
    match served.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tenant-server: {}: {error}; try another address: --listen ADDRESS", arguments.listen);
            ExitCode::FAILURE
        }
    }
}
