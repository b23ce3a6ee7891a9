//! A thread's life with the ledger: registration at its first operation, giving the slot back at its end, fork.
//!
//! Nothing here takes memory from the allocator above, waits for a thread that may, or unwinds. What the C library
//! itself allocates meanwhile (for the thread-specific key) finds the thread `Registering` and is counted apart.

use super::local::{Local, Stage, local};
use super::pool::Pool;
use super::slot::Slot;
use super::sync::relax;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

/// Registers the calling thread, unless that was done or is being done. Answers its slot if it has one now.
#[cold]
pub(crate) fn register() -> Option<&'static Slot> {
    let local = local();
    if local.stage.get() == Stage::New {
        let errno = Errno::save();
        local.stage.set(Stage::Registering);
        match try_register() {
            Some(slot) => {
                local.slot.set(slot);
                local.stage.set(Stage::Live);
            }
            None => local.stage.set(Stage::Slotless),
        }
        errno.restore();
    }
    // SAFETY: a slot is never unmapped.
    unsafe { local.slot.get().as_ref() }
}

fn try_register() -> Option<&'static Slot> {
    let key = exit_key()?;
    let pool = super::pool();
    let slot = pool.claim()?;
    // SAFETY: the key exists; the value is only handed to `at_thread_exit`.
    if unsafe { libc::pthread_setspecific(key, core::ptr::from_ref(slot).cast()) } != 0 {
        pool.release(slot);
        return None;
    }
    Some(slot)
}

/// Runs a section that takes the pool's lock, or `None` on a thread that is inside one already: in a signal handler
/// that interrupted it.
pub(crate) fn with_pool<R>(section: impl FnOnce(&'static Pool) -> R) -> Option<R> {
    let local = local();
    if local.busy.replace(true) {
        return None;
    }
    let result = section(super::pool());
    local.busy.set(false);
    Some(result)
}

/// Called by the C library when a thread that owns a slot ends.
///
/// Destructors that run after this one may still allocate and free: `Slotless`, they count in the shared slot.
extern "C" fn at_thread_exit(slot: *mut c_void) {
    let local = local();
    local.stage.set(Stage::Slotless);
    // SAFETY: the value set in `try_register`; slots are never unmapped.
    let slot = unsafe { &*slot.cast::<Slot>() };
    with_pool(|pool| {
        // From here on this thread's operations are counted by us, so the backend's counters are read a last time.
        local.backend_allocated.set(core::ptr::null());
        local.backend_freed.set(core::ptr::null());
        local.slot.set(core::ptr::null());
        pool.detach_backend(slot);
        pool.release(slot);
    });
}

/// The key whose destructor is `at_thread_exit`, made at the first call together with the fork handlers.
pub(crate) fn exit_key() -> Option<libc::pthread_key_t> {
    static STATE: AtomicU32 = AtomicU32::new(NONE);
    static KEY: AtomicU32 = AtomicU32::new(0);
    const NONE: u32 = 0;
    const MAKING: u32 = 1;
    const MADE: u32 = 2;
    const FAILED: u32 = 3;
    loop {
        match STATE.compare_exchange(NONE, MAKING, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                let mut key = 0;
                // SAFETY: `key` is writable, and the handlers follow their C signatures and never unwind.
                let made = unsafe {
                    libc::pthread_atfork(Some(before_fork), Some(after_fork_parent), Some(after_fork_child)) == 0
                        && libc::pthread_key_create(&mut key, Some(at_thread_exit)) == 0
                };
                KEY.store(key as u32, Ordering::Relaxed);
                STATE.store(if made { MADE } else { FAILED }, Ordering::Release);
            }
            Err(MADE) => return Some(KEY.load(Ordering::Relaxed) as libc::pthread_key_t),
            Err(FAILED) => return None,
            // Another thread makes it, which takes a few hundred instructions and waits for nothing of ours.
            Err(_) => relax(),
        }
    }
}

extern "C" fn before_fork() {
    let local = local();
    if !local.busy.replace(true) {
        super::pool().lock_for_fork();
    } else {
        FORKED_WITHIN.store(1, Ordering::Relaxed);
    }
}

/// A signal handler that interrupted a thread inside the lock forks: the lock is this thread's already.
static FORKED_WITHIN: AtomicU32 = AtomicU32::new(0);

extern "C" fn after_fork_parent() {
    if FORKED_WITHIN.swap(0, Ordering::Relaxed) == 0 {
        super::pool().unlock_after_fork();
        local().busy.set(false);
    }
}

extern "C" fn after_fork_child() {
    let local: &Local = local();
    super::pool().keep_only(local.slot.get());
    if FORKED_WITHIN.swap(0, Ordering::Relaxed) == 0 {
        local.busy.set(false);
    }
}

/// Keeps `errno` over calls that are none of the program's business.
struct Errno(i32);

impl Errno {
    fn save() -> Errno {
        // SAFETY: the address is the calling thread's errno.
        Errno(unsafe { *errno_location() })
    }

    fn restore(self) {
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
