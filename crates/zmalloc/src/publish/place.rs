//! Where published files lie: in a directory that is this user's alone.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The directory that a program of the user `uid` publishes in when it does not run under `zm run`.
pub fn directory(uid: u32) -> PathBuf {
    match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(runtime) => runtime.join("zmalloc"),
        None => PathBuf::from(format!("/tmp/zmalloc-{uid}")),
    }
}

/// The name of the file of a process, for when it started to publish, in nanoseconds since 1970.
pub fn file_name(pid: u32, started_ns: u64) -> String {
    format!("{pid}.{started_ns}.published")
}

/// The process, and its time, that a published file is named for.
pub fn parse_file_name(name: &str) -> Option<(u32, u64)> {
    let (pid, started_ns) = name.strip_suffix(".published")?.split_once('.')?;
    let key = (pid.parse().ok().filter(|&pid| pid > 0 && pid <= i32::MAX as u32)?, started_ns.parse().ok()?);
    // Only the name that we would write ourselves.
    (file_name(key.0, key.1) == name).then_some(key)
}

/// The directory to publish in, made if need be, and whether it is that of a `zm run`, which reads it to the end.
pub(super) fn make_directory() -> io::Result<(PathBuf, bool)> {
    if let Some(session) = session() {
        return Ok((session, true));
    }
    let directory = directory(user());
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(Error::new(error.kind(), format!("{} cannot be made: {error}", directory.display())));
        }
        _ => check(&directory)?,
    }
    Ok((directory, false))
}

/// The directory of the `zm run` that this program runs under.
fn session() -> Option<PathBuf> {
    let session = env::var_os("ZMALLOC_SESSION").map(PathBuf::from).filter(|path| path.is_absolute())?;
    check(&session).is_ok().then_some(session)
}

/// Others could put files of theirs, or links, into a directory that is not ours alone.
fn check(directory: &Path) -> io::Result<()> {
    let there = fs::symlink_metadata(directory)?;
    if there.is_dir() && there.uid() == user() && there.mode() & 0o077 == 0 {
        return Ok(());
    }
    let why = format!("{} is not a directory that only this user can use (mode 700)", directory.display());
    Err(Error::new(ErrorKind::PermissionDenied, why))
}

fn user() -> u32 {
    // SAFETY: always succeeds.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_our_own_names_are_published_files() {
        assert_eq!(parse_file_name(&file_name(12, 345)), Some((12, 345)));
        for name in
            ["0.1.published", "012.1.published", "1.+1.published", "1.published", "1.1.segment", "1.1.published~"]
        {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_directory_that_others_can_use_is_refused() {
        let base = env::temp_dir().join(format!("zmalloc-place-{}", std::process::id()));
        fs::create_dir(&base).unwrap();
        let own = base.join("own");
        DirBuilder::new().mode(0o700).create(&own).unwrap();
        assert!(check(&own).is_ok());
        std::os::unix::fs::symlink(&own, base.join("link")).unwrap();
        assert!(check(&base.join("link")).is_err());
        fs::write(base.join("file"), "").unwrap();
        assert!(check(&base.join("file")).is_err());
        for mode in [0o710, 0o707, 0o720] {
            fs::set_permissions(&own, fs::Permissions::from_mode(mode)).unwrap();
            assert!(check(&own).is_err(), "{mode:o}");
        }
        fs::remove_dir_all(base).unwrap();
    }
}
