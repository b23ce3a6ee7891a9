//! A thread's life with the ledger: registration at its first operation, giving the slot back at its end.
//!
//! Nothing here takes memory from the allocator above, waits for a thread that may, or unwinds. What the C library
//! itself allocates meanwhile (for the thread-specific key) finds the thread `Registering` and is counted apart.

use super::ask;
use super::fork;
use super::guard::with_pool;
use super::local::{Stage, local, own_slot};
use super::once::Once;
use super::peak;
use super::slot::{NOBODYS, Slot};
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Registers the calling thread, unless that was done or is being done. Answers its slot if it has one now.
#[cold]
pub(crate) fn register() -> Option<&'static Slot> {
    let local = local();
    if local.stage.get() == Stage::New {
        let errno = Errno::save();
        local.stage.set(Stage::Registering);
        match try_register() {
            Some(slot) => {
                local.own.set(slot);
                ask::begin(local, slot);
                local.stage.set(Stage::Live);
            }
            None => local.stage.set(Stage::Slotless),
        }
        errno.restore();
    }
    own_slot()
}

fn try_register() -> Option<&'static Slot> {
    fork::watch();
    let key = exit_key()?;
    let pool = super::pool();
    let slot = pool.claim(super::make_ready)?;
    // SAFETY: the key exists; the value is only handed to `at_thread_exit`.
    if unsafe { libc::pthread_setspecific(key, core::ptr::from_ref(slot).cast()) } != 0 {
        pool.release(slot);
        return None;
    }
    peak::set_step(pool);
    Some(slot)
}

/// Called by the C library when a thread that owns a slot ends.
///
/// Destructors that run after this one may still allocate and free: `Slotless`, they count in the shared slot.
extern "C" fn at_thread_exit(slot: *mut c_void) {
    let local = local();
    let before = BEFORE_END.load(Ordering::Acquire);
    if !before.is_null() {
        // SAFETY: only `before_thread_end` stores here, and only a function of this type.
        let before = unsafe { core::mem::transmute::<*mut (), fn()>(before) };
        before();
    }
    local.stage.set(Stage::Slotless);
    // SAFETY: the value set in `try_register`; slots are never unmapped.
    let slot = unsafe { &*slot.cast::<Slot>() };
    with_pool(|pool| {
        // From here on this thread's operations are counted by us, so the backend's counters are read a last time.
        local.backend_counts.set(false);
        local.unasked_below.store(0, Ordering::Relaxed);
        local.slot.set(&NOBODYS);
        local.own.set(&NOBODYS);
        pool.detach_backend(slot);
        pool.release(slot);
    });
}

/// Has `before` called on every thread that owns a slot while it still has its sums, right before it gives them away. It
/// neither allocates, waits nor unwinds.
pub(crate) fn before_thread_end(before: fn()) {
    BEFORE_END.store(before as *mut (), Ordering::Release);
}

static BEFORE_END: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// The key whose destructor is `at_thread_exit`, made at the first call.
fn exit_key() -> Option<libc::pthread_key_t> {
    static KEY: Once = Once::new();
    let make = || {
        let mut key = 0;
        // SAFETY: `key` is writable, and the destructor follows its C signature and never unwinds.
        let made = unsafe { libc::pthread_key_create(&mut key, Some(at_thread_exit)) == 0 };
        made.then_some(key as usize)
    };
    // SAFETY: a key that nobody else has seen.
    let discard = |key| _ = unsafe { libc::pthread_key_delete(key as libc::pthread_key_t) };
    Some(KEY.get(make, discard)? as libc::pthread_key_t)
}

/// Keeps `errno` over calls that are none of the program's business.
pub(crate) struct Errno(i32);

impl Errno {
    pub(crate) fn save() -> Errno {
        // SAFETY: the address is the calling thread's errno.
        Errno(unsafe { *errno_location() })
    }

    pub(crate) fn restore(self) {
        // SAFETY: as in `save`.
        unsafe { *errno_location() = self.0 };
    }
}

fn errno_location() -> *mut i32 {
    // SAFETY: no conditions.
    #[cfg(any(target_os = "linux", target_os = "emscripten"))]
    unsafe {
        libc::__errno_location()
    }
    // SAFETY: no conditions.
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    unsafe {
        libc::__error()
    }
}
