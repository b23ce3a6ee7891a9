//! glibc's chunk header, read without a call: the word before a block holds the chunk's size and three flags.

const FLAGS: usize = 7;
const MAPPED: usize = 2;

/// The usable size of a block, unless it is a mapping of its own: those are rare, and left to glibc.
///
/// # Safety
/// `ptr` is a live block of glibc's malloc, on a target where it lays its chunks out this way: x86-64 does.
#[inline(always)]
pub unsafe fn usable_size(ptr: *const u8) -> Option<usize> {
    let mut chunk = ptr.cast::<usize>();
    // The compiler knows `malloc` and would take the word before a new block for nobody's: hide where it comes from.
    #[allow(clippy::pointers_in_nomem_asm_block, reason = "nothing is read or written through it")]
    // SAFETY: no instruction at all.
    unsafe {
        core::arch::asm!("/* {0} */", inout(reg) chunk, options(pure, nomem, nostack, preserves_flags))
    };
    // SAFETY: the word before the block is in its chunk.
    let word = unsafe { chunk.sub(1).read() };
    // A chunk in use lends its block the first word of the next one.
    (word & MAPPED == 0).then_some((word & !FLAGS).wrapping_sub(size_of::<usize>()))
}
