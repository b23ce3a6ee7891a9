//! gperftools' tcmalloc, linked from the system.
//!
//! gperftools rather than a crate that builds Google's newer tcmalloc: that took 177 CPU seconds to build, its Rust
//! interface tells no usable size, and it was slower here (15.5 ns against 9.1 ns for 64 bytes and back, 45 ns against
//! 27 ns on 100,000 live blocks). gperftools has exact size functions.

use super::size_table::{Entry, SizeTable};
use super::{Allocation, Backend, Reallocation, Statistics, Version};
use core::alloc::Layout;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::null_mut;

/// gperftools' tcmalloc.
///
/// The library replaces C's `malloc` for the whole process as well, so that C code and [`Libc`](super::Libc) use
/// tcmalloc too; what does not come through here is not counted.
///
/// A block by layout of up to 1 KiB has the size class of its layout, so nothing is looked up; a resize by layout keeps
/// that true by moving such a block when its class changes, where tcmalloc would leave it up to half empty. Larger
/// blocks, those aligned beyond 16 bytes, and C's `free` and `realloc` cost one look-up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcmalloc;

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
// entry: see `small` and `reallocate`. 2. Refusals are null pointers and this is C. 3. It calls nothing of ours, unless
// the program hangs a hook of its own into gperftools, which must not come back either.
unsafe impl Backend for Tcmalloc {
    const NAME: &'static str = "tcmalloc";

    fn version() -> Version {
        // SAFETY: null asks for no numbers; the answer is a static string, like `gperftools 2.10`.
        let text = unsafe { CStr::from_ptr(tc_version(null_mut(), null_mut(), null_mut())) }.to_bytes();
        let start = text.iter().rposition(|&byte| byte == b' ').map_or(0, |space| space + 1);
        Version::new(&text[start..])
    }

    #[inline(always)]
    unsafe fn allocate(layout: Layout) -> Allocation {
        // SAFETY: no conditions of tc_malloc; a layout's alignment is a power of two.
        unsafe {
            match SIZES.entry(layout) {
                Some(entry) => small(tc_malloc(entry.size), entry),
                None => looked_up(large(layout)),
            }
        }
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> Allocation {
        // SAFETY: no conditions of tc_calloc; a new block has room for the layout's size.
        unsafe {
            if let Some(entry) = SIZES.entry(layout) {
                return small(tc_calloc(1, entry.size), entry);
            }
            if layout.align() <= SizeTable::ALIGNMENT_MAX {
                return looked_up(tc_calloc(1, layout.size()));
            }
            let block = looked_up(large(layout));
            if !block.ptr.is_null() {
                block.ptr.write_bytes(0, layout.size());
            }
            block
        }
    }

    #[inline(always)]
    unsafe fn deallocate(ptr: *mut u8, layout: Layout) -> usize {
        // SAFETY: the caller's contract; a usable size is one of the block's class.
        unsafe {
            match SIZES.entry(layout).and_then(Entry::usable) {
                Some(usable) => {
                    debug_assert_eq!(usable, Self::usable_size(ptr));
                    tc_free_sized(ptr.cast(), usable);
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
            let after = SIZES.entry(resized);
            if after.is_none() && layout.align() <= SizeTable::ALIGNMENT_MAX {
                // The block stays or becomes one that is looked up.
                return Self::realloc(ptr, new_size);
            }
            if let (Some(before), Some(after)) = (SIZES.entry(layout), after)
                && let Some(usable) = before.usable_of_both(after)
            {
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
                Some(entry) => small(tc_malloc(size), entry),
                None => looked_up(tc_malloc(size)),
            }
        }
    }

    #[inline(always)]
    unsafe fn calloc(size: usize) -> Allocation {
        let size = size.max(1);
        // SAFETY: no conditions.
        unsafe {
            match SIZES.entry_for(size) {
                Some(entry) => small(tc_calloc(1, size), entry),
                None => looked_up(tc_calloc(1, size)),
            }
        }
    }

    unsafe fn malloc_aligned(alignment: usize, size: usize) -> Allocation {
        // SAFETY: a power of two.
        unsafe { looked_up(tc_memalign(alignment, size.max(1))) }
    }

    unsafe fn realloc(ptr: *mut u8, size: usize) -> Reallocation {
        // SAFETY: a live block, before and after.
        unsafe {
            let credited = Self::usable_size(ptr);
            let new = looked_up(tc_realloc(ptr.cast(), size));
            if new.ptr.is_null() {
                return Reallocation::REFUSED;
            }
            Reallocation { ptr: new.ptr, credited, charged: new.charged }
        }
    }

    #[inline(always)]
    unsafe fn free(ptr: *mut u8) -> usize {
        // SAFETY: a live block.
        unsafe {
            let size = Self::usable_size(ptr);
            tc_free(ptr.cast());
            size
        }
    }

    #[inline(always)]
    unsafe fn usable_size(ptr: *const u8) -> usize {
        // SAFETY: a live block.
        unsafe { tc_malloc_size(ptr.cast_mut().cast()) }
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

/// A block of at most `malloc`'s alignment.
///
/// # Safety
/// `ptr` is null, or a new block of the entry's size.
#[inline(always)]
unsafe fn small(ptr: *mut c_void, entry: Entry<'_>) -> Allocation {
    #[cold]
    unsafe fn learn(ptr: *mut c_void, entry: Entry<'_>) -> usize {
        // SAFETY: a live block.
        let usable = unsafe { tc_malloc_size(ptr) };
        entry.learn(usable);
        usable
    }

    if ptr.is_null() {
        return Allocation::REFUSED;
    }
    // SAFETY: a live block.
    let charged = entry.usable().unwrap_or_else(|| unsafe { learn(ptr, entry) });
    // SAFETY: a live block.
    debug_assert_eq!(charged, unsafe { tc_malloc_size(ptr) });
    Allocation { ptr: ptr.cast(), charged }
}

/// # Safety
/// `ptr` is null or a live block.
#[inline(always)]
unsafe fn looked_up(ptr: *mut c_void) -> Allocation {
    // SAFETY: tcmalloc answers 0 for null.
    Allocation { ptr: ptr.cast(), charged: unsafe { tc_malloc_size(ptr) } }
}

/// A block that is looked up.
#[inline(always)]
fn large(layout: Layout) -> *mut c_void {
    // SAFETY: no conditions of tc_malloc; a layout's alignment is a power of two.
    unsafe {
        if layout.align() <= SizeTable::ALIGNMENT_MAX {
            tc_malloc(layout.size())
        } else {
            tc_memalign(layout.align(), layout.size())
        }
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
