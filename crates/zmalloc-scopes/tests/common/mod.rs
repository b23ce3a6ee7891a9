//! Blocks whose charge is known, of a heap that nothing else uses: what the harness allocates is not counted.
#![allow(dead_code)] // Not every test needs all of it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use zmalloc::backend::{Backend, PlainAllocator, SizePrefix};
use zmalloc::scope::Figures;
use zmalloc::{Scope, Zmalloc};

/// An allocator whose charge follows from the size alone, as the C library's does not.
enum Plain {}

// SAFETY: `System` follows the rules of `GlobalAlloc`, and is never a heap of ours.
unsafe impl PlainAllocator for Plain {
    const NAME: &'static str = "system";

    unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn deallocate(ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the callee's.
        unsafe { System.dealloc(ptr, layout) }
    }
}

static HEAP: Zmalloc<SizePrefix<Plain>> = Zmalloc::new();

/// A block, freed where it is dropped.
#[derive(Debug)]
pub struct Block {
    address: usize,
    pub charged: u64,
}

pub fn block(size: usize) -> Block {
    let block = HEAP.malloc(size);
    assert!(!block.is_null());
    // SAFETY: a live block.
    let charged = unsafe { SizePrefix::<Plain>::charged_size(block) } as u64;
    Block { address: block.expose_provenance(), charged }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: a live block, freed once.
        unsafe { HEAP.free(std::ptr::with_exposed_provenance_mut(self.address)) };
    }
}

/// Allocated, freed, and times entered.
pub fn sums(figures: Figures) -> (u64, u64, u64) {
    (figures.allocated_bytes, figures.freed_bytes, figures.entered)
}

/// Allocated and freed in the scope itself.
pub fn flow(scope: &Scope) -> (u64, u64) {
    let own = scope.figures().own;
    (own.allocated_bytes, own.freed_bytes)
}

pub fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Pending once, and ready the next time.
pub fn yield_once() -> impl Future<Output = ()> {
    let mut polled = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}
