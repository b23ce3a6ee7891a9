//! What cannot be counted runs all the same, and is said.

mod common;
use common::{Scratch, run};

const ALLOCATES: &str = "#include <stdlib.h>\n#include <stdio.h>\nint main(void) { char *p = malloc(100000); p[0] = 1; puts(\"ran\"); return 6; }";

#[test]
fn a_static_program() {
    let scratch = Scratch::new();
    let program = scratch.compile("static", ALLOCATES, &["-static"]);
    let ran = run(&[&program]);
    assert_eq!((ran.stdout().as_str(), ran.output.status.code()), ("ran\n", Some(6)));
    assert_eq!(ran.reasons(), ["static"]);
    assert!(ran.processes().is_empty());
    assert!(ran.stderr().contains("not counted: static is statically linked"), "{}", ran.stderr());

    // Through a script, whose interpreter it is.
    let script = scratch.script("script", &format!("#!{}\n", program.display()));
    let ran = run(&[&script]);
    assert_eq!((ran.stdout().as_str(), ran.reasons()), ("ran\n", vec!["static"]));
}

#[test]
fn a_program_with_its_own_malloc() {
    let scratch = Scratch::new();
    let source = format!(
        "{ALLOCATES}\nstatic char heap[1 << 22]; static size_t used;\n\
         void *malloc(size_t n) {{ void *p = heap + used; used += (n + 15) & ~15ul; return p; }}\n\
         void free(void *p) {{}}\n\
         void *calloc(size_t n, size_t s) {{ return malloc(n * s); }}\n\
         void *realloc(void *p, size_t n) {{ return malloc(n); }}\n"
    );
    let program = scratch.compile("own", &source, &["-rdynamic"]);
    let ran = run(&[&program]);
    assert_eq!((ran.stdout().as_str(), ran.output.status.code()), ("ran\n", Some(6)));
    assert_eq!(ran.reasons(), ["own_malloc"], "{:#}", ran.json);
    assert!(ran.stderr().contains("own defines malloc itself"));
    // As a child it is found too: it says so itself.
    let ran = run(&["sh", "-c", &format!("{}; true", program.display())]);
    assert_eq!(ran.reasons(), ["own_malloc"], "{:#}", ran.json);
}

#[test]
fn a_programs_own_malloc_is_not_called_from_within_itself() {
    // As rustc's: its first call, by a library's constructor and before our own, maps memory, which is where we start.
    let scratch = Scratch::new();
    let early = scratch.compile(
        "libearly.so",
        "#include <stdlib.h>\nvoid *volatile kept;\n__attribute__((constructor)) static void early(void) { kept = malloc(10); }",
        &["-shared", "-fPIC"],
    );
    let source = "#include <stdlib.h>\n#include <unistd.h>\n#include <sys/mman.h>\n\
         extern void *volatile kept; static char *heap; static size_t used; static int inside;\n\
         void *malloc(size_t n) { if (inside++) { write(1, \"again\\n\", 6); _exit(9); }\n\
         if (!heap) heap = mmap(0, 1 << 26, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);\n\
         void *p = heap + used; used += (n + 15) & ~15ul; inside--; return p; }\n\
         void free(void *p) {}\n\
         void *calloc(size_t n, size_t s) { return malloc(n * s); }\n\
         void *realloc(void *p, size_t n) { return malloc(n); }\n\
         int main(void) { return kept ? 6 : 5; }";
    let program = scratch.compile("own", source, &["-rdynamic", early.to_str().unwrap()]);
    for backend in ["forward", "mimalloc"] {
        let probe = common::zm().args(["run", "-q", "--backend", backend, "--", "true"]).status().unwrap();
        if probe.code() == Some(125) {
            continue;
        }
        let ran = common::run_with(&["--backend", backend], &[&program], b"");
        assert_eq!((ran.stdout().as_str(), ran.output.status.code()), ("", Some(6)), "{backend}");
        assert_eq!(ran.reasons(), ["own_malloc"], "{backend}: {:#}", ran.json);
    }
}

#[test]
fn a_program_at_a_fixed_address_is_not_taken_for_one_with_its_own_malloc() {
    // The address of malloc is taken, so that the executable has a stub that stands for it.
    let source =
        "#include <stdlib.h>\nvoid *(*volatile get)(size_t) = malloc;\nint main(void) { get(100000); return 0; }";
    let scratch = Scratch::new();
    let ran = run(&[&scratch.compile("fixed", source, &["-no-pie", "-fno-pie"])]);
    assert!(ran.process("fixed")["used_bytes"].as_u64().unwrap() >= 100_000);
    assert!(ran.reasons().is_empty(), "{:#}", ran.json);
}

#[test]
fn a_program_that_takes_the_preload_away_from_itself() {
    // As `env -i` does to the program that it becomes, there is no telling from the file.
    let scratch = Scratch::new();
    let program = scratch.compile("plain", ALLOCATES, &[]);
    let ran = run(&["sh", "-c", &format!("env -i {}; env -i {}", program.display(), program.display())]);
    assert_eq!(ran.stdout(), "ran\nran\n");
    assert!(!ran.processes().iter().any(|process| common::has_name(process, "plain")));
}

#[test]
fn a_setuid_program_is_known_from_its_file() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let program = scratch.compile("raised", ALLOCATES, &[]);
    // Only root can make a file that belongs to somebody else.
    if std::os::unix::fs::chown(&program, Some(65534), Some(65534)).is_err() {
        return;
    }
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let ran = run(&[&program]);
    assert_eq!((ran.stdout().as_str(), ran.reasons()), ("ran\n", vec!["privileged"]));
    assert!(ran.processes().is_empty());
}

#[test]
fn a_program_that_becomes_one_that_is_not_counted_is_not_taken_for_killed() {
    let scratch = Scratch::new();
    let program = scratch.compile("static", ALLOCATES, &["-static"]);
    let ran = run(&["env".as_ref(), program.as_os_str()]);
    assert_eq!((ran.process("env")["ended"].as_str(), ran.reasons()), (Some("replaced"), vec!["replaced"]));
    assert!(ran.stderr().contains("env (then not counted)"), "{}", ran.stderr());
    assert!(ran.stderr().contains("not counted: env became a program that is not counted"), "{}", ran.stderr());
    // Of a child, only its parent knows how it ended; but what it became it said itself.
    let twice = format!("env {0}; env {0}; true", program.display());
    let ran = run(&["sh", "-c", &twice]);
    let ends: Vec<_> = ran.processes().iter().filter(|process| common::has_name(process, "env")).collect();
    assert!(ends.len() == 2 && ends.iter().all(|process| process["ended"] == "replaced"), "{:#}", ran.json);
    assert_eq!(ran.reasons(), ["replaced"], "once for each program: {:#}", ran.json);
    assert!(ran.stderr().contains("env (then not counted)"), "{}", ran.stderr());
}

#[test]
fn what_a_process_became_does_not_lend_it_its_resident_memory() {
    let scratch = Scratch::new();
    let source = "#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n\
                  int main(void) { memset(malloc(50 << 20), 1, 50 << 20); usleep(400000); return 0; }";
    let large = scratch.compile("large", source, &["-static"]);
    let ran = run(&["sh", "-c", &format!("env {}; true", large.display())]);
    assert_eq!(ran.process("env")["rss_peak_bytes"], serde_json::Value::Null, "{:#}", ran.json);
}

#[test]
fn a_child_that_is_killed_is_told_from_one_that_became_another_program() {
    let scratch = Scratch::new();
    let killed = scratch.compile(
        "killed",
        "#include <signal.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
         int main(void) { execl(\"/nowhere/at/all\", \"none\", (char *)0); malloc(100); kill(getpid(), SIGKILL); }",
        &[],
    );
    let ran = run(&["sh", "-c", &format!("{}; true", killed.display())]);
    assert_eq!(ran.process("killed")["ended"], "unknown");
    assert!(ran.stderr().contains("killed (end not seen)"), "{}", ran.stderr());
    assert!(ran.stderr().contains("(end not seen): killed, or ended"), "{}", ran.stderr());
}
