//! The calls themselves: the system call is made as asked, then noted.
//!
//! A range is noted as gone before it is unmapped, and as mapped after it was: another thread may be given it as soon
//! as it is free. If the call fails, what was noted is taken back.

use super::limited::Ahead;
use super::table::Change;
use super::{count_break, is_program, with_table};
use crate::errno::KeepErrno;
use crate::real::Real;
use crate::start;
use core::ffi::{c_int, c_void};

const PAGE: usize = 4096;

/// The range that the kernel takes these bytes for, or `None` if it refuses them anyway.
fn pages(address: *mut c_void, bytes: usize) -> Option<(usize, usize)> {
    let end = address.addr().checked_add(bytes.checked_next_multiple_of(PAGE)?)?;
    (address.addr().is_multiple_of(PAGE) && bytes != 0).then_some((address.addr(), end))
}

/// The bytes of whole pages; more than there can be, if that is no number.
fn whole_pages(bytes: usize) -> usize {
    bytes.checked_next_multiple_of(PAGE).unwrap_or(usize::MAX)
}

/// C's `mmap`, called from `caller`.
pub(crate) unsafe extern "C" fn mmap(
    address: *mut c_void,
    bytes: usize,
    access: c_int,
    flags: c_int,
    file: c_int,
    offset: libc::off_t,
    caller: *const c_void,
) -> *mut c_void {
    let is_ready = start::ready();
    let own = flags & libc::MAP_TYPE == libc::MAP_PRIVATE && flags & libc::MAP_ANONYMOUS != 0;
    let state = (is_ready && own && is_program(caller)).then_some(access != libc::PROT_NONE);
    let Some(_ahead) = Ahead::take(if state == Some(true) { whole_pages(bytes) } else { 0 }) else {
        crate::errno::set(libc::ENOMEM);
        return libc::MAP_FAILED;
    };
    // SAFETY: the program's call, as it made it.
    let mapped = unsafe { libc::syscall(libc::SYS_mmap, address, bytes, access, flags, file, offset) };
    let mapped = mapped as *mut c_void;
    if mapped != libc::MAP_FAILED
        && is_ready
        && let Some((start, end)) = pages(mapped, bytes)
    {
        // A range that is not to be counted takes the place of what was there, by MAP_FIXED or behind our back.
        with_table(|table, change| table.set(start, end, state, change));
    }
    mapped
}

/// C's `munmap`.
pub(crate) unsafe fn munmap(address: *mut c_void, bytes: usize) -> c_int {
    let range = pages(address, bytes).filter(|_| start::ready());
    let before = range.and_then(|(start, end)| {
        let before = with_table(|table, change| {
            let before = table.state(start, end);
            table.set(start, end, None, change);
            before
        });
        before.flatten()
    });
    // SAFETY: the program's call, as it made it.
    let result = unsafe { libc::syscall(libc::SYS_munmap, address, bytes) } as c_int;
    // Refused for want of memory to split a mapping with.
    if let (-1, Some((start, end)), Some(_)) = (result, range, before) {
        let _errno = KeepErrno::new();
        with_table(|table, change| table.set(start, end, before, change));
    }
    result
}

/// C's `mremap`; `target` is looked at if `flags` say so.
pub(crate) unsafe fn mremap(
    address: *mut c_void,
    bytes: usize,
    new_bytes: usize,
    flags: c_int,
    target: *mut c_void,
) -> *mut c_void {
    let range = pages(address, bytes).filter(|_| start::ready());
    let is_counted =
        range.is_some_and(|(start, end)| with_table(|table, _| table.state(start, end)).flatten() == Some(true));
    let more = new_bytes.saturating_sub(if flags & libc::MREMAP_DONTUNMAP != 0 { 0 } else { bytes });
    let Some(_ahead) = Ahead::take(if is_counted { whole_pages(more) } else { 0 }) else {
        crate::errno::set(libc::ENOMEM);
        return libc::MAP_FAILED;
    };
    // Counted when it is there again: nobody is given meanwhile what it has.
    let mut kept = Change::default();
    let before = range.and_then(|(start, end)| {
        let before = with_table(|table, _| {
            let before = table.state(start, end);
            if before.is_some() {
                table.set(start, end, None, &mut kept);
            }
            before
        });
        before.flatten()
    });
    // SAFETY: the program's call, as it made it.
    let moved = unsafe { libc::syscall(libc::SYS_mremap, address, bytes, new_bytes, flags, target) };
    let moved = moved as *mut c_void;
    let Some((start, end)) = range else { return moved };
    let failed = moved == libc::MAP_FAILED;
    let _errno = KeepErrno::new();
    with_table(|table, change| {
        *change = kept;
        if before.is_some() && (failed || flags & libc::MREMAP_DONTUNMAP != 0) {
            table.set(start, end, before, change);
        }
        if let (false, Some((start, end))) = (failed, pages(moved, new_bytes)) {
            table.set(start, end, before, change);
        }
    });
    moved
}

/// C's `mprotect`.
pub(crate) unsafe fn mprotect(address: *mut c_void, bytes: usize, access: c_int) -> c_int {
    let range = pages(address, bytes).filter(|_| access != libc::PROT_NONE && start::ready());
    let more = range.and_then(|(start, end)| with_table(|table, _| table.inaccessible(start, end)));
    let Some(_ahead) = Ahead::take(more.unwrap_or(0)) else {
        crate::errno::set(libc::ENOMEM);
        return -1;
    };
    // SAFETY: the program's call, as it made it.
    let result = unsafe { libc::syscall(libc::SYS_mprotect, address, bytes, access) } as c_int;
    if result == 0
        && start::ready()
        && let Some((start, end)) = pages(address, bytes)
    {
        with_table(|table, change| table.protect(start, end, access != libc::PROT_NONE, change));
    }
    result
}

/// C's `sbrk`, called from `caller`.
pub(crate) unsafe extern "C" fn sbrk(increment: isize, caller: *const c_void) -> *mut c_void {
    static REAL: Real = Real::new(c"sbrk");
    let real = function(&REAL);
    let is_counted = increment > 0 && start::ready() && is_program(caller);
    let Some(_ahead) = Ahead::take(if is_counted { increment as usize } else { 0 }) else {
        crate::errno::set(libc::ENOMEM);
        return core::ptr::without_provenance_mut(usize::MAX);
    };
    // SAFETY: C's function of that name, and the program's call as it made it.
    let before =
        unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn(isize) -> *mut c_void>(real)(increment) };
    if increment != 0 && before.addr() != usize::MAX && start::ready() && is_program(caller) {
        count_break(before.addr(), before.addr().wrapping_add_signed(increment));
    }
    before
}

/// C's `brk`, called from `caller`.
pub(crate) unsafe extern "C" fn brk(address: *mut c_void, caller: *const c_void) -> c_int {
    static REAL: Real = Real::new(c"brk");
    let real = function(&REAL);
    // SAFETY: a move by nothing.
    let before = unsafe { sbrk(0, caller).addr() };
    let is_counted = start::ready() && is_program(caller);
    let Some(_ahead) = Ahead::take(if is_counted { address.addr().saturating_sub(before) } else { 0 }) else {
        crate::errno::set(libc::ENOMEM);
        return -1;
    };
    // SAFETY: C's function of that name, and the program's call as it made it.
    let result =
        unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void) -> c_int>(real)(address) };
    if result == 0 && start::ready() && is_program(caller) {
        count_break(before, address.addr());
    }
    result
}

/// The C library keeps the break, so these two go to its functions.
fn function(real: &Real) -> *mut c_void {
    // SAFETY: no conditions. Every C library that this is built for has both.
    real.get().unwrap_or_else(|| unsafe { libc::abort() })
}
