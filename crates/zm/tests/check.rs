//! The gate for CI: it opens and closes to the byte, over the whole tree, and says what grew.

mod common;
use common::{Scratch, zm};
use std::fs;
use std::path::Path;
use std::process::Output;

/// Allocates and keeps blocks of 1000 bytes, as many as it is told, after one of 1 MiB that it frees.
const KEEPS: &str = "
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    void *volatile large = malloc(1 << 20);
    free(large);
    for (int i = atoi(argv[1]); i > 0; i--) malloc(1000);
    return argc > 2 ? atoi(argv[2]) : 0;
}";
/// What is set aside for 1000 bytes, and for 1 MiB.
const BLOCK: u64 = 1000;
const LARGE: u64 = (1 << 20) + 4096 - 16;

struct Checked {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

fn check(options: &[&str], program: &[&str]) -> Checked {
    let Output { status, stdout, stderr } = zm().arg("check").args(options).arg("--").args(program).output().unwrap();
    Checked {
        status: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

#[test]
fn limits_hold_to_the_byte_over_the_tree() {
    let scratch = Scratch::new();
    let keeps = scratch.compile("keeps", KEEPS, &[]);
    let keeps = keeps.to_str().unwrap();
    for (option, value) in [
        ("--max-live-at-exit", 3 * BLOCK),
        ("--max-allocated", LARGE + 3 * BLOCK),
        ("--max-allocations", 4),
        ("--max-peak", LARGE),
        ("--max-peak-tree", LARGE),
    ] {
        let checked = check(&[option, &value.to_string()], &[keeps, "3"]);
        assert_eq!((checked.status, checked.stdout.as_str()), (Some(0), ""), "{option}: {}", checked.stderr);
        let checked = check(&[option, &(value - 1).to_string()], &[keeps, "3"]);
        assert_eq!(checked.status, Some(124), "{option}: {}", checked.stderr);
        assert!(checked.stderr.contains("FAILED") && checked.stderr.contains("keeps: "), "{}", checked.stderr);
    }
    // Two of them in a shell, which allocates, too: the sum of both is over, the largest is not.
    let both = format!("{keeps} 100; {keeps} 200; true");
    let live = 300 * BLOCK;
    let checked = check(&["--max-live-at-exit", &live.to_string(), "--max-peak", "2M"], &["sh", "-c", &both]);
    assert_eq!(checked.status, Some(124));
    assert!(
        checked.stderr.contains("1 of 2 held") && checked.stderr.contains("keeps: 293.0 KiB"),
        "{}",
        checked.stderr
    );
    let checked = check(&["--max-live-at-exit", "310000", "--max-peak", "2M"], &["sh", "-c", &both]);
    assert_eq!(checked.status, Some(0), "{}", checked.stderr);
}

#[test]
fn a_program_that_fails_is_what_is_passed_on() {
    let scratch = Scratch::new();
    let keeps = scratch.compile("keeps", KEEPS, &[]);
    let checked = check(&["--max-live-at-exit", "0"], &[keeps.to_str().unwrap(), "3", "7"]);
    assert_eq!(checked.status, Some(7));
    assert!(checked.stderr.contains("exit 7") && checked.stderr.contains("FAILED live at exit"), "{}", checked.stderr);
    assert_eq!(check(&["--max-peak", "1G"], &["no-such-program"]).status, Some(127));
    assert_eq!(check(&["--max-peak", "1G"], &["/"]).status, Some(126));
}

#[test]
fn a_baseline_is_held_within_the_tolerance() {
    let scratch = Scratch::new();
    let keeps = scratch.compile("keeps", KEEPS, &[]);
    let (keeps, base) = (keeps.to_str().unwrap(), scratch.path("base.json"));
    let base = base.to_str().unwrap();
    assert_eq!(check(&["--max-peak", "2M", "--export-json", base], &[keeps, "100"]).status, Some(0));
    assert_eq!(check(&["--baseline", base], &[keeps, "100"]).status, Some(0));
    assert_eq!(check(&["--baseline", base], &[keeps, "99"]).status, Some(0));

    let checked = check(&["--baseline", base, "--tolerance", "4.9%"], &[keeps, "105"]);
    assert_eq!(checked.status, Some(124), "{}", checked.stderr);
    for line in [
        "2 of 4 held",
        "FAILED live at exit: 102.5 KiB (105,000 bytes), 97.7 KiB (100,000 bytes) in the baseline, +5.0 %",
        "keeps: 97.7 KiB to 102.5 KiB, 4.9 KiB more; in blocks of 897 to 1,024 B: +4.9 KiB",
    ] {
        assert!(checked.stderr.contains(line), "{line}: {}", checked.stderr);
    }
    assert_eq!(check(&["--baseline", base, "--tolerance", "5%"], &[keeps, "105"]).status, Some(0));

    // What `zm run` writes will do.
    zm().args(["run", "-q", "--export-json", base, "--", keeps, "1"]).status().unwrap();
    assert_eq!(check(&["--baseline", base], &[keeps, "2"]).status, Some(124));
}

#[test]
fn others_read_the_result() {
    let scratch = Scratch::new();
    let keeps = scratch.compile("keeps", KEEPS, &[]);
    let keeps = keeps.to_str().unwrap();
    let checked = check(&["--max-live-at-exit", "0", "--max-peak", "2M", "--format", "github"], &[keeps, "1"]);
    assert_eq!(checked.status, Some(124));
    let annotations: Vec<&str> = checked.stderr.lines().filter(|line| line.starts_with("::")).collect();
    assert_eq!(annotations.len(), 1, "{}", checked.stderr);
    let start = "::error title=zm check keeps%3A live at exit::live at exit: 1000 bytes, at most 0 bytes";
    assert!(
        annotations[0].starts_with(start.replace("1000", "1,000").as_str()) || annotations[0].starts_with(start),
        "{}",
        annotations[0]
    );

    let file = scratch.path("heap.xml");
    let options = ["--max-live-at-exit", "0", "--max-peak", "2M", "--format", "junit", "-o", file.to_str().unwrap()];
    assert_eq!(check(&options, &[keeps, "1"]).status, Some(124));
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.contains("<testsuite name=\"zm check keeps\" tests=\"3\" failures=\"1\""), "{page}");
    let checked = check(&["--max-peak", "2M", "-o", file.to_str().unwrap()], &[keeps, "1"]);
    assert_eq!((checked.status, checked.stderr.as_str()), (Some(0), ""));
    assert!(fs::read_to_string(&file).unwrap().contains("1 of 1 held"));
}

#[test]
fn what_cannot_be_counted_does_not_pass() {
    let scratch = Scratch::new();
    let fixed = scratch.compile("static", "int main(void) { return 0; }", &["-static"]);
    let checked = check(&["--max-peak", "1G"], &[fixed.to_str().unwrap()]);
    assert_eq!(checked.status, Some(125));
    assert!(
        checked.stderr.contains("nothing can be checked: ") && checked.stderr.contains("statically linked"),
        "{}",
        checked.stderr
    );
    // `env` was counted until it became another.
    let checked = check(&["--max-peak", "1G"], &["env", "-u", "LD_PRELOAD", "true"]);
    assert_eq!(checked.status, Some(125), "{}", checked.stderr);
    assert!(checked.stderr.starts_with("zm: nothing was checked: env "), "{}", checked.stderr);
    // Of the tree, one that is not counted is named.
    let checked = check(&["--max-peak", "1G"], &["sh", "-c", "env -u LD_PRELOAD true; true"]);
    assert_eq!(checked.status, Some(0), "{}", checked.stderr);
    assert!(checked.stderr.contains("not counted: env "), "{}", checked.stderr);
}

#[test]
fn bad_input_is_explained() {
    let scratch = Scratch::new();
    let (broken, other) = (scratch.path("broken.json"), scratch.path("other.json"));
    fs::write(&broken, "{\"schema\": \"zmalloc.run.v1\", \"processes\": 7}").unwrap();
    fs::write(&other, "{\"schema\": \"zmalloc.compare.v1\"}").unwrap();
    let path = |path: &Path| path.display().to_string();
    for (options, text) in [
        (vec![], "For example: zm check --max-peak 300M -- ./test-suite"),
        (vec!["--max-peak".into(), "3MB".into()], "`3MB` is no size: say 300M, 1.5G or 4096"),
        (
            vec!["--max-peak".into(), "1M".into(), "--tolerance".into(), "many%".into()],
            "is no tolerance: say 5% or 64K",
        ),
        (vec!["--max-peak".into(), "1M".into(), "--format".into(), "junit".into()], "--output <FILE>"),
        (
            vec!["--max-peak".into(), "1M".into(), "--format".into(), "xml".into()],
            "[possible values: text, github, junit]",
        ),
        (vec!["--baseline".into(), "/no/such.json".into()], "/no/such.json: cannot be read: No such file"),
        (
            vec!["--baseline".into(), path(&broken)],
            "not a file that `zm run --export-json` or `zm check --export-json` wrote",
        ),
        (vec!["--baseline".into(), path(&other)], "its schema is `zmalloc.compare.v1`"),
        (vec!["--max-peak".into(), "1M".into(), "-b".into(), "nomalloc".into()], "there is no backend `nomalloc`"),
    ] {
        let options: Vec<&str> = options.iter().map(|option: &String| option.as_str()).collect();
        let checked = check(&options, &["echo", "ran"]);
        assert_eq!((checked.status, checked.stdout.as_str()), (Some(125), ""), "{options:?}");
        assert!(checked.stderr.contains(text), "{options:?}: {}", checked.stderr);
    }
}
