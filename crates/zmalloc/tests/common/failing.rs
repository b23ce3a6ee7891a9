//! A global allocator that fails the n-th allocation, for every n, under a program: it ends well, with an error, or by the
//! abort of a collection that was refused. It never hangs, and never ends in another way.
//!
//! Each n in a forked child.

use crate::child;
use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use zmalloc::Zmalloc;
use zmalloc::backend::{PlainAllocator, SizePrefix};

/// `System`, but for one call.
pub enum Failing {}

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
pub static HEAP: Zmalloc<SizePrefix<Failing>> = Zmalloc::new();

/// Runs the program with each of its allocations failing in turn.
pub fn fail_each_allocation(program: fn() -> Result<(), Box<dyn Error>>) {
    // Each abort would take a tenth of a second for one.
    // SAFETY: the thread that started this one only waits for it.
    unsafe { std::env::set_var("RUST_BACKTRACE", "0") };
    let [mut well, mut aborted] = [0, 0];
    for failing in 1.. {
        let (status, errors) = run(program, failing);
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
fn run(program: fn() -> Result<(), Box<dyn Error>>, failing: u64) -> (libc::c_int, String) {
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
