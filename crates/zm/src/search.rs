//! Where the system would find a program or a library.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The file that executing `program` means: itself if it has a slash, otherwise the first of that name in PATH.
pub fn program(program: &OsStr) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(program));
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    env::split_paths(&path).map(|directory| directory.join(program)).find(|file| is_executable(file))
}

/// The file that the dynamic loader would take for the library `name`, as far as `fits` accepts it.
pub fn library(name: &str, fits: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let from_environment = env::var_os("LD_LIBRARY_PATH")
        .map(|path| env::split_paths(&path).map(|directory| directory.join(name)).collect::<Vec<_>>())
        .unwrap_or_default();
    let from_cache = fs::read("/etc/ld.so.cache").map(|cache| cached_libraries(&cache, name)).unwrap_or_default();
    let usual = ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"];
    let usual = usual.iter().map(|directory| Path::new(directory).join(name));
    let mut files = from_environment.into_iter().chain(from_cache).chain(usual);
    files.find(|file| file.is_absolute() && fs::metadata(file).is_ok_and(|file| file.is_file()) && fits(file))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The files that glibc's cache has for a library: a header, entries with offsets of a name and a file, the strings.
fn cached_libraries(cache: &[u8], name: &str) -> Vec<PathBuf> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    const HEADER_BYTES: usize = 48;
    const ENTRY_BYTES: usize = 24;
    // Before glibc 2.32 the cache starts with an older one, which is skipped by looking for the newer one's start.
    let Some(start) = cache.windows(MAGIC.len()).position(|window| window == MAGIC) else { return Vec::new() };
    let cache = &cache[start..];
    let number = |at: usize| {
        let bytes = cache.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_ne_bytes(*bytes) as usize)
    };
    let text = |at: usize| cache.get(at..)?.split(|&byte| byte == 0).next();
    let entries = number(MAGIC.len()).unwrap_or(0).min(cache.len() / ENTRY_BYTES);
    let found = (0..entries).filter_map(|index| {
        let entry = HEADER_BYTES + index * ENTRY_BYTES;
        let is_it = text(number(entry + 4)?)? == name.as_bytes();
        is_it.then(|| Some(PathBuf::from(OsStr::from_bytes(text(number(entry + 8)?)?))))?
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_execvp_finds_them() {
        assert_eq!(program("./x".as_ref()), Some("./x".into()));
        assert!(program("sh".as_ref()).unwrap().ends_with("sh"));
        assert_eq!(program("no such program".as_ref()), None);
    }

    #[test]
    fn the_loaders_cache_is_read_without_trust() {
        let mut cache = b"glibc-ld.so.cache1.1".to_vec();
        cache.extend(2u32.to_ne_bytes());
        cache.resize(48, 0);
        for (key, value) in [(96u32, 104u32), (120, 0xffff_ffff)] {
            cache.extend(0u32.to_ne_bytes());
            cache.extend(key.to_ne_bytes());
            cache.extend(value.to_ne_bytes());
            cache.extend([0; 12]);
        }
        cache.extend(b"libx.so\0/opt/libx.so\0\0\0\0libx.so\0");
        assert_eq!(cached_libraries(&cache, "libx.so"), [PathBuf::from("/opt/libx.so")]);
        for length in 0..cache.len() {
            cached_libraries(&cache[..length], "libx.so");
        }
        cache[20..24].fill(0xff);
        cached_libraries(&cache, "libx.so");
    }
}
