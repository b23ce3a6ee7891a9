//! Which loaded object an address lies in.

use core::ffi::{c_int, c_void};

/// The addresses that one loaded object takes: the executable, or a shared library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    start: usize,
    end: usize,
}

impl Object {
    /// An object that holds no address.
    pub(crate) const NONE: Object = Object { start: 0, end: 0 };

    /// The object that `address` lies in. Does not allocate.
    pub(crate) fn of(address: *const c_void) -> Object {
        let mut search = Search { address: address.addr(), found: Object::NONE };
        // SAFETY: the callback follows its C signature, never unwinds, and gets the address of a `Search`.
        unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
        search.found
    }

    #[inline(always)]
    pub(crate) fn contains(self, address: *const c_void) -> bool {
        address.addr().wrapping_sub(self.start) < self.end - self.start
    }
}

struct Search {
    address: usize,
    found: Object,
}

unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: libc::size_t, search: *mut c_void) -> c_int {
    // SAFETY: the loader's description of one object, valid during the call; `of` passes a `Search`.
    let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
    let mut object = Object { start: usize::MAX, end: 0 };
    for index in 0..usize::from(info.dlpi_phnum) {
        // SAFETY: there are `dlpi_phnum` headers.
        let header = unsafe { &*info.dlpi_phdr.add(index) };
        if header.p_type == libc::PT_LOAD {
            let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
            object.start = object.start.min(start);
            object.end = object.end.max(start.wrapping_add(header.p_memsz as usize));
        }
    }
    if object.start < object.end && object.contains(core::ptr::without_provenance(search.address)) {
        search.found = object;
        return 1;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_lie_where_they_were_loaded() {
        let own = Object::of(visit as *const c_void);
        let c_library = Object::of(libc::gnu_get_libc_version as *const c_void);
        assert!(own.contains(visit as *const c_void) && c_library.contains(libc::getpid as *const c_void));
        assert_ne!(own, c_library);
        let local = 0u8;
        assert_eq!(Object::of((&raw const local).cast()), Object::NONE);
        assert!(!Object::NONE.contains(core::ptr::null()));
    }
}
