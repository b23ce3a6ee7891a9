//! Telling the program how near the limits it is, on a thread of its own.

use super::level::{Level, Thresholds};
use super::limits::{self, limit_bytes_hard, limit_bytes_soft};
use super::lock::ForkLock;
use super::resident;
use crate::ledger;
use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::Thread;
use std::time::Duration;

/// After how long at most it is noticed that the use has fallen, where the level is not [`Level::Normal`].
pub const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The level rose or fell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// What it was, as told before.
    pub from: Level,
    /// What it is.
    pub to: Level,
    /// Bytes in use when that was seen.
    pub used_bytes: usize,
    /// Bytes in RAM when that was seen, if resident bytes are bounded.
    pub resident_bytes: Option<usize>,
}

/// How near the limits the use is, as seen last: see [`Level`].
///
/// Cost: a load. Freshness: see the [module](super).
pub fn level() -> Level {
    Level::from_number(LEVEL.load(Ordering::Relaxed))
}

/// Has `tell` called each time the [level](Level) changes, until the answer is dropped.
///
/// It runs on the thread that watches, which all share: it should be quick, and may allocate. If it panics, that is
/// reported as any panic and the thread goes on. A forked child has no such thread until it sets a limit or watches.
///
/// # Errors
/// If the thread can't be started.
pub fn watch(tell: impl Fn(Change) + Send + Sync + 'static) -> std::io::Result<Watch> {
    start()?;
    let tell: Tell = Arc::new(tell);
    change_tells(|tells| tells.iter().chain([&tell]).cloned().collect());
    look_again();
    Ok(Watch { tell })
}

/// Who watches, until this is dropped; see [`watch`]. A call that is being made when it is dropped goes on.
#[must_use = "nobody is told any more when this is dropped"]
pub struct Watch {
    tell: Tell,
}

impl Drop for Watch {
    fn drop(&mut self) {
        change_tells(|tells| tells.iter().filter(|tell| !Arc::ptr_eq(tell, &self.tell)).cloned().collect());
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// The levels as they change, for asynchronous code: [`Levels::changed`] is ready whenever the level is another than it was
/// last told. What changed and changed back in between is not told.
///
/// # Errors
/// If the thread that watches can't be started.
pub fn levels() -> std::io::Result<Levels> {
    start()?;
    look_again();
    Ok(Levels { seen: Level::Normal, version: 0 })
}

/// See [`levels`].
#[derive(Debug)]
pub struct Levels {
    seen: Level,
    version: usize,
}

impl Levels {
    /// The level, once it is another than the last one told; the first is compared with [`Level::Normal`].
    pub async fn changed(&mut self) -> Level {
        poll_fn(|context| self.poll_changed(context)).await
    }

    /// As [`changed`](Levels::changed), for streams.
    pub fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Level> {
        // Before the level is looked at: a change after that wakes.
        let mut new = Some(Box::new(Waiting { waker: context.waker().clone(), next: None }));
        WAITING.with(|first| {
            let known = core::iter::successors(first.as_ref(), |waiting| waiting.next.as_ref());
            if !known.into_iter().any(|waiting| waiting.waker.will_wake(context.waker()))
                && let Some(mut waiting) = new.take()
            {
                waiting.next = first.take();
                *first = Some(waiting);
            }
        });
        let (version, level) = (VERSION.load(Ordering::Acquire), level());
        if version == self.version || level == self.seen {
            return Poll::Pending;
        }
        (self.seen, self.version) = (level, version);
        Poll::Ready(level)
    }
}

type Tell = Arc<dyn Fn(Change) + Send + Sync>;

static LEVEL: AtomicU8 = AtomicU8::new(Level::Normal as u8);
/// How often the level changed.
static VERSION: AtomicUsize = AtomicUsize::new(0);
/// Replaced as a whole, so that the thread that tells allocates nothing for it.
static TELLS: ForkLock<Option<Arc<[Tell]>>> = ForkLock::new(None);
/// Who waits for a change.
static WAITING: ForkLock<Option<Box<Waiting>>> = ForkLock::new(None);

struct Waiting {
    waker: Waker,
    next: Option<Box<Waiting>>,
}

/// Replaces those who are told by what `change` makes of them, outside of the lock: again if they changed meanwhile.
fn change_tells(change: impl Fn(&[Tell]) -> Arc<[Tell]>) {
    loop {
        let before = TELLS.with(|tells| tells.clone());
        let mut after = Some(change(before.as_deref().unwrap_or_default()));
        let is = |tells: &Option<Arc<[Tell]>>| tells.as_ref().map(Arc::as_ptr) == before.as_ref().map(Arc::as_ptr);
        // What was there is dropped after, with what it owns.
        let replaced = TELLS.with(|tells| is(tells).then(|| core::mem::replace(tells, after.take())));
        if replaced.is_some() {
            return;
        }
    }
}

/// The thread that watches, of the generation `STARTED_IN`: for who allocates, without a lock.
static THREAD: AtomicPtr<Thread> = AtomicPtr::new(core::ptr::null_mut());
static STARTED_IN: AtomicU32 = AtomicU32::new(0);
/// It was told to look and has not begun to.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Starts the thread, unless it runs in this process.
pub(super) fn start() -> std::io::Result<()> {
    let (process, before) = (std::process::id(), STARTED_IN.load(Ordering::Acquire));
    if before == process || STARTED_IN.compare_exchange(before, process, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return Ok(());
    }
    match std::thread::Builder::new().name("zmalloc-watch".into()).spawn(run) {
        Ok(started) => {
            // Never freed: who allocates may be about to use it.
            THREAD.store(Box::into_raw(Box::new(started.thread().clone())), Ordering::Release);
            Ok(())
        }
        Err(error) => {
            STARTED_IN.store(before, Ordering::Release);
            Err(error)
        }
    }
}

/// Has the thread look now, after a limit was set. Starts it if there is anything to see.
pub(super) fn look_again() {
    if limit_bytes_soft().is_some() {
        // Where it cannot be started nobody is told, as `set_limit_bytes_soft` says.
        let _ = start();
    }
    tell();
}

/// Has the thread look: called by who allocates.
fn tell() {
    // SAFETY: null, or what `start` leaked.
    if let Some(thread) = unsafe { THREAD.load(Ordering::Acquire).as_ref() }
        && !TOLD.load(Ordering::Relaxed)
        && !TOLD.swap(true, Ordering::AcqRel)
    {
        thread.unpark();
    }
}

fn run() {
    loop {
        // Before anything is looked at: who changes it after that tells again.
        TOLD.swap(false, Ordering::SeqCst);
        let interval = look();
        match interval {
            Some(interval) => std::thread::park_timeout(interval),
            None => std::thread::park(),
        }
    }
}

/// Looks once; answers after how long to look again if nobody tells to.
fn look() -> Option<Duration> {
    /// Without what resident bytes make of it.
    static COUNTED: AtomicU8 = AtomicU8::new(Level::Normal as u8);
    let resident = resident::look();
    let before = level();
    let counted_before = Level::from_number(COUNTED.load(Ordering::Relaxed));
    let thresholds_now = || limit_bytes_soft().map(|soft| Thresholds::new(soft, limit_bytes_hard()));
    let mut used = ledger::used_memory();
    let (counted, is_under_way) = loop {
        let thresholds = thresholds_now();
        let counted = thresholds.map_or(Level::Normal, |thresholds| thresholds.level(used, counted_before));
        let rises_above = thresholds.map_or(limits::NONE, |thresholds| thresholds.rises_above(counted));
        let is_under_way = ledger::watch_above(rises_above, tell);
        // A rise from here on is told; one before that is seen now. What rose under new limits is not measured by the old.
        used = ledger::used_memory();
        if used <= rises_above && thresholds == thresholds_now() {
            break (counted, is_under_way);
        }
    };
    COUNTED.store(counted as u8, Ordering::Relaxed);
    let level = counted.max(resident.map_or(Level::Normal, |resident| resident.level));
    if level != before {
        publish(Change {
            from: before,
            to: level,
            used_bytes: used,
            resident_bytes: resident.and_then(|resident| resident.resident_bytes),
        });
    }
    let while_raised = (level != Level::Normal).then_some(LOOK_INTERVAL);
    let until_made = is_under_way.then_some(LOOK_INTERVAL / 20);
    [while_raised, until_made, resident.map(|resident| resident.interval)].into_iter().flatten().min()
}

fn publish(change: Change) {
    LEVEL.store(change.to as u8, Ordering::Relaxed);
    VERSION.fetch_add(1, Ordering::Release);
    let mut waiting = WAITING.with(Option::take);
    while let Some(first) = waiting {
        waiting = first.next;
        first.waker.wake();
    }
    let tells = TELLS.with(|tells| tells.clone());
    for tell in tells.iter().flat_map(|tells| tells.iter()) {
        // The panic itself is reported by its hook.
        let _ = catch_unwind(AssertUnwindSafe(|| tell(change)));
    }
}
