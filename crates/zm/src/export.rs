//! A file that is whole or not there: written beside its place, and put into it at the end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::FromRawFd;
use std::path::{Path, PathBuf};

/// A file to write later, proven to be writable now. Dropped unwritten, it leaves nothing.
pub struct Export {
    file: File,
    /// Where it is, and where it goes; a device or a pipe is written in place.
    rename: Option<(PathBuf, PathBuf)>,
}

impl Export {
    /// Opens what `path` names.
    pub fn create(path: &Path) -> io::Result<Export> {
        // A descriptor that is open is written where it stands: opened again, a file would lose what others wrote to it.
        if let Some(descriptor) = named_descriptor(path) {
            // SAFETY: no conditions; a number that is no open descriptor is refused.
            let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3) };
            if copy < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the descriptor that was just made, and nobody else's.
            return Ok(Export { file: unsafe { File::from_raw_fd(copy) }, rename: None });
        }
        // Through links, so that it is the file that is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match fs::metadata(&path) {
            Ok(there) if there.is_dir() => return Err(io::Error::from(io::ErrorKind::IsADirectory)),
            Ok(there) if !there.is_file() => {
                return Ok(Export { file: OpenOptions::new().write(true).open(&path)?, rename: None });
            }
            _ => {}
        }
        let Some(name) = path.file_name() else { return Err(io::Error::from(io::ErrorKind::InvalidFilename)) };
        let mut beside = std::ffi::OsString::from(".");
        beside.push(name);
        beside.push(format!(".{}", std::process::id()));
        let beside = path.with_file_name(beside);
        let file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
        Ok(Export { file, rename: Some((beside, path)) })
    }

    /// Writes it, and puts it into its place.
    pub fn finish(mut self, text: &[u8]) -> io::Result<()> {
        self.file.write_all(text)?;
        if let Some((beside, path)) = &self.rename {
            fs::rename(beside, path)?;
            self.rename = None;
        }
        Ok(())
    }
}

/// The descriptor that a path like `/dev/stderr` or `/dev/fd/3` stands for.
fn named_descriptor(path: &Path) -> Option<i32> {
    match path.to_str()? {
        "/dev/stdout" => Some(libc::STDOUT_FILENO),
        "/dev/stderr" => Some(libc::STDERR_FILENO),
        path => path.strip_prefix("/dev/fd/").or_else(|| path.strip_prefix("/proc/self/fd/"))?.parse().ok(),
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if let Some((beside, _)) = &self.rename {
            let _ = fs::remove_file(beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let directory = std::env::temp_dir().join(format!("zm-export-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("a.json");
        drop(Export::create(&path).unwrap());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        Export::create(&path).unwrap().finish(b"one").unwrap();
        Export::create(&path).unwrap().finish(b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        assert!(Export::create(&directory).is_err());
        assert!(Export::create(&directory.join("none/a.json")).is_err());
        Export::create(Path::new("/dev/null")).unwrap().finish(b"gone").unwrap();
        fs::remove_dir_all(directory).unwrap();
    }
}
