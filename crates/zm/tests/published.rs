//! A program that links the library and publishes: in `zm top` by itself and under `zm run`, and in the run's report.

mod common;
use common::{Scratch, zm};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use zmalloc::backend::Libc;
use zmalloc::ledger::SizeClasses;
use zmalloc::{Scope, Zmalloc};

#[global_allocator]
static HEAP: Zmalloc<Libc, SizeClasses> = Zmalloc::new();

/// The program: one of these tests, run again by the others.
#[test]
#[ignore = "run by the others"]
fn program() {
    HEAP.publish().unwrap();
    let tenants = Scope::new("tenants");
    let tenant = tenants.child("tenant-42");
    let block = tenant.run(|| vec![1u8; 3_000_000]);
    // Until the copy has it.
    std::thread::sleep(Duration::from_millis(300));
    println!("ready {}", std::process::id());
    for line in std::io::stdin().lines() {
        if line.unwrap() != "limit" {
            break;
        }
        println!("limit {:?}", zmalloc::budget::limit_bytes_hard());
    }
    std::mem::forget(block);
    // Its end finds them as they are.
    std::mem::forget((tenants, tenant));
}

fn program_arguments() -> [std::ffi::OsString; 5] {
    let own = std::env::current_exe().unwrap().into_os_string();
    [own, "--exact".into(), "program".into(), "--ignored".into(), "--nocapture".into()]
}

fn pid_of(child: &mut Child) -> u64 {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let line = lines.find(|line| line.as_ref().unwrap().starts_with("ready ")).unwrap().unwrap();
    line["ready ".len()..].parse().unwrap()
}

fn row(runtime: &Path, pid: u64) -> Option<Value> {
    let output =
        zm().args(["top", "--once", "--json", "--interval", "60"]).env("XDG_RUNTIME_DIR", runtime).output().unwrap();
    let look: Value = serde_json::from_slice(&output.stdout).unwrap();
    look["processes"].as_array().unwrap().iter().find(|process| process["pid"] == pid).cloned()
}

fn start(command: &mut Command, runtime: &OsStr) -> Child {
    command.env("XDG_RUNTIME_DIR", runtime).env_remove("ZMALLOC_SESSION");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn has_its_scopes(row: &Value) {
    let paths: Vec<&str> =
        row["scopes"].as_array().unwrap().iter().map(|scope| scope["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["tenants", "tenants/tenant-42"]);
    assert!(row["scopes"][1]["own_used_bytes"].as_u64().unwrap() >= 3_000_000);
    assert_eq!(row["scopes"][1]["parent"], 0);
    assert!(row["used_bytes"].as_u64().unwrap() >= 3_000_000);
    let classes = row["size_classes"].as_array().unwrap();
    assert!(classes.iter().any(|class| class["live_bytes"].as_u64().unwrap() >= 3_000_000));
}

#[test]
fn by_itself_it_is_shown_while_it_runs_and_cleared_when_it_was_killed() {
    let scratch = Scratch::new();
    let runtime = scratch.path("runtime");
    fs::create_dir(&runtime).unwrap();
    let [own, arguments @ ..] = program_arguments();
    let mut child = start(Command::new(own).args(arguments), runtime.as_os_str());
    let pid = pid_of(&mut child);
    assert_eq!(pid, u64::from(child.id()));
    let shown = row(&runtime, pid).unwrap();
    assert_eq!((shown["source"].as_str(), shown["scopes_total"].as_u64()), (Some("published"), Some(2)));
    assert!(shown["mapped_bytes"].is_null() && shown["malloc_used_bytes"].is_null() && shown["damaged"].is_null());
    assert!(shown["age_seconds"].as_f64().unwrap() < 20.0);
    has_its_scopes(&shown);
    child.kill().unwrap();
    child.wait().unwrap();
    let files = || fs::read_dir(runtime.join("zmalloc")).unwrap().count();
    assert_eq!(files(), 1, "the last figures outlive it");
    let deadline = Instant::now() + Duration::from_secs(20);
    while files() > 0 {
        assert!(row(&runtime, pid).is_none());
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn under_zm_run_both_are_shown_and_the_report_has_what_it_said_last() {
    let scratch = Scratch::new();
    let runtime = scratch.path("runtime");
    fs::create_dir(&runtime).unwrap();
    let json = scratch.path("run.json");
    let mut child =
        start(zm().args(["run", "--export-json"]).arg(&json).arg("--").args(program_arguments()), runtime.as_os_str());
    let pid = pid_of(&mut child);
    let shown = row(&runtime, pid).unwrap();
    assert_eq!(shown["source"], "both");
    has_its_scopes(&shown);
    // Over the C library's allocator the one sees what the other does.
    assert!(shown["malloc_used_bytes"].as_u64().unwrap() >= shown["used_bytes"].as_u64().unwrap() - 100_000);
    assert!(shown["mapped_bytes"].is_u64());
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let processes = report["processes"].as_array().unwrap();
    let published = &processes.iter().find(|process| process["pid"] == pid).unwrap()["published"];
    assert_eq!((published["backend"].as_str(), published["at_exit"].as_bool()), (Some("libc"), Some(true)));
    has_its_scopes(published);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(", by itself: ") && text.contains("tenants/tenant-42"), "{text}");
    // Nothing is left of either.
    let left: Vec<_> = fs::read_dir(&runtime).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn it_is_given_a_limit_from_outside_and_purged() {
    let scratch = Scratch::new();
    let runtime = scratch.path("runtime");
    fs::create_dir(&runtime).unwrap();
    let [own, arguments @ ..] = program_arguments();
    let mut child = start(Command::new(own).args(arguments), runtime.as_os_str());
    let pid = pid_of(&mut child).to_string();
    let say = |arguments: &[&str]| {
        let output = zm().args(arguments).env("XDG_RUNTIME_DIR", &runtime).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (setting, limit) in [("limit=50M", "Some(52428800)"), ("limit=none", "None")] {
        assert_eq!(say(&["set", &pid, setting]), (Some(0), format!("zm: process {pid}: the limit is set\n")));
        writeln!(child.stdin.as_mut().unwrap(), "limit").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), format!("limit {limit}"));
    }
    assert_eq!(say(&["purge", &pid]), (Some(0), format!("zm: process {pid}: unused memory was given back\n")));
    let (code, text) = say(&["set", &pid, "record=box"]);
    assert!(code == Some(125) && text.contains("has no `zm run` above it that could record"), "{text}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let (code, text) = say(&["purge", &pid]);
    assert!(code == Some(125) && text.contains(&format!("there is no process {pid}")), "{text}");
}
