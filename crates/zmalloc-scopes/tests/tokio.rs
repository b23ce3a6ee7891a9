//! Tasks of tokio's work-stealing runtime: cancelled, panicking, blocking; each scope has to the byte what its tasks did.

mod common;

use common::{Block, block, flow};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::{JoinSet, spawn_blocking, yield_now};
use zmalloc::{Scope, scope};
use zmalloc_scopes::{FutureScopeExt, Held};

const TENANTS: usize = 6;
const TASKS: usize = 40;
const ROUNDS: usize = 30;

#[test]
fn every_byte_counts_in_the_scope_of_its_task() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let tenants = Scope::new("tenants");
    let scopes: Vec<Scope> = (0..TENANTS).map(|number| tenants.child(number.to_string())).collect();
    let parts: Vec<Scope> = scopes.iter().map(|scope| scope.child("part")).collect();
    let taken: Arc<[[AtomicU64; 2]; TENANTS]> = Arc::default();
    let given: Arc<AtomicU64> = Arc::default();

    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for number in 0..TASKS * TENANTS {
            let tenant = number % TENANTS;
            let (part, taken, given) = (parts[tenant].clone(), taken.clone(), given.clone());
            let take = move |part: usize, size: usize| {
                let block = block(size);
                taken[tenant][part].fetch_add(block.charged, Ordering::Relaxed);
                block
            };
            let work = async move {
                let shared = Mutex::new(Vec::new());
                for round in 0..ROUNDS {
                    shared.lock().await.push(take(0, 100 * (round + number % 7)));
                    async { drop(take(1, 500)) }.in_scope(&part).await;
                    match number % 9 {
                        // Over to other threads, and back.
                        0 => tokio::time::sleep(Duration::from_micros(50)).await,
                        1 => {
                            let take = take.clone();
                            // Held, for if the task is aborted meanwhile the runtime drops it.
                            let make = move || Held::new(&Scope::current().unwrap(), take(0, 3000));
                            let made = spawn_blocking(scope::inherit(make)).await.unwrap();
                            shared.lock().await.push(made.into_inner());
                        }
                        2 if round == ROUNDS / 2 => std::panic::resume_unwind(Box::new(())),
                        3 if round == ROUNDS / 2 => std::future::pending().await,
                        _ => yield_now().await,
                    }
                }
                let mut kept: Vec<Block> = shared.into_inner();
                let out = kept.pop().unwrap();
                given.fetch_add(out.charged, Ordering::Relaxed);
                out
            };
            tasks.spawn(work.in_scope(&scopes[tenant]));
        }
        // Those that wait for ever, and some of the others.
        tokio::time::sleep(Duration::from_millis(30)).await;
        tasks.abort_all();
        while let Some(ended) = tasks.join_next().await {
            // What a task made and gave out is freed here, outside.
            drop(ended);
        }
    });
    drop(runtime);

    let mut out = 0;
    for tenant in 0..TENANTS {
        let [own, part] = &taken[tenant];
        let (allocated, freed) = flow(&scopes[tenant]);
        assert_eq!(allocated, own.load(Ordering::Relaxed), "tenant {tenant}");
        out += allocated - freed;
        let part = part.load(Ordering::Relaxed);
        assert_eq!(flow(&parts[tenant]), (part, part), "a part of tenant {tenant}");
        assert!(part > 0);
    }
    // A task that was aborted when it was done had given its block out all the same.
    assert_eq!(out, given.load(Ordering::Relaxed), "all but what was given out is freed where it was allocated");
    let snapshot = scope::snapshot();
    assert_eq!(snapshot.outside.freed_bytes - snapshot.outside.allocated_bytes, out, "and that outside");
    assert_eq!(snapshot.totals.live_bytes(), 0);
}
