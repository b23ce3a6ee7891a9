//! The program's allocator fails the n-th allocation, for every n, under a program that uses all of the library: it ends well,
//! with an error, or by the abort of a collection that was refused. It never hangs, and never ends in another way.
//!
//! Each n in a forked child.
#![cfg(all(target_os = "linux", target_has_atomic = "64"))]

#[path = "common/child.rs"]
mod child;

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::pending;
use std::hint::black_box;
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use zmalloc::backend::{PlainAllocator, SizePrefix};
use zmalloc::budget::{self, Resident};
use zmalloc::{Scope, Zmalloc, scope, used_memory};

/// `System`, but for one call.
enum Failing {}

/// How many calls are left until one fails; none while it is 0.
static UNTIL: AtomicU64 = AtomicU64::new(0);

// SAFETY: `System` follows the rules, and a call that fails does nothing.
unsafe impl PlainAllocator for Failing {
    const NAME: &'static str = "failing";

    unsafe fn allocate(layout: Layout) -> *mut u8 {
        if UNTIL.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) == Ok(1) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn deallocate(block: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static HEAP: Zmalloc<SizePrefix<Failing>> = Zmalloc::new();

#[test]
fn whichever_allocation_fails_the_program_ends_as_it_should() {
    let [mut well, mut aborted] = [0, 0];
    for failing in 1.. {
        let (status, errors) = run(failing);
        match status {
            // It makes fewer.
            0 => break,
            WELL => well += 1,
            libc::SIGABRT if errors.contains("memory allocation of") => aborted += 1,
            _ => panic!("allocation {failing} failed, and the program ended by {status:#x}:\n{errors}"),
        }
    }
    println!("{well} ended well, {aborted} aborted");
    assert!(well > 0 && aborted > 0 && well + aborted > 50, "{well} and {aborted} are too few to mean anything");
}

/// The status of one that met its failure and went on.
const WELL: libc::c_int = 3 << 8;

/// How the program ends whose n-th allocation fails, and what it writes to standard error.
fn run(failing: u64) -> (libc::c_int, String) {
    // SAFETY: a name; the answer is a new file or an error, which the next call sees.
    let mut errors = unsafe { std::fs::File::from_raw_fd(libc::memfd_create(c"errors".as_ptr(), 0)) };
    let status = child::fork(|| {
        // SAFETY: two open files.
        unsafe { libc::dup2(errors.as_raw_fd(), libc::STDERR_FILENO) };
        UNTIL.store(failing, SeqCst);
        let result = program();
        let is_hit = UNTIL.swap(0, SeqCst) == 0;
        assert!(result.is_ok() || is_hit, "an error where nothing failed: {result:?}");
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(if is_hit { WELL >> 8 } else { 0 }) };
    });
    let mut text = String::new();
    errors.rewind().unwrap();
    errors.read_to_string(&mut text).unwrap();
    (status, text)
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
