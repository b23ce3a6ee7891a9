//! A tag for every block, at a place that the block's address alone decides.
//!
//! A table beside the heap: two bytes for every eight of it, mapped for each GiB of address space in use and touched only
//! where blocks are. No two blocks begin at one place, whatever the allocator, so nothing has to be known of its sizes.
//!
//! What a block's tag costs is the cache line that it lies on. Blocks of one size class begin at multiples of the same
//! power of two, so the places of a page are ordered by how round they are: by the offset's bits in reverse. Those of large
//! classes lie side by side then, of four pages on one line, and those that no block begins at are never touched.

use crate::ledger::Errno;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU16, Ordering};

/// Whose a block is; 0 for nobody's.
pub(crate) type Tag = u16;

/// The blocks of a process.
pub(super) static TAGS: Tags = Tags::new();

/// The address space that one mapping of the table is for.
const REGION_BITS: u32 = 30;

/// The bits of a program's addresses. Blocks beyond are nobody's.
const ADDRESS_BITS: u32 = if cfg!(target_pointer_width = "32") {
    32
} else if cfg!(target_arch = "x86_64") {
    47
} else {
    48
};

const PAGE_BITS: u32 = 12;

/// No two blocks begin in the same so many bytes.
const GRANULE_BITS: u32 = 3;

/// Places in a page.
const GRANULES: usize = 1 << (PAGE_BITS - GRANULE_BITS);

/// Tags of one page that lie side by side.
const NEIGHBOURS: usize = 8;

/// The bytes of a region that hold the same eight places of each of its pages: its plane.
const PLANE: usize = (NEIGHBOURS * size_of::<AtomicU16>()) << (REGION_BITS - PAGE_BITS);

/// The bytes of the table for a region.
const REGION: usize = PLANE * (GRANULES / NEIGHBOURS);

/// In place of a mapping that the kernel refused.
const REFUSED: usize = 1;

/// For each place in a page, where its tag lies: the plane, and among its neighbours.
static PLACES: [u32; GRANULES] = {
    let mut places = [0; GRANULES];
    let mut granule = 0;
    while granule < GRANULES {
        let roundest_first = granule.reverse_bits() >> (usize::BITS - (PAGE_BITS - GRANULE_BITS));
        let (plane, neighbour) = (roundest_first / NEIGHBOURS, roundest_first % NEIGHBOURS);
        places[granule] = (plane * PLANE + neighbour * size_of::<AtomicU16>()) as u32;
        granule += 1;
    }
    places
};

/// The table, by region.
pub(super) struct Tags {
    regions: [AtomicPtr<AtomicU16>; 1 << (ADDRESS_BITS - REGION_BITS)],
    any: AtomicBool,
}

impl Tags {
    pub(super) const fn new() -> Tags {
        let regions = [const { AtomicPtr::new(core::ptr::null_mut()) }; 1 << (ADDRESS_BITS - REGION_BITS)];
        Tags { regions, any: AtomicBool::new(false) }
    }

    /// The tag last set for a block at this address, 0 if none was.
    #[inline(always)]
    pub(super) fn get(&self, address: usize) -> Tag {
        self.place(address).map_or(0, |place| place.load(Ordering::Relaxed))
    }

    /// Sets the tag of a block at this address. Where the kernel refuses memory for the table, it stays 0.
    #[inline(always)]
    pub(super) fn set(&self, address: usize, tag: Tag) {
        match self.place(address) {
            Some(place) => place.store(tag, Ordering::Relaxed),
            // What was never mapped has only zeros.
            None if tag != 0 => self.map_and_set(address, tag),
            None => {}
        }
    }

    #[inline(always)]
    fn place(&self, address: usize) -> Option<&AtomicU16> {
        let region = self.regions.get(address >> REGION_BITS)?.load(Ordering::Acquire);
        if region.addr() <= REFUSED {
            return None;
        }
        // SAFETY: a region's mapping is never taken away, and the offset lies within it.
        Some(unsafe { &*region.byte_add(offset(address)) })
    }

    #[cold]
    #[inline(never)]
    fn map_and_set(&self, address: usize, tag: Tag) {
        let Some(region) = self.regions.get(address >> REGION_BITS).filter(|_| address != 0) else { return };
        if region.load(Ordering::Relaxed).is_null() {
            let errno = Errno::save();
            let mine = map().unwrap_or(core::ptr::without_provenance_mut(REFUSED));
            let first = region.compare_exchange(core::ptr::null_mut(), mine, Ordering::AcqRel, Ordering::Acquire);
            if first.is_err() && mine.addr() != REFUSED {
                // SAFETY: the mapping made above, which nobody else has seen.
                unsafe { libc::munmap(mine.cast(), REGION) };
            }
            errno.restore();
        }
        if let Some(place) = self.place(address) {
            place.store(tag, Ordering::Relaxed);
            self.any.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a tag was ever set.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }
}

/// Where the tag of an address lies in its region. All bits of the page's number stay together, so that only the place
/// within the page has to be looked up.
#[inline(always)]
fn offset(address: usize) -> usize {
    const PAGES: usize = PLANE - NEIGHBOURS * size_of::<AtomicU16>();
    const SHIFT: u32 = PAGE_BITS - (NEIGHBOURS * size_of::<AtomicU16>()).ilog2();
    PLACES[(address >> GRANULE_BITS) % GRANULES] as usize + ((address >> SHIFT) & PAGES)
}

/// The table of a region: zeros, in memory that is had when it is touched.
fn map() -> Option<*mut AtomicU16> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const FLAGS: core::ffi::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const FLAGS: core::ffi::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new anonymous mapping; it overlaps nothing.
    let memory = unsafe { libc::mmap(core::ptr::null_mut(), REGION, access, FLAGS, -1, 0) };
    if memory == libc::MAP_FAILED {
        return None;
    }
    #[cfg(target_os = "linux")]
    // A huge page would be had for the first tag of 8 MiB of heap.
    // SAFETY: the mapping made above; if it is refused nothing changes.
    unsafe {
        libc::madvise(memory, REGION, libc::MADV_NOHUGEPAGE);
    }
    Some(memory.cast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    static TABLE: Tags = Tags::new();

    /// Addresses of a few pages on both sides of a region's end, and anywhere.
    fn address() -> impl Strategy<Value = usize> {
        let granule = |address: usize| address & !7;
        prop_oneof![
            4 => (0..1usize << 16).prop_map(move |near| granule((3 << REGION_BITS) - (1 << 15) + near)),
            1 => (1usize << 20..1 << 36).prop_map(granule),
            1 => any::<usize>().prop_map(granule),
        ]
    }

    proptest! {
        #[test]
        fn it_keeps_for_each_address_what_was_last_set(steps in prop::collection::vec((address(), any::<Tag>()), 1..300)) {
            let mut model = HashMap::new();
            for (address, tag) in steps {
                if let Some(&tag) = model.get(&address) {
                    prop_assert_eq!(TABLE.get(address), tag);
                }
                TABLE.set(address, tag);
                let beyond = address >> (ADDRESS_BITS - 1) > 1;
                model.insert(address, if beyond || address == 0 { 0 } else { tag });
            }
            for (address, tag) in model {
                prop_assert_eq!(TABLE.get(address), tag, "{:#x}", address);
            }
        }
    }

    #[test]
    fn every_place_is_its_own_and_in_the_region() {
        // A MiB of heap on each side of a gap that has all higher bits.
        let bases = [0, (1 << REGION_BITS) - (1 << 20)];
        let granules = |base: usize| (base..base + (1 << 20)).step_by(1 << GRANULE_BITS);
        let places: HashSet<usize> = bases.into_iter().flat_map(granules).map(offset).collect();
        assert_eq!(places.len(), 2 << (20 - GRANULE_BITS));
        assert!(places.iter().all(|place| place % 2 == 0 && place + 2 <= REGION));
    }

    #[test]
    fn blocks_of_512_bytes_have_their_tags_side_by_side() {
        let lines: HashSet<usize> = (0..1 << 20).step_by(512).map(|address: usize| offset(address) / 64).collect();
        assert_eq!(lines.len(), 2048 * size_of::<Tag>() / 64);
    }

    #[test]
    fn null_is_nobodys() {
        static EMPTY: Tags = Tags::new();
        EMPTY.set(0, 7);
        assert_eq!((EMPTY.get(0), EMPTY.any()), (0, false));
        EMPTY.set(1 << REGION_BITS, 0);
        assert!(!EMPTY.any(), "nothing is mapped for nobody's blocks");
        EMPTY.set(1 << REGION_BITS, 7);
        assert_eq!((EMPTY.get(1 << REGION_BITS), EMPTY.any()), (7, true));
    }
}
