//! The allocator that the program has anyway, found by name in the objects loaded after this one.

use super::counters::Mallctl;
use crate::environment;
use crate::global::Global;
use crate::object::Object;
use core::ffi::{CStr, c_int, c_void};
use core::mem::{MaybeUninit, transmute};
use core::ptr::null_mut;

type Sized = unsafe extern "C" fn(usize) -> *mut c_void;
type Paired = unsafe extern "C" fn(usize, usize) -> *mut c_void;

/// Its functions. All are of one object, as a block must go back to where it came from: glibc's `pvalloc` is found
/// beyond a jemalloc that has none, and its blocks would crash that jemalloc's `free`.
pub(super) struct Next {
    pub(super) malloc: Sized,
    pub(super) free: unsafe extern "C" fn(*mut c_void),
    pub(super) calloc: Option<Paired>,
    pub(super) realloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    pub(super) posix_memalign: Option<unsafe extern "C" fn(*mut *mut c_void, usize, usize) -> c_int>,
    pub(super) aligned_alloc: Option<Paired>,
    pub(super) memalign: Option<Paired>,
    pub(super) valloc: Option<Sized>,
    pub(super) pvalloc: Option<Sized>,
    /// Without it no block has a size: blocks are counted, bytes are not.
    pub(super) usable_size: Option<unsafe extern "C" fn(*mut c_void) -> usize>,
    /// jemalloc's control interface.
    pub(super) mallctl: Option<Mallctl>,
    pub(super) trim: Option<unsafe extern "C" fn(usize) -> c_int>,
    pub(super) object: Object,
    /// The object is the C library.
    pub(super) is_libc: bool,
}

static NEXT: Global<MaybeUninit<Next>> = Global::new(MaybeUninit::uninit());

/// # Safety
/// After [`find`].
#[inline(always)]
pub(super) unsafe fn next() -> &'static Next {
    // SAFETY: written once, by `find`.
    unsafe { (*NEXT.get()).assume_init_ref() }
}

/// Looks all of them up; answers whether the program, or `ZMALLOC_BACKEND`, chose the C library's.
pub(super) fn find() -> bool {
    let libc_wanted = environment::value("ZMALLOC_BACKEND") == Some(b"libc");
    let handle = if libc_wanted { libc_handle() } else { libc::RTLD_NEXT };
    let malloc = look_up(handle, c"malloc");
    let object = Object::of(malloc);
    let of_object = |name: &CStr| {
        let function = look_up(handle, name);
        if object.contains(function) { function } else { null_mut() }
    };
    let is_libc = object == libc_object();
    let (free, realloc) = (of_object(c"free"), of_object(c"realloc"));
    if malloc.is_null() || free.is_null() || realloc.is_null() {
        // SAFETY: no conditions. A process without malloc: nothing that it could go on with.
        unsafe { libc::abort() };
    }
    // SAFETY: each is null, which is `None`, or C's function of that name; the first three are not null. Written
    // once, while starting.
    unsafe {
        (*NEXT.get()).write(Next {
            malloc: transmute::<*mut c_void, Sized>(malloc),
            free: transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(free),
            calloc: transmute::<*mut c_void, Option<Paired>>(of_object(c"calloc")),
            realloc: transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void>(realloc),
            posix_memalign: transmute::<
                *mut c_void,
                Option<unsafe extern "C" fn(*mut *mut c_void, usize, usize) -> c_int>,
            >(of_object(c"posix_memalign")),
            aligned_alloc: transmute::<*mut c_void, Option<Paired>>(of_object(c"aligned_alloc")),
            memalign: transmute::<*mut c_void, Option<Paired>>(of_object(c"memalign")),
            valloc: transmute::<*mut c_void, Option<Sized>>(of_object(c"valloc")),
            pvalloc: transmute::<*mut c_void, Option<Sized>>(of_object(c"pvalloc")),
            usable_size: transmute::<*mut c_void, Option<unsafe extern "C" fn(*mut c_void) -> usize>>(of_object(
                c"malloc_usable_size",
            )),
            // Never asked of the C library: what is not found allocates a message, from the program's own malloc if it
            // has one, which may be what we were called by.
            mallctl: transmute::<*mut c_void, Option<Mallctl>>(if is_libc {
                null_mut()
            } else {
                of_object(c"mallctl")
            }),
            // The C library's serves a program that asks for it, whoever else allocates.
            trim: transmute::<*mut c_void, Option<unsafe extern "C" fn(usize) -> c_int>>(look_up(
                handle,
                c"malloc_trim",
            )),
            object,
            is_libc,
        });
    }
    libc_wanted
}

fn look_up(handle: *mut c_void, name: &CStr) -> *mut c_void {
    // SAFETY: a name that ends with 0 and a handle of the loader's.
    let function = unsafe { libc::dlsym(handle, name.as_ptr()) };
    if function.is_null() {
        // What failed here is none of the program's business: take the message back, and then its memory, which is of the
        // arena: as long as that is out, every block would have to be looked at for where it is from.
        // SAFETY: no conditions.
        unsafe {
            libc::dlerror();
            libc::dlerror();
        }
    }
    function
}

/// A function that only the C library has.
fn libc_object() -> Object {
    Object::of(libc::gnu_get_libc_version as *const c_void)
}

fn libc_handle() -> *mut c_void {
    // SAFETY: a name that ends with 0; the library is loaded, so this only finds it.
    let handle = unsafe { libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    if handle.is_null() { libc::RTLD_NEXT } else { handle }
}
