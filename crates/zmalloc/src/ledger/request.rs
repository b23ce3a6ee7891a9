//! What `zm` asks of a process that runs: a few words of a file that both have, the process perhaps in its memory.
//!
//! Who asks writes what, and then a number; the process does it, and then says that number.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// The words. Zeroed memory is that nothing was ever asked.
#[repr(C)]
#[derive(Debug, Default)]
pub struct RequestCell {
    number: AtomicU32,
    served: AtomicU32,
    what: AtomicU32,
    /// Of each kind of request that was ever served, whether the last one could be done.
    done: AtomicU32,
    limit_inverted: AtomicU64,
}

const LIMIT: u32 = 1;
const PURGE: u32 = 2;

/// What is asked of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// To set its hard limit, in bytes; or, if that is `None`, to remove it.
    pub limit: Option<Option<u64>>,
    /// To give unused pages back.
    pub purge: bool,
}

impl Request {
    fn bits(self) -> u32 {
        self.limit.map_or(0, |_| LIMIT) | if self.purge { PURGE } else { 0 }
    }

    /// `done`, after this one.
    fn done(self, before: u32, is_purged: bool) -> u32 {
        let done = if is_purged { self.bits() } else { self.bits() & !PURGE };
        before & !self.bits() | done
    }

    fn limit_inverted(self) -> u64 {
        !self.limit.flatten().unwrap_or(u64::MAX)
    }

    fn of(bits: u32, limit_inverted: u64) -> Request {
        let limit = Some(!limit_inverted).filter(|&bytes| bytes != u64::MAX);
        Request { limit: (bits & LIMIT != 0).then_some(limit), purge: bits & PURGE != 0 }
    }
}

impl RequestCell {
    /// What its limit was last set to, if it was: bytes, or `None` for none. Of a cell's bytes, as a file has them.
    pub(super) fn limit_set(cell: &[u8]) -> Option<Option<u64>> {
        let word = |at: usize| cell.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
        let at = offset_of!(RequestCell, limit_inverted);
        let inverted = u64::from_ne_bytes(cell.get(at..at + 8)?.try_into().ok()?);
        let done = word(offset_of!(RequestCell, done))?;
        (done & LIMIT != 0).then(|| Some(!inverted).filter(|&bytes| bytes != u64::MAX))
    }

    /// Whether something is asked: two loads.
    #[inline]
    pub fn is_asked(&self) -> bool {
        self.number.load(Ordering::Relaxed) != self.served.load(Ordering::Relaxed)
    }

    /// What was asked of a parent is nothing to its child.
    pub(super) fn forget(&self) {
        self.served.store(self.number.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Does what is asked, if anything is; `serve` answers whether unused pages were given back, if that was asked. For one
    /// thread at a time.
    pub fn serve(&self, serve: impl FnOnce(Request) -> bool) {
        let number = self.number.load(Ordering::Acquire);
        if number != self.served.load(Ordering::Relaxed) {
            let bits = self.what.load(Ordering::Relaxed);
            let request = Request::of(bits, self.limit_inverted.load(Ordering::Relaxed));
            let is_purged = serve(request);
            self.done.store(request.done(self.done.load(Ordering::Relaxed), is_purged), Ordering::Relaxed);
            self.served.store(number, Ordering::Release);
        }
    }
}

/// The words in a file.
#[derive(Debug)]
pub struct RequestFile<'file> {
    file: &'file File,
    at: u64,
}

impl<'file> RequestFile<'file> {
    /// At this place.
    pub fn new(file: &'file File, at: u64) -> RequestFile<'file> {
        RequestFile { file, at }
    }

    /// Asks; what was asked before and is not done yet is asked still. Answers its number. Others who ask are waited for as
    /// long as `patience`.
    pub fn ask(&self, request: Request, patience: Duration) -> io::Result<u32> {
        let start = Instant::now();
        // SAFETY: an open file; only those who ask lock it, and anyone who can open it.
        while unsafe { libc::flock(self.file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(error);
            }
            if start.elapsed() >= patience {
                return Err(io::Error::new(error.kind(), "somebody else keeps the file locked"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let asked = (|| {
            let number = self.word(offset_of!(RequestCell, number))?;
            let is_open = number != self.word(offset_of!(RequestCell, served))?;
            let open = if is_open { self.word(offset_of!(RequestCell, what))? } else { 0 };
            if request.limit.is_some() {
                let limit = request.limit_inverted().to_ne_bytes();
                self.file.write_all_at(&limit, self.at + offset_of!(RequestCell, limit_inverted) as u64)?;
            }
            self.put(offset_of!(RequestCell, what), open | request.bits())?;
            let number = number.wrapping_add(1);
            self.put(offset_of!(RequestCell, number), number)?;
            Ok(number)
        })();
        // SAFETY: as above.
        unsafe { libc::flock(self.file.as_raw_fd(), libc::LOCK_UN) };
        asked
    }

    /// Whether the request of this number was done: `None` for not yet, else whether it could be.
    pub fn is_done(&self, number: u32, request: Request) -> io::Result<Option<bool>> {
        // A later one is served with those before.
        let served = self.word(offset_of!(RequestCell, served))?;
        let is_served = (served.wrapping_sub(number) as i32) >= 0;
        if !is_served {
            return Ok(None);
        }
        Ok(Some(self.word(offset_of!(RequestCell, done))? & request.bits() == request.bits()))
    }

    /// Does what is asked, as [`RequestCell::serve`].
    pub fn serve(&self, serve: impl FnOnce(Request) -> bool) -> io::Result<()> {
        let number = self.word(offset_of!(RequestCell, number))?;
        if number != self.word(offset_of!(RequestCell, served))? {
            let mut limit = [0; 8];
            self.file.read_exact_at(&mut limit, self.at + offset_of!(RequestCell, limit_inverted) as u64)?;
            let request = Request::of(self.word(offset_of!(RequestCell, what))?, u64::from_ne_bytes(limit));
            let is_purged = serve(request);
            let before = self.word(offset_of!(RequestCell, done))?;
            self.put(offset_of!(RequestCell, done), request.done(before, is_purged))?;
            self.put(offset_of!(RequestCell, served), number)?;
        }
        Ok(())
    }

    fn word(&self, offset: usize) -> io::Result<u32> {
        let mut word = [0; 4];
        self.file.read_exact_at(&mut word, self.at + offset as u64)?;
        Ok(u32::from_ne_bytes(word))
    }

    fn put(&self, offset: usize, word: u32) -> io::Result<()> {
        self.file.write_all_at(&word.to_ne_bytes(), self.at + offset as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_served_once_and_all_of_it() {
        let path = std::env::temp_dir().join(format!("zmalloc-request-{}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.set_len(100).unwrap();
        let (cell, can_purge) = (RequestFile::new(&file, 8), std::cell::Cell::new(true));
        let served = || {
            let mut asked = None;
            cell.serve(|request| {
                asked = Some(request);
                can_purge.get()
            })
            .unwrap();
            asked
        };
        assert_eq!(served(), None);
        let [limit, no_limit] = [Some(5), None].map(|limit| Request { limit: Some(limit), purge: false });
        let purge = Request { limit: None, purge: true };
        let ask = |request| cell.ask(request, Duration::ZERO).unwrap();
        let is_done = |number, request| cell.is_done(number, request).unwrap();
        let first = ask(limit);
        assert_eq!(is_done(first, limit), None);
        assert_eq!((served(), served(), is_done(first, limit)), (Some(limit), None, Some(true)));
        // Both at once, of which one cannot be done; the other's answer is its own, also after more was served.
        can_purge.set(false);
        let (second, third) = (ask(no_limit), ask(purge));
        assert_eq!(served(), Some(Request { limit: Some(None), purge: true }));
        assert_eq!((is_done(second, no_limit), is_done(third, purge)), (Some(true), Some(false)));
        ask(limit);
        served();
        assert_eq!((is_done(second, no_limit), is_done(third, purge)), (Some(true), Some(false)));
        can_purge.set(true);
        let fourth = ask(purge);
        served();
        assert_eq!((is_done(second, no_limit), is_done(fourth, purge)), (Some(true), Some(true)));
        // A lock that somebody keeps is not waited for for ever.
        let other = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        // SAFETY: an open file.
        assert_eq!(unsafe { libc::flock(other.as_raw_fd(), libc::LOCK_EX) }, 0);
        assert_eq!(cell.ask(purge, Duration::from_millis(5)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_cell_is_as_a_file_has_it() {
        let cell = RequestCell::default();
        assert!(!cell.is_asked());
        cell.what.store(LIMIT | PURGE, Ordering::Relaxed);
        cell.limit_inverted.store(!7, Ordering::Relaxed);
        cell.number.store(1, Ordering::Relaxed);
        assert!(cell.is_asked());
        let mut asked = Request::default();
        cell.serve(|request| {
            asked = request;
            true
        });
        assert_eq!((asked, cell.is_asked()), (Request { limit: Some(Some(7)), purge: true }, false));
    }
}
