//! Processes that a test starts, and waiting for what another thread does.
#![allow(dead_code, reason = "each test uses a part")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Seconds after which something hangs.
const PATIENCE: u32 = 60;

/// Waits until something holds; fails if that is never so.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(PATIENCE.into()), "never: {what}");
        sleep(Duration::from_millis(1));
    }
}

/// Runs a section in a forked child, and passes its failure on.
pub fn in_forked_child(section: impl FnOnce()) {
    let status = fork(section);
    assert_eq!(status, 0, "the child failed, or hung: {status:#x}");
}

/// Runs a section in a forked child, which a signal ends if it hangs; answers how it ended, as `waitpid` has it: 0 if well, and
/// 101 << 8 if by a panic.
pub fn fork(section: impl FnOnce()) -> libc::c_int {
    // SAFETY: the child uses what is safe between fork and exec on this C library: its allocator and threads.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: no conditions.
        unsafe { libc::alarm(PATIENCE) };
        no_core();
        let result = catch_unwind(AssertUnwindSafe(section));
        // SAFETY: ends the child at once, without the harness's own end.
        unsafe { libc::_exit(if result.is_err() { 101 } else { 0 }) };
    }
    let mut status = 0;
    // SAFETY: a child of this process, and a writable status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

/// Runs this program's test `test` anew, where [`part`] then answers `part`.
pub fn run_part(test: &str, part: &str) -> Output {
    let program = std::env::current_exe().unwrap();
    // By one thread, which is the first, so that nothing else allocates.
    let options = ["--exact", test, "--nocapture", "--quiet", "--test-threads=1"];
    // A backtrace of the abort allocates, and is refused that in its turn.
    Command::new(program).args(options).env(PART, part).env("RUST_BACKTRACE", "0").output().unwrap()
}

/// What this process is to do for the test that started it.
pub fn part() -> Option<String> {
    let part = std::env::var(PART).ok()?;
    // SAFETY: no conditions.
    unsafe { libc::alarm(PATIENCE) };
    no_core();
    Some(part)
}

const PART: &str = "ZMALLOC_TEST_PART";

/// A process that aborts, as it should, leaves no file behind.
fn no_core() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a readable limit.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
}
