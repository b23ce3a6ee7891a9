//! What the allocator beneath says of its pages, and what can be asked of it.

#[cfg(all(feature = "jemalloc", target_os = "linux"))]
use crate::HEAP;
use crate::backend::Chosen;
use core::ffi::{c_char, c_int, c_uint, c_void};
use zmalloc::backend::{Backend, Statistics};

/// The figures that Redis asks for, 0 where the allocator does not know one.
#[derive(Default)]
struct Figures {
    statistics: Statistics,
    small_unused: usize,
}

#[cfg(feature = "jemalloc")]
mod beneath {
    use super::{Backend, Chosen, Figures};
    use zmalloc::backend::{Arena, ArenaStatistics, Jemalloc};

    pub(super) fn figures(refresh: bool, small_unused: bool) -> Figures {
        if refresh {
            if !Jemalloc::refresh_statistics() {
                return Figures::default();
            }
            // Redis asks at the start of each round of defragmentation, so its hints begin with fresh averages.
            Jemalloc::refresh_defragmentation();
        }
        Figures {
            statistics: Jemalloc::statistics_of_refresh(),
            small_unused: if small_unused { arena(Arena::All, false).unwrap_or_default().small_unused } else { 0 },
        }
    }

    pub(super) fn arena(arena: Arena, refresh: bool) -> Option<ArenaStatistics> {
        if refresh {
            Jemalloc::refresh_statistics();
        }
        Jemalloc::arena_statistics(arena)
    }

    pub(super) fn set_background_threads(enabled: bool) {
        Jemalloc::set_background_threads(enabled);
    }

    pub(super) fn purge() -> bool {
        Chosen::purge()
    }
}

#[cfg(not(feature = "jemalloc"))]
mod beneath {
    use super::{Backend, Chosen, Figures};

    pub(super) fn figures(_: bool, _: bool) -> Figures {
        Figures { statistics: Chosen::statistics(), small_unused: 0 }
    }

    pub(super) fn set_background_threads(_: bool) {}

    /// An allocator that cannot give pages back has nothing left to do, which is no failure.
    pub(super) fn purge() -> bool {
        Chosen::purge();
        true
    }
}

/// Writes a figure where the caller wants it, if anywhere.
///
/// # Safety
/// `place` is null or writable.
unsafe fn tell(place: *mut usize, figure: Option<usize>) {
    if !place.is_null() {
        // SAFETY: writable, by the caller's contract.
        unsafe { place.write(figure.unwrap_or(0)) };
    }
}

/// # Safety
/// Each place is null or writable.
unsafe fn tell_all(figures: &Figures, places: [*mut usize; 6]) -> c_int {
    let of = &figures.statistics;
    let told = [of.allocated, of.active, of.resident, of.retained, of.muzzy, Some(figures.small_unused)];
    for (place, figure) in places.into_iter().zip(told) {
        // SAFETY: null or writable, by the caller's contract.
        unsafe { tell(place, figure) };
    }
    1
}

/// As Redis 7.4 and 8 have it.
#[unsafe(export_name = symbol!("zmalloc_get_allocator_info"))]
pub unsafe extern "C" fn zmalloc_get_allocator_info(
    refresh: c_int,
    allocated: *mut usize,
    active: *mut usize,
    resident: *mut usize,
    retained: *mut usize,
    muzzy: *mut usize,
    small_unused: *mut usize,
) -> c_int {
    let figures = beneath::figures(refresh != 0, !small_unused.is_null());
    // SAFETY: the caller's contract is the callee's.
    unsafe { tell_all(&figures, [allocated, active, resident, retained, muzzy, small_unused]) }
}

/// As Redis 5 to 7.2 have it.
#[unsafe(export_name = symbol!("zmalloc_get_allocator_info_3"))]
pub unsafe extern "C" fn zmalloc_get_allocator_info_3(
    allocated: *mut usize,
    active: *mut usize,
    resident: *mut usize,
) -> c_int {
    let none = core::ptr::null_mut();
    // SAFETY: the caller's contract is the callee's.
    unsafe { zmalloc_get_allocator_info(1, allocated, active, resident, none, none, none) }
}

/// As Valkey 9 has it.
#[unsafe(export_name = symbol!("zmalloc_get_allocator_info_5"))]
pub unsafe extern "C" fn zmalloc_get_allocator_info_5(
    allocated: *mut usize,
    active: *mut usize,
    resident: *mut usize,
    retained: *mut usize,
    muzzy: *mut usize,
) -> c_int {
    let none = core::ptr::null_mut();
    // SAFETY: the caller's contract is the callee's.
    unsafe { zmalloc_get_allocator_info(1, allocated, active, resident, retained, muzzy, none) }
}

/// As Valkey 8 has it.
#[unsafe(export_name = symbol!("zmalloc_get_allocator_info_6"))]
pub unsafe extern "C" fn zmalloc_get_allocator_info_6(
    allocated: *mut usize,
    active: *mut usize,
    resident: *mut usize,
    retained: *mut usize,
    muzzy: *mut usize,
    small_unused: *mut usize,
) -> c_int {
    // SAFETY: the caller's contract is the callee's.
    unsafe { zmalloc_get_allocator_info(1, allocated, active, resident, retained, muzzy, small_unused) }
}

#[unsafe(export_name = symbol!("zmalloc_get_allocator_info_by_arena"))]
pub unsafe extern "C" fn zmalloc_get_allocator_info_by_arena(
    arena: c_uint,
    refresh: c_int,
    allocated: *mut usize,
    active: *mut usize,
    resident: *mut usize,
    small_unused: *mut usize,
) -> c_int {
    #[cfg(feature = "jemalloc")]
    let told = {
        use zmalloc::backend::Arena;
        let arena = if arena == MALLCTL_ARENAS_ALL { Arena::All } else { Arena::Index(arena) };
        beneath::arena(arena, refresh != 0).map(|of| [of.allocated, of.active, of.resident, of.small_unused])
    };
    #[cfg(not(feature = "jemalloc"))]
    let told: Option<[usize; 4]> = {
        let _ = (arena, refresh);
        None
    };
    for (at, place) in [allocated, active, resident, small_unused].into_iter().enumerate() {
        // SAFETY: null or writable, by the caller's contract.
        unsafe { tell(place, told.map(|told| told[at])) };
    }
    1
}

#[unsafe(export_name = symbol!("zmalloc_get_frag_smallbins"))]
pub extern "C" fn zmalloc_get_frag_smallbins() -> usize {
    beneath::figures(false, true).small_unused
}

#[unsafe(export_name = symbol!("zmalloc_get_frag_smallbins_by_arena"))]
pub unsafe extern "C" fn zmalloc_get_frag_smallbins_by_arena(arena: c_uint) -> usize {
    let mut unused = 0;
    let none = core::ptr::null_mut();
    // SAFETY: null, or writable here.
    unsafe { zmalloc_get_allocator_info_by_arena(arena, 0, none, none, none, &mut unused) };
    unused
}

#[unsafe(export_name = symbol!("set_jemalloc_bg_thread"))]
pub extern "C" fn set_jemalloc_bg_thread(enabled: c_int) {
    beneath::set_background_threads(enabled != 0);
}

#[unsafe(export_name = symbol!("jemalloc_purge"))]
pub extern "C" fn jemalloc_purge() -> c_int {
    if beneath::purge() { 0 } else { -1 }
}

/// Valkey's name for it, which takes the C library's own heap along.
#[unsafe(export_name = symbol!("zmalloc_purge"))]
pub extern "C" fn zmalloc_purge() -> c_int {
    let purged = jemalloc_purge();
    crate::system::zlibc_trim();
    purged
}

#[unsafe(export_name = symbol!("zmadvise_dontneed"))]
pub unsafe extern "C" fn zmadvise_dontneed(ptr: *mut c_void) {
    // Pages may be dropped where the allocator keeps nothing of its own in a block.
    #[cfg(all(feature = "jemalloc", target_os = "linux"))]
    if !ptr.is_null() {
        // SAFETY: a live block whose content the caller gives up; only whole pages within it are dropped.
        unsafe {
            let page = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).unwrap_or(usize::MAX);
            let usable = HEAP.usable_size(ptr.cast());
            let skipped = ptr.cast::<u8>().align_offset(page);
            if let Some(rest) = usable.checked_sub(skipped).filter(|&rest| rest >= page) {
                libc::madvise(ptr.byte_add(skipped), rest / page * page, libc::MADV_DONTNEED);
            }
        }
    }
    #[cfg(not(all(feature = "jemalloc", target_os = "linux")))]
    let _ = ptr;
}

#[unsafe(export_name = symbol!("zmalloc_allocator_name"))]
pub extern "C" fn zmalloc_allocator_name() -> *const c_char {
    NAME.as_ptr()
}

#[unsafe(export_name = symbol!("zmalloc_allocator_version"))]
pub unsafe extern "C" fn zmalloc_allocator_version(buffer: *mut c_char, capacity: usize) -> usize {
    // SAFETY: writable for the capacity, by the caller's contract.
    unsafe { crate::out::write_text(&Chosen::version(), buffer, capacity) }
}

/// The index that stands for all arenas together.
#[cfg(feature = "jemalloc")]
const MALLCTL_ARENAS_ALL: c_uint = 4096;

/// The allocator's name with C's end, from the backend's.
static NAME: Name = Name::of(Chosen::NAME);

struct Name([u8; 32]);

impl Name {
    const fn of(name: &str) -> Name {
        let (bytes, mut text) = (name.as_bytes(), [0; 32]);
        assert!(bytes.len() < text.len());
        let mut at = 0;
        while at < bytes.len() {
            text[at] = bytes[at];
            at += 1;
        }
        Name(text)
    }

    fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}
