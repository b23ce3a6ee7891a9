//! The directory that holds a run's ledgers, and the object that writes them.

use crate::collect::{Liveness, parse_file_name};
use crate::error::Error;
use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A directory of this run, ours alone. Removed at the end, unless a process still writes in it.
pub struct Session {
    directory: PathBuf,
    keep: bool,
}

const PREFIX: &str = "zm.";

impl Session {
    /// Makes a session in the first place that will do, and clears what a killed `zm` left there.
    pub fn create() -> Result<Session, Error> {
        let mut tried = Vec::new();
        for base in bases() {
            if tried.iter().any(|(path, _)| *path == base) {
                continue;
            }
            match create_in(&base) {
                Ok(directory) => {
                    clear_abandoned(&base);
                    return Ok(Session { directory, keep: false });
                }
                Err(why) => tried.push((base, why)),
            }
        }
        Err(Error::NoSessionDirectory(tried))
    }

    /// Where the segments appear.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes the object to preload, and says where.
    pub fn write_object(&self, object: &[u8]) -> io::Result<PathBuf> {
        let path = self.directory.join("libzmalloc_preload.so");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path)?;
        file.write_all(object)?;
        Ok(path)
    }

    /// Leaves the directory to processes that go on; a later `zm` clears it when they are gone.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// In memory where there is such a place: the segments are files only in name.
pub fn bases() -> impl Iterator<Item = PathBuf> {
    let of_variable = |key| std::env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    let fixed = |path: &str| Some(PathBuf::from(path));
    [of_variable("XDG_RUNTIME_DIR"), fixed("/dev/shm"), of_variable("TMPDIR"), fixed("/tmp")].into_iter().flatten()
}

fn create_in(base: &Path) -> Result<PathBuf, String> {
    if !base.is_absolute() {
        return Err("not an absolute path".to_owned());
    }
    // The loader splits LD_PRELOAD there, and expands `$`.
    if base.as_os_str().as_bytes().iter().any(|byte| b" :;$".contains(byte)) {
        return Err("a path with a blank, a colon or a dollar sign cannot be preloaded from".to_owned());
    }
    if is_noexec(base).map_err(|error| error.to_string())? {
        return Err("mounted noexec".to_owned());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    for attempt in 0..100 {
        let directory = base.join(format!("{PREFIX}{}.{:x}", std::process::id(), now + attempt));
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("every name is taken".to_owned())
}

fn is_noexec(path: &Path) -> io::Result<bool> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut status = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: a string that ends, and space for the answer.
    if unsafe { libc::statvfs(path.as_ptr(), status.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled the answer in.
    Ok(unsafe { status.assume_init() }.f_flag & libc::ST_NOEXEC != 0)
}

/// The `zm` whose session has this name.
pub fn parse_name(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok()
}

/// Removes our sessions whose `zm` is gone, and whose programs are gone as well.
pub fn clear_abandoned(base: &Path) {
    // SAFETY: always succeeds.
    let user = unsafe { libc::geteuid() };
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(parse_name) else { continue };
        let ours = entry.metadata().is_ok_and(|entry| entry.is_dir() && entry.uid() == user);
        if ours && !Liveness::of(pid).is_alive() && !has_live_process(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn has_live_process(directory: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return true };
    let mut pids = entries.flatten().filter_map(|entry| Some(parse_file_name(entry.file_name().to_str()?)?.0));
    pids.any(|pid| Liveness::of(pid).is_alive())
}

/// Opens a file of a session directory to read it, whatever a program may have put there under its name.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::from(io::ErrorKind::InvalidInput)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_cannot_be_preloaded_from_are_refused() {
        for (base, why) in [("tmp", "absolute"), ("/tmp/a b", "blank"), ("/tmp/a:b", "colon"), ("/proc", "noexec")] {
            let refused = create_in(Path::new(base));
            assert!(refused.is_err(), "{base}");
            if base != "/proc" {
                assert!(refused.unwrap_err().contains(why), "{base}");
            }
        }
    }

    #[test]
    fn a_session_is_private_and_leaves_nothing() {
        let session = Session::create().unwrap();
        let directory = session.directory().to_owned();
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        assert!(session.write_object(b"object").unwrap().starts_with(&directory));
        drop(session);
        assert!(!directory.exists());
    }
}
