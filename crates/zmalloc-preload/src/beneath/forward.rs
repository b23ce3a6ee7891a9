//! Forwarding: the allocator that the program has anyway does the work, we count.

use super::next::{self, Next};
use super::{built, charge, counters, credit, move_out_of_arena};
use crate::object::Object;
use crate::{arena, start};
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU8, Ordering};
use zmalloc::ledger::{self, SizeClasses};

/// What is known about the allocator beneath. The hot paths ask this alone.
static MODE: AtomicU8 = AtomicU8::new(NOT_STARTED);
const NOT_STARTED: u8 = 0;
/// glibc, whose size words are where we look, and no block of the arena is out.
const GLIBC: u8 = 1;
/// A jemalloc that counts by itself.
const COUNTS: u8 = 2;
const ANY: u8 = 3;

/// Finds the allocator beneath; answers what to call it.
pub(crate) fn find() -> &'static str {
    if next::find() { "libc" } else { "forward" }
}

/// The last step of the start: from here on calls are forwarded.
pub(crate) fn begin() {
    // SAFETY: found before.
    let next = unsafe { next::next() };
    wake(next);
    let mode = if next.is_libc && !arena::is_used() && size_words_are_known(next) {
        GLIBC
    } else if cfg!(target_arch = "x86_64") && counters::hold(next) {
        COUNTS
    } else {
        ANY
    };
    MODE.store(mode, Ordering::Release);
}

/// Asks the allocator beneath for a size once, while what it allocates itself comes from the arena: tcmalloc makes itself
/// ready to tell sizes by a call of `malloc`, and asking for the size of that block would never end.
fn wake(next: &Next) {
    // SAFETY: a new block, freed once.
    unsafe {
        let block = (next.malloc)(1);
        if let Some(usable_size) = next.usable_size.filter(|_| !block.is_null()) {
            usable_size(block);
        }
        (next.free)(block);
    }
}

/// The object whose mappings are the allocator's, not the program's. glibc maps without passing by us.
pub(crate) fn object() -> Object {
    // SAFETY: found before.
    let next = unsafe { next::next() };
    if next.is_libc { Object::NONE } else { next.object }
}

#[inline(always)]
pub(crate) unsafe fn malloc(size: usize) -> *mut c_void {
    if MODE.load(Ordering::Acquire) != GLIBC {
        return malloc_anywhere(size);
    }
    // SAFETY: started, over glibc.
    unsafe { given((next::next().malloc)(size)) }
}

#[inline]
fn malloc_anywhere(size: usize) -> *mut c_void {
    if counted_beneath() {
        // SAFETY: no conditions of its own.
        return unsafe { given_beneath((next::next().malloc)(size)) };
    }
    // SAFETY: no conditions of its own.
    next().map_or_else(|| arena::allocate(1, size), |next| unsafe { counted((next.malloc)(size)) })
}

#[inline(always)]
pub(crate) unsafe fn calloc(count: usize, size: usize) -> *mut c_void {
    if MODE.load(Ordering::Acquire) != GLIBC {
        return calloc_anywhere(count, size);
    }
    // SAFETY: started, over glibc, which has it and checks for overflow.
    unsafe { given((next::next().calloc.unwrap_unchecked())(count, size)) }
}

#[cold]
fn calloc_anywhere(count: usize, size: usize) -> *mut c_void {
    let Some(next) = next() else {
        return built::array_size(count, size).map_or(null_mut(), |bytes| arena::allocate(1, bytes));
    };
    if let Some(calloc) = next.calloc {
        // SAFETY: no conditions of its own.
        return unsafe { counted(calloc(count, size)) };
    }
    let Some(bytes) = built::array_size(count, size) else { return null_mut() };
    // SAFETY: no conditions of its own; a new block has room for what was asked.
    unsafe {
        let block = (next.malloc)(bytes);
        if !block.is_null() {
            block.cast::<u8>().write_bytes(0, bytes);
        }
        counted(block)
    }
}

#[inline(always)]
pub(crate) unsafe fn free(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // SAFETY: a live block of the allocator beneath, by the C contract; in this mode it is glibc.
    unsafe {
        if MODE.load(Ordering::Acquire) != GLIBC {
            return free_anywhere(block);
        }
        let word = size_word(block);
        if word & IS_MAPPED != 0 || !ledger::try_credit::<SizeClasses>(0, in_heap(word)) {
            return free_anywhere(block);
        }
        (next::next().free)(block);
    }
}

/// Counts a block that glibc gave out, if it did. What is rare comes last, so that the rest saves no registers for it.
#[inline(always)]
unsafe fn given(block: *mut c_void) -> *mut c_void {
    if block.is_null() {
        return block;
    }
    // SAFETY: a live block of glibc's.
    unsafe {
        let word = size_word(block);
        if word & IS_MAPPED != 0 {
            return counted(block);
        }
        if !ledger::try_charge::<SizeClasses>(0, in_heap(word)) {
            return finished(block, in_heap(word));
        }
    }
    block
}

#[cold]
fn finished(block: *mut c_void, charged: usize) -> *mut c_void {
    ledger::finish_charge::<SizeClasses>(0, charged);
    block
}

#[inline]
unsafe fn free_anywhere(block: *mut c_void) {
    if arena::owns(block) {
        return;
    }
    if counted_beneath() {
        // SAFETY: a live block, by the C contract.
        unsafe { (next::next().free)(block) };
        return credit(counters::taken());
    }
    // While starting, what is not the arena's was not given out by us.
    let Some(next) = next() else { return };
    // SAFETY: a live block, by the C contract.
    unsafe {
        credit(size(block));
        (next.free)(block);
    }
}

#[inline(always)]
pub(crate) unsafe fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: a live block of the allocator beneath or null, by the C contract; in this mode it is glibc.
    unsafe {
        if MODE.load(Ordering::Acquire) != GLIBC || block.is_null() {
            return realloc_anywhere(block, size);
        }
        let before = glibc_size(block);
        let resized = (next::next().realloc)(block, size);
        if !resized.is_null() {
            credit(before);
            return given(resized);
        }
        if size == 0 {
            credit(before);
        }
        resized
    }
}

#[cold]
unsafe fn realloc_anywhere(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: a live block or null, by the C contract.
    unsafe {
        if arena::owns(block) {
            return move_out_of_arena(block, malloc(size), size);
        }
        let Some(next) = next() else { return arena::allocate(1, size) };
        resized(next, block, size)
    }
}

/// Never the one beneath: glibc's calls `realloc` by its name, so that would be counted twice.
pub(crate) unsafe fn reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void {
    // SAFETY: a live block or null, by the C contract.
    built::array_size(count, size).map_or(null_mut(), |bytes| unsafe { realloc(block, bytes) })
}

pub(crate) unsafe fn posix_memalign(out: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    let Some(next) = next() else {
        // SAFETY: the program's pointer.
        return unsafe { built::posix_memalign(out, alignment, size, &arena::allocate) };
    };
    // SAFETY: the program's pointer, which is written on success.
    unsafe {
        let code = match next.posix_memalign {
            Some(posix_memalign) => posix_memalign(out, alignment, size),
            None => built::posix_memalign(out, alignment, size, &|alignment, size| aligned(next, alignment, size)),
        };
        if code == 0 {
            counted(*out);
        }
        code
    }
}

pub(crate) fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    let Some(next) = next() else { return built::aligned_alloc(alignment, size, &arena::allocate) };
    // SAFETY: no conditions of its own.
    unsafe {
        let block = match next.aligned_alloc {
            Some(aligned_alloc) => aligned_alloc(alignment, size),
            None => built::aligned_alloc(alignment, size, &|alignment, size| aligned(next, alignment, size)),
        };
        counted(block)
    }
}

pub(crate) fn memalign(alignment: usize, size: usize) -> *mut c_void {
    let Some(next) = next() else { return built::memalign(alignment, size, &arena::allocate) };
    // SAFETY: no conditions of its own.
    unsafe {
        let block = match next.memalign {
            Some(memalign) => memalign(alignment, size),
            None => built::memalign(alignment, size, &|alignment, size| aligned(next, alignment, size)),
        };
        counted(block)
    }
}

pub(crate) fn valloc(size: usize) -> *mut c_void {
    let Some(next) = next() else { return built::valloc(size, &arena::allocate) };
    // SAFETY: no conditions of its own.
    unsafe {
        let block = match next.valloc {
            Some(valloc) => valloc(size),
            None => built::valloc(size, &|alignment, size| aligned(next, alignment, size)),
        };
        counted(block)
    }
}

pub(crate) fn pvalloc(size: usize) -> *mut c_void {
    let Some(next) = next() else { return built::pvalloc(size, &arena::allocate) };
    // SAFETY: no conditions of its own.
    unsafe {
        let block = match next.pvalloc {
            Some(pvalloc) => pvalloc(size),
            None => built::pvalloc(size, &|alignment, size| aligned(next, alignment, size)),
        };
        counted(block)
    }
}

pub(crate) unsafe fn usable_size(block: *mut c_void) -> usize {
    if block.is_null() {
        return 0;
    }
    // SAFETY: a live block of the arena or of the allocator beneath.
    unsafe {
        if arena::owns(block) {
            return arena::usable_size(block);
        }
        next().map_or(0, |_| size(block))
    }
}

pub(crate) fn trim(keep: usize) -> c_int {
    // SAFETY: no conditions of its own.
    next().and_then(|next| next.trim).map_or(0, |trim| unsafe { trim(keep) })
}

/// The allocator beneath, or `None` inside the start. Before every call of it: a thread's counters are found here.
#[inline]
fn next() -> Option<&'static Next> {
    if MODE.load(Ordering::Acquire) == NOT_STARTED && !start::ready() {
        return None;
    }
    counted_beneath();
    // SAFETY: started, so it was found.
    Some(unsafe { next::next() })
}

/// Whether the allocator beneath counts what the calling thread does; if it can, it does from now on.
#[inline(always)]
fn counted_beneath() -> bool {
    // SAFETY: in this mode it was found.
    MODE.load(Ordering::Acquire) == COUNTS && (counters::are_known() || counters::find(unsafe { next::next() }))
}

/// Counts a block given out by an allocator that counts, if it was.
#[inline(always)]
fn given_beneath(block: *mut c_void) -> *mut c_void {
    let charged = counters::given();
    if charged != 0 && !ledger::try_charge::<SizeClasses>(0, charged) {
        return finished(block, charged);
    }
    block
}

/// Counts a block given out, if it was.
#[cold]
unsafe fn counted(block: *mut c_void) -> *mut c_void {
    if counted_beneath() {
        return given_beneath(block);
    }
    if !block.is_null() {
        // SAFETY: a live block.
        charge(unsafe { size(block) });
    }
    block
}

/// Resizes a block, or null. A block resized to nothing is freed if no block is the answer; otherwise null leaves it as
/// it was.
unsafe fn resized(next: &Next, block: *mut c_void, requested: usize) -> *mut c_void {
    if counted_beneath() {
        // SAFETY: a live block or null.
        let resized = unsafe { (next.realloc)(block, requested) };
        let credited = counters::taken();
        if credited != 0 {
            credit(credited);
        }
        return given_beneath(resized);
    }
    // SAFETY: a live block or null.
    unsafe {
        let before = if block.is_null() { 0 } else { size(block) };
        let resized = (next.realloc)(block, requested);
        if !block.is_null() && (!resized.is_null() || requested == 0) {
            credit(before);
        }
        counted(resized)
    }
}

/// A block of the allocator beneath that it is able to free, aligned to a power of two.
unsafe fn aligned(next: &Next, alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: no conditions of their own; `block` is writable.
    unsafe {
        if let Some(memalign) = next.memalign.or(next.aligned_alloc) {
            return memalign(alignment, size);
        }
        let mut block = null_mut();
        match next.posix_memalign.map(|make| make(&mut block, alignment.max(size_of::<*mut c_void>()), size)) {
            Some(0) => block,
            _ => built::refused(libc::ENOMEM),
        }
    }
}

/// The usable size of a live block of the allocator beneath.
#[inline]
unsafe fn size(block: *mut c_void) -> usize {
    // SAFETY: a live block; started, so it was found.
    unsafe {
        if MODE.load(Ordering::Relaxed) == GLIBC {
            return glibc_size(block);
        }
        next::next().usable_size.map_or(0, |usable_size| usable_size(block))
    }
}

/// The usable size of a live block of glibc's.
#[inline(always)]
unsafe fn glibc_size(block: *mut c_void) -> usize {
    // SAFETY: a live block.
    unsafe {
        let word = size_word(block);
        if word & IS_MAPPED != 0 { ask_glibc(block) } else { in_heap(word) }
    }
}

/// The word before a block of glibc's: the size of its chunk, and flags in the low 3 bits.
#[inline(always)]
unsafe fn size_word(block: *mut c_void) -> usize {
    // SAFETY: every block of glibc's has it.
    unsafe { block.cast::<usize>().sub(1).read() }
}

const FLAGS: usize = 7;
/// The chunk is a mapping of its own: rare, and left to glibc.
const IS_MAPPED: usize = 2;

/// The usable size of a chunk in the heap: all of it but that word.
#[inline(always)]
fn in_heap(word: usize) -> usize {
    (word & !FLAGS).wrapping_sub(size_of::<usize>())
}

#[cold]
unsafe fn ask_glibc(block: *mut c_void) -> usize {
    // SAFETY: a live block; glibc has the function.
    unsafe { next::next().usable_size.map_or(0, |usable_size| usable_size(block)) }
}

/// Whether the glibc that is loaded keeps its sizes where `glibc_size` looks. Small blocks only: they go to a cache
/// for blocks of their size, and leave no trace in how the heap grows.
fn size_words_are_known(next: &Next) -> bool {
    let (Some(usable_size), true) = (next.usable_size, next.calloc.is_some()) else { return false };
    // The layout is that of these targets; elsewhere the pointer itself may carry a tag.
    cfg!(any(target_arch = "x86_64"))
        && [1, 24, 25, 100, 1000].iter().all(|&size| {
            // SAFETY: a new block, while it lives. Glibc refuses no block this small; if so, nothing is known.
            unsafe {
                let block = (next.malloc)(size);
                let known = !block.is_null() && usable_size(block) == glibc_size(block) && glibc_size(block) >= size;
                (next.free)(block);
                known
            }
        })
}
