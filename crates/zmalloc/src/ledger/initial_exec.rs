//! Thread-locals that are reached without a call, also from inside a shared object.

/// The address of the calling thread's variable of this name, which `global_asm!` defines as initial-exec thread-local
/// storage of x86-64 Linux. A macro, since assembly wants the name in its text.
#[doc(hidden)]
#[macro_export]
macro_rules! initial_exec_address {
    ($symbol:literal) => {{
        let address: *mut ::core::ffi::c_void;
        // SAFETY: `fs:0` holds the thread pointer by the x86-64 ABI, and the symbol is defined as said. Reads only.
        unsafe {
            ::core::arch::asm!(
                "mov {address}, qword ptr fs:[0]",
                ::core::concat!("add {address}, qword ptr [rip + ", $symbol, "@GOTTPOFF]"),
                address = out(reg) address,
                options(pure, readonly, nostack),
            );
        }
        address
    }};
}
