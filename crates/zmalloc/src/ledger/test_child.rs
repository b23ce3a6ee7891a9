//! For tests: a forked child that must not wait for ever.

/// In a child just forked: a wait that never ends becomes a signal.
pub(crate) fn watched() {
    // SAFETY: no conditions; by default this signal kills.
    unsafe { libc::alarm(20) };
}

/// Whether the child ended as it should.
pub(crate) fn ended_well(child: libc::pid_t) -> bool {
    let mut status = -1;
    // SAFETY: a child of this process, and a writable status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status == 0
}

/// Ends the child.
pub(crate) fn leave() -> ! {
    // SAFETY: ends this process at once, without the harness's own end.
    unsafe { libc::_exit(0) }
}
