//! A program on several allocators: what is measured is the program's, what breaks is found, a server is driven.

#![cfg(feature = "mimalloc")]

mod common;
use common::{Scratch, sessions_of, zm};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Allocates as many bytes as its variable says, reads its input, and says how long that was.
const READER: &str = "
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
    const char *bytes = getenv(\"READER_BYTES\");
    size_t size = bytes ? atol(bytes) : 1 << 20;
    char *block = malloc(size), part[4096];
    memset(block, 1, size);
    long all = 0, count;
    while ((count = read(0, part, sizeof part)) > 0) all += count;
    char text[40];
    int length = snprintf(text, sizeof text, \"%ld\\n\", all);
    write(1, text, length);
    return 0;
}";

struct Compared {
    status: Option<i32>,
    stdout: String,
    stderr: String,
    json: Value,
}

impl Compared {
    fn row(&self, name: &str) -> &Value {
        let rows = self.json["rows"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {:#}", self.json))
    }

    fn median(&self, row: &str, figure: &str) -> f64 {
        let figures = self.row(row)["figures"].as_array().unwrap();
        let figure = figures.iter().find(|entry| entry["name"] == figure).unwrap();
        figure["spread"]["median"].as_f64().unwrap_or_else(|| panic!("{figure}"))
    }

    fn broken(&self, row: &str) -> &str {
        self.row(row)["broken"].as_str().unwrap_or_else(|| panic!("{row} is whole: {}", self.stdout))
    }
}

fn compare<S: AsRef<OsStr>>(options: &[&str], program: &[S], input: &[u8]) -> Compared {
    let scratch = Scratch::new();
    let file = scratch.path("compare.json");
    let mut child = zm()
        .arg("compare")
        .args(options)
        .arg("--export-json")
        .arg(&file)
        .arg("--")
        .args(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let pid = child.id();
    let Output { status, stdout, stderr } = std::thread::scope(|scope| {
        scope.spawn(move || _ = stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    assert!(sessions_of(pid).is_empty());
    Compared {
        status: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
        json: fs::read(&file).map_or(Value::Null, |text| serde_json::from_slice(&text).unwrap()),
    }
}

#[test]
fn every_row_is_run_in_every_round_with_the_same_input() {
    let scratch = Scratch::new();
    let reader = scratch.compile("reader", READER, &[]);
    let compared = compare(
        &["-n", "3", "--warmup", "1", "-b", "mimalloc,libc", "--row", "large=mimalloc READER_BYTES=8388608"],
        &[&reader],
        &vec![b'x'; 100_000],
    );
    assert_eq!((compared.status, compared.stderr.as_str()), (Some(0), ""), "{}", compared.stdout);
    let names: Vec<&str> =
        compared.json["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bare", "own", "mimalloc", "libc", "large"]);
    for name in names {
        assert_eq!(compared.row(name)["samples"].as_array().unwrap().len(), 3, "{name}");
        assert_eq!(compared.row(name)["broken"], Value::Null, "{}", compared.stdout);
        assert!(compared.median(name, "wall_seconds") > 0.0 && compared.median(name, "page_faults") > 50.0);
    }
    // What glibc sets aside for a block of this size, and for nothing else.
    assert_eq!(compared.median("own", "peak_live_bytes"), ((1 << 20) + 4096 - 16) as f64, "{}", compared.stdout);
    let large = compared.median("large", "peak_live_bytes");
    assert!((8388608.0..9e6).contains(&large), "{large}");
    let [own, large] = ["own", "large"].map(|row| compared.median(row, "peak_rss_bytes"));
    assert!(own > 1e6 && large > own + 6e6, "{own} {large}");
    assert!(compared.median("own", "rss_after_bytes") > 1e6);
    assert!(compared.stdout.contains("\nratios to own: less is better\n"), "{}", compared.stdout);
    assert!(compared.stdout.contains("so few rounds tell no difference from noise: take -n "), "{}", compared.stdout);
}

#[test]
fn a_difference_is_told_from_noise() {
    let scratch = Scratch::new();
    let reader = scratch.compile("reader", READER, &[]);
    let compared = compare(&["-n", "8", "-b", "libc", "--row", "small=READER_BYTES=1000"], &[&reader], b"");
    let verdict = |row: &str, figure: &str| {
        let figures = compared.row(row)["figures"].as_array().unwrap();
        figures.iter().find(|entry| entry["name"] == figure).unwrap()["to_own"]["verdict"].clone()
    };
    assert_eq!(verdict("small", "peak_live_bytes"), "better", "{}", compared.stdout);
    assert_eq!(verdict("libc", "peak_live_bytes"), "same", "{}", compared.stdout);
    assert_eq!(verdict("small", "peak_rss_bytes"), "better", "{}", compared.stdout);
}

#[test]
fn what_breaks_is_found_and_said() {
    let scratch = Scratch::new();
    let usable = scratch.compile(
        "usable",
        "#include <malloc.h>\n#include <stdlib.h>\n#include <stdio.h>\n\
         int main(void) { printf(\"%zu\\n\", malloc_usable_size(malloc(1000))); return 0; }",
        &[],
    );
    let compared = compare(&["-n", "2", "-b", "mimalloc"], &[&usable], b"");
    assert_eq!(compared.status, Some(0));
    assert_eq!(compared.broken("mimalloc"), "writes something else in 3 of 3 runs");

    // Objects that are bound to the C library at once see its `free`, whatever is preloaded.
    let library = scratch.compile(
        "libdeep.so",
        "#include <stdlib.h>\nvoid give_back(void *p) { free(p); }",
        &["-shared", "-fPIC"],
    );
    let deep = scratch.compile(
        "deep",
        &format!(
            "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stdlib.h>\nint main(void) {{\n\
             void *h = dlopen(\"{}\", RTLD_NOW | RTLD_DEEPBIND); if (!h) return 3;\n\
             ((void (*)(void *)) dlsym(h, \"give_back\"))(malloc(100)); return 0; }}",
            library.display()
        ),
        &[],
    );
    let compared = compare(&["-n", "1", "-b", "mimalloc"], &[&deep], b"");
    let why = compared.broken("mimalloc");
    assert!(why.starts_with("ends with SIG") && why.contains(", on its own allocator with exit 0"), "{why}");
    assert!(compared.stdout.contains(&format!("breaks under mimalloc (built in): {why}")), "{}", compared.stdout);
    assert!(compared.stdout.contains("every other allocator breaks the program"), "{}", compared.stdout);

    // One that waits for ever is not waited for.
    let waits = scratch.compile(
        "waits",
        "#include <malloc.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
         int main(void) { while (malloc_usable_size(malloc(1000)) != 1000) pause(); return 0; }",
        &[],
    );
    let compared = compare(&["-n", "1", "-b", "mimalloc"], &[&waits], b"");
    assert!(compared.broken("mimalloc").starts_with("did not end within 10 s"), "{}", compared.stdout);
}

#[test]
fn what_differs_by_itself_is_not_held_against_an_allocator() {
    let compared = compare(&["-n", "2", "-b", "mimalloc"], &["sh", "-c", "echo $$; exit 3"], b"");
    assert_eq!(compared.row("mimalloc")["broken"], Value::Null);
    assert_eq!(compared.status, Some(0));
    assert!(compared.stdout.contains("its output differs from run to run"), "{}", compared.stdout);
    assert!(compared.stdout.contains("on its own allocator, too, the program ends with exit 3"), "{}", compared.stdout);
}

/// A server on a local socket: each visitor makes it take a block; all but one in eight are given back at the end of a
/// visit of 8.
const SERVER: &str = "
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
static void end(int s) { exit(0); }
int main(int argc, char **argv) {
    signal(SIGTERM, end);
    struct sockaddr_un at = { AF_UNIX };
    strcpy(at.sun_path, argv[1]);
    unlink(at.sun_path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), count = 0;
    bind(listener, (void *) &at, sizeof at);
    usleep(50000);
    listen(listener, 100);
    static char *blocks[8];
    for (;;) {
        int visitor = accept(listener, 0, 0);
        blocks[count++ % 8] = memset(malloc(1 << 20), 1, 1 << 20);
        if (count % 8 == 0) for (int i = 1; i < 8; i++) free(blocks[i]);
        close(visitor);
    }
}";

/// Visits it as often as it is told.
const VISITOR: &str = "
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct sockaddr_un at = { AF_UNIX };
    strcpy(at.sun_path, argv[1]);
    for (int i = atoi(argv[2]); i > 0; i--) {
        char byte;
        int to = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(to, (void *) &at, sizeof at)) return 1;
        read(to, &byte, 1);
        close(to);
    }
    return 0;
}";

fn server(scratch: &Scratch) -> (Vec<String>, String) {
    let (server, visitor) = (scratch.compile("server", SERVER, &[]), scratch.compile("visitor", VISITOR, &[]));
    // A socket's path is short.
    let socket = format!("/tmp/zm-compare-{}-{}", std::process::id(), scratch.path("").as_os_str().len());
    (vec![server.display().to_string(), socket.clone()], format!("{} {socket}", visitor.display()))
}

#[test]
fn a_server_is_loaded_and_looked_at_when_idle() {
    let scratch = Scratch::new();
    let (program, visit) = server(&scratch);
    let log = scratch.path("log");
    let load = format!("{visit} 16 && echo visited >>{}", log.display());
    let compared =
        compare(&["-n", "2", "--warmup", "1", "-b", "mimalloc", "--load", &load, "--idle", "0.1"], &program, b"");
    let _ = fs::remove_file(&program[1]);
    assert_eq!((compared.status, compared.stderr.as_str()), (Some(0), ""), "{}", compared.stdout);
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 9);
    for row in ["own", "mimalloc"] {
        assert_eq!(compared.row(row)["broken"], Value::Null, "{}", compared.stdout);
        let (peak, after) = (compared.median(row, "peak_live_bytes"), compared.median(row, "rss_after_bytes"));
        // 1 block of the first 8, and then all 8 of the second at once.
        assert!(((9 << 20) as f64..(10 << 20) as f64).contains(&peak), "{row}: {peak}");
        // 2 blocks live on.
        assert!(after > (2 << 20) as f64, "{row}: {after}");
        let fragmentation = compared.median(row, "fragmentation_ratio");
        assert!((fragmentation / (after / (2 << 20) as f64) - 1.0).abs() < 0.2, "{row}: {fragmentation} of {after}");
        assert!(compared.median(row, "wall_seconds") > 0.0);
    }
    assert!(compared.median("bare", "rss_after_bytes") > (2 << 20) as f64);
}

#[test]
fn a_load_that_fails_and_a_server_that_leaves_are_said() {
    let scratch = Scratch::new();
    let (program, visit) = server(&scratch);
    let compared = compare(&["-n", "1", "-b", "mimalloc", "--load", "echo no luck >&2; exit 7"], &program, b"");
    assert_eq!(compared.status, Some(125));
    let text = "zm: on its own allocator the program lets the load fail (exit status: 7): no luck";
    assert!(compared.stderr.starts_with(text), "{}", compared.stderr);

    let compared = compare(&["-n", "1", "-b", "mimalloc", "--load", &visit], &["true"], b"");
    assert_eq!(compared.status, Some(125));
    assert!(compared.stderr.contains("the program ended before the load was over"), "{}", compared.stderr);
    let _ = fs::remove_file(&program[1]);

    // Ready by a command that never says so would take long; by one that says so at once there is nobody to visit.
    let options = ["-n", "1", "-b", "mimalloc", "--ready", "true", "--load", "true", "--idle", "0"];
    let compared = compare(&options, &["sleep", "100"], b"");
    assert_eq!(compared.status, Some(0), "{}", compared.stderr);
}

#[test]
fn what_cannot_be_compared_is_refused_before_it_runs() {
    let scratch = Scratch::new();
    let mark = scratch.path("mark");
    let touch =
        format!("#include <fcntl.h>\nint main(void) {{ return open(\"{}\", O_CREAT, 0600) < 0; }}", mark.display());
    let fixed = scratch.compile("static", &touch, &["-static"]);
    let own = scratch.compile(
        "own_malloc",
        &format!("#include <stddef.h>\nvoid *malloc(size_t s) {{ return NULL; }}\n{touch}"),
        &["-rdynamic"],
    );
    for (program, why) in [(&fixed, "it is statically linked"), (&own, "it defines malloc itself")] {
        let compared = compare(&["-n", "1"], &[program], b"");
        assert_eq!((compared.status, compared.stdout.as_str()), (Some(125), ""));
        assert!(
            compared.stderr.contains("cannot be given another allocator") && compared.stderr.contains(why),
            "{}",
            compared.stderr
        );
        assert!(!mark.exists());
    }
}

#[test]
fn bad_input_is_explained() {
    for (options, status, text) in [
        (&["-n", "0", "--", "true"][..], 125, "0 is not in 1..=200"),
        (&["-b", "nomalloc", "--", "true"], 125, "there is no backend `nomalloc`"),
        (&["--row", "x", "--", "true"], 125, "it has to be 'NAME=[BACKEND] VARIABLE=VALUE ...'"),
        (&["--row", "x=nomalloc A=1", "--", "true"], 125, "there is no backend `nomalloc`"),
        (&["-b", "libc", "--row", "libc=A=1", "--", "true"], 125, "there are two rows `libc`"),
        (&["-b", "forward", "--", "true"], 125, "there is no other allocator here to compare with"),
        (&["--idle", "1", "--", "true"], 125, "--load"),
        (&["--load", "x", "--idle", "x", "--", "true"], 125, "seconds, from 0 to 86400"),
        (&["--export-csv", "/no/such/a.csv", "--", "true"], 125, "cannot be written"),
        (&["-n", "1", "--", "no-such-program"], 127, "no-such-program: not found in PATH"),
        (&["-n", "1", "--", "/"], 126, "is a directory"),
        (&[], 125, "For example: zm compare -- python3 job.py"),
    ] {
        let Output { status: ended, stdout, stderr } = zm().arg("compare").args(options).output().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        assert_eq!((ended.code(), stdout.as_slice()), (Some(status), &b""[..]), "{options:?}: {stderr}");
        assert!(stderr.contains(text), "{options:?}: {stderr}");
    }
}

#[test]
fn every_form_is_written() {
    let scratch = Scratch::new();
    let [csv, markdown] = ["a.csv", "a.md"].map(|name| scratch.path(name).display().to_string());
    let options = ["-n", "2", "-b", "mimalloc", "--export-csv", &csv, "--export-markdown", &markdown];
    let compared = compare(&options, &["true"], b"");
    let csv = fs::read_to_string(csv).unwrap();
    assert_eq!(csv.lines().count(), 1 + 3 * 7, "{csv}");
    let median = compared.median("own", "page_faults");
    assert!(csv.contains(&format!("own,forward,,page_faults,{median},")), "{csv}");
    let markdown = fs::read_to_string(markdown).unwrap();
    assert!(markdown.starts_with("**true** under `zm compare`: 2 rounds after 1 to warm up"), "{markdown}");
}

#[test]
fn a_signal_stops_it_and_nothing_stays() {
    let scratch = Scratch::new();
    let mark = scratch.path("started");
    let script = format!("touch {}; exec sleep 100", mark.display());
    let mut child = zm()
        .args(["compare", "--", "sh", "-c", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&mark);
    // SAFETY: our child, not yet waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    assert!(sessions_of(child.id()).is_empty());
}

fn wait_for(file: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !file.exists() {
        assert!(Instant::now() < deadline, "{} does not appear", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn progress_is_shown_in_a_terminal_only() {
    let command = format!("{} compare -n 1 -b mimalloc -- sleep 0.2 >/dev/null", env!("CARGO_BIN_EXE_zm"));
    let Ok(output) = Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output() else {
        return;
    };
    let screen = String::from_utf8_lossy(&output.stdout);
    assert!(screen.contains("/6 mimalloc, "), "{screen:?}");
}
