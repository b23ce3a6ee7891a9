//! What happens when memory runs out and no error can be answered: each in a process of its own, over two backends.
//!
//! The heap that serves all of it is the program's allocator, so that std's collections run out.
#![cfg(target_os = "linux")]

#[path = "common/child.rs"]
mod child;

use child::{part, run_part};
use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use zmalloc::backend::Libc;
use zmalloc::budget::set_limit_bytes_hard;
use zmalloc::ledger::Detailed;
use zmalloc::{DefaultBackend, Scope, Zmalloc, set_oom_handler, used_memory};

/// One of two heaps, as the part that the process plays begins; counts what is asked of it.
struct Chosen;

static DEFAULT: Zmalloc<DefaultBackend, Detailed> = Zmalloc::new();
static LIBC: Zmalloc<Libc, Detailed> = Zmalloc::new();

fn is_libc() -> bool {
    // SAFETY: a C string, and nobody changes the environment.
    let part = unsafe { libc::getenv(c"ZMALLOC_TEST_PART".as_ptr()) };
    // SAFETY: a C string, if it is one.
    !part.is_null() && unsafe { *part } == b'l' as libc::c_char
}

static CALLS: AtomicU64 = AtomicU64::new(0);
/// What `CALLS` was before a call that runs out.
static CALLS_BEFORE: AtomicU64 = AtomicU64::new(0);

impl Chosen {
    fn heap(&self) -> &'static dyn GlobalAlloc {
        CALLS.fetch_add(1, SeqCst);
        if is_libc() { &LIBC } else { &DEFAULT }
    }
}

// SAFETY: every call is handed on to one heap, always the same.
unsafe impl GlobalAlloc for Chosen {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        unsafe { self.heap().alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        unsafe { self.heap().alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract.
        unsafe { self.heap().realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { self.heap().dealloc(block, layout) }
    }
}

#[global_allocator]
static HEAP: Chosen = Chosen;

const LIMIT: usize = 4 << 20;

/// What the processes do that the tests below start.
#[test]
fn play() {
    let Some(part) = part() else { return };
    set_limit_bytes_hard(Some(LIMIT));
    match part.split_once(' ').unwrap().1 {
        "push" => push(),
        "zeroed" => drop(black_box(vec![0u8; 8 << 20])),
        "handler that exits" => {
            set_oom_handler(Some(say_and_exit));
            push();
        }
        "handler that returns" => {
            set_oom_handler(Some(say));
            push();
        }
        "program's own signal handler" => {
            // SAFETY: a handler that makes only calls which may be made in one.
            unsafe { libc::signal(libc::SIGABRT, say_what_was_allocated as *const () as libc::sighandler_t) };
            push();
        }
        "error" => assert!(Vec::<u8>::new().try_reserve(8 << 20).is_err()),
        "late abort" => {
            assert!(Vec::<u8>::new().try_reserve(8 << 20).is_err());
            std::thread::sleep(std::time::Duration::from_millis(400));
            std::process::abort();
        }
        "malloc" => {
            // SAFETY: as above.
            unsafe { libc::signal(libc::SIGABRT, say_what_was_allocated as *const () as libc::sighandler_t) };
            CALLS_BEFORE.store(CALLS.load(SeqCst), SeqCst);
            malloc(8 << 20);
        }
        "try_malloc" => assert!(try_malloc(8 << 20).is_null()),
        #[cfg(target_env = "gnu")]
        "handler that leaves" => leave_by_handler(),
        part => panic!("no part is called {part}"),
    }
}

fn malloc(size: usize) -> *mut u8 {
    if is_libc() { LIBC.malloc(size) } else { DEFAULT.malloc(size) }
}

fn try_malloc(size: usize) -> *mut u8 {
    if is_libc() { LIBC.try_malloc(size) } else { DEFAULT.try_malloc(size) }
}

/// Grows a list until that is refused, in a scope that is entered all the while.
fn push() {
    Scope::new("tenant").child("upload").run(|| {
        let mut list = Vec::new();
        loop {
            list.push(black_box(1u64));
        }
    });
}

fn write(text: &str) {
    // SAFETY: the text is readable.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

extern "C" fn say(requested: usize) {
    assert!(requested > 1 << 20);
    write("the handler ran\n");
}

extern "C" fn say_and_exit(requested: usize) {
    say(requested);
    // SAFETY: no conditions.
    unsafe { libc::_exit(7) };
}

extern "C" fn say_what_was_allocated(_: libc::c_int) {
    write("the program's handler ran\n");
    if CALLS.load(SeqCst) == CALLS_BEFORE.load(SeqCst) {
        write("nothing was allocated\n");
    }
}

/// How a part ended, and what it wrote to standard error, over each backend.
fn each(part: &str, check: impl Fn(&Output, &str)) {
    for backend in ["default", "libc"] {
        let output = run_part("play", &format!("{backend} {part}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        println!("{backend} {part}: {}\n{errors}", output.status);
        check(&output, &errors);
    }
}

fn assert_aborted(output: &Output) {
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", output.status);
}

const REPORT: &str = "zmalloc: Out of memory";

/// The number after some words.
fn number_after(text: &str, words: &str) -> usize {
    let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("{words:?} is not in {text:?}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[test]
fn a_push_over_the_limit_aborts_with_the_figures() {
    each("push", |output, errors| {
        assert_aborted(output);
        let requested = number_after(errors, "Out of memory trying to allocate ");
        let used = number_after(errors, "bytes; ");
        assert_eq!(number_after(errors, "the hard limit is "), LIMIT);
        assert!(requested.is_power_of_two() && used <= LIMIT && used + requested * 2 > LIMIT, "{requested}, {used}");
        assert!(number_after(errors, "hard limit is 4194304; ") > 1 << 20, "in RAM");
        assert!(number_after(errors, "scopes that hold most: tenant/upload ") >= requested / 2);
        assert!(errors.contains("size classes that hold most: 1 blocks up to "));
        assert_eq!(errors.matches(REPORT).count(), 1);
    });
    each("zeroed", |output, errors| {
        assert_aborted(output);
        assert_eq!(number_after(errors, "trying to allocate "), 8 << 20);
    });
}

#[test]
fn a_handler_of_the_users_runs_instead() {
    each("handler that exits", |output, errors| {
        assert_eq!((output.status.code(), errors.contains("the handler ran")), (Some(7), true));
        assert!(!errors.contains(REPORT));
    });
    each("handler that returns", |output, errors| {
        assert_aborted(output);
        assert!(errors.contains("the handler ran") && !errors.contains(REPORT));
    });
}

#[test]
fn the_programs_own_handler_still_gets_the_signal() {
    each("program's own signal handler", |output, errors| {
        assert_aborted(output);
        let (report, handler) = (errors.find(REPORT).unwrap(), errors.find("the program's handler ran").unwrap());
        assert!(report < handler);
    });
}

#[test]
fn an_error_is_not_reported_also_if_the_program_aborts_later() {
    each("error", |output, errors| assert!(output.status.success() && errors.is_empty()));
    each("late abort", |output, errors| {
        assert_aborted(output);
        assert!(!errors.contains(REPORT));
    });
    each("try_malloc", |output, errors| assert!(output.status.success() && errors.is_empty()));
}

#[test]
fn a_c_shaped_call_reports_at_once_and_the_report_allocates_nothing() {
    each("malloc", |output, errors| {
        assert_aborted(output);
        assert_eq!(number_after(errors, "trying to allocate "), 8 << 20);
        assert_eq!(errors.matches(REPORT).count(), 1);
        assert!(errors.contains("nothing was allocated"));
    });
}

#[cfg(target_env = "gnu")]
#[test]
fn a_handler_may_leave_and_the_ledger_is_exact() {
    each("handler that leaves", |output, _| assert!(output.status.success()));
}

/// Leaves the call that ran out for another stack, as `longjmp` would.
#[cfg(target_env = "gnu")]
fn leave_by_handler() {
    use std::cell::UnsafeCell;
    use std::mem::zeroed;

    static RUNS: AtomicUsize = AtomicUsize::new(0);
    struct Contexts(UnsafeCell<[libc::ucontext_t; 2]>);
    // SAFETY: one thread uses them.
    unsafe impl Sync for Contexts {}
    // SAFETY: structures of integers and addresses.
    static CONTEXTS: Contexts = Contexts(UnsafeCell::new(unsafe { zeroed() }));

    extern "C" fn leave(_: usize) {
        RUNS.fetch_add(1, SeqCst);
        // SAFETY: saved by the swap below; nothing on this stack has to be dropped.
        unsafe { libc::setcontext(CONTEXTS.0.get().cast()) };
    }

    extern "C" fn run_out() {
        malloc(64 << 20);
        unreachable!("the handler does not return");
    }

    let mut stack = vec![0u8; 256 << 10];
    set_limit_bytes_hard(Some(used_memory() + (32 << 20)));
    set_oom_handler(Some(leave));
    for round in 1..=3 {
        let used = used_memory();
        // SAFETY: both contexts are set before they are used, and the stack outlives its own.
        unsafe {
            let [back, out] = [0, 1].map(|at| CONTEXTS.0.get().cast::<libc::ucontext_t>().add(at));
            assert_eq!(libc::getcontext(out), 0);
            ((*out).uc_stack.ss_sp, (*out).uc_stack.ss_size) = (stack.as_mut_ptr().cast(), stack.len());
            libc::makecontext(out, run_out, 0);
            assert_eq!(libc::swapcontext(back, out), 0);
        }
        assert_eq!((RUNS.load(SeqCst), used_memory()), (round, used));
        // No lock is held, and what was asked for is given back.
        let block = try_malloc(24 << 20);
        assert!(!block.is_null() && try_malloc(16 << 20).is_null());
        // SAFETY: a live block.
        unsafe { if is_libc() { LIBC.free(block) } else { DEFAULT.free(block) } };
    }
}
