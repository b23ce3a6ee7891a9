//! Watching the level: a handle is a box of the registration, and giving it back waits for a call that is being made, since
//! the program may free what the call uses.

use crate::out::UNKNOWN;
use core::cell::Cell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use zmalloc::budget::{self, Change, Watch};

/// What `zmalloc.h` calls `struct zmalloc_level_change`. Grows at its end only.
#[repr(C)]
pub struct LevelChange {
    size: usize,
    from: u32,
    to: u32,
    used_bytes: u64,
    resident_bytes: u64,
}

impl LevelChange {
    fn of(change: Change) -> LevelChange {
        LevelChange {
            size: size_of::<LevelChange>(),
            from: change.from as u32,
            to: change.to as u32,
            used_bytes: change.used_bytes as u64,
            resident_bytes: change.resident_bytes.map_or(UNKNOWN, |bytes| bytes as u64),
        }
    }
}

type Tell = unsafe extern "C" fn(change: *const LevelChange, user: *mut c_void);

/// The program's pointer, which is handed back to it alone.
#[derive(Clone, Copy)]
pub(crate) struct User(pub(crate) *mut c_void);

// SAFETY: it is not followed here, and the program is told that its functions are called by other threads.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

impl User {
    pub(crate) fn get(self) -> *mut c_void {
        self.0
    }
}

/// Who is told, and whether it is being told.
struct Told {
    tell: Tell,
    user: User,
    /// The process whose thread calls it now; 0 for none. A forked child does not wait for its parent's.
    called_in: AtomicU32,
    given_back: AtomicBool,
}

std::thread_local! {
    /// This is the thread that watches, and it is telling someone. Without a destructor.
    static TELLS: Cell<bool> = const { Cell::new(false) };
}

impl Told {
    fn tell(&self, change: Change) {
        // Before the look at what `end` sets, which then looks at this: one of both sees the other.
        self.called_in.store(std::process::id(), Ordering::SeqCst);
        if !self.given_back.load(Ordering::SeqCst) {
            TELLS.set(true);
            // SAFETY: the change is readable, and it may be called so until it is given back, by the program's contract.
            unsafe { (self.tell)(&LevelChange::of(change), self.user.get()) };
            TELLS.set(false);
        }
        self.called_in.store(0, Ordering::SeqCst);
    }

    /// After this it is not called, nor being called by another thread.
    fn end(&self) {
        self.given_back.store(true, Ordering::SeqCst);
        while !TELLS.get() && self.called_in.load(Ordering::SeqCst) == std::process::id() {
            std::thread::yield_now();
        }
    }
}

/// What `zmalloc.h` calls `zmalloc_watcher`.
pub struct Watcher {
    told: Arc<Told>,
    #[expect(dead_code, reason = "held")]
    watch: Watch,
}

#[unsafe(export_name = symbol!("zmalloc_watch"))]
pub unsafe extern "C" fn zmalloc_watch(tell: Option<Tell>, user: *mut c_void) -> *mut Watcher {
    let Some(tell) = tell else { return null_mut() };
    let (called_in, given_back) = (AtomicU32::new(0), AtomicBool::new(false));
    let told = Arc::new(Told { tell, user: User(user), called_in, given_back });
    let called = told.clone();
    let watch = without_signals(|| budget::watch(move |change| called.tell(change)));
    watch.map_or(null_mut(), |watch| Box::into_raw(Box::new(Watcher { told, watch })))
}

#[unsafe(export_name = symbol!("zmalloc_unwatch"))]
pub unsafe extern "C" fn zmalloc_unwatch(watcher: *mut Watcher) {
    if !watcher.is_null() {
        // SAFETY: made above and not yet given back, by the caller's contract.
        let watcher = unsafe { Box::from_raw(watcher) };
        watcher.told.end();
    }
}

/// Runs what may start the thread that watches, which takes over what signals are blocked: it should take none of the
/// program's.
pub(crate) fn without_signals<R>(start: impl FnOnce() -> R) -> R {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: both sets are writable; the first is filled before it is read.
    let blocked = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) == 0
    };
    let result = start();
    if blocked {
        // SAFETY: filled above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), null_mut()) };
    }
    result
}
