//! gperftools' tcmalloc, linked from the system.
//!
//! gperftools rather than a crate that builds Google's newer tcmalloc: that took 177 CPU seconds to build, its Rust
//! interface tells no usable size, and it was slower here (15.5 ns against 9.1 ns for 64 bytes and back, 45 ns against
//! 27 ns on 100,000 live blocks). gperftools has exact size functions.

use super::size_table::{SizeTable, plain_size, small_size};
use super::{Backend, Statistics, Version};
use core::alloc::Layout;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::null_mut;

/// gperftools' tcmalloc.
///
/// The library replaces C's `malloc` for the whole process as well, so that C code and [`Libc`](super::Libc) use
/// tcmalloc too; what does not come through here is not counted.
///
/// A block by layout of up to 8 KiB has the size class of its layout, so nothing is looked up; a resize by layout keeps
/// that true by moving such a block when its class changes, where tcmalloc would leave it up to half empty. Larger
/// blocks, those aligned beyond 16 bytes, and C's `free` and `realloc` cost one look-up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcmalloc;

/// The smallest page that tcmalloc may be built with.
const PAGE_MIN: usize = 4096;

static SIZES: SizeTable = SizeTable::new();

unsafe extern "C" {
    fn tc_version(major: *mut c_int, minor: *mut c_int, patch: *mut *const c_char) -> *const c_char;
    fn tc_malloc(size: usize) -> *mut c_void;
    fn tc_calloc(count: usize, size: usize) -> *mut c_void;
    fn tc_memalign(alignment: usize, size: usize) -> *mut c_void;
    fn tc_realloc(ptr: *mut c_void, size: usize) -> *mut c_void;
    fn tc_free(ptr: *mut c_void);
    fn tc_free_sized(ptr: *mut c_void, size: usize);
    fn tc_malloc_size(ptr: *mut c_void) -> usize;
    fn MallocExtension_GetNumericProperty(name: *const c_char, value: *mut usize) -> c_int;
    fn MallocExtension_ReleaseFreeMemory();
}

// SAFETY: 1. a block's usable size does not change while it lives, and a small one by layout has that of its table
// entry: see `charged_size_of` and `reallocate`. 2. Refusals are null pointers and this is C. 3. It calls nothing of
// ours, unless the program hangs a hook of its own into gperftools, which must not come back either.
unsafe impl Backend for Tcmalloc {
    const NAME: &'static str = "tcmalloc";
    const CHARGES_AHEAD: bool = true;

    fn version() -> Version {
        // SAFETY: null asks for no numbers; the answer is a static string, like `gperftools 2.10`.
        let text = unsafe { CStr::from_ptr(tc_version(null_mut(), null_mut(), null_mut())) }.to_bytes();
        let start = text.iter().rposition(|&byte| byte == b' ').map_or(0, |space| space + 1);
        Version::new(&text[start..])
    }

    #[inline(always)]
    unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: no conditions of tc_malloc; a layout's alignment is a power of two.
        unsafe {
            match plain_size(layout) {
                Some(size) => tc_malloc(size).cast(),
                None => tc_memalign(layout.align(), layout.size()).cast(),
            }
        }
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: no conditions of tc_calloc; a new block has room for the layout's size.
        unsafe {
            if let Some(size) = plain_size(layout) {
                return tc_calloc(1, size).cast();
            }
            let block = Self::allocate(layout);
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }

    #[inline(always)]
    unsafe fn deallocate(ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract; a small block is of the class of its layout's size.
        unsafe {
            match small_size(layout) {
                Some(size) => tc_free_sized(ptr.cast(), size),
                None => tc_free(ptr.cast()),
            }
        }
    }

    #[inline]
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's contract makes the new layout valid; the copy stays within both blocks, which are
        // distinct.
        unsafe {
            let resized = Layout::from_size_align_unchecked(new_size, layout.align());
            if small_size(resized).is_none() && plain_size(resized).is_some() {
                // The block stays or becomes one that is looked up.
                return Self::realloc(ptr, new_size);
            }
            if SIZES.are_of_one_class(layout, resized) {
                return ptr;
            }
            let new = Self::allocate(resized);
            if !new.is_null() {
                new.copy_from_nonoverlapping(ptr, layout.size().min(new_size));
                Self::deallocate(ptr, layout);
            }
            new
        }
    }

    #[inline(always)]
    unsafe fn malloc(size: usize) -> *mut u8 {
        // SAFETY: no conditions.
        unsafe { tc_malloc(size.max(1)).cast() }
    }

    #[inline(always)]
    unsafe fn calloc(size: usize) -> *mut u8 {
        // SAFETY: no conditions.
        unsafe { tc_calloc(1, size.max(1)).cast() }
    }

    #[inline(always)]
    unsafe fn malloc_aligned(alignment: usize, size: usize) -> *mut u8 {
        // SAFETY: a power of two.
        unsafe { tc_memalign(alignment, size.max(1)).cast() }
    }

    #[inline(always)]
    unsafe fn realloc(ptr: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: a live block.
        unsafe { tc_realloc(ptr.cast(), size).cast() }
    }

    #[inline(always)]
    unsafe fn free(ptr: *mut u8) {
        // SAFETY: a live block.
        unsafe { tc_free(ptr.cast()) }
    }

    #[inline(always)]
    unsafe fn free_charged(ptr: *mut u8, charged: usize) {
        // SAFETY: a live block. Where it has a size class, its usable size is one of that; a block of whole pages has
        // none.
        unsafe { if charged < PAGE_MIN { tc_free_sized(ptr.cast(), charged) } else { tc_free(ptr.cast()) } }
    }

    #[inline(always)]
    unsafe fn usable_size(ptr: *const u8) -> usize {
        // SAFETY: a live block.
        unsafe { tc_malloc_size(ptr.cast_mut().cast()) }
    }

    #[inline(always)]
    unsafe fn charged_size_of(ptr: *const u8, layout: Layout) -> usize {
        // SAFETY: a live block and its layout.
        let usable = unsafe { SIZES.charge(layout, || Self::usable_size(ptr), |_, _| true) };
        // SAFETY: a live block.
        debug_assert_eq!(usable, unsafe { Self::usable_size(ptr) });
        usable
    }

    #[inline(always)]
    unsafe fn charged_at_hand(ptr: *const u8, layout: Layout) -> Option<usize> {
        let usable = SIZES.at_hand(layout)?;
        // SAFETY: a live block.
        debug_assert_eq!(usable, unsafe { Self::usable_size(ptr) });
        Some(usable)
    }

    #[inline(always)]
    fn charge_ahead(layout: Layout) -> Option<usize> {
        SIZES.at_hand(layout)
    }

    fn statistics() -> Statistics {
        let active = || {
            let idle = figure(c"tcmalloc.pageheap_free_bytes")? + figure(c"tcmalloc.pageheap_unmapped_bytes")?;
            figure(c"generic.heap_size")?.checked_sub(idle)
        };
        Statistics {
            allocated: figure(c"generic.current_allocated_bytes"),
            // Pages in spans, also where all their blocks lie in caches.
            active: active(),
            // Heap and metadata without what was given back, also where never touched.
            resident: figure(c"generic.total_physical_bytes"),
            retained: figure(c"tcmalloc.pageheap_unmapped_bytes"),
            muzzy: None,
        }
    }

    fn purge() -> bool {
        // SAFETY: no conditions. Takes the page heap's lock.
        unsafe { MallocExtension_ReleaseFreeMemory() };
        true
    }
}

fn figure(name: &CStr) -> Option<usize> {
    let mut value = 0;
    // SAFETY: a string that ends with 0; the figure is written to a local.
    let known = unsafe { MallocExtension_GetNumericProperty(name.as_ptr(), &mut value) } != 0;
    known.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_its_version() {
        assert!(Tcmalloc::version().as_str().starts_with("2."), "{}", Tcmalloc::version());
    }

    #[test]
    fn tells_its_pages() {
        let figures = Tcmalloc::statistics();
        assert!(figures.allocated <= figures.active && figures.active <= figures.resident, "{figures:?}");
        assert!(figures.allocated.is_some());
    }
}
