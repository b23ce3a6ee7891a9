//! The black box, whoever is killed; the timeline; and what a program publishes, in a run's report.

mod common;
use common::{Scratch, run_with, zm};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn show(file: &Path) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = zm().arg("show").arg(file).output().unwrap();
    (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

fn json(file: &Path) -> Value {
    let output = zm().args(["show", "--json"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

const GROWING: &str = "\
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {
    for (;;) { memset(malloc(1 << 20), 1, 1 << 20); usleep(10000); }
}
";

#[test]
fn the_box_survives_a_kill_of_zm_and_the_program_at_once() {
    let scratch = Scratch::new();
    let program = scratch.compile("growing", GROWING, &[]);
    let file = scratch.path("box");
    let mut zm = zm()
        .args(["run", "-q", "--interval", "20", "--record"])
        .args([&file, Path::new("--"), &program])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let used = |look: &Value| look["samples"].as_array().and_then(|samples| samples.last()?["used_bytes"].as_u64());
    // Also readable while it goes on.
    let running = loop {
        std::thread::sleep(Duration::from_millis(20));
        let (code, ..) = show(&file);
        if code == Some(0) {
            let look = json(&file);
            if used(&look) > Some(5 << 20) {
                break look;
            }
        }
        assert!(Instant::now() < deadline);
    };
    assert_eq!(
        (running["schema"].as_str(), running["verdict"]["word"].as_str()),
        (Some("zmalloc.record.v1"), Some("running"))
    );
    let pid = running["start"]["program_pid"].as_i64().unwrap() as i32;
    zm.kill().unwrap();
    // SAFETY: the program of that zm.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    zm.wait().unwrap();
    let look = json(&file);
    assert!(look["end"].is_null() && used(&look) >= used(&running));
    assert_ne!(look["verdict"]["word"], "running");
    let last = look["samples"].as_array().unwrap().last().unwrap();
    assert_eq!(last["processes"][0]["program"], "growing");
    assert_eq!(last["size_classes"][0]["from_bytes"], (1 << 20) + 1);
    let (_, text, _) = show(&file);
    assert!(text.contains("end: not seen\n") && text.contains("growing") && text.contains("1 to 1.25 MiB"), "{text}");
}

#[test]
fn a_program_that_somebody_kills_is_no_oom_kill() {
    let scratch = Scratch::new();
    let file = scratch.path("box");
    for (script, end, word) in
        [("kill -9 $$", "SIGKILL after", "no sign of one"), ("exit 3", "exit 3 after", "OOM kill: no\n")]
    {
        let output = zm().args(["run", "-q", "--record"]).arg(&file).args(["--", "sh", "-c", script]).output().unwrap();
        assert!(!output.status.success());
        let (code, text, _) = show(&file);
        assert_eq!(code, Some(0));
        assert!(text.contains(end) && text.contains(word), "{text}");
    }
}

#[test]
fn a_file_that_is_no_recording_is_neither_read_nor_written_over() {
    let scratch = Scratch::new();
    let file = scratch.path("precious");
    std::fs::write(&file, "work of years").unwrap();
    let output = zm().args(["run", "--record"]).arg(&file).args(["--", "echo", "ran"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(125), &b""[..]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no recording; name another file"), "{output:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"work of years");
    let (code, _, text) = show(&file);
    assert_eq!(code, Some(125));
    assert!(text.contains("not a recording of `zm run --record`"), "{text}");
    // One that nobody writes to does not hang it.
    let fifo = scratch.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert_eq!(show(&fifo).0, Some(125));
    assert_eq!(show(Path::new("/no/such/file")).0, Some(125));
}

#[test]
fn a_timeline_shows_what_was_live_when() {
    let scratch = Scratch::new();
    let program = scratch.compile(
        "steps",
        "#include <stdlib.h>\n#include <unistd.h>\nint main(void) { usleep(300000); void *p = malloc(10 << 20); \
         usleep(300000); free(p); usleep(300000); return 0; }",
        &[],
    );
    let ran = run_with(&["--interval", "20"], &[program], b"");
    let samples = ran.json["timeline"]["samples"].as_array().unwrap();
    let used: Vec<u64> = samples.iter().map(|sample| sample["used_bytes"].as_u64().unwrap()).collect();
    let most = used.iter().max().unwrap();
    assert!((10 << 20..11 << 20).contains(most), "{used:?}");
    assert!(used[1] < 1 << 20 && *used.last().unwrap() < 1 << 20, "{used:?}");
    assert!(ran.stderr().contains("live over time, all together: at most 10.0 MiB"), "{}", ran.stderr());
    assert!(ran.stderr().contains('█'));
    assert!(run_with(&[], &["true"], b"").json["timeline"].is_null());
}

/// A memory cgroup of 48 MiB, where this user may make one.
struct Group(std::path::PathBuf);

impl Group {
    fn new() -> Option<Group> {
        let (v1, v2) = (Path::new("/sys/fs/cgroup/memory"), Path::new("/sys/fs/cgroup"));
        let name = format!("zm-test-{}", std::process::id());
        let (path, limit, swap) = if v1.join("memory.limit_in_bytes").exists() {
            (v1.join(name), "memory.limit_in_bytes", ("memory.swappiness", "0"))
        } else {
            (v2.join(name), "memory.max", ("memory.swap.max", "0"))
        };
        std::fs::create_dir(&path).ok()?;
        let group = Group(path);
        std::fs::write(group.0.join(limit), "50331648").ok()?;
        let _ = std::fs::write(group.0.join(swap.0), swap.1);
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its last process may be on its way out.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn an_oom_kill_is_told_from_others() {
    let Some(group) = Group::new() else {
        eprintln!("not run: no memory cgroup can be made here");
        return;
    };
    let scratch = Scratch::new();
    let program = scratch.compile("growing", GROWING, &[]);
    let file = scratch.path("box");
    let script = "echo $$ >\"$1/cgroup.procs\" && exec \"$2\" run -q --interval 50 --record \"$3\" -- \"$4\"";
    let status = Command::new("sh")
        .args(["-c", script, "sh"])
        .args([&group.0, Path::new(env!("CARGO_BIN_EXE_zm")), &file, &program])
        .status()
        .unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));
    let look = json(&file);
    let word = look["verdict"]["word"].as_str().unwrap();
    // As a rule the largest is killed; it may be zm as well, in another turn.
    if look["end"].is_null() {
        assert_eq!(word, "likely_oom_kill", "{look:#}");
    } else {
        assert_eq!((word, look["end"]["signal"].as_i64()), ("oom_kill", Some(9)), "{:#}", look["verdict"]);
        assert_eq!(look["start"]["memory_limit_bytes"], 50_331_648);
        let (_, text, _) = show(&file);
        assert!(text.contains("OOM kill: yes") && text.contains("  known: ") && text.contains("  guessed: "), "{text}");
    }
}
