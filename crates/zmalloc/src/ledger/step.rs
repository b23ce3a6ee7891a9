//! The owner's steps on the usual path: each changes a counter of its slot, and tells whether the result is not negative.
//!
//! One instruction each, so that a signal handler of the owner comes before it or after it: what the handler counts itself
//! would be lost between a load and a store. Not locked, as nobody else writes.

use super::sync::AtomicU64;

pub(crate) use way::{add, subtract};

#[cfg(all(target_arch = "x86_64", not(any(loom, miri, ledger_lock))))]
mod way {
    use super::AtomicU64;

    macro_rules! step {
        ($name:ident, $instruction:literal) => {
            #[inline(always)]
            pub(crate) fn $name(counter: &AtomicU64, amount: u64) -> bool {
                // SAFETY: an aligned counter that may be written behind the shared reference. A store on this processor
                // is a release, and the block one for the compiler. The jump leaves it for the label alone.
                unsafe {
                    core::arch::asm!(
                        concat!($instruction, " qword ptr [{counter}], {amount}"),
                        "js {negative}",
                        counter = in(reg) counter.as_ptr(),
                        amount = in(reg) amount,
                        negative = label { return false },
                        options(nostack),
                    );
                }
                true
            }
        };
    }
    step!(add, "add");
    step!(subtract, "sub");
}

/// The same elsewhere, where the compiler chooses the instructions.
#[cfg(not(all(target_arch = "x86_64", not(any(loom, miri, ledger_lock)))))]
mod way {
    use super::super::slot::{SingleWriter, Write};
    use super::super::sync::Ordering;
    use super::AtomicU64;

    #[inline(always)]
    pub(crate) fn add(counter: &AtomicU64, amount: u64) -> bool {
        SingleWriter::add(counter, amount) as i64 >= 0
    }

    #[inline(always)]
    pub(crate) fn subtract(counter: &AtomicU64, amount: u64) -> bool {
        let rest = counter.load(Ordering::Relaxed).wrapping_sub(amount);
        counter.store(rest, Ordering::Relaxed);
        rest as i64 >= 0
    }
}
