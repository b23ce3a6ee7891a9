//! Where blocks come from: [`Memory`], and what the collections need of it.

use allocator_api2::alloc::{AllocError, Allocator};
use allocator_api2::boxed::Box;
use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A block and the bytes that may be used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The block.
    pub ptr: NonNull<u8>,
    /// The usable bytes, at least those requested.
    pub usable: usize,
}

/// An allocator that tells how much of a block may be used.
///
/// A type without state: a value is then one thin pointer. Implemented for [`Global`], and with the feature `zmalloc` for
/// every [`Zmalloc`](https://docs.rs/zmalloc).
///
/// A layout *fits* a block if its alignment is the one the block was asked for with, and its size is anything from what
/// was last requested to what was answered as usable.
///
/// # Safety
///
/// 1. A block that is answered has at least the requested size and alignment, all its usable bytes may be written, and it
///    stays where it is until it is freed or reallocated.
/// 2. No call unwinds.
/// 3. [`charged_size`](Memory::charged_size) tells the same for a block, from when it is given out or resized until it is
///    freed or resized.
pub unsafe trait Memory: Copy + fmt::Debug + 'static {
    /// Allocates a block for `layout`, whose size is above 0; `None` if there is no memory.
    fn allocate(layout: Layout) -> Option<Block>;

    /// Resizes a block, perhaps moving it; its first bytes are kept. `None` leaves it as it was.
    ///
    /// # Safety
    /// 1. `ptr` is a live block of this memory. 2. `layout` fits it. 3. `new_size` is above 0 and makes a valid layout with
    ///    the same alignment.
    unsafe fn reallocate(ptr: NonNull<u8>, layout: Layout, new_size: usize) -> Option<Block>;

    /// Frees a block.
    ///
    /// # Safety
    /// 1. `ptr` is a live block of this memory, and not used again. 2. `layout` fits it.
    unsafe fn free(ptr: NonNull<u8>, layout: Layout);

    /// The bytes that the block counts for: what the ledger holds for it, or the size that was requested where
    /// nobody knows more.
    ///
    /// # Safety
    /// 1. `ptr` is a live block of this memory. 2. `layout` fits it.
    unsafe fn charged_size(ptr: NonNull<u8>, layout: Layout) -> usize;
}

/// The program's global allocator, which does not tell usable sizes: what was requested is all there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Global;

// SAFETY: the blocks are those of the global allocator, whose contract has all of it; the usable size is the one requested,
// so that only that layout fits.
unsafe impl Memory for Global {
    #[inline]
    fn allocate(layout: Layout) -> Option<Block> {
        // SAFETY: the size is above 0, by the trait's contract.
        let ptr = NonNull::new(unsafe { alloc::alloc::alloc(layout) })?;
        Some(Block { ptr, usable: layout.size() })
    }

    #[inline]
    unsafe fn reallocate(ptr: NonNull<u8>, layout: Layout, new_size: usize) -> Option<Block> {
        // SAFETY: the caller's contract is the callee's.
        let ptr = NonNull::new(unsafe { alloc::alloc::realloc(ptr.as_ptr(), layout, new_size) })?;
        Some(Block { ptr, usable: new_size })
    }

    #[inline]
    unsafe fn free(ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's contract is the callee's.
        unsafe { alloc::alloc::dealloc(ptr.as_ptr(), layout) }
    }

    #[inline]
    unsafe fn charged_size(_: NonNull<u8>, layout: Layout) -> usize {
        layout.size()
    }
}

#[cfg(feature = "zmalloc")]
mod counted {
    use super::{Block, Layout, Memory, NonNull};
    use zmalloc::backend::Backend;
    use zmalloc::ledger::Detail;
    use zmalloc::{UsableBlock, Zmalloc};

    /// What every block of C's calls is aligned to, whatever its size.
    const SMALL_ALIGNMENT: usize = 8;
    /// From here on `try_realloc` frees instead of resizing.
    const TOO_LARGE: usize = usize::MAX / 2;

    fn block(answer: UsableBlock) -> Option<Block> {
        Some(Block { ptr: NonNull::new(answer.ptr)?, usable: answer.usable })
    }

    // SAFETY: the blocks are those of C's calls of the heap, which are sized, freed and charged by address alone, so that
    // every layout fits; counting never unwinds.
    unsafe impl<B: Backend, D: Detail> Memory for Zmalloc<B, D> {
        #[inline]
        fn allocate(layout: Layout) -> Option<Block> {
            let heap = Self::new();
            if layout.align() <= SMALL_ALIGNMENT {
                return block(heap.try_malloc_usable(layout.size()));
            }
            let ptr = NonNull::new(heap.try_malloc_aligned(layout.align(), layout.size()))?;
            // SAFETY: a live block of this heap.
            Some(Block { ptr, usable: unsafe { heap.usable_size(ptr.as_ptr()) } })
        }

        #[inline]
        unsafe fn reallocate(ptr: NonNull<u8>, layout: Layout, new_size: usize) -> Option<Block> {
            if new_size >= TOO_LARGE {
                return None;
            }
            if layout.align() <= SMALL_ALIGNMENT {
                // SAFETY: a live block of this heap, and a size that resizes.
                return block(unsafe { Self::new().try_realloc_usable(ptr.as_ptr(), new_size) });
            }
            let moved = <Self as Memory>::allocate(Layout::from_size_align(new_size, layout.align()).ok()?)?;
            // SAFETY: two blocks with at least that many bytes each; the old one is not used again.
            unsafe {
                moved.ptr.copy_from_nonoverlapping(ptr, layout.size().min(new_size));
                <Self as Memory>::free(ptr, layout);
            }
            Some(moved)
        }

        #[inline]
        unsafe fn free(ptr: NonNull<u8>, _: Layout) {
            // SAFETY: a live block of this heap, not used again.
            unsafe { Self::new().free(ptr.as_ptr()) }
        }

        #[inline]
        unsafe fn charged_size(ptr: NonNull<u8>, _: Layout) -> usize {
            // SAFETY: a live block of this heap.
            unsafe { Self::new().charged_size(ptr.as_ptr()) }
        }
    }
}

/// There was no memory for this many bytes, or they are more than a block can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// The bytes requested, header included; `usize::MAX` if their number overflowed.
    pub bytes: usize,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no memory for {} bytes", self.bytes)
    }
}

impl core::error::Error for OutOfMemory {}

impl OutOfMemory {
    /// Ends the program as Rust's own collections do.
    #[cold]
    pub(crate) fn abort(self) -> ! {
        match Layout::array::<u8>(self.bytes) {
            Ok(layout) => alloc::alloc::handle_alloc_error(layout),
            Err(_) => panic!("capacity overflow"),
        }
    }
}

/// [`Memory`] as the collections of [`allocator_api2`] take it: keeps the charge of what the one collection that owns it holds.
///
/// ```
/// use zmalloc_values::{Counted, Global};
///
/// let mut bytes = allocator_api2::vec::Vec::new_in(Counted::<Global>::new());
/// bytes.resize(1000, 0u8);
/// assert_eq!(bytes.allocator().charged_size(), bytes.capacity());
/// ```
pub struct Counted<M> {
    charged: AtomicUsize,
    memory: PhantomData<fn() -> M>,
}

impl<M> Counted<M> {
    /// Nothing is held.
    pub fn new() -> Self {
        Counted { charged: AtomicUsize::new(0), memory: PhantomData }
    }

    /// The bytes that the collection's blocks count for.
    pub fn charged_size(&self) -> usize {
        self.charged.load(Ordering::Relaxed)
    }

    /// Its collection is borrowed mutably whenever it allocates, so nobody adds at the same time.
    fn add(&self, charge: usize) {
        self.charged.store(self.charged_size().wrapping_add(charge), Ordering::Relaxed);
    }
}

impl<M> Default for Counted<M> {
    fn default() -> Self {
        Counted::new()
    }
}

impl<M> fmt::Debug for Counted<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").field("charged_size", &self.charged_size()).finish()
    }
}

/// A clone is for another collection, which holds nothing yet.
impl<M> Clone for Counted<M> {
    fn clone(&self) -> Self {
        Counted::new()
    }
}

// SAFETY: the blocks are those of the memory, which stay until they are freed; the layout that a collection frees with lies
// between what it requested and what it was told, so it fits.
unsafe impl<M: Memory> Allocator for Counted<M> {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(NonNull::slice_from_raw_parts(dangling(layout), 0));
        }
        let block = M::allocate(layout).ok_or(AllocError)?;
        // SAFETY: a live block, and its layout.
        self.add(unsafe { M::charged_size(block.ptr, layout) });
        Ok(NonNull::slice_from_raw_parts(block.ptr, block.usable))
    }

    unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 {
            // SAFETY: a live block and a layout that fits, by the caller's contract.
            unsafe {
                self.add(M::charged_size(ptr, layout).wrapping_neg());
                M::free(ptr, layout);
            }
        }
    }
}

/// [`Memory`] for one block that lives as long as its owner, which charges it when asked.
pub(crate) struct Direct<M>(PhantomData<fn() -> M>);

// SAFETY: as for `Counted`.
unsafe impl<M: Memory> Allocator for Direct<M> {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(NonNull::slice_from_raw_parts(dangling(layout), 0));
        }
        let block = M::allocate(layout).ok_or(AllocError)?;
        Ok(NonNull::slice_from_raw_parts(block.ptr, block.usable))
    }

    unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 {
            // SAFETY: a live block and a layout that fits, by the caller's contract.
            unsafe { M::free(ptr, layout) }
        }
    }
}

fn dangling(layout: Layout) -> NonNull<u8> {
    NonNull::without_provenance(core::num::NonZero::new(layout.align()).expect("an alignment is above 0"))
}

/// A value in a block of its own: one thin pointer.
pub(crate) struct Boxed<T, M: Memory>(Box<T, Direct<M>>);

impl<T, M: Memory> Boxed<T, M> {
    pub(crate) fn new(value: T) -> Self {
        const { assert!(size_of::<T>() > 0) };
        Boxed(Box::new_in(value, Direct(PhantomData)))
    }

    /// The charge of its block alone.
    pub(crate) fn block_charged_size(&self) -> usize {
        // SAFETY: a live block, and its layout.
        unsafe { M::charged_size(NonNull::from(&*self.0).cast(), Layout::new::<T>()) }
    }
}

impl<T, M: Memory> Deref for Boxed<T, M> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T, M: Memory> DerefMut for Boxed<T, M> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Clone, M: Memory> Clone for Boxed<T, M> {
    fn clone(&self) -> Self {
        Boxed::new((*self.0).clone())
    }
}
