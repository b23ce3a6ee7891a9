//! The C-shaped calls at their edges, as Redis's zmalloc has them, over every backend; the ledger exact after each.
//!
//! One process per fact where the handler is global: the tests take turns.

use std::cell::Cell;
use std::ffi::CStr;
use std::process::Command;
use std::ptr::null_mut;
use std::sync::Mutex;
use zmalloc::backend::{Backend, Libc, PlainLibc, SizePrefix};
use zmalloc::ledger::{Detail, Detailed, TotalsOnly, details};
use zmalloc::{Zmalloc, set_oom_handler, used_memory};

static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    static ASKED: Cell<Option<usize>> = const { Cell::new(None) };
}

extern "C" fn note(requested: usize) {
    ASKED.set(Some(requested));
}

/// More than any machine has, and less than half of the address space.
const UNOBTAINABLE: usize = usize::MAX / 4;
const HALF: usize = usize::MAX / 2;

fn with_each_backend(check: &dyn Fn(&dyn Heap)) {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    set_oom_handler(Some(note));
    check(&Zmalloc::<Libc, TotalsOnly>::new());
    check(&Zmalloc::<Libc, Detailed>::new());
    check(&Zmalloc::<SizePrefix<PlainLibc>, Detailed>::new());
    #[cfg(feature = "jemalloc")]
    {
        check(&Zmalloc::<zmalloc::backend::Jemalloc, TotalsOnly>::new());
        check(&Zmalloc::<zmalloc::backend::Jemalloc, Detailed>::new());
    }
    #[cfg(feature = "mimalloc")]
    check(&Zmalloc::<zmalloc::backend::Mimalloc, TotalsOnly>::new());
    #[cfg(feature = "snmalloc")]
    check(&Zmalloc::<zmalloc::backend::Snmalloc, TotalsOnly>::new());
    #[cfg(feature = "tcmalloc")]
    check(&Zmalloc::<zmalloc::backend::Tcmalloc, TotalsOnly>::new());
    #[cfg(any(target_vendor = "apple", feature = "apple-stand-in"))]
    check(&Zmalloc::<zmalloc::backend::Apple, TotalsOnly>::new());
}

/// The calls under test, for any backend.
trait Heap {
    fn name(&self) -> &'static str;
    fn call(&self, call: Call) -> *mut u8;
    fn sizes(&self, ptr: *mut u8) -> (usize, usize);
    fn free(&self, ptr: *mut u8) -> usize;
    fn strdup(&self, text: &CStr) -> *mut u8;
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Malloc(usize),
    Calloc(usize),
    CallocArray(usize, usize),
    Realloc(*mut u8, usize),
    TryMalloc(usize),
    TryCalloc(usize),
    TryRealloc(*mut u8, usize),
    TryAligned(usize, usize),
}

impl<B: Backend, D: Detail> Heap for Zmalloc<B, D> {
    fn name(&self) -> &'static str {
        B::NAME
    }

    fn call(&self, call: Call) -> *mut u8 {
        // SAFETY: the tests resize live blocks, and use what is left as the contract says.
        unsafe {
            match call {
                Call::Malloc(size) => self.malloc(size),
                Call::Calloc(size) => self.calloc(size),
                Call::CallocArray(count, size) => self.calloc_array(count, size),
                Call::Realloc(ptr, size) => self.realloc(ptr, size),
                Call::TryMalloc(size) => self.try_malloc(size),
                Call::TryCalloc(size) => self.try_calloc(size),
                Call::TryRealloc(ptr, size) => self.try_realloc(ptr, size),
                Call::TryAligned(alignment, size) => self.try_malloc_aligned(alignment, size),
            }
        }
    }

    fn sizes(&self, ptr: *mut u8) -> (usize, usize) {
        // SAFETY: a live block or null.
        unsafe { (self.usable_size(ptr), self.charged_size(ptr)) }
    }

    fn free(&self, ptr: *mut u8) -> usize {
        // SAFETY: a live block or null, freed once.
        unsafe { self.free_usable(ptr) }
    }

    fn strdup(&self, text: &CStr) -> *mut u8 {
        Zmalloc::strdup(self, text).cast()
    }
}

/// Makes a call, and holds the handler's argument and the ledger against what is expected.
#[track_caller]
fn expect(heap: &dyn Heap, call: Call, asked: Option<usize>, used: usize) -> *mut u8 {
    ASKED.set(None);
    let ptr = heap.call(call);
    assert_eq!(ASKED.get(), asked, "{}: the handler, of {call:?}", heap.name());
    let charged = heap.sizes(ptr).1;
    assert_eq!(used_memory(), used + charged, "{}: the ledger, after {call:?}", heap.name());
    ptr
}

#[test]
fn nothing_asked_is_a_block_of_its_own() {
    with_each_backend(&|heap| {
        for call in [
            Call::Malloc(0),
            Call::Calloc(0),
            Call::TryMalloc(0),
            Call::CallocArray(0, 8),
            Call::Realloc(null_mut(), 0),
        ] {
            let ptr = expect(heap, call, None, 0);
            assert!(!ptr.is_null() && heap.sizes(ptr).0 >= 8, "{}: {call:?}", heap.name());
            let usable = heap.sizes(ptr).0;
            assert_eq!(heap.free(ptr), usable, "{}", heap.name());
            assert_eq!(used_memory(), 0);
        }
        assert_eq!((heap.free(null_mut()), heap.sizes(null_mut())), (0, (0, 0)));
    });
}

#[test]
fn what_cannot_be_had_runs_the_handler_and_answers_null() {
    with_each_backend(&|heap| {
        for size in [HALF, usize::MAX, UNOBTAINABLE] {
            for call in [Call::Malloc(size), Call::Calloc(size), Call::Realloc(null_mut(), size)] {
                assert!(expect(heap, call, Some(size), 0).is_null(), "{}: {call:?}", heap.name());
            }
            for call in [
                Call::TryMalloc(size),
                Call::TryCalloc(size),
                Call::TryRealloc(null_mut(), size),
                Call::TryAligned(64, size),
            ] {
                assert!(expect(heap, call, None, 0).is_null(), "{}: {call:?}", heap.name());
            }
        }
        assert!(expect(heap, Call::CallocArray(usize::MAX / 2, 4), Some(usize::MAX), 0).is_null());
        for alignment in [0, 3, 24, usize::MAX] {
            assert!(expect(heap, Call::TryAligned(alignment, 8), None, 0).is_null());
        }
    });
}

#[test]
fn a_resize_to_nothing_frees_without_the_handler() {
    with_each_backend(&|heap| {
        for resize in [Call::Realloc, Call::TryRealloc] {
            let ptr = expect(heap, Call::Malloc(1000), None, 0);
            assert!(expect(heap, resize(ptr, 0), None, 0).is_null());
            assert_eq!(used_memory(), 0, "{}", heap.name());
        }
    });
}

#[test]
fn a_resize_beyond_the_address_space_frees_too() {
    with_each_backend(&|heap| {
        let ptr = expect(heap, Call::Malloc(1000), None, 0);
        assert!(expect(heap, Call::Realloc(ptr, HALF), Some(HALF), 0).is_null());
        assert_eq!(used_memory(), 0, "{}", heap.name());
        let ptr = expect(heap, Call::Malloc(1000), None, 0);
        assert!(expect(heap, Call::TryRealloc(ptr, usize::MAX), None, 0).is_null());
        assert_eq!(used_memory(), 0, "{}", heap.name());
    });
}

#[test]
fn a_resize_that_fails_keeps_the_block_and_its_account() {
    with_each_backend(&|heap| {
        let ptr = expect(heap, Call::Calloc(1000), None, 0);
        let (_, charged) = heap.sizes(ptr);
        for (call, asked) in
            [(Call::Realloc(ptr, UNOBTAINABLE), Some(UNOBTAINABLE)), (Call::TryRealloc(ptr, UNOBTAINABLE), None)]
        {
            assert!(expect(heap, call, asked, charged).is_null(), "{}", heap.name());
            // SAFETY: the block lives on, all zeros.
            assert!((0..1000).all(|at| unsafe { ptr.add(at).read() } == 0));
        }
        let larger = expect(heap, Call::Realloc(ptr, 100_000), None, 0);
        assert!(heap.sizes(larger).0 >= 100_000);
        heap.free(larger);
        assert_eq!(used_memory(), 0, "{}", heap.name());
    });
}

#[test]
fn details_balance_whatever_the_shape() {
    with_each_backend(&|heap| {
        let before = details();
        let mut ptr = heap.call(Call::Malloc(100));
        for size in [50, 5000, 70_000, 10] {
            ptr = heap.call(Call::Realloc(ptr, size));
        }
        let text = heap.strdup(c"a text");
        // SAFETY: a live copy that ends with 0.
        assert_eq!(unsafe { CStr::from_ptr(text.cast()) }, c"a text");
        heap.free(text);
        heap.free(ptr);
        let after = details();
        assert_eq!(after.requested.live_bytes(), before.requested.live_bytes(), "{}", heap.name());
        assert_eq!(after.blocks_live(), before.blocks_live(), "{}", heap.name());
    });
}

#[cfg(all(target_env = "gnu", target_arch = "x86_64", not(feature = "tcmalloc")))]
#[test]
fn glibcs_sizes_are_those_known() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let heap = Zmalloc::<Libc>::new();
    for (size, charged) in [(0, 24), (1, 24), (100, 104), (123, 136), (4097, 4104), (100_000, 100_008)] {
        let ptr = heap.malloc(size);
        assert_eq!(used_memory(), charged, "malloc({size})");
        // SAFETY: a live block, freed once.
        unsafe { heap.free(ptr) };
    }
}

/// Run by the next test in a process of its own: it ends in an abort.
#[test]
fn runs_out_of_memory_on_request() {
    if std::env::var_os("ZMALLOC_TEST_RUN_OUT").is_some() {
        let _kept = Zmalloc::<Libc>::new().malloc(1000);
        Zmalloc::<Libc>::new().malloc(HALF);
    }
}

#[test]
fn the_default_handler_writes_and_aborts() {
    use std::os::unix::process::ExitStatusExt;
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "runs_out_of_memory_on_request", "--nocapture"])
        .env("ZMALLOC_TEST_RUN_OUT", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = format!("zmalloc: Out of memory trying to allocate {HALF} bytes; 1");
    assert!(text.contains(&line), "{text}");
}
