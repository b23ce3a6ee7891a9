//! A size before each block, over an allocator that cannot tell one.

use super::{Backend, Version, c_calls};
use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::null_mut;

/// An allocator that gives and takes blocks by layout, and knows nothing else about them.
///
/// To count over one of your own, write this for a type without values and hand it to [`SizePrefix`]:
///
/// ```
/// use core::alloc::{GlobalAlloc, Layout};
/// use std::alloc::System;
/// use zmalloc::{Zmalloc, backend::{PlainAllocator, SizePrefix}};
///
/// enum Plain {}
///
/// // SAFETY: `System` follows the rules of `GlobalAlloc`, and is never a heap of zmalloc.
/// unsafe impl PlainAllocator for Plain {
///     const NAME: &'static str = "system";
///
///     unsafe fn allocate(layout: Layout) -> *mut u8 {
///         // SAFETY: the caller's contract is the callee's.
///         unsafe { System.alloc(layout) }
///     }
///
///     unsafe fn deallocate(ptr: *mut u8, layout: Layout) {
///         // SAFETY: the caller's contract is the callee's.
///         unsafe { System.dealloc(ptr, layout) }
///     }
/// }
///
/// static HEAP: Zmalloc<SizePrefix<Plain>> = Zmalloc::new();
///
/// let block = HEAP.malloc(100);
/// // SAFETY: a live block, freed once.
/// unsafe {
///     assert_eq!(HEAP.usable_size(block), 104);
///     assert_eq!(zmalloc::used_memory(), HEAP.charged_size(block));
///     HEAP.free(block);
/// }
/// assert_eq!(zmalloc::used_memory(), 0);
/// ```
///
/// # Safety
///
/// An implementation promises the rules of [`core::alloc::GlobalAlloc`], and never to call a
/// [`Zmalloc`](crate::Zmalloc) or the ledger.
pub unsafe trait PlainAllocator: 'static {
    /// The allocator's name as its users write it.
    const NAME: &'static str;

    /// The version of the allocator, if it tells.
    fn version() -> Version {
        Version::UNKNOWN
    }

    /// Allocates a block, or answers null.
    ///
    /// # Safety
    /// `layout` has a size above 0.
    unsafe fn allocate(layout: Layout) -> *mut u8;

    /// As [`allocate`](PlainAllocator::allocate), filled with zeros.
    ///
    /// # Safety
    /// As [`allocate`](PlainAllocator::allocate).
    unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract; a new block has room for the layout's size.
        unsafe {
            let ptr = Self::allocate(layout);
            if !ptr.is_null() {
                ptr.write_bytes(0, layout.size());
            }
            ptr
        }
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// 1. `ptr` is a live block of this allocator. 2. `layout` is the one it was last given or resized to.
    unsafe fn deallocate(ptr: *mut u8, layout: Layout);

    /// Resizes a block, keeping its alignment and its first bytes; or answers null and leaves it as it was.
    ///
    /// # Safety
    /// 1. As [`deallocate`](PlainAllocator::deallocate).
    /// 2. `new_size` is above 0 and, rounded up to the alignment, fits `isize`.
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's contract makes the new layout valid; the copy stays within both blocks, which are
        // distinct.
        unsafe {
            let new = Self::allocate(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(ptr, layout.size().min(new_size));
                Self::deallocate(ptr, layout);
            }
            new
        }
    }
}

/// The allocator `A` with a header before each block that holds its size.
///
/// The size is the requested one rounded up to the machine word, and that is all a program may use. The header is one
/// word, padded to the block's alignment: 8 bytes for a block aligned to 8 or less, 16 for those of C's `malloc`, 64
/// for one aligned to 64. Charged is the sum of both. Redis without `malloc_usable_size` counts the size and 8: by
/// layout ours is more by the rounding, and through C's calls by 8 too, since they keep an alignment of 16 that Redis's
/// do not.
pub struct SizePrefix<A>(PhantomData<fn() -> A>);

impl<A> Clone for SizePrefix<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for SizePrefix<A> {}

impl<A: PlainAllocator> core::fmt::Debug for SizePrefix<A> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SizePrefix({})", A::NAME)
    }
}

/// What C's `malloc` promises: `alignof(max_align_t)`, which is two words wherever this runs.
const MALLOC_ALIGNMENT: usize = 2 * WORD;

const WORD: usize = size_of::<usize>();

// SAFETY: 1. both parts of the charge are in the header, which only a resize changes, and the
// layout of a block by layout tells both.
// 2. and 3. are the promises of `A`.
unsafe impl<A: PlainAllocator> Backend for SizePrefix<A> {
    const NAME: &'static str = A::NAME;
    const CHARGES_USABLE_SIZE: bool = false;

    fn version() -> Version {
        A::version()
    }

    #[inline(always)]
    unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: a whole block has a size above 0.
        block(layout.align(), layout.size(), |whole| unsafe { A::allocate(whole) })
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: a whole block has a size above 0.
        block(layout.align(), layout.size(), |whole| unsafe { A::allocate_zeroed(whole) })
    }

    #[inline(always)]
    unsafe fn deallocate(ptr: *mut u8, layout: Layout) {
        // SAFETY: a live block of this layout lies in a whole block of its header's layout.
        unsafe {
            let header = Header::of(layout);
            A::deallocate(ptr.sub(header.length), header.whole());
        }
    }

    #[inline]
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: a live block of this layout has this header before it.
        unsafe { resize::<A>(ptr, Header::of(layout), new_size) }
    }

    #[inline(always)]
    unsafe fn malloc(size: usize) -> *mut u8 {
        // SAFETY: a whole block has a size above 0.
        block(MALLOC_ALIGNMENT, size, |whole| unsafe { A::allocate(whole) })
    }

    #[inline(always)]
    unsafe fn calloc(size: usize) -> *mut u8 {
        // SAFETY: a whole block has a size above 0.
        block(MALLOC_ALIGNMENT, size, |whole| unsafe { A::allocate_zeroed(whole) })
    }

    #[inline]
    unsafe fn malloc_aligned(alignment: usize, size: usize) -> *mut u8 {
        // SAFETY: a whole block has a size above 0.
        block(alignment, size, |whole| unsafe { A::allocate(whole) })
    }

    #[inline]
    unsafe fn realloc(ptr: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: a live block has a header before it.
        unsafe { resize::<A>(ptr, Header::read(ptr), size) }
    }

    #[inline(always)]
    unsafe fn free(ptr: *mut u8) {
        // SAFETY: a live block has a header before it and lies in a whole block of that layout.
        unsafe {
            let header = Header::read(ptr);
            A::deallocate(ptr.sub(header.length), header.whole());
        }
    }

    #[inline(always)]
    unsafe fn usable_size(ptr: *const u8) -> usize {
        // SAFETY: a live block has a header before it.
        unsafe { Header::read(ptr) }.size
    }

    #[inline(always)]
    unsafe fn charged_size(ptr: *const u8) -> usize {
        // SAFETY: a live block has a header before it.
        unsafe { Header::read(ptr) }.charged()
    }

    #[inline(always)]
    unsafe fn charged_size_of(ptr: *const u8, layout: Layout) -> usize {
        let charged = Header::of(layout).charged();
        // SAFETY: a live block.
        debug_assert_eq!(charged, unsafe { Self::charged_size(ptr) });
        charged
    }
}

#[inline(always)]
fn block(alignment: usize, size: usize, whole: impl FnOnce(Layout) -> *mut u8) -> *mut u8 {
    let Some(header) = Header::new(alignment.max(WORD), size) else {
        return null_mut();
    };
    let whole = whole(header.whole());
    if whole.is_null() {
        return null_mut();
    }
    // SAFETY: a new block of the header's layout.
    unsafe { header.write(whole) }
}

/// # Safety
/// `ptr` is a live block over `A` with the header `before`.
#[inline]
unsafe fn resize<A: PlainAllocator>(ptr: *mut u8, before: Header, size: usize) -> *mut u8 {
    let Some(after) = Header::new(before.length, size) else {
        return null_mut();
    };
    // SAFETY: a live block lies in a whole block of its header's layout. The new one is no smaller than its header, and
    // its size was checked to fit.
    unsafe {
        let whole = A::reallocate(ptr.sub(before.length), before.whole(), after.charged());
        if whole.is_null() { null_mut() } else { after.write(whole) }
    }
}

/// What stands before a block.
///
/// In the last word before the block, the size, whose low bits are free since it is a multiple of the word: they hold
/// how often the header is twice a word, or if they are too few for that, all ones, and the word before holds the
/// header's length.
#[derive(Clone, Copy)]
struct Header {
    /// From the start of the whole block to the program's: a power of two, which is also the whole block's alignment.
    length: usize,
    /// The bytes a program may use: a multiple of the word, above 0.
    size: usize,
}

impl Header {
    /// The low bits of the size, all ones: the length is in the word before.
    const LONG: usize = WORD - 1;

    /// A header of this length, or `None` if it and `size` exceed what a layout may be.
    #[inline(always)]
    fn new(length: usize, size: usize) -> Option<Header> {
        let size = size.max(1).checked_next_multiple_of(WORD)?;
        let whole = size.checked_add(length)?;
        (whole <= (isize::MAX as usize + 1).checked_sub(length)?).then_some(Header { length, size })
    }

    /// The header of a live block of this layout.
    #[inline(always)]
    fn of(layout: Layout) -> Header {
        // It fits, for the block was given out.
        Header { length: layout.align().max(WORD), size: (layout.size() + WORD - 1) & !(WORD - 1) }
    }

    #[inline(always)]
    fn charged(self) -> usize {
        self.length + self.size
    }

    #[inline(always)]
    fn whole(self) -> Layout {
        // SAFETY: the length is a power of two, and `new` left room to round the sum up to it.
        unsafe { Layout::from_size_align_unchecked(self.charged(), self.length) }
    }

    /// Writes the header and answers the program's block.
    ///
    /// # Safety
    /// `whole` is a block of this header's layout.
    #[inline(always)]
    unsafe fn write(self, whole: *mut u8) -> *mut u8 {
        // SAFETY: the length is at least a word, and more than two if it is written too; the block is aligned to it.
        unsafe {
            let ptr = whole.add(self.length);
            let words = ptr.cast::<usize>();
            let doublings = (self.length / WORD).ilog2() as usize;
            if doublings < Self::LONG {
                words.sub(1).write(self.size | doublings);
            } else {
                words.sub(2).write(self.length);
                words.sub(1).write(self.size | Self::LONG);
            }
            ptr
        }
    }

    /// # Safety
    /// `ptr` is a block that `write` answered and that is still live.
    #[inline(always)]
    unsafe fn read(ptr: *const u8) -> Header {
        // SAFETY: `write` wrote these words.
        unsafe {
            let words = ptr.cast::<usize>();
            let last = words.sub(1).read();
            let doublings = last & Self::LONG;
            let length = if doublings < Self::LONG { WORD << doublings } else { words.sub(2).read() };
            Header { length, size: last & !Self::LONG }
        }
    }
}

/// C's `malloc` and `free`, without asking for a block's size: for C libraries that do not tell it.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainLibc;

// SAFETY: the C library's functions are what `GlobalAlloc` asks for, where `malloc`'s alignment is enough; aligned
// blocks come from `posix_memalign`. None of them unwinds or calls us.
unsafe impl PlainAllocator for PlainLibc {
    const NAME: &'static str = "libc";

    fn version() -> Version {
        super::Libc::version()
    }

    #[inline(always)]
    unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { c_calls::allocate(layout) }
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { c_calls::allocate_zeroed(layout) }
    }

    #[inline(always)]
    unsafe fn deallocate(ptr: *mut u8, _: Layout) {
        // SAFETY: a live block.
        unsafe { c_calls::free(ptr) }
    }

    #[inline(always)]
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { c_calls::reallocate(ptr, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_header_and_size() {
        // SAFETY: sizes above 0, powers of two; every block is freed once.
        unsafe {
            let cases = [(100, 1, 8 + 104), (100, 16, 16 + 104), (8, 64, 64 + 8), (5, 4096, 4096 + 8), (1, 128, 136)];
            for (size, alignment, charged) in cases {
                let layout = Layout::from_size_align(size, alignment).unwrap();
                let block = SizePrefix::<PlainLibc>::allocate(layout);
                assert_eq!(SizePrefix::<PlainLibc>::charged_size(block), charged);
                assert_eq!(SizePrefix::<PlainLibc>::charged_size_of(block, layout), charged);
                assert_eq!(SizePrefix::<PlainLibc>::usable_size(block), size.next_multiple_of(8));
                SizePrefix::<PlainLibc>::deallocate(block, layout);
            }
            let block = SizePrefix::<PlainLibc>::malloc(0);
            assert_eq!((SizePrefix::<PlainLibc>::charged_size(block), block.addr() % 16), (24, 0));
            SizePrefix::<PlainLibc>::free(block);
        }
    }

    #[test]
    fn headers_survive_writing() {
        let mut memory = vec![0u128; 3 << 16 >> 4];
        for length in (3..=16).map(|log| 1 << log) {
            // SAFETY: the memory has room for the longest header and is aligned to 16; more is not needed to write.
            unsafe {
                let header = Header::new(length, 40).unwrap();
                let read = Header::read(header.write(memory.as_mut_ptr().cast()));
                assert_eq!((read.length, read.size), (length, 40));
            }
        }
    }

    #[test]
    fn too_large_is_refused() {
        assert!(Header::new(8, usize::MAX).is_none());
        assert!(Header::new(8, isize::MAX as usize).is_none());
        assert!(Header::new(1 << 63, 1).is_none());
    }
}
