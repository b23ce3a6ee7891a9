//! When a thread looks at the whole ledger, so that the peak is known without counting it on every call.
//!
//! A thread keeps a height above which its own live bytes are worth a look at everyone's. It cannot rise to that height
//! before it has allocated the difference, so it looks again after that many bytes: nothing more per allocation than
//! the sign of what is left of them, nothing per free. Then it either has risen, and reads the total, or it freed in
//! between, and goes on.
//!
//! Bound: between two looks at the total no thread's live bytes rise by more than 5 steps
//! (it may stand 3 below its height, which is one step up from where it last was, and the next look may be an eighth of
//! a step beyond it), so the true peak is
//! above the recorded one by at most that for each thread and way to count, and the operations in flight. Threads that have no slot look
//! each time that they have together allocated another step.

use super::pool::Pool;
use super::slot::Slot;
use super::sync::Ordering;

/// The least a thread's live bytes rise between two looks.
pub(crate) const STEP_MIN: u64 = 64 << 10;
/// All threads together miss at most `5 / SHARE` of the peak, unless `STEP_MIN` is more.
const SHARE: u64 = 256;
/// A thread that has fallen by `FALL` steps below its height gets a new one.
const FALL: i64 = 3;

/// Looks, for the owner of `slot`; answers after how many allocated bytes to look again.
///
/// One height for all that the thread holds, whoever counts it: with one for each of two backends, each look would find
/// the other's.
///
/// Cost: a few instructions, or when the thread has risen the cost of reading the total.
#[cold]
pub(crate) fn look(pool: &Pool, slot: &Slot) -> u64 {
    let live = pool.live_of(slot);
    let mut step = pool.step() as i64;
    let mut high = slot.high.load(Ordering::Relaxed) as i64;
    if live >= high {
        record(pool, pool.totals().live_bytes());
        step = pool.step() as i64;
        high = live.saturating_add(step);
    } else if live < high.saturating_sub(FALL * step) {
        high = live.saturating_add(step);
    }
    slot.high.store(high as u64, Ordering::Relaxed);
    (high - live).max(step / 8) as u64
}

/// Takes a reading of the live bytes into the peak, and sets the step for it; answers the peak.
pub(crate) fn record(pool: &Pool, live: u64) -> u64 {
    let before = pool.peak().fetch_max(live, Ordering::Relaxed);
    if live <= before {
        return before;
    }
    set_step(pool);
    live
}

/// Sets the step for the peak and the threads that share it: when either has risen.
pub(crate) fn set_step(pool: &Pool) {
    let peak = pool.peak().load(Ordering::Relaxed);
    pool.set_step((peak / SHARE / pool.threads().max(1) as u64).max(STEP_MIN));
}

#[cfg(all(test, ledger_slots, not(loom)))]
mod tests {
    use super::super::Pool;
    use super::super::slot::{SingleWriter, Write};
    use super::super::sync::AtomicU64;
    use super::*;

    #[test]
    fn a_thread_that_holds_over_two_backends_has_one_height() {
        static POOL: Pool<[Slot; 1]> = Pool::new();
        let pool: &Pool = &POOL;
        let slot = pool.claim(|_| true).unwrap();
        let counters = [AtomicU64::new(100 << 20), AtomicU64::new(0)];
        // SAFETY: detached below.
        unsafe { pool.attach_backend(slot, counters[0].as_ptr(), counters[1].as_ptr(), core::ptr::null()) };
        SingleWriter::add(&slot.granted, 1 << 20);
        look(pool, slot);
        assert_eq!(pool.peak().load(Ordering::Relaxed), 101 << 20);
        // Nothing rises any more, so nobody reads the total.
        pool.reset_peak(0);
        for _ in 0..3 {
            look(pool, slot);
        }
        assert_eq!(pool.peak().load(Ordering::Relaxed), 0);
        for (counter, peak) in [(&slot.granted, 102 << 20), (&counters[0], 103 << 20)] {
            SingleWriter::add(counter, 1 << 20);
            look(pool, slot);
            assert_eq!(pool.peak().load(Ordering::Relaxed), peak);
        }
        pool.detach_backend(slot);
    }
}
