//! The table: where it goes, and how the processes of a tree are put into rows.

mod common;
use common::{Ran, Scratch, has_name, run_with, zm};
use serde_json::Value;
use std::path::Path;
use std::process::Output;

/// Allocates as many bytes as it is told.
const ALLOCATES: &str = "#include <stdlib.h>\nint main(int c, char **v) { return !malloc(atoi(v[1])); }";

/// A shell that runs one program twenty times and another fifteen times.
fn tree(scratch: &Scratch) -> String {
    let (small, large) = (scratch.compile("small", ALLOCATES, &[]), scratch.compile("large", ALLOCATES, &[]));
    let (small, large) = (small.display(), large.display());
    format!(
        "for i in $(seq 20); do {small} $((i * 1000)); done; for i in $(seq 15); do {large} $((i * 100000)); done; true"
    )
}

fn of<'ran>(ran: &'ran Ran, name: &str) -> Vec<&'ran Value> {
    ran.processes().iter().filter(|process| has_name(process, name)).collect()
}

fn row<'text>(text: &'text str, start: &str) -> Vec<&'text str> {
    let line = text.lines().find(|line| line.trim_start().starts_with(start));
    line.unwrap_or_else(|| panic!("no {start:?} in {text}")).split_whitespace().collect()
}

#[test]
fn many_processes_of_a_program_share_a_row() {
    let scratch = Scratch::new();
    let script = tree(&scratch);
    let ran = run_with(&[], &["sh", "-c", &script], b"");
    let text = ran.stderr();
    for (name, count, allocations) in [("small", 20, "20"), ("large", 15, "15")] {
        assert_eq!(of(&ran, name).len(), count, "{:#}", ran.json);
        let cells = row(&text, &format!("{count}x  {name} "));
        // Peak RSS over live, and a rate, are of one process.
        assert_eq!((cells[10], cells[11], cells[14]), ("-", allocations, "-"), "{text}");
        let sum: u64 = of(&ran, name).iter().map(|process| process["allocated_bytes_total"].as_u64().unwrap()).sum();
        let unit = if name == "large" { (1 << 20) as f64 } else { 1024.0 };
        assert_eq!(cells[12], format!("{:.1}", sum as f64 / unit), "{text}");
        let most = of(&ran, name).iter().map(|process| process["used_peak_bytes"].as_u64().unwrap()).max().unwrap();
        assert_eq!(cells[4], format!("{:.1}", most as f64 / unit), "{text}");
    }
    // The program that was asked for has its own row.
    row(&text, &format!("{}  ", ran.json["program_pid"]));
    assert!(text.contains("--all shows each"), "{text}");
}

#[test]
fn every_process_has_a_row_on_request() {
    let scratch = Scratch::new();
    let script = tree(&scratch);
    let ran = run_with(&["--all"], &["sh", "-c", &script], b"");
    let text = ran.stderr();
    for process in ran.processes() {
        row(&text, &format!("{}  ", process["pid"]));
    }
    assert!(ran.processes().len() >= 36 && !text.contains("0x  ") && !text.contains("more:"), "{text}");
}

#[test]
fn few_processes_are_not_put_together() {
    let scratch = Scratch::new();
    let small = scratch.compile("small", ALLOCATES, &[]);
    let ran = run_with(&[], &["sh", "-c", &format!("for i in 1 2 3; do {} 100; done; true", small.display())], b"");
    assert_eq!(ran.stderr().lines().filter(|line| line.contains("  small  ")).count(), 3, "{}", ran.stderr());
}

#[test]
fn a_quiet_run_says_nothing_itself() {
    let ran = run_with(&["--quiet"], &["sh", "-c", "echo one >&2; exit 4"], b"");
    assert_eq!((ran.stderr().as_str(), ran.output.status.code()), ("one\n", Some(4)));
    assert_eq!(ran.json["exit_code"], 4);
    let Output { status, stderr, .. } = zm().args(["run", "-q", "--", "/no/such/program"]).output().unwrap();
    assert_eq!(status.code(), Some(127));
    assert!(String::from_utf8_lossy(&stderr).starts_with("zm: "), "an error is no table");
}

#[test]
fn the_table_goes_to_a_file_whole() {
    let scratch = Scratch::new();
    let file = scratch.path("table");
    std::fs::write(&file, "earlier").unwrap();
    let run = |file: &Path| {
        let mut command = zm();
        command.args(["run", "-o"]).arg(file).args(["--", "sh", "-c", "echo one >&2; exit 4"]);
        command.output().unwrap()
    };
    let output = run(&file);
    assert_eq!((output.stderr.as_slice(), output.status.code()), (&b"one\n"[..], Some(4)));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("zm: sh | forward | exit 4 | ") && text.ends_with("\n"), "{text}");
    // An open descriptor is written where it stands.
    let text = String::from_utf8(run(Path::new("/dev/stderr")).stderr).unwrap();
    assert!(text.starts_with("one\nzm: sh | "), "{text}");
    // A program that does not start leaves it as it was.
    let before = std::fs::read(&file).unwrap();
    let status = zm().args(["run", "-o"]).arg(&file).args(["--", "/no/such/program"]).output().unwrap().status;
    assert_eq!((status.code(), std::fs::read(&file).unwrap()), (Some(127), before));
}
