//! Scopes: a handle is the address that `Scope::into_raw` gives, an entry holds the guard.

use crate::out::{NO_LIMIT, write_text};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::{ManuallyDrop, MaybeUninit, transmute};
use core::ptr::{NonNull, null_mut};
use zmalloc::Scope;
use zmalloc::scope::{self, Guard};

/// The scope behind a handle, which stays the caller's; `None` for null.
///
/// # Safety
/// `handle` is null or a handle that was not given back.
pub(crate) unsafe fn scope_of(handle: *const c_void) -> Option<ManuallyDrop<Scope>> {
    let raw = NonNull::new(handle.cast_mut())?;
    // SAFETY: 1. a handle is such an address. 2. It is not dropped here, and was not elsewhere, by the caller's contract.
    Some(ManuallyDrop::new(unsafe { Scope::from_raw(raw) }))
}

fn handle(scope: Option<Scope>) -> *mut c_void {
    scope.map_or(null_mut(), |scope| scope.into_raw().as_ptr())
}

#[unsafe(export_name = symbol!("zmalloc_scope_new"))]
pub unsafe extern "C" fn zmalloc_scope_new(name: *const c_char, parent: *mut c_void) -> *mut c_void {
    if name.is_null() {
        return null_mut();
    }
    // SAFETY: a string that ends with 0, by the caller's contract.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    // SAFETY: the caller's contract is the callee's.
    handle(Some(match unsafe { scope_of(parent) } {
        Some(parent) => parent.child(name),
        None => Scope::new(name),
    }))
}

#[unsafe(export_name = symbol!("zmalloc_scope_clone"))]
pub unsafe extern "C" fn zmalloc_scope_clone(scope: *const c_void) -> *mut c_void {
    // SAFETY: the caller's contract is the callee's.
    handle(unsafe { scope_of(scope) }.map(|scope| Scope::clone(&scope)))
}

#[unsafe(export_name = symbol!("zmalloc_scope_current"))]
pub extern "C" fn zmalloc_scope_current() -> *mut c_void {
    handle(Scope::current())
}

#[unsafe(export_name = symbol!("zmalloc_scope_free"))]
pub unsafe extern "C" fn zmalloc_scope_free(scope: *mut c_void) {
    // SAFETY: the caller's contract is the callee's.
    drop(unsafe { scope_of(scope) }.map(ManuallyDrop::into_inner));
}

/// What `zmalloc.h` calls `zmalloc_scope_entry`: the guard; zeros are none, since a guard begins with a reference.
#[repr(C)]
pub struct Entry {
    opaque: [MaybeUninit<u64>; 6],
}

const _: () =
    assert!(size_of::<Option<Guard>>() <= size_of::<Entry>() && align_of::<Option<Guard>>() <= align_of::<Entry>());

#[unsafe(export_name = symbol!("zmalloc_scope_enter"))]
pub unsafe extern "C" fn zmalloc_scope_enter(scope: *mut c_void) -> Entry {
    let mut entry = Entry { opaque: [MaybeUninit::new(0); 6] };
    // SAFETY: the caller's contract is the callee's.
    let scope = unsafe { scope_of(scope) };
    // SAFETY: only the lifetime changes: the caller keeps a handle until the scope is left.
    let guard = scope.as_ref().map(|scope| unsafe { transmute::<Guard<'_>, Guard<'static>>(scope.enter()) });
    // SAFETY: it fits, as asserted above.
    unsafe { entry.opaque.as_mut_ptr().cast::<Option<Guard>>().write(guard) };
    entry
}

#[unsafe(export_name = symbol!("zmalloc_scope_leave"))]
pub unsafe extern "C" fn zmalloc_scope_leave(entry: Entry) {
    // SAFETY: what entering put there, and the caller gives it once.
    drop(unsafe { entry.opaque.as_ptr().cast::<Option<Guard>>().read() });
}

#[unsafe(export_name = symbol!("zmalloc_scopes_settle"))]
pub extern "C" fn zmalloc_scopes_settle() {
    scope::settle();
}

fn limit(bytes: u64) -> Option<u64> {
    (bytes != NO_LIMIT).then_some(bytes)
}

#[unsafe(export_name = symbol!("zmalloc_scope_limit_bytes_soft"))]
pub unsafe extern "C" fn zmalloc_scope_limit_bytes_soft(scope: *const c_void) -> u64 {
    // SAFETY: the caller's contract is the callee's.
    unsafe { scope_of(scope) }.and_then(|scope| scope.limit_bytes_soft()).unwrap_or(NO_LIMIT)
}

#[unsafe(export_name = symbol!("zmalloc_scope_limit_bytes_hard"))]
pub unsafe extern "C" fn zmalloc_scope_limit_bytes_hard(scope: *const c_void) -> u64 {
    // SAFETY: the caller's contract is the callee's.
    unsafe { scope_of(scope) }.and_then(|scope| scope.limit_bytes_hard()).unwrap_or(NO_LIMIT)
}

#[unsafe(export_name = symbol!("zmalloc_scope_set_limit_bytes_soft"))]
pub unsafe extern "C" fn zmalloc_scope_set_limit_bytes_soft(scope: *mut c_void, bytes: u64) {
    // SAFETY: the caller's contract is the callee's.
    if let Some(scope) = unsafe { scope_of(scope) } {
        scope.set_limit_bytes_soft(limit(bytes));
    }
}

#[unsafe(export_name = symbol!("zmalloc_scope_set_limit_bytes_hard"))]
pub unsafe extern "C" fn zmalloc_scope_set_limit_bytes_hard(scope: *mut c_void, bytes: u64) {
    // SAFETY: the caller's contract is the callee's.
    if let Some(scope) = unsafe { scope_of(scope) } {
        scope.set_limit_bytes_hard(limit(bytes));
    }
}

#[unsafe(export_name = symbol!("zmalloc_scope_is_over_limit_soft"))]
pub unsafe extern "C" fn zmalloc_scope_is_over_limit_soft(scope: *const c_void) -> c_int {
    // SAFETY: the caller's contract is the callee's.
    unsafe { scope_of(scope) }.is_some_and(|scope| scope.is_over_limit_soft()).into()
}

#[unsafe(export_name = symbol!("zmalloc_scope_is_over_limit_hard"))]
pub unsafe extern "C" fn zmalloc_scope_is_over_limit_hard(scope: *const c_void) -> c_int {
    // SAFETY: the caller's contract is the callee's.
    unsafe { scope_of(scope) }.is_some_and(|scope| scope.is_over_limit_hard()).into()
}

#[unsafe(export_name = symbol!("zmalloc_fallible_enter"))]
pub extern "C" fn zmalloc_fallible_enter() -> c_int {
    scope::set_fallible(true).into()
}

#[unsafe(export_name = symbol!("zmalloc_fallible_leave"))]
pub extern "C" fn zmalloc_fallible_leave(before: c_int) {
    scope::set_fallible(before != 0);
}

#[unsafe(export_name = symbol!("zmalloc_scope_name"))]
pub unsafe extern "C" fn zmalloc_scope_name(scope: *const c_void, buffer: *mut c_char, capacity: usize) -> usize {
    // SAFETY: the caller's contract is the callees'.
    unsafe { write_text(&scope_of(scope).map_or_else(String::new, |scope| scope.name()), buffer, capacity) }
}

#[unsafe(export_name = symbol!("zmalloc_scope_path"))]
pub unsafe extern "C" fn zmalloc_scope_path(scope: *const c_void, buffer: *mut c_char, capacity: usize) -> usize {
    // SAFETY: the caller's contract is the callees'.
    unsafe { write_text(&scope_of(scope).map_or_else(String::new, |scope| scope.path()), buffer, capacity) }
}
