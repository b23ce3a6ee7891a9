//! What happens when a call that cannot answer with an error finds no memory.

use crate::{budget, ledger, process};
use core::cell::Cell;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicPtr, Ordering};

/// Called with the requested bytes when memory runs out; `usize::MAX` if the size itself overflowed.
///
/// It may return: then the call that ran out answers null. Of a C-shaped call it may leave by `longjmp`: no lock is held and
/// nothing is half counted. It must not unwind.
///
/// For Rust's collections it is called from the handler of the signal by which the standard library aborts, on the thread that
/// ran out: when it returns, the process ends. A thread that aborts for another reason within 200 ms after a refusal that
/// it handled looks the same.
pub type OomHandler = extern "C" fn(requested: usize);

static HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Sets what the infallible calls of every heap do when memory runs out; `None` is the default. Answers what was set
/// before.
///
/// The default writes to standard error, without allocating, and aborts: the requested and the used bytes, the limit, the
/// resident bytes, the scopes that hold most, and where they are counted the size classes that do.
///
/// C-shaped calls run it at once. Rust's collections call `handle_alloc_error`, which ends in `abort`: for them it runs in the
/// handler of that signal, which the library sets when it first refuses an allocation, and which goes on to the handler that
/// the program had. `try_` calls and `try_reserve` get an error and run nothing. Safe to call at any time from any thread.
pub fn set_oom_handler(handler: Option<OomHandler>) -> Option<OomHandler> {
    let handler = handler.map_or(core::ptr::null_mut(), |handler| handler as *mut ());
    from_pointer(HANDLER.swap(handler, Ordering::AcqRel))
}

/// Runs the handler, as the infallible calls do when memory runs out: for those who build a call of their own on a
/// `try_` call. If the handler returns, so does this.
#[cold]
pub fn out_of_memory(requested: usize) {
    // SAFETY: `abort` has no conditions.
    handle(requested, || unsafe { libc::abort() });
}

/// Runs the handler; the default one, and then `abort`.
fn handle(requested: usize, abort: impl FnOnce()) {
    match from_pointer(HANDLER.load(Ordering::Acquire)) {
        Some(handler) => handler(requested),
        None => {
            write_report(requested);
            abort();
        }
    }
}

fn from_pointer(pointer: *mut ()) -> Option<OomHandler> {
    // SAFETY: only `set_oom_handler` stores here: null for none, as the type has it, or an `OomHandler`.
    unsafe { core::mem::transmute::<*mut (), Option<OomHandler>>(pointer) }
}

std::thread_local! {
    /// What this thread was refused last, and when, in milliseconds. Without a destructor.
    static REFUSED: Cell<Option<(usize, u64)>> = const { Cell::new(None) };
}

/// Milliseconds that the standard library may take to abort.
const AT_ONCE: u64 = 200;

/// Remembers what Rust's collections were refused, for the report if they abort for it: of several at once the largest,
/// since what is done on the way to the abort may be refused some as well.
#[cold]
pub(super) fn remember(bytes: usize) {
    // Reclaimers are told that there is none, not refused.
    if !budget::reclaims_here() {
        let largest = take_refused().map_or(bytes, |before| before.max(bytes));
        REFUSED.with(|refused| refused.set(Some((largest, now()))));
        abort::watch();
    }
}

/// What this thread was refused right now, as far as one can tell: once.
fn take_refused() -> Option<usize> {
    let (bytes, then) = REFUSED.with(Cell::take)?;
    (now().saturating_sub(then) <= AT_ONCE).then_some(bytes)
}

/// Milliseconds since some moment.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// The signal by which the standard library ends a program that was refused memory.
mod abort {
    use core::cell::UnsafeCell;
    use core::mem::MaybeUninit;
    use core::sync::atomic::{AtomicU8, Ordering};

    /// What was to be done for the signal before; written by who sets `STATE` to `SETTING`.
    struct Previous(UnsafeCell<MaybeUninit<libc::sigaction>>);
    // SAFETY: written once, before `STATE` is `SET`, and read after.
    unsafe impl Sync for Previous {}
    static PREVIOUS: Previous = Previous(UnsafeCell::new(MaybeUninit::uninit()));

    static STATE: AtomicU8 = AtomicU8::new(NOT_SET);
    const NOT_SET: u8 = 0;
    const SETTING: u8 = 1;
    const SET: u8 = 2;

    /// Has the report written when the program aborts for what it was refused. Once: a handler that the program sets after
    /// stays in force.
    pub(super) fn watch() {
        if STATE.compare_exchange(NOT_SET, SETTING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return;
        }
        // SAFETY: a structure of integers; the set is writable; the handler follows its C signature and never unwinds;
        // `PREVIOUS` is this thread's alone.
        let set = unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = on_abort as *const () as libc::sighandler_t;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGABRT, &action, (*PREVIOUS.0.get()).as_mut_ptr()) == 0
        };
        STATE.store(if set { SET } else { NOT_SET }, Ordering::Release);
    }

    extern "C" fn on_abort(_: libc::c_int) {
        if let Some(requested) = super::take_refused() {
            super::handle(requested, || {});
        }
        if STATE.load(Ordering::Acquire) == SET {
            // SAFETY: set by then, and both calls may be made in a handler. The signal comes again when this returns, to
            // whom it would have come to.
            unsafe {
                libc::sigaction(libc::SIGABRT, (*PREVIOUS.0.get()).as_ptr(), core::ptr::null_mut());
                libc::raise(libc::SIGABRT);
            }
        }
    }
}

/// Writes the default report to standard error.
fn write_report(requested: usize) {
    let mut text = Text { bytes: [0; 2048], length: 0 };
    // What is too long is cut, never allocated.
    let _ = report(&mut text, requested);
    // SAFETY: the text is readable for its length. Nothing can be done about a write that fails.
    unsafe { libc::write(libc::STDERR_FILENO, text.bytes.as_ptr().cast(), text.length) };
}

fn report(text: &mut Text, requested: usize) -> fmt::Result {
    let used = ledger::used_memory();
    write!(text, "zmalloc: Out of memory trying to allocate {requested} bytes; {used} bytes are in use")?;
    match budget::limit_bytes_hard() {
        Some(limit) => write!(text, ", the hard limit is {limit}")?,
        None => write!(text, ", without a limit")?,
    }
    if let Some(resident) = process::resident_bytes() {
        write!(text, "; {resident} bytes are in RAM")?;
    }
    writeln!(text)?;
    #[cfg(target_has_atomic = "64")]
    {
        // The scope that this thread is in, likely the one that grew.
        crate::scope::settle();
        crate::scope::write_largest(text)?;
    }
    write_classes(text)
}

/// The size classes that hold most, if they are counted.
fn write_classes(text: &mut Text) -> fmt::Result {
    const LARGEST: usize = 5;
    let classes = ledger::details().classes;
    let mut above = (u64::MAX, usize::MAX);
    for at in 0..LARGEST {
        // The next in order of bytes and place, without a sorted copy.
        let of = |place: usize| (classes[place].bytes_live(), place);
        let Some((bytes, place)) = (0..classes.len()).map(of).filter(|&next| next < above).max() else { break };
        if bytes == 0 {
            break;
        }
        above = (bytes, place);
        write!(text, "{}", if at == 0 { "zmalloc: size classes that hold most: " } else { ", " })?;
        let blocks = classes[place].blocks_live();
        match ledger::size_class_limit(place) {
            usize::MAX => write!(text, "{blocks} larger blocks hold {bytes}")?,
            limit => write!(text, "{blocks} blocks up to {limit} bytes hold {bytes}")?,
        }
    }
    if above.1 == usize::MAX { Ok(()) } else { writeln!(text) }
}

/// A text of limited length.
struct Text {
    bytes: [u8; 2048],
    length: usize,
}

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let taken = part.len().min(room.len());
        room[..taken].copy_from_slice(&part.as_bytes()[..taken]);
        self.length += taken;
        if taken == part.len() { Ok(()) } else { Err(fmt::Error) }
    }
}
