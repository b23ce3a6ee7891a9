//! A barrier in every thread of the process, so that the threads that only read a word need none.

#[cfg(target_os = "linux")]
const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
#[cfg(target_os = "linux")]
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

#[cfg(target_os = "linux")]
fn command(command: libc::c_int) {
    // Where the kernel or a sandbox refuses, operations that are under way may be known late, and nothing else.
    // SAFETY: commands without memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
}

/// Before [`everywhere`]: the first time may take milliseconds.
pub(crate) fn prepare() {
    #[cfg(target_os = "linux")]
    command(REGISTER_PRIVATE_EXPEDITED);
}

/// What this thread stored before is seen by every other thread after, and what each of them stored before is seen here.
#[cfg(target_os = "linux")]
pub(crate) fn everywhere() {
    command(PRIVATE_EXPEDITED);
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}

/// Without such a barrier: operations that are under way may be known late, and nothing else.
#[cfg(not(target_os = "linux"))]
pub(crate) fn everywhere() {
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}
