//! Levels as the use comes near the limits and goes away again, who is told and who is not any more.
//!
//! The harness's own memory comes from std's `System` and is not counted. Limits are the process's, so that one test goes
//! through it all; nothing is timed, but what is waited for has to come.

#[path = "common/child.rs"]
mod child;
#[path = "common/heap.rs"]
mod heap;

use child::{in_forked_child, until};
use heap::Block;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use zmalloc::backend::Backend;
use zmalloc::budget::{
    Change, LOOK_INTERVAL, Level, Watch, level, levels, set_limit_bytes_hard, set_limit_bytes_soft, watch,
};
use zmalloc::{DefaultBackend, used_memory};

const MIB: usize = 1 << 20;

#[test]
fn who_watches_is_told_of_levels() {
    over_every_backend!(a_soft_limit_alone_is_noticed);
    over_every_backend!(a_large_block_right_after_the_use_fell_is_noticed);
    levels_rise_and_fall_with_slack();
    limits_that_change_are_looked_at();
    a_panic_harms_nobody_and_a_dropped_watch_is_not_told();
    levels_can_be_awaited();
    a_child_watches_by_itself();
    assert_eq!(used_memory(), 0);
}

/// Everything told since.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<TellingThread>>>);

/// What was told, and the name of the thread that told it.
type TellingThread = (Change, Option<String>);

impl Told {
    fn watch(&self) -> Watch {
        let told = self.clone();
        watch(move |change| {
            let thread = thread::current().name().map(String::from);
            told.0.lock().unwrap().push((change, thread));
        })
        .unwrap()
    }

    /// The levels told, in order.
    fn levels(&self) -> Vec<Level> {
        self.0.lock().unwrap().iter().map(|(change, _)| change.to).collect()
    }

    /// Waits until `level` is the last one told.
    fn until(&self, level: Level) {
        until(&format!("{level:?}"), || self.levels().last() == Some(&level));
    }
}

/// What is held.
struct Held<B: Backend>(Vec<Block<B>>);

impl<B: Backend> Held<B> {
    /// Allocates or frees until so many bytes are in use, but for a block.
    fn hold(&mut self, bytes: usize) {
        while used_memory() > bytes {
            self.0.pop();
        }
        while used_memory() + 2000 < bytes {
            self.0.push(Block::new(1000).unwrap());
        }
    }
}

fn set(soft: Option<usize>, hard: Option<usize>) {
    set_limit_bytes_soft(soft);
    set_limit_bytes_hard(hard);
}

/// Small blocks, and large ones; by this thread, and by one that begins after the limit was set and by one from before.
fn a_soft_limit_alone_is_noticed<B: Backend>() {
    println!("{}", B::NAME);
    let told = Told::default();
    let _watch = told.watch();
    for size in [100, 100_000] {
        for set_first in [true, false] {
            let allocate = || (0..4 * MIB / size).map(|_| Block::<B>::new(size).unwrap()).collect::<Vec<_>>();
            let is_set = AtomicBool::new(set_first);
            set(set_first.then_some(2 * MIB), None);
            thread::scope(|threads| {
                let (told, is_set) = (&told, &is_set);
                threads.spawn(move || {
                    let _registered = Block::<B>::new(10);
                    until("set", || is_set.load(SeqCst));
                    let held = allocate();
                    told.until(Level::Critical);
                    drop(held);
                });
                thread::yield_now();
                set(Some(2 * MIB), None);
                is_set.store(true, SeqCst);
            });
            told.until(Level::Normal);
            let _held = allocate();
            told.until(Level::Critical);
        }
        until("fallen", || level() == Level::Normal);
    }
    set(None, None);
}

/// The library may look just while the block is admitted and does not live yet.
fn a_large_block_right_after_the_use_fell_is_noticed<B: Backend>() {
    println!("{}", B::NAME);
    let told = Told::default();
    let _watch = told.watch();
    // Medium from 7.5 MiB on, critical from more than 9. A power of two: what snmalloc charges is one.
    set(Some(5 * MIB), Some(10 * MIB));
    for _ in 0..30 {
        let held = Block::<B>::new(8 * MIB).unwrap();
        told.until(Level::Medium);
        drop(held);
        told.until(Level::Normal);
    }
    set(None, None);
}

fn levels_rise_and_fall_with_slack() {
    let told = Told::default();
    let _watch = told.watch();
    let mut held = Held::<DefaultBackend>(Vec::new());
    // Medium from 24 MiB on, critical from 30 MiB on; half a MiB of slack.
    set(Some(16 * MIB), Some(32 * MIB));
    for (bytes, level) in [(17, Level::Low), (25, Level::Medium), (31, Level::Critical)] {
        held.hold(bytes * MIB);
        told.until(level);
    }
    // Within the slack nothing changes, however long.
    held.hold(30 * MIB - MIB / 4);
    thread::sleep(3 * LOOK_INTERVAL);
    assert_eq!(level(), Level::Critical);
    for (bytes, level) in [(29, Level::Medium), (20, Level::Low), (15, Level::Normal)] {
        held.hold(bytes * MIB);
        told.until(level);
    }
    use Level::{Critical, Low, Medium, Normal};
    let (told, expected) = (told.0.lock().unwrap(), [Normal, Low, Medium, Critical, Medium, Low, Normal]);
    let steps: Vec<(Level, Level)> = told.iter().map(|(change, _)| (change.from, change.to)).collect();
    assert_eq!(steps, expected.windows(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>());
    assert!(told.iter().all(|(_, thread)| thread.as_deref() == Some("zmalloc-watch")), "not by who allocates");
    let used: Vec<usize> = told.iter().map(|(change, _)| change.used_bytes / MIB).collect();
    assert!(used[0] >= 16 && used[2] >= 30 && used[5] <= 15, "{used:?}");
    set(None, None);
}

fn limits_that_change_are_looked_at() {
    let told = Told::default();
    let _watch = told.watch();
    let mut held = Held::<DefaultBackend>(Vec::new());
    held.hold(10 * MIB);
    // Nobody allocates: it is the limits alone.
    for (soft, hard, level) in [
        (Some(9 * MIB), None, Level::Low),
        (Some(9 * MIB), Some(9 * MIB), Level::Critical),
        (Some(9 * MIB), Some(90 * MIB), Level::Low),
        (Some(11 * MIB), None, Level::Normal),
        (Some(2 * MIB), None, Level::Critical),
        (None, Some(10 * MIB), Level::Normal),
    ] {
        set(soft, hard);
        told.until(level);
    }
    set(None, None);
}

fn a_panic_harms_nobody_and_a_dropped_watch_is_not_told() {
    let (panics, told, gone, owned) = (Arc::new(AtomicUsize::new(0)), Told::default(), Told::default(), Arc::new(()));
    let panicking = watch({
        let (panics, owned) = (Arc::clone(&panics), Arc::clone(&owned));
        move |_| {
            let _owned = &owned;
            panics.fetch_add(1, SeqCst);
            // A panic without the hook's report.
            std::panic::resume_unwind(Box::new(()));
        }
    });
    let (_watch, dropped) = (told.watch(), gone.watch());
    let mut held = Held::<DefaultBackend>(Vec::new());
    set(Some(MIB), None);
    held.hold(2 * MIB);
    told.until(Level::Critical);
    drop(dropped);
    let told_before = gone.levels();
    held.hold(0);
    told.until(Level::Normal);
    until("panicked again", || panics.load(SeqCst) >= 2);
    assert_eq!(gone.levels(), told_before);
    drop(panicking);
    until("what it owned is gone", || Arc::strong_count(&owned) == 1);
    set(None, None);
}

/// Runs a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

fn levels_can_be_awaited() {
    set(Some(MIB), Some(100 * MIB));
    let mut held = Held::<DefaultBackend>(Vec::new());
    let seen: Vec<Level> = thread::scope(|threads| {
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let mut levels = levels().unwrap();
                threads.spawn(move || block_on(async move { [levels.changed().await, levels.changed().await] }))
            })
            .collect();
        held.hold(2 * MIB);
        until("raised", || level() == Level::Low);
        // Those that begin late are told of what is.
        assert_eq!(block_on(levels().unwrap().changed()), Level::Low);
        thread::sleep(LOOK_INTERVAL);
        held.hold(0);
        tasks.into_iter().flat_map(|task| task.join().unwrap()).collect()
    });
    assert_eq!(seen, [Level::Low, Level::Normal].repeat(3));
    set(None, None);
}

fn a_child_watches_by_itself() {
    let mut held = Held::<DefaultBackend>(Vec::new());
    set(Some(MIB), None);
    held.hold(2 * MIB);
    until("raised", || level() >= Level::Low);
    let held = Mutex::new(held);
    in_forked_child(|| {
        let told = Told::default();
        let _watch = told.watch();
        held.lock().unwrap().hold(0);
        told.until(Level::Normal);
        held.lock().unwrap().hold(2 * MIB);
        told.until(Level::Critical);
        let mut levels = levels().unwrap();
        assert_eq!(block_on(levels.changed()), Level::Critical);
    });
    // The parent goes on as before.
    held.lock().unwrap().hold(0);
    until("fallen", || level() == Level::Normal);
    set(None, None);
}
