//! The library as a user installs it, and C programs over it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock};

/// The allocator under test, by the name that the install recipe has for it.
pub const BACKEND: &str = if cfg!(feature = "jemalloc") {
    "jemalloc"
} else if cfg!(feature = "mimalloc") {
    "mimalloc"
} else if cfg!(feature = "snmalloc") {
    "snmalloc"
} else if cfg!(feature = "tcmalloc") {
    "tcmalloc"
} else if cfg!(feature = "size-prefix") {
    "size-prefix"
} else {
    "libc-malloc"
};

/// Where the library is installed, by the recipe that the README gives.
pub fn installed(name: &str, settings: &[&str]) -> PathBuf {
    // The recipe builds in one place, so one at a time.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let test = std::env::current_exe().expect("the test has a path");
    let target = test.ancestors().nth(3).expect("it lies in target/PROFILE/deps");
    let prefix = target.join("installed").join(format!("{BACKEND}-{name}"));
    let mut make = Command::new("make");
    make.arg("--silent").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).arg("install").arg(format!("BACKEND={BACKEND}"));
    make.arg(format!("PREFIX={}", prefix.display())).args(settings);
    make.arg(concat!("CARGO=", env!("CARGO"))).arg("CARGO_FLAGS=--quiet").env("CARGO_TARGET_DIR", target);
    // A make above this one would hand down its own flags.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let output = make.output().expect("make is a prerequisite of these tests");
    assert!(output.status.success(), "{make:?}: {}", String::from_utf8_lossy(&output.stderr));
    prefix
}

/// The library without a prefix, installed once.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| installed("plain", &[]))
}

/// How a program is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    Static,
    Shared,
}

/// What else the library needs, as the pkg-config file says.
fn private_libraries(prefix: &Path) -> Vec<String> {
    let file = fs::read_to_string(prefix.join("lib/pkgconfig/zmalloc.pc")).expect("it was installed");
    let line = file.lines().find_map(|line| line.strip_prefix("static_libs=")).expect("it tells");
    line.split_whitespace().map(str::to_owned).collect()
}

/// Compiles test programs against an installed library.
pub fn compile(prefix: &Path, name: &str, compiler: &str, flags: &[&str], sources: &[&str], linked: Linked) -> PathBuf {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let folder = prefix.join("programs");
    fs::create_dir_all(&folder).expect("it can be made");
    let program = folder.join(name);
    let mut command = Command::new(compiler);
    command.args(["-Wall", "-Wextra", "-Werror", "-pthread", "-o"]).arg(&program).args(flags);
    command.arg("-I").arg(prefix.join("include")).args(sources.iter().map(|source| programs.join(source)));
    let lib = prefix.join("lib");
    match linked {
        Linked::Static => {
            command.args(["-x", "none"]).arg(lib.join("libzmalloc.a")).args(private_libraries(prefix));
        }
        Linked::Shared => {
            command.arg("-L").arg(&lib).arg("-lzmalloc").arg(format!("-Wl,-rpath,{}", lib.display()));
        }
    }
    let output = command.output().unwrap_or_else(|_| panic!("{compiler} is a prerequisite of these tests"));
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Runs a test program, which says how much it has checked.
pub fn run(program: &Path) {
    let output = Command::new(program).output().expect("it starts");
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program:?}: {}\n{error}", output.status);
    let checks = text.lines().find_map(|line| line.strip_prefix("checks=")).expect("it ends by saying so");
    assert!(checks.parse::<u32>().expect("a number") > 0);
}

/// The symbols that a file defines, for others to use.
pub fn symbols(file: &Path, flags: &[&str]) -> Vec<String> {
    let output: Output =
        Command::new("nm").args(flags).arg("--defined-only").arg(file).output().expect("nm comes with cc");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().rev();
            let name = words.next()?;
            (words.next() == Some("T")).then(|| name.to_owned())
        })
        .collect();
    names.sort();
    names
}
