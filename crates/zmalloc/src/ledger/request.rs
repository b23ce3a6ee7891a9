//! What `zm` asks of a process that runs: a few words of a file that both have, the process perhaps in its memory.
//!
//! Who asks writes what, and then a number; the process does it, and then says that number.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// The words. Zeroed memory is that nothing was ever asked.
#[repr(C)]
#[derive(Debug, Default)]
pub struct RequestCell {
    number: AtomicU32,
    served: AtomicU32,
    what: AtomicU32,
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

    fn limit_inverted(self) -> u64 {
        !self.limit.flatten().unwrap_or(u64::MAX)
    }

    fn of(bits: u32, limit_inverted: u64) -> Request {
        let limit = Some(!limit_inverted).filter(|&bytes| bytes != u64::MAX);
        Request { limit: (bits & LIMIT != 0).then_some(limit), purge: bits & PURGE != 0 }
    }
}

impl RequestCell {
    /// Whether something is asked: two loads.
    #[inline]
    pub fn is_asked(&self) -> bool {
        self.number.load(Ordering::Relaxed) != self.served.load(Ordering::Relaxed)
    }

    /// What was asked of a parent is nothing to its child.
    pub(super) fn forget(&self) {
        self.served.store(self.number.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Does what is asked, if anything is; `serve` answers whether all of it could be done. For one thread at a time.
    pub fn serve(&self, serve: impl FnOnce(Request) -> bool) {
        let number = self.number.load(Ordering::Acquire);
        if number != self.served.load(Ordering::Relaxed) {
            let bits = self.what.load(Ordering::Relaxed);
            let done = serve(Request::of(bits, self.limit_inverted.load(Ordering::Relaxed)));
            self.done.store(u32::from(done), Ordering::Relaxed);
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

    /// Asks; what was asked before and is not done yet is asked still. Answers its number.
    pub fn ask(&self, request: Request) -> io::Result<u32> {
        // SAFETY: an open file; only those who ask lock it.
        if unsafe { libc::flock(self.file.as_raw_fd(), libc::LOCK_EX) } != 0 {
            return Err(io::Error::last_os_error());
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

    /// Whether that was done: `None` for not yet, else whether it could be.
    pub fn is_done(&self, number: u32) -> io::Result<Option<bool>> {
        // A later one is served with those before.
        let served = self.word(offset_of!(RequestCell, served))?;
        let is_served = (served.wrapping_sub(number) as i32) >= 0;
        Ok(if is_served { Some(self.word(offset_of!(RequestCell, done))? != 0) } else { None })
    }

    /// Does what is asked, as [`RequestCell::serve`].
    pub fn serve(&self, serve: impl FnOnce(Request) -> bool) -> io::Result<()> {
        let number = self.word(offset_of!(RequestCell, number))?;
        if number != self.word(offset_of!(RequestCell, served))? {
            let mut limit = [0; 8];
            self.file.read_exact_at(&mut limit, self.at + offset_of!(RequestCell, limit_inverted) as u64)?;
            let bits = self.word(offset_of!(RequestCell, what))?;
            let done = serve(Request::of(bits, u64::from_ne_bytes(limit)));
            self.put(offset_of!(RequestCell, done), u32::from(done))?;
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
        let cell = RequestFile::new(&file, 8);
        let served = || {
            let mut asked = None;
            cell.serve(|request| {
                asked = Some(request);
                request.purge
            })
            .unwrap();
            asked
        };
        assert_eq!(served(), None);
        let first = cell.ask(Request { limit: Some(Some(5)), purge: false }).unwrap();
        assert_eq!(cell.is_done(first).unwrap(), None);
        assert_eq!(served(), Some(Request { limit: Some(Some(5)), purge: false }));
        assert_eq!((cell.is_done(first).unwrap(), served()), (Some(false), None));
        let second = cell.ask(Request { limit: Some(None), purge: false }).unwrap();
        let third = cell.ask(Request { limit: None, purge: true }).unwrap();
        assert_eq!(served(), Some(Request { limit: Some(None), purge: true }));
        assert_eq!([second, third].map(|number| cell.is_done(number).unwrap()), [Some(true); 2]);
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
