//! `zm top`: what it shows, the keys, that the terminal is left as it was however it ends, and its JSON.

mod common;
use common::terminal::Terminal;
use common::{Scratch, zm};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that holds so many bytes in so many blocks until it is told to end, under `zm run`.
struct Running {
    zm: Child,
    pid: u64,
}

const HOLDER: &str = "\
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int count, char **arguments) {
    for (int i = 0; i < atoi(arguments[1]); i++) memset(malloc(1 << 20), 1, 1 << 20);
    if (count > 2 && fork() == 0) {
        if (!strcmp(arguments[2], \"fork\")) prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(1);
        close(2);
        malloc(5 << 20);
        pause();
    }
    printf(\"%d\\n\", getpid());
    fflush(stdout);
    getchar();
    return 0;
}
";

impl Running {
    fn start(program: &Path, arguments: &[&str], runtime: &Path) -> Running {
        let mut command = zm();
        command.args(["run", "-q", "--"]).arg(program).args(arguments).env("XDG_RUNTIME_DIR", runtime);
        let mut zm = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(zm.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Running { zm, pid: line.trim().parse().unwrap() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: a process of ours, and its zm waits for it.
        unsafe { libc::kill(self.pid as i32, libc::SIGKILL) };
        let _ = self.zm.wait();
    }
}

fn scratch() -> (Scratch, std::path::PathBuf, std::path::PathBuf) {
    let scratch = Scratch::new();
    let program = scratch.compile("holder", HOLDER, &[]);
    let runtime = scratch.path("runtime");
    fs::create_dir(&runtime).unwrap();
    (scratch, program, runtime)
}

fn top_in(runtime: &Path, options: &[&str], more: &[(&str, &OsStr)]) -> Terminal {
    let mut command = vec![OsStr::new(env!("CARGO_BIN_EXE_zm")), OsStr::new("top")];
    command.extend(options.iter().map(OsStr::new));
    let mut variables = vec![("XDG_RUNTIME_DIR", runtime.as_os_str())];
    variables.extend(more);
    Terminal::start_as("xterm-256color", &command, &variables)
}

fn once(runtime: &Path, options: &[&str]) -> Value {
    let output = zm()
        .args(["top", "--once", "--json", "--interval", "60"])
        .args(options)
        .env("XDG_RUNTIME_DIR", runtime)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Other tests' processes are on this machine too.
fn of_pid(look: &Value, pid: u64) -> Option<&Value> {
    look["processes"].as_array().unwrap().iter().find(|process| process["pid"] == pid)
}

#[test]
fn keys_select_sort_filter_and_show_a_process() {
    let (_scratch, program, runtime) = scratch();
    let small = Running::start(&program, &["3"], &runtime);
    let large = Running::start(&program, &["20", "fork"], &runtime);
    let mut terminal = top_in(&runtime, &["--interval", "100", "--filter", "holder"], &[]);
    let settings = terminal.initial;
    let (small_pid, large_pid) = (small.pid.to_string(), large.pid.to_string());
    terminal.until("rows", |screen| {
        let text = screen.contents();
        let row = |pid: &str| text.lines().find(|line| line.trim_start().starts_with(pid));
        row(&large_pid).is_some_and(|row| row.contains("20.1 MiB"))
            && row(&small_pid).is_some_and(|row| row.contains("3.0 MiB"))
    });
    assert_ne!(terminal.settings(), settings, "keys come one by one");
    // The largest is first; the other way round the small one is.
    let first_row = |screen: &vt100::Screen| {
        let text = screen.contents();
        text.lines().nth(2).unwrap_or_default().trim_start().split(' ').next().unwrap_or_default().to_owned()
    };
    terminal.press("R");
    terminal.until("reversed", |screen| first_row(screen) == small_pid);
    terminal.press("R");
    // The forked child is below its parent, and set in.
    terminal.press("t");
    terminal.shows("└ holder");
    terminal.press("t");
    // Typed, the filter leaves one; esc drops it.
    terminal.press(&format!("/\x7f\x7f\x7f\x7f\x7f\x7f{small_pid}\r"));
    terminal.until("filtered", |screen| first_row(screen) == small_pid && !screen.contents().contains(&large_pid));
    terminal.press("\r");
    terminal.shows(&format!("holder ({small_pid})"));
    terminal.shows("live bytes by block size");
    terminal.shows("1 to 1.25 MiB");
    terminal.press("?");
    terminal.shows("stop looking, and go on");
    terminal.press("x\x1b");
    terminal.until("no help", |screen| !screen.contents().contains("stop looking"));
    // Whatever size the terminal gets, it goes on.
    terminal.press("\r");
    for (lines, columns) in [(1, 1), (2, 200), (60, 3), (13, 40), (0, 0), (24, 100)] {
        terminal.resize(lines, columns);
        std::thread::sleep(Duration::from_millis(150));
        terminal.read();
    }
    terminal.press("\x0c");
    terminal.shows("live bytes by block size");
    terminal.press("q");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
    assert_eq!(terminal.settings(), settings);
    terminal.read();
    assert!(!terminal.emulator.screen().alternate_screen() && !terminal.emulator.screen().hide_cursor());
}

#[test]
fn signals_and_a_panic_leave_the_terminal_as_it_was() {
    let (_scratch, _, runtime) = scratch();
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        let mut terminal = top_in(&runtime, &[], &[]);
        let settings = terminal.initial;
        terminal.until("the screen", |screen| screen.alternate_screen() && screen.contents().contains("zm top"));
        // SAFETY: our child.
        unsafe { libc::kill(terminal.child.id() as i32, signal) };
        let status = terminal.child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(signal));
        assert_eq!(terminal.settings(), settings, "{signal}");
        terminal.read();
        assert!(!terminal.emulator.screen().alternate_screen() && !terminal.emulator.screen().hide_cursor());
    }
    if cfg!(debug_assertions) {
        let mut terminal = top_in(&runtime, &[], &[("ZM_TOP_PANIC", OsStr::new("1"))]);
        terminal.shows("as asked for by a test");
        assert!(!terminal.child.wait().unwrap().success());
        terminal.read();
        assert!(!terminal.emulator.screen().alternate_screen() && !terminal.emulator.screen().hide_cursor());
    }
}

#[test]
fn it_is_suspended_and_goes_on() {
    let mut terminal =
        Terminal::start_as("xterm", &["bash", "--norc", "--noprofile", "-i"], &[("INPUTRC", OsStr::new("/dev/null"))]);
    terminal.expect("$ ");
    terminal.press(&format!("{} top\n", env!("CARGO_BIN_EXE_zm")));
    terminal.until("the screen", |screen| screen.alternate_screen());
    terminal.press("\x1a");
    terminal.until("the shell", |screen| !screen.alternate_screen() && screen.contents().contains("Stopped"));
    terminal.press("fg\n");
    terminal.until("the screen again", |screen| screen.alternate_screen() && screen.contents().contains("zm top"));
    terminal.press("q");
    terminal.until("the shell again", |screen| !screen.alternate_screen());
    terminal.press("exit\n");
    assert!(terminal.child.wait().unwrap().success());
}

#[test]
fn the_json_has_the_figures_of_the_process_and_every_documented_key() {
    let (_scratch, program, runtime) = scratch();
    let running = Running::start(&program, &["7"], &runtime);
    let look = once(&runtime, &[]);
    assert_eq!(look["schema"], "zmalloc.top.v1");
    let process = of_pid(&look, running.pid).unwrap();
    let blocks: u64 = 7 * ((1 << 20) + 4096 - 16);
    let used = process["used_bytes"].as_u64().unwrap();
    // The seven blocks, each mapped by itself, and the buffer of standard output.
    assert!((blocks..blocks + 10_000).contains(&used), "{used}");
    assert_eq!(process["source"], "preloaded");
    assert!(process["rss_bytes"].as_u64().unwrap() > 7 << 20);
    let classes = process["size_classes"].as_array().unwrap();
    assert_eq!(classes.iter().map(|class| class["live_bytes"].as_u64().unwrap()).sum::<u64>(), used);

    let documented = include_str!("../docs/top-json.md").lines();
    let documented = documented.filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut documented: Vec<&str> = documented.collect();
    documented.retain(|key| !key.contains("scopes[].") && !key.contains("unreadable[]."));
    let mut written = Vec::new();
    for (name, value) in look.as_object().unwrap() {
        written.push(name.clone());
        if name == "processes" {
            for (key, value) in process.as_object().unwrap() {
                written.push(format!("processes[].{key}"));
                if key == "size_classes" {
                    let keys = value[0].as_object().unwrap().keys();
                    written.extend(keys.map(|class| format!("processes[].size_classes[].{class}")));
                }
            }
        }
        assert!(name != "unreadable" || value.is_array());
    }
    documented.sort();
    written.sort();
    assert_eq!(documented, written);
    // Filtered away.
    assert!(of_pid(&once(&runtime, &["--filter", "no such program"]), running.pid).is_none());
}

#[test]
fn what_hostile_hands_put_there_neither_hangs_nor_misleads_it() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (scratch, program, runtime) = scratch();
    let running = Running::start(&program, &["2"], &runtime);
    let own = std::process::id();
    let session = runtime.join("zm.1.f");
    let published = runtime.join("zmalloc");
    for directory in [&session, &published] {
        fs::create_dir(directory).unwrap();
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
    }
    // A fifo that nobody writes to, a device without end, a directory; each named for a process that lives.
    let fifo = std::ffi::CString::new(session.join(format!("{own}.9.segment")).to_str().unwrap()).unwrap();
    // SAFETY: a path that ends.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    symlink("/dev/zero", session.join(format!("{own}.8.segment"))).unwrap();
    fs::create_dir(session.join(format!("{own}.7.segment"))).unwrap();
    symlink("/dev/zero", published.join(format!("{own}.6.published"))).unwrap();
    fs::write(published.join(format!("{own}.5.published")), vec![0xff; 100_000]).unwrap();
    // The true segment of another process, under our name: it is not ours.
    let sessions = fs::read_dir(&runtime).unwrap().flatten();
    let segment = sessions
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("zm."))
        .flat_map(|entry| fs::read_dir(entry.path()).unwrap().flatten())
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{}.", running.pid)))
        .unwrap();
    fs::copy(segment.path(), session.join(format!("{own}.4.segment"))).unwrap();
    // A directory that others can write to, and one that is a link.
    let open = runtime.join("zm.1.e");
    fs::create_dir(&open).unwrap();
    fs::copy(segment.path(), open.join(format!("{own}.3.segment"))).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    symlink(&session, runtime.join("zm.1.d")).unwrap();
    let started = Instant::now();
    let look = once(&runtime, &[]);
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(of_pid(&look, u64::from(own)).is_none());
    assert!(of_pid(&look, running.pid).is_some());
    let unreadable = look["unreadable"].as_array().unwrap();
    let of_ours = |entry: &&Value| entry["path"].as_str().unwrap().starts_with(scratch.path("").to_str().unwrap());
    assert!(unreadable.iter().filter(of_ours).count() >= 3, "{unreadable:#?}");
}

#[test]
fn segments_of_the_dead_are_cleared_once_their_zm_is_gone() {
    let (_scratch, program, runtime) = scratch();
    let mut running = Running::start(&program, &["2", "orphan"], &runtime);
    let segments = || -> Vec<String> {
        let entries = fs::read_dir(&runtime).unwrap().flatten();
        let files = entries.flat_map(|entry| fs::read_dir(entry.path()).into_iter().flatten().flatten());
        let names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(".segment")).collect()
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while segments().len() < 2 {
        assert!(Instant::now() < deadline, "{:?}", segments());
        std::thread::sleep(Duration::from_millis(5));
    }
    // SAFETY: our child; then its program, which leaves a forked child behind.
    unsafe {
        libc::kill(running.zm.id() as i32, libc::SIGKILL);
        running.zm.wait().unwrap();
        libc::kill(running.pid as i32, libc::SIGKILL);
    }
    // The child's stays, and is shown; the other goes.
    let child = loop {
        let look = once(&runtime, &[]);
        if segments().len() == 1 {
            let pid: u64 = segments()[0].split('.').next().unwrap().parse().unwrap();
            let child = of_pid(&look, pid).unwrap();
            // It may be about to allocate.
            if child["used_bytes"].as_u64().unwrap() > 7 << 20 {
                break pid;
            }
        }
        assert!(Instant::now() < deadline, "{:?}", segments());
    };
    // SAFETY: the forked child, which waits for ever.
    unsafe { libc::kill(child as i32, libc::SIGKILL) };
    while !segments().is_empty() {
        once(&runtime, &[]);
        assert!(Instant::now() < deadline, "{:?}", segments());
    }
}

#[test]
fn wrong_usage_says_what_to_type() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_zm")).args(arguments).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = run(&["top"]);
    assert_eq!(code, Some(125));
    assert!(text.contains("zm top --once --json"), "{text}");
    for arguments in [&["top", "--json"][..], &["top", "--interval", "1"], &["top", "--sort", "colour"]] {
        let (code, text) = run(arguments);
        assert_eq!(code, Some(125), "{arguments:?}");
        assert!(!text.is_empty());
    }
    // A closed pipe is no error.
    let mut child = zm().args(["top", "--once", "--json", "--interval", "60"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    let _ = std::io::stderr().flush();
}
