//! The segment of this process: a file in the session's directory, or private memory.

use crate::environment;
use crate::global::Global;
use crate::object::Object;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use zmalloc::ledger::{Identity, Notes, SESSION_VARIABLE, Segment};

// Nothing in this library panics, so that nothing of what prints a panic is loaded into every process: no indexing.

static SEGMENT: AtomicPtr<Segment> = AtomicPtr::new(null_mut());
/// The process that the segment belongs to.
static PID: AtomicU32 = AtomicU32::new(0);
/// The segment is a file's, so that a write may find no memory, and a fork shares it.
static IS_SHARED: AtomicBool = AtomicBool::new(false);

/// What does not change at a fork. Written while starting, read in forked children.
struct Origin {
    /// The session's directory; empty if there is none.
    directory: Text<3072>,
    name: &'static str,
    executable: Text<1024>,
    command: Text<1024>,
}

struct Text<const N: usize> {
    length: usize,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    const EMPTY: Text<N> = Text { length: 0, bytes: [0; N] };

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Adds a piece; false if it does not fit.
    fn append(&mut self, piece: &[u8]) -> bool {
        let Some(place) = self.bytes.get_mut(self.length..).and_then(|rest| rest.get_mut(..piece.len())) else {
            return false;
        };
        place.copy_from_slice(piece);
        self.length += piece.len();
        true
    }
}

static ORIGIN: Global<Origin> =
    Global::new(Origin { directory: Text::EMPTY, name: "", executable: Text::EMPTY, command: Text::EMPTY });

/// Opens the segment of a program that starts, over the allocator of this name, and has the ledger count into it.
/// Without memory even for a private one, the ledger counts in its own.
pub(crate) fn open(name: &'static str) {
    // SAFETY: called once, while starting: nobody else looks yet.
    let origin = unsafe { &mut *ORIGIN.get() };
    origin.name = name;
    let directory = environment::value(SESSION_VARIABLE).unwrap_or_default();
    // A relative one would move with the program's working directory.
    if directory.first() == Some(&b'/') && origin.directory.append(directory) {
        origin.command.length = read_file(c"/proc/self/cmdline", &mut origin.command.bytes).len();
        origin.executable.length = read_link(c"/proc/self/exe", &mut origin.executable.bytes);
    }
    let (pid, started_ns) = (pid(), now_ns());
    let shared = create(pid, started_ns, Segment::BYTES_ALWAYS_USED);
    let segment = if shared.is_null() { map(-1) } else { shared };
    if segment.is_null() {
        return;
    }
    IS_SHARED.store(!shared.is_null(), Ordering::Relaxed);
    SEGMENT.store(segment, Ordering::Relaxed);
    // SAFETY: mapped above for the rest of the program, zeroed.
    let segment = unsafe { &*segment };
    note(segment, false);
    publish(segment, pid, started_ns);
    // SAFETY: 1. counting begins after the start. 2. As above.
    unsafe { zmalloc::ledger::adopt(segment.pool(), make_ready) };
}

/// Says what was noticed, of the program and of the allocator beneath.
pub(crate) fn note(segment: &Segment, sizes_asked: bool) {
    segment.note(Notes { own_malloc: program_has_own_malloc(), exec: false, sizes_asked });
}

/// Says that the limit refused something to this process.
pub(crate) fn note_refusal() {
    if let Some(segment) = of_this_process() {
        segment.note_refusal(now_ns());
    }
}

/// Lets readers in.
pub(crate) fn publish(segment: &Segment, pid: u32, started_ns: u64) {
    // SAFETY: written only while starting, before this.
    let origin = unsafe { &*ORIGIN.get() };
    segment.publish(&Identity {
        pid,
        // SAFETY: no conditions.
        parent_pid: unsafe { libc::getppid() } as u32,
        started_ns,
        backend: origin.name.as_bytes(),
        executable: origin.executable.get(),
        command: origin.command.get(),
    });
    PID.store(pid, Ordering::Relaxed);
}

/// The segment that this process counts into.
pub(crate) fn segment() -> Option<&'static Segment> {
    // SAFETY: null, or a mapping for the rest of the program.
    unsafe { SEGMENT.load(Ordering::Relaxed).as_ref() }
}

/// The same, unless this is a process that merely uses its parent's memory.
pub(crate) fn of_this_process() -> Option<&'static Segment> {
    segment().filter(|_| PID.load(Ordering::Relaxed) == pid())
}

/// Whether the segment is a file's.
pub(crate) fn is_shared() -> bool {
    IS_SHARED.load(Ordering::Relaxed)
}

/// Opens a file of the session's directory, to read and write: `name` begins with a slash and ends with 0. Only while starting.
pub(crate) fn open_beside(name: &[u8]) -> Option<c_int> {
    static PATH: Global<Text<4096>> = Global::new(Text::EMPTY);
    if !has_directory() {
        return None;
    }
    // SAFETY: the caller is alone; the directory is written only while starting.
    let (path, directory) = unsafe { (&mut *PATH.get(), (*ORIGIN.get()).directory.get()) };
    path.length = 0;
    if ![directory, name].iter().all(|piece| path.append(piece)) {
        return None;
    }
    let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: a path that ends with 0.
    let file = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.bytes.as_ptr(), flags) as c_int };
    (file >= 0).then_some(file)
}

/// Whether a forked child should try to publish a segment of its own.
pub(crate) fn has_directory() -> bool {
    // SAFETY: written only while starting, before this.
    unsafe { (*ORIGIN.get()).directory.length != 0 }
}

/// In a forked child, whose segment's address now has other memory behind it.
pub(crate) fn set_shared(shared: bool) {
    IS_SHARED.store(shared, Ordering::Relaxed);
}

/// A new segment in a file, with memory for its first `bytes`, or null. Only while starting or in a forked child, where
/// nobody else does the same.
pub(crate) fn create(pid: u32, started_ns: u64, bytes: usize) -> *mut Segment {
    static PATH: Global<Text<4096>> = Global::new(Text::EMPTY);
    if !has_directory() || !file_size_allowed() {
        return null_mut();
    }
    // SAFETY: the caller is alone; the directory is written only while starting.
    let (path, directory) = unsafe { (&mut *PATH.get(), (*ORIGIN.get()).directory.get()) };
    path.length = 0;
    let (mut pid_digits, mut started_digits) = ([0; 20], [0; 20]);
    let pieces = [
        directory,
        b"/",
        decimal(u64::from(pid), &mut pid_digits),
        b".",
        decimal(started_ns, &mut started_digits),
        b".segment\0",
    ];
    if !pieces.iter().all(|piece| path.append(piece)) {
        return null_mut();
    }
    let path = path.bytes.as_ptr().cast::<c_char>();
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: a path that ends with 0, and a new descriptor of ours that is closed below.
    unsafe {
        // The system call, as the C library's is a point where a thread may be cancelled.
        let file = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, 0o600) as c_int;
        if file < 0 {
            return null_mut();
        }
        let sized = libc::ftruncate(file, Segment::BYTES as libc::off_t) == 0;
        let mut segment = if sized { map(file) } else { null_mut() };
        libc::syscall(libc::SYS_close, file);
        if !segment.is_null() && !populate(segment.cast(), bytes) {
            unmap(segment);
            segment = null_mut();
        }
        if segment.is_null() {
            libc::unlink(path);
        }
        segment
    }
}

/// Maps a segment: a file's, or with -1 private memory. Null if that is refused.
pub(crate) fn map(file: c_int) -> *mut Segment {
    let kind = if file < 0 { libc::MAP_PRIVATE | libc::MAP_ANONYMOUS } else { libc::MAP_SHARED };
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping; it overlaps nothing. The system call itself, as `mmap` is ours.
    let address = unsafe {
        libc::syscall(libc::SYS_mmap, 0usize, Segment::BYTES, access, kind | libc::MAP_NORESERVE, file, 0usize)
    };
    if address == -1 { null_mut() } else { core::ptr::with_exposed_provenance_mut(address as usize) }
}

/// Maps private memory, zeroed, in the place of a segment. False if that is refused.
pub(crate) fn map_private_at(place: *const Segment) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: over a mapping of ours, which stays a segment.
    unsafe { libc::syscall(libc::SYS_mmap, place, Segment::BYTES, access, flags, -1, 0usize) != -1 }
}

/// # Safety
/// Null, or a mapping of [`map`] that nobody uses any more.
pub(crate) unsafe fn unmap(segment: *mut Segment) {
    if !segment.is_null() {
        // SAFETY: the caller's contract.
        unsafe { libc::syscall(libc::SYS_munmap, segment, Segment::BYTES) };
    }
}

/// Gets the memory behind a part of a file's segment now, as a write without it would be a SIGBUS. False if refused.
/// A kernel older than 5.14 cannot say, and gets the benefit of the doubt.
pub(crate) fn populate(start: *const u8, bytes: usize) -> bool {
    const PAGE: usize = 4096;
    let first = start.addr() & !(PAGE - 1);
    let length = (start.addr() + bytes - first).next_multiple_of(PAGE);
    // SAFETY: within a mapping of ours; it changes no content.
    let done = unsafe { libc::madvise(first as *mut c_void, length, libc::MADV_POPULATE_WRITE) == 0 };
    done || crate::errno::get() == libc::EINVAL
}

/// The ledger asks this before a thread first uses a slot.
fn make_ready(slot: *const u8, bytes: usize) -> bool {
    !is_shared() || populate(slot, bytes)
}

/// Beyond its limit a file's growth is not refused but answered with a signal.
fn file_size_allowed() -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) == 0 && limit.rlim_cur >= Segment::BYTES as u64 }
}

/// The executable's `malloc` goes before every library's, preloaded or not.
fn program_has_own_malloc() -> bool {
    // SAFETY: a name that ends with 0; always found, so no error text is made.
    let malloc = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"malloc".as_ptr()) };
    !malloc.is_null() && !Object::of(program_has_own_malloc as *const c_void).contains(malloc) && !is_stub(malloc)
}

/// Whether an address that stands for a function is only an executable's way to it: one that is not position independent
/// gives a function of a library an address of its own.
fn is_stub(function: *const c_void) -> bool {
    /// `RTLD_DL_SYMENT`: answer with the symbol.
    const WITH_SYMBOL: c_int = 1;
    const UNDEFINED: u16 = 0;

    unsafe extern "C" {
        fn dladdr1(
            address: *const c_void,
            info: *mut libc::Dl_info,
            symbol: *mut *const libc::Elf64_Sym,
            flags: c_int,
        ) -> c_int;
    }

    let mut symbol = core::ptr::null();
    // SAFETY: a zeroed `Dl_info` is valid; both are written to, and the symbol is the loader's for as long as the object
    // is loaded.
    unsafe {
        let mut info: libc::Dl_info = core::mem::zeroed();
        dladdr1(function, &mut info, &mut symbol, WITH_SYMBOL) != 0
            && symbol.as_ref().is_some_and(|symbol| symbol.st_shndx == UNDEFINED)
    }
}

pub(crate) fn pid() -> u32 {
    // SAFETY: no conditions.
    unsafe { libc::getpid() as u32 }
}

pub(crate) fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The start of a file, as far as it fits; nothing if it cannot be read.
pub(crate) fn read_file<'a>(path: &CStr, buffer: &'a mut [u8]) -> &'a [u8] {
    // SAFETY: a path that ends with 0; a descriptor of ours; at most the rest of the buffer is written. System calls
    // for the same reason as in `create`.
    unsafe {
        let file = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return &[];
        }
        let mut length = 0;
        while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
            let read = libc::syscall(libc::SYS_read, file, rest.as_mut_ptr(), rest.len());
            if read <= 0 {
                break;
            }
            length += read as usize;
        }
        libc::syscall(libc::SYS_close, file);
        buffer.get(..length).unwrap_or_default()
    }
}

fn read_link(path: &CStr, buffer: &mut [u8]) -> usize {
    // SAFETY: a path that ends with 0; at most the buffer is written.
    let length = unsafe { libc::readlink(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    length.max(0) as usize
}

pub(crate) fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut unused = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        unused -= 1;
        if number == 0 {
            break;
        }
    }
    digits.get(unused..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_written() {
        for number in [0, 7, 10, 1234567890, u64::MAX] {
            assert_eq!(super::decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }
}
