//! The usable size of a block, from its layout.

use super::alignment_flag;
use core::alloc::Layout;
use core::sync::atomic::{AtomicU8, Ordering};
use tikv_jemalloc_sys as sys;

/// The usable size of a block of this layout, whose size is above 0.
#[inline(always)]
pub(super) fn usable(layout: Layout) -> usize {
    let (size, alignment) = (layout.size(), layout.align());
    // A layout's size rounds up without overflow.
    let rounded = (size + alignment - 1) & !(alignment - 1);
    if rounded <= CLASS_MAX && alignment <= 4096 && formula_holds() {
        return class(rounded);
    }
    ask(size, alignment)
}

/// The largest size class that does not depend on jemalloc's options.
const CLASS_MAX: usize = 32 << 10;

/// jemalloc's size class of `size` bytes with a 16-byte quantum: multiples of 16 up to 128, then four to a doubling.
#[inline(always)]
const fn class(size: usize) -> usize {
    if size <= 8 {
        return 8;
    }
    if size <= 128 {
        return (size + 15) & !15;
    }
    let step = 1 << ((size - 1).ilog2() - 2);
    (size + step - 1) & !(step - 1)
}

fn ask(size: usize, alignment: usize) -> usize {
    // SAFETY: a size above 0 and a power of two.
    unsafe { sys::nallocx(size, alignment_flag(alignment)) }
}

/// Whether the jemalloc that is linked has the classes of `class`: one with another quantum may have been chosen.
#[inline(always)]
fn formula_holds() -> bool {
    static HOLDS: AtomicU8 = AtomicU8::new(0);
    const YES: u8 = 1;
    const NO: u8 = 2;

    #[cold]
    fn check() -> bool {
        let mut size = 1;
        while size <= CLASS_MAX && ask(size, 1) == class(size) && ask(class(size), 1) == class(size) {
            size = class(size) + 1;
        }
        let holds = size > CLASS_MAX;
        HOLDS.store(if holds { YES } else { NO }, Ordering::Relaxed);
        holds
    }

    match HOLDS.load(Ordering::Relaxed) {
        YES => true,
        NO => false,
        _ => check(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_is_jemallocs() {
        for alignment in (0..14).map(|log| 1usize << log) {
            let sizes = (1..5000).chain((5000..CLASS_MAX * 2).step_by(97));
            for size in sizes {
                let layout = Layout::from_size_align(size, alignment).unwrap();
                assert_eq!(usable(layout), ask(size, alignment), "{size} aligned to {alignment}");
            }
        }
        // Of a jemalloc with the usual quantum; with another one it does not hold, and is not used.
        assert_eq!(formula_holds(), ask(17, 1) == 32);
    }
}
