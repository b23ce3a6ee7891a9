//! A program that links this library shows its ledger to others: `zm top`, and the `zm run` that it runs under.
//!
//! ```
//! use zmalloc::Zmalloc;
//!
//! #[global_allocator]
//! static HEAP: Zmalloc = Zmalloc::new();
//!
//! HEAP.publish().unwrap();
//! ```
//!
//! A thread copies the figures into a file every [`INTERVAL`]: bytes allocated and freed, the peak, threads, size classes
//! (of a heap that counts them), and the [`SCOPES`] largest scopes with those around them. So a reader sees figures that
//! are up to that old, and after a crash or a SIGKILL those of the last copy. Each copy is whole.
//!
//! The file lies in `$XDG_RUNTIME_DIR/zmalloc`, without that variable in `/tmp/zmalloc-UID`, and under `zm run` in
//! the session's directory. Only its owner can read it. It goes when the program exits; one that was left by a killed
//! program is taken away by the next `zm`.
//!
//! Cost: the thread, and at most one part in a hundred of a processor: ten copies a second, each of about 50 us and
//! 1 us more for each thread and 0.3 us for each scope, and fewer where that would be more. The program's other threads
//! wait for nothing but the short locks of reading the ledger and the scopes, and a fork for a copy. What the thread
//! allocates, some KiB, is counted like everything.
//!
//! What `zm set` and `zm purge` ask of the program, that thread does: it sets the hard limit of
//! [`budget`](crate::budget), or has the backend give unused pages back.
//!
//! A forked child publishes when it asks for it itself.

mod format;
mod gate;
mod largest;
mod place;
mod reader;
mod writer;

pub use format::{PUBLISHED_VERSION, SCOPES};
pub use place::{directory, file_name, parse_file_name};
pub use reader::{Figures, Publication, PublishedScope, Reader};

use crate::backend::Backend;
use crate::heap::Zmalloc;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use writer::Writer;

/// How old a reader's figures are at most, where a copy takes less than a hundredth of that.
pub const INTERVAL: Duration = Duration::from_millis(100);

/// Where in the file the [`RequestCell`](crate::ledger::RequestCell) is.
#[doc(hidden)]
pub const REQUEST_AT: u64 = format::header::REQUEST as u64;

/// The interval is at least this many times as long as a copy takes.
const COPY_PART: u32 = 100;

/// Who publishes; kept for good, as its thread uses it.
static PUBLISHING: AtomicPtr<Mutex<Option<Writer>>> = AtomicPtr::new(core::ptr::null_mut());
/// The process that does.
static PID: AtomicU32 = AtomicU32::new(0);

impl<B: Backend, D> Zmalloc<B, D> {
    /// Publishes the program's ledger, as of a heap over this backend, until the program ends: see the
    /// [module](crate::publish).
    ///
    /// To be called again does nothing. Fails if there is no directory that is this user's alone, no memory for the
    /// file, or no thread to be had; the message says which.
    pub fn publish(&self) -> io::Result<()> {
        publish_with(B::NAME, B::purge)
    }
}

/// Publishes the program's ledger under this name of its allocator; as [`Zmalloc::publish`].
pub fn publish(backend: &str) -> io::Result<()> {
    publish_with(backend, || false)
}

fn publish_with(backend: &str, purge: fn() -> bool) -> io::Result<()> {
    let pid = std::process::id();
    if PID.swap(pid, Ordering::AcqRel) == pid {
        return Ok(());
    }
    let started = Writer::create(backend).and_then(|writer| {
        // A forked child has its parent's writer, whose lock its thread may hold for ever: never touched again.
        let shared: &'static Mutex<_> = Box::leak(Box::new(Mutex::new(Some(writer))));
        let result = start_thread(shared, purge);
        if result.is_ok() {
            PUBLISHING.store(core::ptr::from_ref(shared).cast_mut(), Ordering::Release);
            // SAFETY: a function that neither unwinds nor goes away. Where there is no room for it, the file stays.
            unsafe { libc::atexit(at_exit) };
        } else if let Some(writer) = lock(shared).take() {
            writer.remove();
        }
        result
    });
    if started.is_err() {
        PID.store(0, Ordering::Release);
    }
    started
}

/// Starts the thread that copies, after a first copy.
fn start_thread(shared: &'static Mutex<Option<Writer>>, purge: fn() -> bool) -> io::Result<()> {
    if let Some(writer) = &mut *lock(shared) {
        writer.copy(false)?;
    }
    let thread = std::thread::Builder::new().name("zmalloc-publish".to_owned());
    gate::watch_forks();
    without_signals(|| {
        thread.spawn(move || {
            let mut copy_at = Instant::now();
            loop {
                std::thread::sleep(INTERVAL);
                let mut writer = lock(shared);
                // At the end there is none. A copy that fails is made again: the last one stays whole.
                let Some(writer) = &mut *writer else { return };
                // Whoever asks is not kept waiting where copies are rare.
                writer.serve(purge);
                let started = Instant::now();
                if started >= copy_at {
                    gate::within(|| _ = writer.copy(false));
                    copy_at = started + started.elapsed() * COPY_PART;
                }
            }
        })
    })?;
    Ok(())
}

/// Runs `start` with every signal blocked, which a thread started meanwhile inherits: signals are the program's.
fn without_signals<R>(start: impl FnOnce() -> R) -> R {
    // SAFETY: plain data, for which zero is a value.
    let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = unsafe { core::mem::zeroed() };
    // SAFETY: both are writable sets.
    unsafe {
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
    }
    let result = start();
    // SAFETY: the mask that was there.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, core::ptr::null_mut()) };
    result
}

extern "C" fn at_exit() {
    // A forked child that exits leaves the parent's file alone.
    if PID.load(Ordering::Acquire) != std::process::id() {
        return;
    }
    // SAFETY: null, or a leaked box.
    let Some(shared) = (unsafe { PUBLISHING.load(Ordering::Acquire).as_ref() }) else { return };
    if let Some(writer) = lock(shared).take() {
        writer.end();
    }
}

fn lock(shared: &Mutex<Option<Writer>>) -> std::sync::MutexGuard<'_, Option<Writer>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
