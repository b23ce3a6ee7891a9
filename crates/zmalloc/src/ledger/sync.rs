//! The atomics of the ledger, or loom's when it models them.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering, fence};

#[cfg(not(any(loom, ledger_lock)))]
pub(crate) use core::sync::atomic::AtomicU64;

#[cfg(all(ledger_lock, not(loom)))]
pub(crate) use guarded::AtomicU64;

/// A counter for targets without 64-bit atomics: only touched with the pool's lock held.
#[cfg(all(ledger_lock, not(loom)))]
mod guarded {
    use super::Ordering;
    use core::cell::UnsafeCell;

    #[repr(transparent)]
    pub struct AtomicU64(UnsafeCell<u64>);

    // SAFETY: in this way of counting every access happens with the pool's lock held; see `way_lock`.
    unsafe impl Sync for AtomicU64 {}

    impl AtomicU64 {
        pub(crate) const fn new(value: u64) -> AtomicU64 {
            AtomicU64(UnsafeCell::new(value))
        }

        pub(crate) fn load(&self, _: Ordering) -> u64 {
            // SAFETY: the lock is held, so nobody writes.
            unsafe { *self.0.get() }
        }

        pub(crate) fn store(&self, value: u64, _: Ordering) {
            // SAFETY: the lock is held, so nobody else reads or writes.
            unsafe { *self.0.get() = value };
        }

        pub(crate) fn fetch_add(&self, amount: u64, order: Ordering) -> u64 {
            let before = self.load(order);
            self.store(before.wrapping_add(amount), order);
            before
        }

        pub(crate) fn fetch_max(&self, other: u64, order: Ordering) -> u64 {
            let before = self.load(order);
            self.store(before.max(other), order);
            before
        }
    }
}

/// A constructor that is `const`, except where loom's atomics, which are not, stand in.
macro_rules! const_unless_loom {
    ($visibility:vis fn $name:ident() -> $result:ty $body:block) => {
        #[cfg(not(loom))]
        $visibility const fn $name() -> $result $body
        #[cfg(loom)]
        $visibility fn $name() -> $result $body
    };
}
pub(crate) use const_unless_loom;

/// An array of `N` values, each made by the same constructor.
macro_rules! array_of {
    ($constructor:expr; $length:expr) => {{
        #[cfg(not(loom))]
        let array = [const { $constructor }; $length];
        #[cfg(loom)]
        let array = core::array::from_fn::<_, { $length }, _>(|_| $constructor);
        array
    }};
}
pub(crate) use array_of;

/// Lets another thread go on while this one waits for a few of its instructions.
pub(crate) fn relax() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    // SAFETY: sched_yield has no conditions; it neither allocates nor touches errno on Linux.
    unsafe {
        libc::sched_yield();
    }
}

/// A lock that neither allocates nor parks, for sections of a few hundred instructions that do neither.
///
/// It holds who took it, so that a signal handler can tell whether its own thread did: then it must not wait
/// (`guard::with_pool`, `fork`; but for `way_lock`, which says so).
#[repr(transparent)]
pub(crate) struct SpinLock(AtomicUsize);

/// A word for the calling thread, the same in a forked child. Not 0, which is nobody.
fn this_thread() -> usize {
    #[cfg(not(loom))]
    return core::ptr::from_ref(super::local::local()).addr();
    // No model has a signal handler.
    #[cfg(loom)]
    1
}

impl SpinLock {
    const_unless_loom! {
        pub(crate) fn new() -> SpinLock {
            SpinLock(AtomicUsize::new(0))
        }
    }

    /// Whether the calling thread holds it: then this is a signal handler, or a section within.
    pub(crate) fn is_mine(&self) -> bool {
        self.0.load(Ordering::Relaxed) == this_thread()
    }

    /// Takes the lock, waiting for its holder.
    pub(crate) fn acquire(&self) {
        while self.0.compare_exchange(0, this_thread(), Ordering::Acquire, Ordering::Relaxed).is_err() {
            relax();
        }
    }

    /// Gives the lock back; only for its holder, or in a forked child whose parent's thread held it.
    pub(crate) fn release(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Runs `section` with the lock held.
    pub(crate) fn with<R>(&self, section: impl FnOnce() -> R) -> R {
        self.acquire();
        let result = section();
        self.release();
        result
    }
}
