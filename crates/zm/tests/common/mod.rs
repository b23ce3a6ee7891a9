//! Running the real `zm` over programs, and reading what it says.

#![allow(dead_code, reason = "each test uses its part")]

pub mod terminal;

use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes when the test is over.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Scratch(directory)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Compiles a C program.
    pub fn compile(&self, name: &str, source: &str, flags: &[&str]) -> PathBuf {
        let (file, program) = (self.path(&format!("{name}.c")), self.path(name));
        fs::write(&file, source).unwrap();
        // Without optimization, which would remove blocks that nobody looks at.
        let status = Command::new("cc").args(["-O0", "-w", "-o"]).arg(&program).arg(&file).args(flags).status();
        assert!(status.expect("a C compiler is needed for these tests").success());
        program
    }

    /// Writes an executable script.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a run left.
pub struct Ran {
    pub output: Output,
    pub json: Value,
}

impl Ran {
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    pub fn processes(&self) -> &[Value] {
        self.json["processes"].as_array().unwrap()
    }

    /// The only process whose executable has this name, as of its last image.
    pub fn process(&self, name: &str) -> &Value {
        let found: Vec<&Value> = self.processes().iter().filter(|process| has_name(process, name)).collect();
        assert_eq!(found.len(), 1, "{name} in {:#}", self.json);
        found[0]
    }

    pub fn reasons(&self) -> Vec<&str> {
        self.json["not_counted"].as_array().unwrap().iter().map(|entry| entry["reason"].as_str().unwrap()).collect()
    }
}

pub fn has_name(process: &Value, name: &str) -> bool {
    process["exe"].as_str().unwrap().ends_with(&format!("/{name}"))
}

pub fn zm() -> Command {
    // A script that ran the tests in the background may have had these ignored, which programs inherit.
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: no handler is taken away: nobody here has one.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    Command::new(env!("CARGO_BIN_EXE_zm"))
}

/// `zm run` with options before `--`.
pub fn run_with<S: AsRef<OsStr>>(options: &[&str], program: &[S], input: &[u8]) -> Ran {
    let scratch = Scratch::new();
    let json = scratch.path("run.json");
    let mut child = zm()
        .arg("run")
        .args(options)
        .arg("--export-json")
        .arg(&json)
        .arg("--")
        .args(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || _ = stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    let text = fs::read(&json).unwrap_or_else(|error| {
        panic!("no JSON ({error}); {}: {}", output.status, String::from_utf8_lossy(&output.stderr))
    });
    Ran { output, json: serde_json::from_slice(&text).unwrap() }
}

pub fn run<S: AsRef<OsStr>>(program: &[S]) -> Ran {
    run_with(&[], program, b"")
}

/// The sessions that `zm` left anywhere.
pub fn sessions_of(zm: u32) -> Vec<PathBuf> {
    let bases = [std::env::var("XDG_RUNTIME_DIR").unwrap_or_default(), "/dev/shm".into(), "/tmp".into()];
    let entries = bases.iter().flat_map(|base| fs::read_dir(base).into_iter().flatten().flatten());
    let prefix = format!("zm.{zm}.");
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).map(|entry| entry.path()).collect()
}
