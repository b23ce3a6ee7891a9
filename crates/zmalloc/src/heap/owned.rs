//! The same three events where blocks have owners; where they have none, nothing is added to them.

use super::asked::Asked;
use super::counted::{self, Shape};
use crate::backend::Backend;
use crate::ledger::Detail;
use crate::owner::{self, Tag};

/// Counts the block that `allocate` gives out for a shape.
#[inline(always)]
pub(super) fn allocation<B: Backend, D: Detail, S: Shape<B>>(
    shape: S,
    asked: Asked,
    allocate: impl Fn(S) -> *mut u8,
) -> *mut u8 {
    let block = counted::allocation::<B, D, S>(shape, asked, allocate);
    if D::BY_OWNER {
        owner::claim(block);
    }
    block
}

/// Counts and frees a block.
///
/// # Safety
/// `ptr` is a live block of this shape.
#[inline(always)]
pub(super) unsafe fn free<B: Backend, D: Detail, S: Shape<B>>(shape: S, ptr: *mut u8, free: impl FnOnce()) {
    // SAFETY: the caller's contract is the callees'.
    unsafe {
        if D::BY_OWNER
            && let Some(owner) = owner::other_owner(ptr)
        {
            return give_back_and_free::<B, D, S>(shape, ptr, owner);
        }
        counted::free::<B, D, S>(shape, ptr, free);
    }
}

/// Counts the resize of `ptr`, of one shape, to what `reallocate` answers, of another. The block becomes the calling
/// thread's, unless nothing changed.
///
/// # Safety
/// `ptr` is a live block of the shape `before`.
#[inline(always)]
pub(super) unsafe fn reallocation<B: Backend, D: Detail, S: Shape<B>>(
    before: S,
    after: S,
    asked: Asked,
    ptr: *mut u8,
    reallocate: impl Fn() -> *mut u8,
) -> *mut u8 {
    // SAFETY: the caller's contract is the callees'.
    unsafe {
        if D::BY_OWNER
            && let Some(owner) = owner::other_owner(ptr)
        {
            return take_over::<B, D, S>(before, after, asked, ptr, owner, reallocate);
        }
        let resized = counted::reallocation::<B, D, S>(before, after, asked, ptr, reallocate);
        if D::BY_OWNER {
            owner::claim(resized);
        }
        resized
    }
}

/// Frees another's block.
///
/// # Safety
/// `ptr` is a live block of this shape.
#[cold]
#[inline(never)]
unsafe fn give_back_and_free<B: Backend, D: Detail, S: Shape<B>>(shape: S, ptr: *mut u8, owner: Tag) {
    // SAFETY: the caller's contract is the callees'.
    unsafe {
        let charged = shape.charged(ptr);
        owner::give_back(owner, charged);
        counted::free::<B, D, S>(shape, ptr, || shape.free(ptr, charged));
    }
}

/// Resizes another's block.
///
/// # Safety
/// `ptr` is a live block of the shape `before`.
#[cold]
#[inline(never)]
unsafe fn take_over<B: Backend, D: Detail, S: Shape<B>>(
    before: S,
    after: S,
    asked: Asked,
    ptr: *mut u8,
    owner: Tag,
    reallocate: impl Fn() -> *mut u8,
) -> *mut u8 {
    // SAFETY: the caller's contract is the callees'; what is answered is a live block of the shape `after`.
    unsafe {
        let charged = before.charged(ptr);
        let resized = counted::reallocation::<B, D, S>(before, after, asked, ptr, reallocate);
        if !resized.is_null() && (resized != ptr || after.charged(resized) != charged) {
            owner::give_back(owner, charged);
            owner::claim(resized);
        }
        resized
    }
}
