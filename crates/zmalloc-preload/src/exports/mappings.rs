//! The calls that map memory. Three pass on whom they return to, so that the allocator's mappings are told apart.
#![allow(clippy::missing_safety_doc, reason = "the system's contracts")]

use crate::mapped;
use core::ffi::{c_int, c_void};

/// Exports a function that passes its arguments and then its return address on.
macro_rules! with_caller {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty = $inner:path, $x86_64:tt, $aarch64:literal;)*) => { $(
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            #[cfg(target_arch = "x86_64")]
            with_caller!(@x86_64 $x86_64, $inner);
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!(concat!("mov ", $aarch64, ", x30"), "b {inner}", inner = sym $inner);
        }
    )* };
    // In a register.
    (@x86_64 $register:literal, $inner:path) => {
        core::arch::naked_asm!(concat!("mov ", $register, ", qword ptr [rsp]"), "jmp {inner}", inner = sym $inner)
    };
    // On the stack, which that aligns.
    (@x86_64 (), $inner:path) => {
        core::arch::naked_asm!(
            ".cfi_startproc",
            "push qword ptr [rsp]",
            ".cfi_adjust_cfa_offset 8",
            "call {inner}",
            "add rsp, 8",
            ".cfi_adjust_cfa_offset -8",
            "ret",
            ".cfi_endproc",
            inner = sym $inner
        )
    };
}

with_caller! {
    mmap(address: *mut c_void, bytes: usize, access: c_int, flags: c_int, file: c_int, offset: libc::off_t)
        -> *mut c_void = mapped::mmap, (), "x6";
    mmap64(address: *mut c_void, bytes: usize, access: c_int, flags: c_int, file: c_int, offset: libc::off_t)
        -> *mut c_void = mapped::mmap, (), "x6";
    sbrk(increment: isize) -> *mut c_void = mapped::sbrk, "rsi", "x1";
    brk(address: *mut c_void) -> c_int = mapped::brk, "rsi", "x1";
}

#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(address: *mut c_void, bytes: usize) -> c_int {
    // SAFETY: the program's call.
    unsafe { mapped::munmap(address, bytes) }
}

/// In C the last argument is there only with some flags; where it would be, something can be read in any case.
#[unsafe(no_mangle)]
unsafe extern "C" fn mremap(
    address: *mut c_void,
    bytes: usize,
    new_bytes: usize,
    flags: c_int,
    target: *mut c_void,
) -> *mut c_void {
    // SAFETY: the program's call.
    unsafe { mapped::mremap(address, bytes, new_bytes, flags, target) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mprotect(address: *mut c_void, bytes: usize, access: c_int) -> c_int {
    // SAFETY: the program's call.
    unsafe { mapped::mprotect(address, bytes, access) }
}
