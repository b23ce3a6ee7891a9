//! Waiting for the program, and standing in for it: signals sent to zm are the program's, and zm stops, goes on and
//! dies as the program does.

use super::attend::Attend;
use super::inherited::set_of;
use crate::collect::Collector;
use std::io;
use std::mem::zeroed;
use std::ptr::null_mut;
use std::time::Duration;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// The end of the program, as the kernel tells it.
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// The kernel's peak of its resident memory: at least that of zm itself, from which it was forked.
    pub resident_peak: u64,
    /// Processor time of the program, and of its children as far as it waited for them.
    pub cpu: Duration,
    /// Page faults of the same, with those that needed no reading.
    pub page_faults: u64,
    /// The last signal that was sent to zm meanwhile and might have ended it.
    pub interrupted_by: Option<i32>,
}

/// Signals that mean the program when they are sent to zm.
///
/// A terminal sends its signals to the whole foreground group, so the program has those already.
const FORWARDED: [libc::c_int; 11] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGWINCH,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Those by which people end what runs.
const ENDING: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// Signals are taken by [`wait`] from here on; before the program starts, so that none is lost.
pub fn hold() {
    // SAFETY: a set of signals that may be blocked.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set_of(&FORWARDED), null_mut()) };
    // SAFETY: as before.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set_of(&[libc::SIGCHLD]), null_mut()) };
}

/// Waits for the program's end, and calls meanwhile what goes on beside it.
pub fn wait(program: libc::pid_t, collector: &mut Collector, attend: &mut impl Attend) -> io::Result<Ended> {
    let mut signals = FORWARDED.to_vec();
    signals.push(libc::SIGCHLD);
    let signals = set_of(&signals);
    let mut pause = attend.tick(program as u32, collector);
    let (mut interrupted_by, mut is_due) = (None, false);
    loop {
        // A SIGCHLD that was merged with an earlier one, or taken before: looking costs next to nothing.
        if let Some(ended) = look(program, attend)? {
            return Ok(Ended { interrupted_by, ..ended });
        }
        if std::mem::take(&mut is_due) {
            pause = attend.tick(program as u32, collector);
        }
        let limit =
            libc::timespec { tv_sec: pause.as_secs().try_into().unwrap_or(1), tv_nsec: pause.subsec_nanos().into() };
        // SAFETY: plain data.
        let mut information: libc::siginfo_t = unsafe { zeroed() };
        // SAFETY: a set, a place for the answer, and a time.
        match unsafe { libc::sigtimedwait(&signals, &mut information, &limit) } {
            // Of the program, or of another process that zm started meanwhile.
            libc::SIGCHLD => is_due = true,
            signal if signal > 0 => {
                if ENDING.contains(&signal) {
                    interrupted_by = Some(signal);
                }
                if !the_program_has_it(signal, &information) {
                    // SAFETY: our child, not yet waited for, so the pid is still its.
                    unsafe { libc::kill(program, signal) };
                }
            }
            // The time is up, or zm was stopped and goes on.
            _ => is_due = true,
        }
    }
}

/// Whether a signal came from the terminal, which gave it to the program as well.
fn the_program_has_it(signal: libc::c_int, information: &libc::siginfo_t) -> bool {
    // SAFETY: always succeed.
    let leads_session = || unsafe { libc::getsid(0) == libc::getpid() };
    // A hangup is told to the session's leader alone.
    information.si_code == libc::SI_KERNEL && !(signal == libc::SIGHUP && leads_session())
}

/// What became of the program: ended, or stopped (then zm stops too), or neither.
fn look(program: libc::pid_t, attend: &mut impl Attend) -> io::Result<Option<Ended>> {
    loop {
        let mut status = 0;
        // SAFETY: plain data.
        let mut usage: libc::rusage = unsafe { zeroed() };
        // SAFETY: our child, and places for the answers.
        match unsafe { libc::wait4(program, &mut status, libc::WNOHANG | libc::WUNTRACED, &mut usage) } {
            0 => return Ok(None),
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            _ if libc::WIFSTOPPED(status) => {
                let signal = libc::WSTOPSIG(status);
                attend.stopped();
                // By name, it alone was meant: whoever lets it go on would not think of zm.
                if signal != libc::SIGSTOP {
                    stop_along(program, signal);
                }
            }
            _ => {
                let outcome = if libc::WIFSIGNALED(status) {
                    Outcome::Signal(libc::WTERMSIG(status))
                } else {
                    Outcome::Code(libc::WEXITSTATUS(status))
                };
                return Ok(Some(Ended {
                    outcome,
                    // In KiB, on Linux.
                    resident_peak: usage.ru_maxrss as u64 * 1024,
                    cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
                    page_faults: (usage.ru_minflt + usage.ru_majflt) as u64,
                    interrupted_by: None,
                }));
            }
        }
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}

/// Stops zm by the signal that stopped the program, so that a shell sees its job stopped; and when the shell lets zm
/// go on, the program goes on.
fn stop_along(program: libc::pid_t, signal: libc::c_int) {
    let set = set_of(&[signal]);
    // SAFETY: `raise` stops this process here. The pid is our child's.
    unsafe {
        libc::raise(signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &set, null_mut());
        libc::sigprocmask(libc::SIG_BLOCK, &set, null_mut());
        libc::kill(program, libc::SIGCONT);
    }
}

/// Ends zm by the signal that ended the program, without a core dump of its own.
pub fn die_by(signal: libc::c_int) -> i32 {
    // SAFETY: plain data.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = libc::SIG_DFL;
    // SAFETY: no pointer outlives its call; a signal that cannot be handled is refused, which is fine.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 });
        libc::sigaction(signal, &action, null_mut());
        libc::sigprocmask(libc::SIG_UNBLOCK, &set_of(&[signal]), null_mut());
        libc::kill(libc::getpid(), signal);
    }
    128 + signal
}
