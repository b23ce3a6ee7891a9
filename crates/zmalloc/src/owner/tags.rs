//! A tag for every block, at a place that the block's address alone decides.
//!
//! A table beside the heap, mapped for each GiB of address space in use and touched only where blocks are. It has a word
//! for each page: whose all blocks are that begin there, as long as they are one's. That is the rule where a thread stays in a
//! scope, since allocators give a thread pages of its own, and then no other place of the table is looked at: the words of
//! 64 KiB of heap lie on one cache line.
//!
//! The first block of another makes a page mixed, for good. From then on each block that is given out there has a tag of its
//! own, two bytes for every eight of the page; those that have none are the first one's. No two blocks begin at one place,
//! whatever the allocator, so nothing has to be known of its sizes.
//!
//! What a block's tag costs in a mixed page is the cache line that it lies on. Blocks of one size class begin at multiples of
//! the same power of two, so the places of a page are ordered by how round they are: by the offset's bits in reverse. Those
//! of large classes lie side by side then, of four pages on one line, and those that no block begins at are never touched.

use crate::ledger::Errno;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU16, AtomicU32, Ordering};

/// Whose a block is; 0 for nobody's.
pub(crate) type Tag = u16;

/// The highest tag.
pub(crate) const TAG_MAX: Tag = Tag::MAX - 1;

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

/// The words of a region's pages, in bytes. Behind them are the planes.
const PAGES: usize = size_of::<AtomicU32>() << (REGION_BITS - PAGE_BITS);

/// The bytes of the table for a region.
const REGION: usize = PAGES + PLANE * (GRANULES / NEIGHBOURS);

/// In the word of a page: a block was given out there, and the tag below is that of the first.
const KNOWN: u32 = 1 << 16;
/// In the word of a page: blocks may have tags of their own.
const MIXED: u32 = 1 << 17;

/// In place of a mapping that the kernel refused.
const REFUSED: usize = 1;

/// For each place in a page, where its tag lies: the plane, and among its neighbours.
static PLACES: [u32; GRANULES] = {
    let mut places = [0; GRANULES];
    let mut granule = 0;
    while granule < GRANULES {
        let roundest_first = granule.reverse_bits() >> (usize::BITS - (PAGE_BITS - GRANULE_BITS));
        let (plane, neighbour) = (roundest_first / NEIGHBOURS, roundest_first % NEIGHBOURS);
        places[granule] = (PAGES + plane * PLANE + neighbour * size_of::<AtomicU16>()) as u32;
        granule += 1;
    }
    places
};

/// The table, by region.
pub(super) struct Tags {
    regions: [AtomicPtr<u8>; 1 << (ADDRESS_BITS - REGION_BITS)],
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
        let Some(place) = self.place(address) else { return 0 };
        let page = place.page().load(Ordering::Relaxed);
        if page & MIXED == 0 {
            return page as Tag;
        }
        match place.own().load(Ordering::Relaxed) {
            0 => page as Tag,
            own => own - 1,
        }
    }

    /// Sets the tag of a block at this address, at most [`TAG_MAX`]. Where the kernel refuses memory for the table, it stays 0.
    #[inline(always)]
    pub(super) fn set(&self, address: usize, tag: Tag) {
        if let Some(place) = self.place(address) {
            let page = place.page().load(Ordering::Relaxed);
            if page == u32::from(tag) | KNOWN {
                return;
            }
            if page & MIXED != 0 {
                return place.own().store(tag + 1, Ordering::Relaxed);
            }
        }
        self.set_first(address, tag);
    }

    /// Of the first block in a page, or of the first that is another's.
    ///
    /// Whoever has a block of the page knows of its word what was known when the block was given out, as the allocator hands
    /// it from thread to thread: so a page may be seen as it was before another thread's block made it mixed, but not by
    /// who has that block.
    #[cold]
    #[inline(never)]
    fn set_first(&self, address: usize, tag: Tag) {
        let Some(place) = self.place_or_map(address) else { return };
        let first = u32::from(tag) | KNOWN;
        let page = match place.page().compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => first,
            Err(page) => page,
        };
        if page != first {
            place.page().fetch_or(MIXED, Ordering::Relaxed);
            place.own().store(tag + 1, Ordering::Relaxed);
        }
        if tag != 0 {
            self.any.store(true, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn place(&self, address: usize) -> Option<Place> {
        let region = self.regions.get(address >> REGION_BITS)?.load(Ordering::Acquire);
        (region.addr() > REFUSED).then_some(Place { region, address })
    }

    fn place_or_map(&self, address: usize) -> Option<Place> {
        let region = self.regions.get(address >> REGION_BITS).filter(|_| address != 0)?;
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
        self.place(address)
    }

    /// Whether a tag was ever set.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }
}

/// Where the table has what is known of an address.
#[derive(Clone, Copy)]
struct Place {
    /// A region's mapping, which is never taken away.
    region: *mut u8,
    address: usize,
}

impl Place {
    /// The word of its page.
    #[inline(always)]
    fn page(&self) -> &AtomicU32 {
        const NUMBER: usize = (1 << (REGION_BITS - PAGE_BITS)) - 1;
        // SAFETY: within the mapping, aligned, and only ever an atomic.
        unsafe { &*self.region.cast::<AtomicU32>().add((self.address >> PAGE_BITS) & NUMBER) }
    }

    /// Its own tag and one; 0 for none.
    #[inline(always)]
    fn own(&self) -> &AtomicU16 {
        // SAFETY: as before: the offset lies within the mapping, behind the pages' words, and is even.
        unsafe { &*self.region.add(offset(self.address)).cast::<AtomicU16>() }
    }
}

/// Where the tag of an address lies in its region. All bits of the page's number stay together, so that only the place
/// within the page has to be looked up.
#[inline(always)]
fn offset(address: usize) -> usize {
    const OF_PAGE: usize = PLANE - NEIGHBOURS * size_of::<AtomicU16>();
    const SHIFT: u32 = PAGE_BITS - (NEIGHBOURS * size_of::<AtomicU16>()).ilog2();
    PLACES[(address >> GRANULE_BITS) % GRANULES] as usize + ((address >> SHIFT) & OF_PAGE)
}

/// The table of a region: zeros, in memory that is had when it is touched.
fn map() -> Option<*mut u8> {
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
        fn it_keeps_for_each_address_what_was_last_set(steps in prop::collection::vec((address(), prop_oneof![0u16..4, 0u16..=TAG_MAX]), 1..300)) {
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
    fn a_page_of_one_owner_has_no_other_place_touched() {
        static TABLE: Tags = Tags::new();
        const PAGE: usize = 5 << REGION_BITS;
        let own = |address: usize| TABLE.place(address).unwrap().own().load(Ordering::Relaxed);
        (0..8).for_each(|block| TABLE.set(PAGE + block * 512, 7));
        assert!((0..8).all(|block| TABLE.get(PAGE + block * 512) == 7 && own(PAGE + block * 512) == 0));
        // Another's: it alone has a tag of its own, and what is given out from then on.
        TABLE.set(PAGE + 512, 9);
        assert_eq!((TABLE.get(PAGE), TABLE.get(PAGE + 512), own(PAGE)), (7, 9, 0));
        TABLE.set(PAGE + 512, 7);
        TABLE.set(PAGE + 1024, 0);
        assert_eq!([0, 512, 1024].map(|offset| TABLE.get(PAGE + offset)), [7, 7, 0]);
        assert_eq!(TABLE.get(PAGE + 4096), 0, "of the next page nothing is known");
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
        assert!(!EMPTY.any());
        EMPTY.set(1 << REGION_BITS, 7);
        assert_eq!((EMPTY.get(1 << REGION_BITS), EMPTY.any()), (7, true));
    }
}
