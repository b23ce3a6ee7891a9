//! The peak where a thread, a block or a slot has a past. One test in this process: the peak is global and only rises.

use std::cell::Cell;
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use zmalloc::backend::{Backend, Libc};
use zmalloc::{Zmalloc, peak_memory};

const MIB: usize = 1 << 20;

/// Every block is one of these, and no page of it is touched.
fn blocks<B: Backend>(count: usize) -> Vec<*mut u8> {
    (0..count).map(|_| Zmalloc::<B>::new().malloc(MIB)).collect()
}

fn free<B: Backend>(blocks: Vec<*mut u8>) {
    // SAFETY: live blocks, freed once.
    blocks.into_iter().for_each(|block| unsafe { Zmalloc::<B>::new().free(block) });
}

/// The peak is this, give or take an eighth.
fn assert_peak(mib: usize, when: &str) {
    let peak = peak_memory() / MIB;
    assert!((mib - mib / 8..=mib + mib / 8).contains(&peak), "{when}: {peak} MiB, not {mib}");
}

/// Runs `section` in a destructor of a thread-specific key, a round after those that run first: ours is one of them.
fn in_last_destructor(section: fn()) {
    static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();
    thread_local!(static ROUND: Cell<u32> = const { Cell::new(0) });

    fn set(section: *const libc::c_void) {
        // SAFETY: the key exists; the value is only handed to `destroy`.
        assert_eq!(unsafe { libc::pthread_setspecific(*KEY.get().unwrap(), section) }, 0);
    }

    extern "C" fn destroy(section: *mut libc::c_void) {
        if ROUND.replace(1) == 0 {
            return set(section);
        }
        // SAFETY: the value set below.
        let section = unsafe { std::mem::transmute::<*mut libc::c_void, fn()>(section) };
        section();
    }

    KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: a writable key and a destructor of the right signature.
        assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(destroy)) }, 0);
        key
    });
    set(section as *const libc::c_void);
}

#[test]
fn the_past_does_not_hide_or_raise_the_peak() {
    // A block that is resized is held once.
    let heap = Zmalloc::<Libc>::new();
    // SAFETY: a live block, freed once.
    unsafe {
        let block = heap.realloc(heap.malloc(64 * MIB), 65 * MIB);
        // An allocator may set more aside for a block that grows: tcmalloc a quarter.
        assert_peak(heap.charged_size(block) / MIB, "resized");
        heap.free(block);
    }

    // A thread whose slot is gone looks too.
    thread::spawn(|| {
        free::<Libc>(blocks::<Libc>(1));
        in_last_destructor(|| free::<Libc>(blocks::<Libc>(200)));
    })
    .join()
    .unwrap();
    assert_peak(200, "in a late destructor");

    #[cfg(feature = "jemalloc")]
    {
        use zmalloc::backend::Jemalloc;
        // The second thread has the slot, but not the past, of the first.
        let churn = || (0..1000).for_each(|_| free::<Jemalloc>(blocks::<Jemalloc>(1)));
        thread::spawn(churn).join().unwrap();
        thread::spawn(|| free::<Jemalloc>(blocks::<Jemalloc>(400))).join().unwrap();
        assert_peak(400, "after a busy thread");
    }

    // One thread's step is not every thread's.
    const THREADS: usize = 400;
    free::<Libc>(blocks::<Libc>(4096));
    assert_peak(4096, "alone");
    let together = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let together = Arc::clone(&together);
            thread::spawn(move || {
                let first = blocks::<Libc>(1);
                together.wait();
                let more = blocks::<Libc>(14);
                together.wait();
                free::<Libc>(first);
                free::<Libc>(more);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_peak(THREADS * 15, "together");
}
