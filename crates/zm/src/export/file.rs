//! A file that is whole or not there: written beside its place, and put into it at the end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::path::{Path, PathBuf};

/// The descriptor of ours that a path names. Opening such a path would start the file over: what others write there,
/// like the program to a log, would be lost.
fn descriptor_named(path: &Path) -> Option<RawFd> {
    match path.to_str()? {
        "/dev/stdout" => return Some(1),
        "/dev/stderr" => return Some(2),
        _ => {}
    }
    let folders = ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"];
    let number = folders.iter().find_map(|folder| path.strip_prefix(folder).ok())?;
    number.to_str()?.parse().ok().filter(|&number| number >= 0)
}

/// The same open file, at the same place in it, kept from the program.
fn duplicate(descriptor: RawFd) -> io::Result<File> {
    // SAFETY: numbers only.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::O_ACCMODE == libc::O_RDONLY {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: numbers only.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { File::from_raw_fd(copy) })
}

/// A file to write later, proven to be writable now. Dropped unwritten, it leaves nothing.
pub struct Export {
    file: File,
    /// Where it is, and where it goes; a device or a pipe is written in place.
    rename: Option<(PathBuf, PathBuf)>,
}

impl Export {
    /// Opens what `path` names.
    pub fn create(path: &Path) -> io::Result<Export> {
        if let Some(descriptor) = descriptor_named(path) {
            return Ok(Export { file: duplicate(descriptor)?, rename: None });
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
