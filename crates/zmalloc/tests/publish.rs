//! A program that publishes is read from outside: while it runs, after a SIGKILL, and it leaves nothing when it exits.

#![cfg(all(target_os = "linux", target_has_atomic = "64"))]

use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use zmalloc::ledger::Detailed;
use zmalloc::publish::{Publication, Reader, parse_file_name};
use zmalloc::{DefaultBackend, Scope, Zmalloc};

#[global_allocator]
static HEAP: Zmalloc<DefaultBackend, Detailed> = Zmalloc::new();

/// The program: one of these tests, run again by the others. Says what it did, and obeys what it is told.
#[test]
#[ignore = "run by the others"]
fn program() {
    HEAP.publish().unwrap();
    HEAP.publish().unwrap();
    let tenants = Scope::new("tenants");
    let tenant = tenants.child("tenant-42");
    let block = tenant.run(|| vec![1u8; 1_000_000]);
    println!("ready");
    for command in std::io::stdin().lines() {
        match command.unwrap().as_str() {
            "fork" => {
                // SAFETY: the child leaves at once, by the handlers of the exit.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    std::process::exit(0);
                }
                // SAFETY: our child.
                unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
                println!("forked");
            }
            "fork often" => {
                // While scopes are read for a copy: a child that makes one does not wait for a thread it has not.
                let many: Vec<Scope> = (0..2000).map(|number| Scope::new(format!("{number}"))).collect();
                for _ in 0..300 {
                    // SAFETY: the child makes a scope and leaves.
                    let child = unsafe { libc::fork() };
                    if child == 0 {
                        drop(Scope::new("in a child"));
                        // SAFETY: no conditions.
                        unsafe { libc::_exit(0) };
                    }
                    // SAFETY: our child.
                    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
                }
                drop(many);
                println!("forked");
            }
            "publish in a child" => {
                // SAFETY: as above; here it publishes itself.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    HEAP.publish().unwrap();
                    std::thread::sleep(Duration::from_secs(1));
                    std::process::exit(0);
                }
                println!("{child}");
                // SAFETY: our child.
                unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            }
            _ => break,
        }
    }
    drop(block);
}

struct Program {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    base: PathBuf,
}

impl Program {
    fn start(name: &str, session: bool) -> Program {
        let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("publish-{}-{name}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&base).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "program", "--ignored", "--nocapture"]).env("XDG_RUNTIME_DIR", &base);
        command.env_remove("ZMALLOC_SESSION").stdin(Stdio::piped()).stdout(Stdio::piped());
        if session {
            command.env("ZMALLOC_SESSION", &base);
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut program = Program { child, lines, base };
        while program.line() != "ready" {}
        program
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the program is gone");
        line.trim_end().to_owned()
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
    }

    fn files(&self, directory: &str) -> Vec<(u32, PathBuf)> {
        let entries = fs::read_dir(self.base.join(directory)).unwrap().flatten();
        entries.filter_map(|entry| Some((parse_file_name(entry.file_name().to_str()?)?.0, entry.path()))).collect()
    }

    /// The published figures, once they show the block in its scope.
    fn publication(&self, directory: &str) -> Publication {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let [(pid, path)] = &self.files(directory)[..] else { panic!("one file was expected") };
            assert_eq!(*pid, self.child.id());
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
            let publication = Reader::new(File::open(path).unwrap()).publication().unwrap();
            if publication.scopes.iter().any(|scope| scope.own_live_bytes >= 1_000_000) {
                return publication;
            }
            assert!(Instant::now() < deadline, "{publication:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.base);
    }
}

#[test]
fn what_a_program_publishes_is_read_until_it_exits_and_leaves_nothing() {
    let mut program = Program::start("exits", false);
    let publication = program.publication("zmalloc");
    assert_eq!(publication.pid, program.child.id());
    assert_eq!(publication.parent_pid, std::process::id());
    assert_eq!(Path::new(&publication.executable), std::env::current_exe().unwrap());
    assert!(publication.command.iter().any(|argument| argument == "--nocapture"));
    let figures = publication.figures;
    assert!(figures.totals.live_bytes() >= 1_000_000 && figures.used_peak_bytes >= figures.totals.live_bytes());
    assert!(figures.ended_ns.is_none() && figures.scopes == 2);
    let [tenants, tenant] = &publication.scopes[..] else { panic!("{:?}", publication.scopes) };
    assert_eq!((tenants.name.as_str(), tenants.parent), ("tenants", None));
    assert_eq!((tenant.name.as_str(), tenant.parent, tenant.entered), ("tenant-42", Some(0), 1));
    assert!(tenants.live_bytes >= tenant.live_bytes && tenants.own_live_bytes == 0);
    if cfg!(feature = "ledger-lock") || cfg!(feature = "ledger-shared-atomic") {
        assert_eq!(figures.threads, None);
    } else {
        assert!(figures.threads.unwrap() >= 2);
    }
    let details = publication.details.unwrap();
    assert!(details.classes.iter().any(|class| class.bytes_live() >= 1_000_000));

    // A child that exits does not take its parent's file along.
    program.tell("fork");
    while program.line() != "forked" {}
    assert_eq!(program.files("zmalloc").len(), 1);
    program.tell("fork often");
    while program.line() != "forked" {}
    // One that publishes has a file of its own.
    program.tell("publish in a child");
    let child: u32 = program.line().parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !program.files("zmalloc").iter().any(|&(pid, _)| pid == child) {
        assert!(Instant::now() < deadline, "the child does not publish");
        std::thread::sleep(Duration::from_millis(10));
    }
    program.tell("end");
    let _ = program.lines.read_to_end(&mut Vec::new());
    assert!(program.child.wait().unwrap().success());
    assert!(program.files("zmalloc").is_empty());
}

#[test]
fn a_killed_program_leaves_its_last_figures() {
    let mut program = Program::start("killed", false);
    let before = program.publication("zmalloc");
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    let after = program.publication("zmalloc");
    assert!(after.figures.taken_ns >= before.figures.taken_ns && after.figures.ended_ns.is_none());
}

#[test]
fn under_zm_run_the_last_figures_stay_for_it() {
    let mut program = Program::start("session", true);
    program.publication("");
    program.tell("end");
    let _ = program.lines.read_to_end(&mut Vec::new());
    assert!(program.child.wait().unwrap().success());
    let [(_, path)] = &program.files("")[..] else { panic!("one file was expected") };
    let last = Reader::new(File::open(path).unwrap()).publication().unwrap();
    assert!(last.figures.ended_ns.is_some() && last.scopes.is_empty(), "{last:?}");
    assert!(last.figures.totals.freed_bytes > 1_000_000);
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("publish-{}-refused", std::process::id()));
    DirBuilder::new().mode(0o700).create(&base).unwrap();
    fs::create_dir(base.join("zmalloc")).unwrap();
    fs::set_permissions(base.join("zmalloc"), fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "program", "--ignored", "--nocapture"]).env("XDG_RUNTIME_DIR", &base);
    let output = command.env_remove("ZMALLOC_SESSION").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("only this user can use"), "{output:?}");
    fs::remove_dir_all(base).unwrap();
}
