//! Programs of all kinds under the library, and what their segments say.
#![allow(dead_code, reason = "each test file uses a part")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use zmalloc::ledger::Snapshot;

/// The library as it is shipped, which cargo does not build for these tests by itself.
pub fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let test = std::env::current_exe().expect("the test has a path");
        let target = test.ancestors().nth(3).expect("it lies in target/PROFILE/deps");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--quiet", "--profile", "preload", "--package", "zmalloc-preload", "--target-dir"])
            .arg(target);
        for (feature, is_on) in [
            ("jemalloc", cfg!(feature = "jemalloc")),
            ("mimalloc", cfg!(feature = "mimalloc")),
            ("snmalloc", cfg!(feature = "snmalloc")),
        ] {
            if is_on {
                cargo.args(["--features", feature]);
            }
        }
        assert!(cargo.status().expect("cargo runs").success());
        target.join("preload/libzmalloc_preload.so").canonicalize().expect("it was built")
    };
    LIBRARY.get_or_init(build).clone()
}

/// What the library under test says it counts.
pub const BACKEND: &str = if cfg!(feature = "jemalloc") {
    "jemalloc"
} else if cfg!(feature = "mimalloc") {
    "mimalloc"
} else if cfg!(feature = "snmalloc") {
    "snmalloc"
} else {
    "forward"
};

/// A directory that goes away with this value; in memory if the system has such a place.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = Some(PathBuf::from("/dev/shm")).filter(|path| path.is_dir()).unwrap_or_else(std::env::temp_dir);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("zmalloc-test-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a directory can be made");
        Directory(path)
    }

    /// The published segments, by start.
    pub fn segments(&self) -> Vec<Snapshot> {
        let files = fs::read_dir(&self.0).expect("the session's directory is there");
        let mut snapshots: Vec<Snapshot> = files
            .filter_map(|file| {
                let path = file.expect("it can be listed").path();
                let name = path.file_name()?.to_str()?.to_owned();
                let mut file = File::open(&path).ok().filter(|_| name.ends_with(".segment"))?;
                // A child may just be starting.
                let snapshot = Snapshot::read(&mut file).ok()?;
                assert_eq!(name, format!("{}.{}.segment", snapshot.pid, snapshot.started_ns));
                Some(snapshot)
            })
            .collect();
        snapshots.sort_by_key(|snapshot| snapshot.started_ns);
        snapshots
    }

    /// The one published segment.
    pub fn segment(&self) -> Snapshot {
        let mut segments = self.segments();
        assert_eq!(segments.len(), 1, "{segments:?}");
        segments.remove(0)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Compiles a program from `tests/programs`; the ending of its name tells the language.
pub fn compile(directory: &Directory, source: &str, flags: &[&str]) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(source);
    let program = directory.0.join(source.replace('.', "-"));
    let compiler = if source.ends_with(".cc") { "c++" } else { "cc" };
    let status = Command::new(compiler)
        // Each call of the family is to be made as it is written.
        .args([
            "-O1",
            "-g",
            "-fno-builtin",
            "-Wall",
            "-Wno-unused-result",
            "-Wno-unused-function",
            "-Wno-alloc-size-larger-than",
            "-pthread",
            "-o",
        ])
        .args([program.as_os_str(), path.as_os_str()])
        .args(flags)
        .status();
    assert!(status.expect("a C compiler, cc, is a prerequisite of these tests").success(), "{source}");
    program
}

/// Puts a program under the library, publishing in `session`.
pub fn under(program: impl AsRef<Path>, session: &Directory) -> Command {
    let mut command = Command::new(program.as_ref());
    command.env("LD_PRELOAD", library()).env("ZMALLOC_SESSION", &session.0).stdin(Stdio::null());
    command
}

/// Runs a program that must end well within a minute; answers its output.
pub fn run(command: &mut Command) -> Output {
    let output = finish(command);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{error}", output.status);
    output
}

/// Runs a program that must end, one way or another.
pub fn finish(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let (pid, (done, watch)) = (child.id(), std::sync::mpsc::channel::<()>());
    let watchdog = std::thread::spawn(move || {
        if watch.recv_timeout(Duration::from_secs(120)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // SAFETY: a child of ours that was not waited for.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
    });
    let output = child.wait_with_output().expect("it can be waited for");
    let _ = done.send(());
    watchdog.join().expect("it only waits");
    output
}

/// Numbers that a program printed as `name=number`.
pub fn figure(output: &Output, name: &str) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {text:?}")).parse().expect("a number")
}

/// Waits until something is true.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a program is installed; says so if it is not.
pub fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|paths| std::env::split_paths(&paths).any(|path| path.join(program).is_file()));
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}
