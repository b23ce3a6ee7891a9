//! Forwarding: the allocator that the program has anyway does the work, we count.

use super::next::{self, Next};
use super::{built, charge, charge_or_free, counters, credit, finish_or_free, limited, move_out_of_arena};
use crate::object::Object;
use crate::{arena, session, start, tree};
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU8, Ordering};
use zmalloc::ledger::{self, SizeClasses, Slot};

/// What is known about the allocator beneath. The hot paths ask this alone.
static MODE: AtomicU8 = AtomicU8::new(NOT_STARTED);
const NOT_STARTED: u8 = 0;
/// glibc, whose size words are where we look, and no block of the arena is out.
const GLIBC: u8 = 1;
/// A jemalloc that counts by itself, and no block of the arena is out.
const COUNTS: u8 = 2;
const ANY: u8 = 3;

/// Whether the allocator beneath is known to be glibc: a comparison in memory, which the compiler makes a load of for
/// atomics.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn over_glibc() -> bool {
    // SAFETY: reads one byte; loads of this architecture acquire. The jump leaves the block for the label alone.
    unsafe {
        core::arch::asm!(
            "cmp byte ptr [rip + {mode}], {glibc}",
            "jne {no}",
            mode = sym MODE,
            glibc = const GLIBC,
            no = label { return false },
            options(readonly, nostack),
        );
    }
    true
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn over_glibc() -> bool {
    MODE.load(Ordering::Acquire) == GLIBC
}

/// Finds the allocator beneath; answers what to call it.
pub(crate) fn find() -> &'static str {
    if next::find() { "libc" } else { "forward" }
}

/// The last step of the start: from here on calls are forwarded.
pub(crate) fn begin() {
    // SAFETY: found before.
    let next = unsafe { next::next() };
    wake(next);
    let mode = if arena::is_used() {
        ANY
    } else if next.is_libc && size_words_are_known(next) {
        GLIBC
    } else if cfg!(target_arch = "x86_64") && counters::hold(next) {
        COUNTS
    } else {
        ANY
    };
    MODE.store(mode, Ordering::Release);
    if let Some(segment) = session::segment().filter(|_| mode == ANY) {
        session::note(segment, true);
    }
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
    if !over_glibc() || size >= ledger::LARGE {
        return malloc_anywhere(size);
    }
    // SAFETY: started, over glibc.
    unsafe { given((next::next().malloc)(size)) }
}

#[inline(never)]
fn malloc_anywhere(size: usize) -> *mut c_void {
    match known_beneath() {
        // SAFETY: no conditions of its own.
        Some(own) if size < ledger::LARGE => unsafe { given_beneath(own, (next::next().malloc)(size)) },
        _ => malloc_asked(size),
    }
}

#[cold]
#[inline(never)]
fn malloc_asked(size: usize) -> *mut c_void {
    // SAFETY: no conditions of its own.
    next().map_or_else(|| arena::allocate(1, size), |next| unsafe { made(1, size, || (next.malloc)(size)) })
}

/// A block of `size` bytes or more, counted; asked for first if there is a limit and it is not small.
///
/// # Safety
/// `make` answers a new block of the allocator beneath, or null.
unsafe fn made(alignment: usize, size: usize, make: impl FnOnce() -> *mut c_void) -> *mut c_void {
    if !limited::is_large(alignment, size) || !ledger::is_armed() {
        // SAFETY: the caller's contract.
        return unsafe { counted(make()) };
    }
    // SAFETY: a new block of the allocator beneath.
    limited::block(
        size,
        make,
        |block| unsafe { size_given(block) },
        |block, charged| unsafe { give_back(block, charged) },
    )
}

/// The charge of a block that the calling thread was just given. Where the allocator counts, by its counters, which are
/// brought up to date by it.
///
/// # Safety
/// `block` is such a block.
unsafe fn size_given(block: *mut c_void) -> usize {
    match counted_beneath() {
        Some(own) => own.given(),
        // SAFETY: a live block.
        None => unsafe { size(block) },
    }
}

/// Gives a block back that is not counted, and would have been charged so much: by the counters, with what else moved them,
/// which then counts.
///
/// # Safety
/// `block` is a live block that nobody else has seen.
unsafe fn give_back(block: *mut c_void, charged: usize) {
    // SAFETY: a live block; started, so it was found.
    unsafe { (next::next().free)(block) };
    if let Some(own) = known_beneath() {
        let taken = own.taken();
        if taken > charged {
            credit(taken - charged);
        }
        if taken < charged {
            charge(charged - taken);
        }
    }
}

#[inline(always)]
pub(crate) unsafe fn calloc(count: usize, size: usize) -> *mut c_void {
    if !over_glibc() || count.checked_mul(size).is_none_or(|bytes| bytes >= ledger::LARGE) {
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
    let Some(bytes) = built::array_size(count, size) else { return null_mut() };
    let zeroed = || {
        if let Some(calloc) = next.calloc {
            // SAFETY: no conditions of its own.
            return unsafe { calloc(count, size) };
        }
        // SAFETY: no conditions of its own; a new block has room for what was asked.
        unsafe {
            let block = (next.malloc)(bytes);
            if !block.is_null() {
                block.cast::<u8>().write_bytes(0, bytes);
            }
            block
        }
    };
    // SAFETY: a new block, or null.
    unsafe { made(1, bytes, zeroed) }
}

#[inline(always)]
pub(crate) unsafe fn free(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // SAFETY: a live block of the allocator beneath, by the C contract; in this mode it is glibc.
    unsafe {
        if !over_glibc() {
            return free_anywhere(block);
        }
        match glibc_at_hand(block) {
            Some(charged) if ledger::try_credit::<SizeClasses>(0, charged) => {
                if tree::is_shared() {
                    return free_and_tell(block);
                }
                (next::next().free)(block)
            }
            _ => free_anywhere(block),
        }
    }
}

/// Frees a block that was counted, of a process that shares a limit with others.
#[inline(never)]
unsafe fn free_and_tell(block: *mut c_void) {
    // SAFETY: a live block, by the C contract; started.
    unsafe { (next::next().free)(block) };
    tree::after_free();
}

/// Counts a block that glibc gave out, if it did. What is rare comes last, so that the rest saves no registers for it.
#[inline(always)]
unsafe fn given(block: *mut c_void) -> *mut c_void {
    if block.is_null() {
        return block;
    }
    // SAFETY: a live block of glibc's.
    unsafe {
        match glibc_at_hand(block) {
            Some(charged) => match ledger::try_charge::<SizeClasses>(0, charged) {
                Ok(()) => block,
                Err(tried) => finished(block, charged, tried),
            },
            None => counted(block),
        }
    }
}

#[cold]
fn finished(block: *mut c_void, charged: usize, tried: &'static Slot) -> *mut c_void {
    // SAFETY: a block that was just given out, and that nobody else has seen.
    finish_or_free(block, charged, tried, |block| unsafe { give_back(block, charged) })
}

#[inline(never)]
unsafe fn free_anywhere(block: *mut c_void) {
    // SAFETY: a live block, by the C contract.
    unsafe {
        let Some(own) = known_beneath() else { return free_asked(block) };
        (next::next().free)(block);
        credit(own.taken());
        if tree::is_shared() {
            tree::after_free();
        }
    }
}

#[cold]
#[inline(never)]
unsafe fn free_asked(block: *mut c_void) {
    if arena::owns(block) {
        return arena::take_back();
    }
    // While starting, what is not the arena's was not given out by us.
    let Some(next) = next() else { return };
    // SAFETY: a live block, by the C contract.
    unsafe {
        if let Some(own) = counted_beneath() {
            (next.free)(block);
            return credit(own.taken());
        }
        credit(size(block));
        (next.free)(block);
        if tree::is_shared() {
            tree::after_free();
        }
    }
}

#[inline(always)]
pub(crate) unsafe fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: a live block of the allocator beneath or null, by the C contract; in this mode it is glibc.
    unsafe {
        if !over_glibc() || block.is_null() {
            return realloc_anywhere(block, size);
        }
        let before = glibc_size(block);
        if limited::is_asked(before, size) {
            return realloc_anywhere(block, size);
        }
        let resized = (next::next().realloc)(block, size);
        if !resized.is_null() {
            credit(before);
            charge(glibc_size(resized));
            return resized;
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
    let mut code = 0;
    // SAFETY: the program's pointer, which is written on success, and answered then.
    unsafe {
        let mut new = null_mut();
        let block = made(alignment, size, || {
            code = match next.posix_memalign {
                Some(posix_memalign) => posix_memalign(&mut new, alignment, size),
                None => {
                    built::posix_memalign(&mut new, alignment, size, &|alignment, size| aligned(next, alignment, size))
                }
            };
            if code == 0 { new } else { null_mut() }
        });
        if code == 0 && block.is_null() && !(size == 0 && new.is_null()) {
            return libc::ENOMEM;
        }
        if code == 0 {
            *out = block;
        }
    }
    code
}

pub(crate) fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    let Some(next) = next() else { return built::aligned_alloc(alignment, size, &arena::allocate) };
    // SAFETY: no conditions of its own.
    unsafe {
        made(alignment, size, || match next.aligned_alloc {
            Some(aligned_alloc) => aligned_alloc(alignment, size),
            None => built::aligned_alloc(alignment, size, &|alignment, size| aligned(next, alignment, size)),
        })
    }
}

pub(crate) fn memalign(alignment: usize, size: usize) -> *mut c_void {
    let Some(next) = next() else { return built::memalign(alignment, size, &arena::allocate) };
    // SAFETY: no conditions of its own.
    unsafe {
        made(alignment, size, || match next.memalign {
            Some(memalign) => memalign(alignment, size),
            None => built::memalign(alignment, size, &|alignment, size| aligned(next, alignment, size)),
        })
    }
}

pub(crate) fn valloc(size: usize) -> *mut c_void {
    let Some(next) = next() else { return built::valloc(size, &arena::allocate) };
    // SAFETY: no conditions of its own.
    unsafe {
        made(PAGE, size, || match next.valloc {
            Some(valloc) => valloc(size),
            None => built::valloc(size, &|alignment, size| aligned(next, alignment, size)),
        })
    }
}

pub(crate) fn pvalloc(size: usize) -> *mut c_void {
    let Some(next) = next() else { return built::pvalloc(size, &arena::allocate) };
    // SAFETY: no conditions of its own.
    unsafe {
        made(PAGE, size, || match next.pvalloc {
            Some(pvalloc) => pvalloc(size),
            None => built::pvalloc(size, &|alignment, size| aligned(next, alignment, size)),
        })
    }
}

pub(crate) unsafe fn usable_size(block: *mut c_void) -> usize {
    if block.is_null() {
        return 0;
    }
    // SAFETY: a live block of the arena or of the allocator beneath.
    unsafe { if over_glibc() { glibc_size(block) } else { usable_size_anywhere(block) } }
}

#[inline(never)]
unsafe fn usable_size_anywhere(block: *mut c_void) -> usize {
    // SAFETY: a live block of the arena or of the allocator beneath.
    unsafe {
        if MODE.load(Ordering::Acquire) != COUNTS {
            if arena::owns(block) {
                return arena::usable_size(block);
            }
            if next().is_none() {
                return 0;
            }
        }
        next::next().usable_size.map_or(0, |usable_size| usable_size(block))
    }
}

/// Has unused pages given back, where the allocator beneath offers that.
pub(crate) fn purge() -> bool {
    let Some(next) = next() else { return false };
    // SAFETY: a name that ends with 0, and nothing to read or write. The number stands for all arenas.
    let purged = next.mallctl.is_some_and(|mallctl| unsafe {
        mallctl(c"arena.4096.purge".as_ptr(), null_mut(), null_mut(), null_mut(), 0) == 0
    });
    // SAFETY: no conditions of its own.
    purged || (next.is_libc && next.trim.is_some_and(|trim| unsafe { trim(0) } >= 0))
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

/// Where the allocator beneath counts what the calling thread does, if the thread was here before.
#[inline(always)]
fn known_beneath() -> Option<counters::Own> {
    (MODE.load(Ordering::Acquire) == COUNTS).then(counters::own).filter(|own| own.are_known())
}

/// Where the allocator beneath counts what the calling thread does; if it can, it does from now on.
fn counted_beneath() -> Option<counters::Own> {
    // SAFETY: in this mode it was found.
    let found = || MODE.load(Ordering::Acquire) == COUNTS && counters::find(unsafe { next::next() });
    known_beneath().or_else(|| found().then(counters::own))
}

/// Counts a block given out by an allocator that counts, if it was.
#[inline(always)]
fn given_beneath(own: counters::Own, block: *mut c_void) -> *mut c_void {
    let charged = own.given();
    if charged != 0
        && let Err(tried) = ledger::try_charge::<SizeClasses>(0, charged)
    {
        return finished(block, charged, tried);
    }
    block
}

/// Counts a block given out, if it was.
#[cold]
unsafe fn counted(block: *mut c_void) -> *mut c_void {
    if let Some(own) = counted_beneath() {
        return given_beneath(own, block);
    }
    if block.is_null() {
        return block;
    }
    // SAFETY: a live block that nobody else has seen.
    unsafe {
        let charged = size(block);
        charge_or_free(block, charged, |block| give_back(block, charged))
    }
}

/// Resizes a block, or null; null is as a new one. A block resized to nothing is freed if no block is the answer; otherwise null leaves it as
/// it was.
unsafe fn resized(next: &Next, block: *mut c_void, requested: usize) -> *mut c_void {
    if block.is_null() {
        // SAFETY: null is resized as from nothing.
        return unsafe { made(1, requested, || (next.realloc)(block, requested)) };
    }
    if requested > 0 && ledger::is_armed() {
        // SAFETY: a live block, and what it became.
        unsafe {
            let before = size(block);
            if limited::is_asked(before, requested) {
                let change = |block| match counted_beneath() {
                    Some(own) => (own.taken(), own.given()),
                    None => (before, size(block)),
                };
                let make = || (next.realloc)(block, requested);
                return limited::resize(before, requested, at_most(requested), make, change);
            }
        }
    }
    if let Some(own) = counted_beneath() {
        // SAFETY: a live block.
        let resized = unsafe { (next.realloc)(block, requested) };
        for (moved, count) in [(own.taken(), credit as fn(usize)), (own.given(), charge)] {
            if moved != 0 {
                count(moved);
            }
        }
        return resized;
    }
    // SAFETY: a live block.
    unsafe {
        let before = size(block);
        let resized = (next.realloc)(block, requested);
        if !resized.is_null() || requested == 0 {
            credit(before);
        }
        if !resized.is_null() {
            charge(size(resized));
        }
        resized
    }
}

/// The most that a block of this size is charged: over glibc rounded to pages, with a header; elsewhere a size class.
fn at_most(size: usize) -> usize {
    if over_glibc() { size.saturating_add(2 * PAGE) } else { size.saturating_add(size / 4).saturating_add(64 << 10) }
}

const PAGE: usize = 4096;

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
    unsafe { glibc_at_hand(block).unwrap_or_else(|| ask_glibc(block)) }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn glibc_at_hand(block: *mut c_void) -> Option<usize> {
    // SAFETY: a live block of glibc's.
    unsafe { zmalloc::backend::glibc_chunk::usable_size(block.cast()) }
}

/// Elsewhere the pointer itself may carry a tag.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn glibc_at_hand(_: *mut c_void) -> Option<usize> {
    None
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
    cfg!(target_arch = "x86_64")
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
