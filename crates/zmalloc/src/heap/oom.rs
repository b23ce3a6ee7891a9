//! What happens when a call that cannot answer with an error finds no memory.

use core::sync::atomic::{AtomicPtr, Ordering};

/// Called with the requested bytes when memory runs out; `usize::MAX` if the size itself overflowed.
///
/// It may return: then the call that ran out answers null. It may leave by `longjmp`: no lock is held and nothing is
/// half counted. It must not unwind.
pub type OomHandler = extern "C" fn(requested: usize);

static HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Sets what the infallible C-shaped calls of every heap do when memory runs out. Answers what was set before.
///
/// The default writes the requested and the used bytes to standard error, without allocating, and aborts. Rust's own
/// collections do not come here: they call `handle_alloc_error`. Safe to call at any time from any thread.
pub fn set_oom_handler(handler: OomHandler) -> OomHandler {
    let before = HANDLER.swap(handler as *mut (), Ordering::AcqRel);
    from_pointer(before)
}

/// Runs the handler.
#[cold]
pub(crate) fn out_of_memory(requested: usize) {
    from_pointer(HANDLER.load(Ordering::Acquire))(requested);
}

fn from_pointer(pointer: *mut ()) -> OomHandler {
    if pointer.is_null() {
        return write_and_abort;
    }
    // SAFETY: only `set_oom_handler` stores here, and only an `OomHandler`.
    unsafe { core::mem::transmute::<*mut (), OomHandler>(pointer) }
}

extern "C" fn write_and_abort(requested: usize) {
    let mut line = Line { text: [0; 160], length: 0 };
    let used = crate::ledger::used_memory();
    // A line that is too long is cut, never allocated.
    let _ = core::fmt::Write::write_fmt(
        &mut line,
        format_args!("zmalloc: Out of memory trying to allocate {requested} bytes; {used} bytes are in use\n"),
    );
    // SAFETY: the text is readable for its length. Nothing can be done about a write that fails.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.text.as_ptr().cast(), line.length);
        libc::abort()
    }
}

struct Line {
    text: [u8; 160],
    length: usize,
}

impl core::fmt::Write for Line {
    fn write_str(&mut self, part: &str) -> core::fmt::Result {
        let room = &mut self.text[self.length..];
        let taken = part.len().min(room.len());
        room[..taken].copy_from_slice(&part.as_bytes()[..taken]);
        self.length += taken;
        if taken == part.len() { Ok(()) } else { Err(core::fmt::Error) }
    }
}
