//! mimalloc, whose small blocks are known by their layout.

use super::size_table::{Entry, SizeTable};
use super::{Allocation, Backend, Reallocation, Version};
use core::alloc::Layout;
use core::ffi::c_void;
use libmimalloc_sys as sys;

/// mimalloc 3.3, bundled by `libmimalloc-sys`.
///
/// A block by layout of up to 1 KiB has the size class of its layout, so nothing is looked up; a resize by layout keeps
/// that true by moving such a block when its class changes, where mimalloc would leave it up to half empty. Larger
/// blocks, those aligned beyond 16 bytes, and C's `free` and `realloc` cost one look-up. Built with padding (the
/// features `secure` and `debug` of `libmimalloc-sys`), every block is looked up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mimalloc;

static SIZES: SizeTable = SizeTable::new();

// SAFETY: 1. a block's usable size does not change while it lives, and a small one by layout has that of its table
// entry: see `small` and `reallocate`. 2. Refusals are null pointers and this is C. 3. It calls nothing of ours.
unsafe impl Backend for Mimalloc {
    const NAME: &'static str = "mimalloc";

    fn version() -> Version {
        // SAFETY: no conditions.
        let version = unsafe { sys::mi_version() } as u32;
        // Two digits each for minor and patch.
        Version::from_numbers(version / 10_000, version / 100 % 100, version % 100)
    }

    #[inline(always)]
    unsafe fn allocate(layout: Layout) -> Allocation {
        // SAFETY: no conditions of mi_malloc; a layout's alignment is a power of two.
        unsafe {
            match SIZES.entry(layout) {
                Some(entry) => small(sys::mi_malloc(entry.size), entry),
                None => looked_up(sys::mi_malloc_aligned(layout.size(), layout.align())),
            }
        }
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> Allocation {
        // SAFETY: as in `allocate`.
        unsafe {
            match SIZES.entry(layout) {
                Some(entry) => small(sys::mi_zalloc(entry.size), entry),
                None => looked_up(sys::mi_zalloc_aligned(layout.size(), layout.align())),
            }
        }
    }

    #[inline(always)]
    unsafe fn deallocate(ptr: *mut u8, layout: Layout) -> usize {
        // SAFETY: the caller's contract.
        unsafe {
            match SIZES.entry(layout).and_then(Entry::usable) {
                Some(usable) => {
                    debug_assert_eq!(usable, Self::usable_size(ptr));
                    sys::mi_free(ptr.cast());
                    usable
                }
                None => Self::free(ptr),
            }
        }
    }

    #[inline]
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> Reallocation {
        // SAFETY: the caller's contract makes the new layout valid; the copy stays within both blocks, which are
        // distinct.
        unsafe {
            let resized = Layout::from_size_align_unchecked(new_size, layout.align());
            let Some(after) = SIZES.entry(resized) else {
                // The block stays or becomes one that is looked up.
                let credited = Self::usable_size(ptr);
                let new = looked_up(sys::mi_realloc_aligned(ptr.cast(), new_size, layout.align()));
                return reallocation(new, credited);
            };
            if let Some(usable) = SIZES.entry(layout).and_then(|before| before.usable_of_both(after)) {
                return Reallocation { ptr, credited: usable, charged: usable };
            }
            let new = Self::allocate(resized);
            if new.ptr.is_null() {
                return Reallocation::REFUSED;
            }
            new.ptr.copy_from_nonoverlapping(ptr, layout.size().min(new_size));
            Reallocation { ptr: new.ptr, credited: Self::deallocate(ptr, layout), charged: new.charged }
        }
    }

    #[inline(always)]
    unsafe fn malloc(size: usize) -> Allocation {
        let size = size.max(1);
        // SAFETY: no conditions.
        unsafe {
            match SIZES.entry_for(size) {
                Some(entry) => small(sys::mi_malloc(size), entry),
                None => looked_up(sys::mi_malloc(size)),
            }
        }
    }

    #[inline(always)]
    unsafe fn calloc(size: usize) -> Allocation {
        let size = size.max(1);
        // SAFETY: no conditions.
        unsafe {
            match SIZES.entry_for(size) {
                Some(entry) => small(sys::mi_zalloc(size), entry),
                None => looked_up(sys::mi_zalloc(size)),
            }
        }
    }

    unsafe fn malloc_aligned(alignment: usize, size: usize) -> Allocation {
        // SAFETY: a power of two.
        unsafe { looked_up(sys::mi_malloc_aligned(size.max(1), alignment)) }
    }

    #[inline]
    unsafe fn realloc(ptr: *mut u8, size: usize) -> Reallocation {
        // SAFETY: a live block, before and after.
        unsafe {
            let credited = Self::usable_size(ptr);
            reallocation(looked_up(sys::mi_realloc(ptr.cast(), size)), credited)
        }
    }

    #[inline(always)]
    unsafe fn free(ptr: *mut u8) -> usize {
        // SAFETY: a live block.
        unsafe {
            let size = Self::usable_size(ptr);
            sys::mi_free(ptr.cast());
            size
        }
    }

    #[inline(always)]
    unsafe fn usable_size(ptr: *const u8) -> usize {
        // SAFETY: a live block.
        unsafe { sys::mi_usable_size(ptr.cast()) }
    }

    // No statistics: without its slower build mimalloc knows only what it committed, touched or not, also after it gave
    // that back.

    fn purge() -> bool {
        // SAFETY: no conditions.
        unsafe { sys::mi_collect(true) };
        true
    }
}

/// A block of at most `malloc`'s alignment.
///
/// # Safety
/// `ptr` is null, or a new block of the entry's size.
#[inline(always)]
unsafe fn small(ptr: *mut c_void, entry: Entry<'_>) -> Allocation {
    #[cold]
    unsafe fn learn(ptr: *mut c_void, entry: Entry<'_>) -> usize {
        // SAFETY: a live block.
        let usable = unsafe { sys::mi_usable_size(ptr) };
        // Where blocks are padded the usable size is below the good one, and not the same for every size of an entry.
        // SAFETY: no conditions.
        if usable == unsafe { sys::mi_good_size(entry.size) } {
            entry.learn(usable);
        }
        usable
    }

    if ptr.is_null() {
        return Allocation::REFUSED;
    }
    // SAFETY: a live block.
    let charged = entry.usable().unwrap_or_else(|| unsafe { learn(ptr, entry) });
    // SAFETY: a live block.
    debug_assert_eq!(charged, unsafe { sys::mi_usable_size(ptr) });
    Allocation { ptr: ptr.cast(), charged }
}

/// # Safety
/// `ptr` is null or a live block.
#[inline(always)]
unsafe fn looked_up(ptr: *mut c_void) -> Allocation {
    // SAFETY: mimalloc answers 0 for null.
    Allocation { ptr: ptr.cast(), charged: unsafe { sys::mi_usable_size(ptr) } }
}

#[inline(always)]
fn reallocation(new: Allocation, credited: usize) -> Reallocation {
    if new.ptr.is_null() {
        return Reallocation::REFUSED;
    }
    Reallocation { ptr: new.ptr, credited, charged: new.charged }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_its_version() {
        // 2 with the feature `v2` of `libmimalloc-sys`.
        assert!(Mimalloc::version().as_str().starts_with(['2', '3']), "{}", Mimalloc::version());
    }

    #[test]
    fn a_block_cut_out_of_a_larger_one_is_charged_what_is_left() {
        // SAFETY: powers of two; every block is freed once.
        unsafe {
            for alignment in [32, 64, 4096, 65536] {
                let blocks: Vec<_> = (1..200).map(|n| Mimalloc::malloc_aligned(alignment, n * 7)).collect();
                for block in blocks {
                    assert_eq!(block.charged, Mimalloc::charged_size(block.ptr));
                    assert_eq!(block.charged, Mimalloc::free(block.ptr));
                }
            }
        }
    }
}
