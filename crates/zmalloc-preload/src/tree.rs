//! The share of this process in the budget of its tree, where `zm` set one: a file in the session's directory.

use crate::errno::KeepErrno;
use crate::session::{self, decimal, now_ns, pid, read_file};
use core::ffi::{CStr, c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use zmalloc::ledger::{self, Member, Seen, ShareIndex, Source, System, TreeBudget};

static TREE: AtomicPtr<TreeBudget> = AtomicPtr::new(null_mut());
/// The place of this process.
static SHARE: AtomicU32 = AtomicU32::new(0);
static PID: AtomicU32 = AtomicU32::new(0);
static STARTED: AtomicU64 = AtomicU64::new(0);
static PROGRAM: AtomicU64 = AtomicU64::new(0);
/// The limit of this process by itself.
static OWN_LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);
/// What is freed goes back.
static IS_SHARED: AtomicBool = AtomicBool::new(false);

static SOURCE: Source = Source { take, give_back, keep };

/// So many bytes may be freed by a thread before what is not used goes back to the others.
const TELL_FREED: u64 = 128 << 10;

/// Takes part in the tree's budget, if there is one; `own_limit` is that of this process alone. Answers the limit that it
/// has from now on.
pub(crate) fn begin(own_limit: Option<usize>) -> Option<usize> {
    let Some(tree) = open() else { return own_limit };
    let own = own_limit.map_or(u64::MAX, |limit| limit as u64);
    let live = ledger::used_memory() as u64;
    let member = Member { pid: pid(), started: started_of(pid()).unwrap_or(0), program: program_of(pid()) };
    let Some(share) = tree.begin(member, live, &Kernel) else { return own_limit };
    TREE.store(core::ptr::from_ref(tree).cast_mut(), Ordering::Relaxed);
    become_member(share, member);
    OWN_LIMIT.store(own, Ordering::Relaxed);
    ledger::share_limit(Some(&SOURCE), live.saturating_sub(own));
    IS_SHARED.store(true, Ordering::Relaxed);
    Some(live.min(own) as usize)
}

/// Nothing is refused to this process for the tree's sake any more.
pub(crate) fn leave() {
    ledger::share_limit(None, 0);
    IS_SHARED.store(false, Ordering::Relaxed);
}

/// Sets the limit of this process by itself. False if it has no share in a tree's: then the ledger's own is to be set.
pub(crate) fn set_own_limit(bytes: usize) -> bool {
    OWN_LIMIT.store(bytes as u64, Ordering::Relaxed);
    let shared = is_shared();
    if shared {
        ledger::limit_share(bytes);
    }
    shared
}

/// Whether what is freed is to be told now and then.
#[inline(always)]
pub(crate) fn is_shared() -> bool {
    IS_SHARED.load(Ordering::Relaxed)
}

/// After a free of a process that has a share.
#[inline]
pub(crate) fn after_free() {
    if ledger::frees_not_told() >= TELL_FREED {
        tell_frees();
    }
}

#[cold]
fn tell_frees() {
    if let Some(tree) = tree() {
        let _errno = KeepErrno::new();
        ledger::give_back_share(tree.chunk());
    }
}

// ---- Forks ----------------------------------------------------------------------------------------------------------

/// Before a fork that may be refused: reserves for the child what it will have. False if there is not so much.
pub(crate) fn reserve() -> bool {
    let Some(tree) = tree().filter(|_| is_shared()) else { return true };
    let _errno = KeepErrno::new();
    // The child will hold what the parent does, not what that keeps in hand.
    ledger::give_back_share(tree.chunk());
    let reserve = || {
        let share = ledger::share_bytes();
        let reserved = tree.reserve(member(), thread(), share, false, &Kernel).is_some();
        if !reserved {
            REFUSED.store(share, Ordering::Relaxed);
        }
        reserved
    };
    // A signal handler that interrupted the ledger is not refused.
    ledger::with_lock(reserve).unwrap_or(true)
}

/// What is reserved for the child that is being forked, by the thread that has the ledger's lock.
static RESERVED: AtomicU32 = AtomicU32::new(NONE);
const NONE: u32 = u32::MAX;

/// Right before a fork, with the ledger's lock held.
pub(crate) fn before_fork() {
    // A signal handler that interrupted a change of the share would wait for it for ever: its child has none.
    let reserved = tree()
        .filter(|tree| is_shared() && !tree.is_held_by(member()))
        .and_then(|tree| tree.reserve(member(), thread(), ledger::share_bytes(), true, &Kernel));
    RESERVED.store(reserved.map_or(NONE, |share| share.0), Ordering::Relaxed);
}

/// After a fork that [`reserve`] was called for: this is the child, or 0 or less if there is none.
pub(crate) fn forked(child: c_int) {
    // Also of a process that left meanwhile.
    let Some(tree) = tree() else { return };
    let _errno = KeepErrno::new();
    let started = if child > 0 { started_of(child as u32) } else { Some(0) };
    // None if it has ended already. Where that is not known it is there.
    let child = (started != Some(0)).then(|| Member { pid: child as u32, started: started.unwrap_or(0), ..member() });
    let pass_on = || {
        if let Some(reserved) = tree.reserved(member(), thread()) {
            tree.forked(reserved, member(), child, &Kernel);
        }
    };
    ledger::with_lock(pass_on);
}

/// After a fork in the child, with the lock held.
pub(crate) fn after_fork_in_child() {
    let Some(tree) = tree().filter(|_| is_shared()) else { return };
    let reserved = ShareIndex(RESERVED.swap(NONE, Ordering::Relaxed));
    if !tree.is_for(namespace()) {
        // Here the others have other numbers, or none: what was reserved stays this process's as its parent knows it, and is
        // all that it may have.
        leave();
        return TREE.store(null_mut(), Ordering::Relaxed);
    }
    let child = Member { pid: pid(), started: started_of(pid()).unwrap_or(0), ..member() };
    let share = (reserved.0 != NONE)
        .then(|| tree.adopt(reserved, member(), thread(), child, ledger::share_bytes(), &Kernel))
        .flatten();
    match share {
        Some(share) => become_member(share, child),
        // Too many processes, or no way to ask: then what is left is the limit of each by itself.
        None => {
            leave();
            ledger::raise_limit(OWN_LIMIT.load(Ordering::Relaxed) as usize);
        }
    }
}

// ---- The share ------------------------------------------------------------------------------------------------------

fn take(wanted: u64, limit: u64) -> u64 {
    let Some(tree) = tree() else { return 0 };
    let _errno = KeepErrno::new();
    let most = OWN_LIMIT.load(Ordering::Relaxed).saturating_sub(limit);
    let taken = tree.take(share(), member(), wanted, most, &Kernel);
    if taken == 0 && wanted <= most {
        REFUSED.store(wanted, Ordering::Relaxed);
    }
    taken
}

/// What the tree had not, the last time that it was asked for more than it has.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// The program is refused something: noted, if that is for the tree's sake.
pub(crate) fn note_refusal() {
    let wanted = REFUSED.swap(0, Ordering::Relaxed);
    if let Some(tree) = tree().filter(|_| wanted > 0 && is_shared()) {
        ledger::with_lock(|| tree.note_refusal(member(), wanted, &Kernel));
    }
}

fn keep() -> u64 {
    tree().map_or(0, TreeBudget::chunk)
}

fn give_back(bytes: u64) {
    if let Some(tree) = tree() {
        tree.give_back(share(), member(), bytes, &Kernel);
    }
}

fn tree() -> Option<&'static TreeBudget> {
    // SAFETY: null, or a mapping for the rest of the program.
    unsafe { TREE.load(Ordering::Relaxed).as_ref() }
}

fn share() -> ShareIndex {
    ShareIndex(SHARE.load(Ordering::Relaxed))
}

fn member() -> Member {
    let [started, program] = [&STARTED, &PROGRAM].map(|part| part.load(Ordering::Relaxed));
    Member { pid: PID.load(Ordering::Relaxed), started, program }
}

fn become_member(share: ShareIndex, member: Member) {
    SHARE.store(share.0, Ordering::Relaxed);
    PID.store(member.pid, Ordering::Relaxed);
    STARTED.store(member.started, Ordering::Relaxed);
    PROGRAM.store(member.program, Ordering::Relaxed);
}

fn thread() -> u64 {
    // SAFETY: no conditions. The address of the thread's descriptor, which is not 0.
    unsafe { libc::pthread_self() as u64 }
}

/// Maps the file, if it is there and for this process.
fn open() -> Option<&'static TreeBudget> {
    let file = session::open_beside(b"/tree.budget\0")?;
    let mut status = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: a descriptor of ours, which is closed; a new mapping of a file that is as long.
    let tree = unsafe {
        let whole = libc::fstat(file, status.as_mut_ptr()) == 0
            && status.assume_init_ref().st_size as u64 >= TreeBudget::BYTES as u64;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let address = if whole {
            libc::syscall(libc::SYS_mmap, 0usize, TreeBudget::BYTES, access, libc::MAP_SHARED, file, 0usize)
        } else {
            -1
        };
        libc::syscall(libc::SYS_close, file);
        if address == -1 {
            return None;
        }
        // SAFETY: mapped for the rest of the program; any content is one.
        &*core::ptr::with_exposed_provenance::<TreeBudget>(address as usize)
    };
    if !tree.is_for(namespace()) {
        // SAFETY: mapped above, and nobody else has it.
        unsafe {
            libc::syscall(libc::SYS_munmap, core::ptr::from_ref(tree).cast::<c_void>(), TreeBudget::BYTES);
        }
        return None;
    }
    Some(tree)
}

/// The namespace in which this process has its number.
fn namespace() -> u64 {
    status_of(c"/proc/self/ns/pid").map_or(0, |status| status.st_ino)
}

struct Kernel;

impl System for Kernel {
    fn now_ns(&self) -> u64 {
        now_ns()
    }

    fn look_at(&self, pid: u32) -> Seen {
        // SAFETY: no signal is sent.
        let is_there = unsafe { libc::kill(pid as libc::pid_t, 0) == 0 } || crate::errno::get() != libc::ESRCH;
        match if is_there { started_of(pid) } else { Some(0) } {
            Some(0) => Seen::Gone,
            Some(started) => Seen::Runs { started, program: program_of(pid) },
            // It is another user's, or there is no such file system.
            None => Seen::Unknown,
        }
    }

    fn relax(&self, tries: u32) {
        const PATIENCE: u32 = 64;
        let pause = libc::timespec { tv_sec: 0, tv_nsec: 20_000 };
        // SAFETY: no conditions; a readable time.
        unsafe {
            if tries < PATIENCE {
                libc::sched_yield();
            } else {
                // The C library's own may end a thread that is cancelled.
                libc::syscall(libc::SYS_nanosleep, &pause, null_mut::<libc::timespec>());
            }
        }
    }
}

/// Tells the file that a process runs from others; 0 if it is not known.
fn program_of(pid: u32) -> u64 {
    let status = in_proc(pid, b"/exe\0", status_of);
    status.map_or(0, |status| status.st_ino.rotate_left(20) ^ status.st_dev)
}

/// When a process started, in ticks since the machine did; 0 if it has ended and nobody has waited for it yet. `None` if that
/// is not known.
fn started_of(pid: u32) -> Option<u64> {
    let mut text = [0u8; 1024];
    let text = in_proc(pid, b"/stat\0", |path| Some(read_file(path, &mut text)))?;
    // The name, in parentheses, may have anything in it.
    let after_name = text.iter().rposition(|&byte| byte == b')')? + 2;
    let mut fields = text.get(after_name..)?.split(|&byte| byte == b' ');
    let state = fields.next()?;
    // The 20th and the 22nd, of which the third was taken. A process whose first thread has ended looks as if it had itself.
    let (threads, started) = (fields.nth(16)?, fields.nth(1)?);
    if [b"Z".as_slice(), b"X", b"x"].contains(&state) && [b"0".as_slice(), b"1"].contains(&threads) {
        return Some(0);
    }
    started.iter().try_fold(0u64, |number, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Hands on the path of a file that the kernel has for a process; `name` ends with 0.
fn in_proc<R>(pid: u32, name: &[u8], use_path: impl FnOnce(&CStr) -> Option<R>) -> Option<R> {
    let (mut path, mut digits) = ([0u8; 40], [0; 20]);
    let pieces = [b"/proc/", decimal(u64::from(pid), &mut digits), name];
    pieces.iter().flat_map(|piece| piece.iter()).zip(&mut path).for_each(|(&byte, place)| *place = byte);
    use_path(CStr::from_bytes_until_nul(&path).ok()?)
}

fn status_of(path: &CStr) -> Option<libc::stat> {
    let mut status = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: a path that ends with 0, and space for the answer, which is there if it says so.
    unsafe { (libc::stat(path.as_ptr(), status.as_mut_ptr()) == 0).then(|| status.assume_init()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_from_those_that_ended() {
        let started = started_of(pid()).unwrap();
        assert!(started > 0);
        let program = program_of(pid());
        assert!(program != 0 && Kernel.look_at(pid()) == Seen::Runs { started, program });
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let runs = |seen| matches!(seen, Seen::Runs { program: other, .. } if ![0, program].contains(&other));
        assert!(runs(Kernel.look_at(child.id())), "another program");
        drop(child.stdin.take());
        while Kernel.look_at(child.id()) != Seen::Gone {
            std::thread::yield_now();
        }
        assert_eq!(started_of(child.id()), Some(0), "not waited for");
        child.wait().unwrap();
        assert_eq!(Kernel.look_at(child.id()), Seen::Gone);
    }
}
