//! The program's allocator fails the n-th allocation, for every n, under a program that uses all of the library: see
//! `common/failing.rs`.
#![cfg(all(target_os = "linux", target_has_atomic = "64"))]

#[path = "common/child.rs"]
mod child;
#[path = "common/failing.rs"]
mod failing;

use failing::HEAP;
use std::future::pending;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use zmalloc::budget::{self, Resident};
use zmalloc::{Scope, scope, used_memory};

#[test]
fn whichever_allocation_fails_the_program_ends_as_it_should() {
    failing::fail_each_allocation(program);
}

/// Uses what allocates in the library, beside what a program does itself.
fn program() -> Result<(), Box<dyn std::error::Error>> {
    let _watch = budget::watch(|change| _ = black_box(format!("{change:?}")))?;
    let mut levels = budget::levels()?;
    let _reclaimer = budget::reclaimer(5, |_| 0)?;
    let limit = used_memory() + (4 << 20);
    budget::set_limit_bytes_soft(Some(limit / 2));
    budget::set_limit_bytes_hard(Some(limit));
    HEAP.bound_resident(Some(Resident::Bytes { soft: 1 << 40, hard: 1 << 41 }))?;

    let tenant = Scope::new(String::from("tenant"));
    tenant.set_limit_bytes_hard(Some(1 << 20));
    let request = tenant.child(format!("request-{}", 7));
    let mut held = request.run(|| vec![0u8; 30_000]);
    // Fallible ones are refused by limits and by failures alike.
    request.run(|| {
        scope::fallible(|| assert!(held.try_reserve(2 << 20).is_err()));
        _ = scope::fallible(|| held.try_reserve(40_000));
    });
    assert!(Vec::<u8>::new().try_reserve(5 << 20).is_err());

    let waker = &mut Context::from_waker(Waker::noop());
    let mut flooding = pin!(tenant.budgeted(async {
        let flood = vec![0u8; 2 << 20];
        pending::<()>().await;
        drop(flood);
    }));
    let Poll::Ready(Err(over)) = flooding.as_mut().poll(waker) else { panic!("it is over its budget") };
    black_box(over.to_string());
    _ = levels.poll_changed(waker);

    // Guards in the other order, which is noted.
    let (first, second) = (tenant.enter(), request.enter());
    drop(first);
    drop(second);

    let thread = std::thread::Builder::new().spawn({
        let request = request.clone();
        move || request.run(|| black_box(vec![1u8; 20_000]).len())
    })?;
    thread.join().map_err(|_| "the thread panicked")?;

    let snapshot = scope::snapshot();
    black_box((snapshot.to_string(), snapshot.to_open_metrics(), HEAP.report().to_info()));
    HEAP.bound_resident(None)?;
    budget::set_limit_bytes_soft(None);
    budget::set_limit_bytes_hard(None);
    Ok(())
}
