//! C++'s `operator new` and `operator delete`, for an allocator of ours: a program's blocks of either language may be
//! freed by the other's library functions, so all must come from one. When forwarding, libstdc++'s own reach `malloc`.
//!
//! A size told at `delete` is not used, so a wrong one does no harm. Without memory the program's new-handler is called
//! until there is some, or `std::bad_alloc` is thrown; the nothrow forms answer null without calling it.
#![allow(clippy::missing_safety_doc, reason = "C++'s contracts")]

use crate::beneath;
use core::ffi::{CStr, c_void};

macro_rules! new {
    ($($plain:ident $plain_nothrow:ident $aligned:ident $aligned_nothrow:ident)*) => { $(
        /// `operator new(size)`.
        #[cfg(target_arch = "x86_64")]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $plain(size: usize) -> *mut c_void {
            core::arch::naked_asm!("mov esi, 1", "jmp {new}", new = sym new_or_throw)
        }

        /// `operator new(size, alignment)`.
        #[cfg(target_arch = "x86_64")]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $aligned(size: usize, alignment: usize) -> *mut c_void {
            core::arch::naked_asm!("jmp {new}", new = sym new_or_throw)
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $plain_nothrow(size: usize, _nothrow: *const c_void) -> *mut c_void {
            new(size, 1)
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $aligned_nothrow(size: usize, alignment: usize, _nothrow: *const c_void) -> *mut c_void {
            new(size, alignment)
        }
    )* };
}

new! {
    _Znwm _ZnwmRKSt9nothrow_t _ZnwmSt11align_val_t _ZnwmSt11align_val_tRKSt9nothrow_t
    _Znam _ZnamRKSt9nothrow_t _ZnamSt11align_val_t _ZnamSt11align_val_tRKSt9nothrow_t
}

macro_rules! delete {
    ($($name:ident($($unused:ident: $type:ty),*);)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(block: *mut c_void, $($unused: $type),*) {
            // SAFETY: the program's block, or null.
            unsafe { beneath::free(block) }
        }
    )* };
}

delete! {
    _ZdlPv();
    _ZdaPv();
    _ZdlPvm(_size: usize);
    _ZdaPvm(_size: usize);
    _ZdlPvRKSt9nothrow_t(_nothrow: *const c_void);
    _ZdaPvRKSt9nothrow_t(_nothrow: *const c_void);
    _ZdlPvSt11align_val_t(_alignment: usize);
    _ZdaPvSt11align_val_t(_alignment: usize);
    _ZdlPvmSt11align_val_t(_size: usize, _alignment: usize);
    _ZdaPvmSt11align_val_t(_size: usize, _alignment: usize);
    _ZdlPvSt11align_val_tRKSt9nothrow_t(_alignment: usize, _nothrow: *const c_void);
    _ZdaPvSt11align_val_tRKSt9nothrow_t(_alignment: usize, _nothrow: *const c_void);
}

extern "C" fn new(size: usize, alignment: usize) -> *mut c_void {
    if alignment <= 16 {
        // SAFETY: no conditions of its own.
        return unsafe { beneath::malloc(size) };
    }
    beneath::memalign(alignment, size)
}

/// `new`, and what C++ wants done without memory. In assembly, as an exception passes through this frame when the
/// program's handler throws one, and must not pass through a Rust one; at the end there is no frame at all.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn new_or_throw(size: usize, alignment: usize) -> *mut c_void {
    core::arch::naked_asm!(
        ".cfi_startproc",
        "push rbx",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbx, 0",
        "push r12",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r12, 0",
        "sub rsp, 8",
        ".cfi_adjust_cfa_offset 8",
        "mov rbx, rdi",
        "mov r12, rsi",
        "2:",
        "call {new}",
        "test rax, rax",
        "jnz 3f",
        "call {handler}",
        "test rax, rax",
        "jz 4f",
        "call rax",
        "mov rdi, rbx",
        "mov rsi, r12",
        "jmp 2b",
        "4:",
        "call {thrower}",
        "call rax",
        "ud2",
        "3:",
        "add rsp, 8",
        ".cfi_adjust_cfa_offset -8",
        "pop r12",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r12",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbx",
        "ret",
        ".cfi_endproc",
        new = sym new,
        handler = sym handler,
        thrower = sym thrower,
    )
}

/// The program's new-handler, or null.
extern "C" fn handler() -> *const c_void {
    let get = find(c"_ZSt15get_new_handlerv");
    if get.is_null() {
        return core::ptr::null();
    }
    // SAFETY: `std::get_new_handler()`, which does not throw.
    unsafe { core::mem::transmute::<*const c_void, extern "C" fn() -> *const c_void>(get)() }
}

/// What throws `std::bad_alloc`.
extern "C" fn thrower() -> *const c_void {
    let throw = find(c"_ZSt17__throw_bad_allocv");
    if throw.is_null() { libc::abort as *const c_void } else { throw }
}

/// A function of the C++ library that the program has, or null.
fn find(name: &CStr) -> *const c_void {
    // SAFETY: a name that ends with 0.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}
