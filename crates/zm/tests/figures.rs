//! The figures are the program's, to the byte.

mod common;
use common::{Scratch, has_name, run, run_with};

const HEADER: &str = "#include <stdlib.h>\n#include <string.h>\n#include <stdio.h>\n#include <unistd.h>\n\
                      #include <malloc.h>\n#include <signal.h>\n#include <sys/mman.h>\n#include <sys/wait.h>\n";

/// Prints how many bytes the pattern really has: what is charged is the usable size.
const PATTERN: &str = "
int main(int argc, char **argv) {
    size_t allocated = 0, freed = 0;
    static char *blocks[1000];
    for (int i = 0; i < 1000; i++) {
        blocks[i] = malloc(100 + i * 7);
        memset(blocks[i], 1, 100 + i * 7);
        allocated += malloc_usable_size(blocks[i]);
    }
    for (int i = 0; i < 1000; i += 2) { freed += malloc_usable_size(blocks[i]); free(blocks[i]); }
    char text[100];
    int length = snprintf(text, sizeof text, \"%zu %zu\\n\", allocated, freed);
    write(1, text, length);
    if (argc > 1) kill(getpid(), atoi(argv[1]));
    _exit(0);
}";

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

#[test]
fn a_known_pattern_is_counted_to_the_byte_under_every_backend_at_hand() {
    let scratch = Scratch::new();
    let program = scratch.compile("pattern", &format!("{HEADER}{PATTERN}"), &[]);
    let empty = scratch.compile("empty", "int main(void) { return 0; }", &[]);
    for backend in ["forward", "libc", "mimalloc", "jemalloc", "tcmalloc", "snmalloc"] {
        let probe = common::zm().args(["run", "--backend", backend, "--", "true"]).output().unwrap();
        if probe.status.code() == Some(125) {
            continue;
        }
        // What comes with an allocator may allocate at its start, like the C++ library does under tcmalloc.
        let bare = run_with(&["--backend", backend], &[&empty], b"");
        let ran = run_with(&["--backend", backend], &[&program], b"");
        let process = ran.process("pattern");
        let more = |key: &str| process[key].as_u64().unwrap() - bare.process("empty")[key].as_u64().unwrap();
        let said = numbers(&ran.stdout());
        assert_eq!(more("allocated_bytes_total"), said[0], "{backend}: {:#}", ran.json);
        assert_eq!(more("freed_bytes_total"), said[1], "{backend}");
        assert_eq!(more("used_bytes"), said[0] - said[1], "{backend}");
        assert_eq!((more("allocations_total"), more("live_blocks")), (1000, 500), "{backend}");
        let peak = process["used_peak_bytes"].as_u64().unwrap();
        let most = process["allocated_bytes_total"].as_u64().unwrap();
        assert!(peak <= most && peak + 5 * 65536 >= said[0], "{backend}: {peak} of {}", said[0]);
        let sum = |key: &str| -> u64 {
            process["size_classes"].as_array().unwrap().iter().map(|class| class[key].as_u64().unwrap()).sum()
        };
        for (class_key, key) in [
            ("allocations_total", "allocations_total"),
            ("allocated_bytes_total", "allocated_bytes_total"),
            ("live_blocks", "live_blocks"),
            ("live_bytes", "used_bytes"),
        ] {
            assert_eq!(sum(class_key), process[key].as_u64().unwrap(), "{backend}: {key}");
        }
        assert_eq!(ran.json["backend"], backend);
        assert!(process["rss_peak_bytes"].as_u64().unwrap() > said[0], "{backend}");
        assert_eq!(process["rss_peak_source"], "exit", "{backend}");
        assert_eq!(process["ended"], "exit", "{backend}");
    }
}

#[test]
fn a_killed_program_keeps_its_figures() {
    let scratch = Scratch::new();
    let program = scratch.compile("pattern", &format!("{HEADER}{PATTERN}"), &[]);
    let ran = run(&[program.as_os_str(), "9".as_ref()]);
    let (process, said) = (ran.process("pattern"), numbers(&ran.stdout()));
    assert_eq!(process["used_bytes"].as_u64().unwrap(), said[0] - said[1]);
    assert_eq!(process["ended"], "killed");
    assert!(ran.stderr().contains("pattern (killed)"), "{}", ran.stderr());
    assert_eq!((&ran.json["exit_code"], &ran.json["signal"]), (&serde_json::Value::Null, &9.into()));
}

#[test]
fn a_long_program_that_is_killed_has_a_peak_of_resident_memory() {
    let scratch = Scratch::new();
    let source = format!(
        "{HEADER}int main(void) {{ char *p = malloc(50 << 20); memset(p, 1, 50 << 20); usleep(400000); \
         kill(getpid(), SIGKILL); }}"
    );
    let program = scratch.compile("holder", &source, &[]);
    let ran = run(&[&program]);
    let process = ran.process("holder");
    assert!(process["rss_peak_bytes"].as_u64().unwrap() > 50 << 20, "{:#}", ran.json);
    // As a child of another program it is only known from samples.
    let ran = run(&["sh", "-c", &format!("{}; true", program.display())]);
    let process = ran.process("holder");
    assert!(process["rss_peak_bytes"].as_u64().unwrap() > 50 << 20, "{:#}", ran.json);
    assert_eq!(process["rss_peak_source"], "sampled");
    assert!(ran.stderr().contains("was sampled"));
}

#[test]
fn children_images_and_mappings_are_told_apart() {
    let scratch = Scratch::new();
    let source = format!(
        "{HEADER}int main(int argc, char **argv) {{
            if (argc > 1) {{ malloc(atoi(argv[1])); _exit(0); }}
            malloc(100000);
            mmap(0, 64 << 20, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
            if (fork() == 0) {{ malloc(200000); _exit(0); }}
            wait(0);
            if (fork() == 0) execl(argv[0], argv[0], \"300000\", NULL);
            wait(0);
            execl(argv[0], argv[0], \"400000\", NULL);
        }}"
    );
    let program = scratch.compile("family", &source, &[]);
    let ran = run(&[&program]);
    let family: Vec<_> = ran.processes().iter().filter(|process| has_name(process, "family")).collect();
    let is_about = |process: &serde_json::Value, key: &str, bytes: u64| {
        let value = process[key].as_u64().unwrap();
        (bytes..bytes + 4096).contains(&value)
    };
    assert_eq!(family.len(), 5, "{:#}", ran.json);
    let root = &ran.json["program_pid"];
    let first = family.iter().find(|process| process["pid"] == *root && process["ended"] == "exec").unwrap();
    assert!(is_about(first, "used_bytes", 100_000) && is_about(first, "mapped_peak_bytes", 64 << 20));
    let last = family.iter().find(|process| process["pid"] == *root && process["ended"] == "exit").unwrap();
    assert!(is_about(last, "used_bytes", 400_000));
    assert_eq!(last["mapped_peak_bytes"], 0);
    let fork =
        family.iter().find(|process| is_about(process, "used_bytes", 300_000) && process["inherited_bytes"] != 0);
    let fork = fork.unwrap();
    assert!(is_about(fork, "allocated_bytes_total", 200_000) && is_about(fork, "inherited_bytes", 100_000));
    assert_eq!((&fork["parent_pid"], &fork["allocations_total"]), (root, &1.into()));
    let started =
        family.iter().find(|process| is_about(process, "used_bytes", 300_000) && process["inherited_bytes"] == 0);
    assert_eq!(started.unwrap()["command"][1], "300000");
    let sum: u64 = family.iter().map(|process| process["allocated_bytes_total"].as_u64().unwrap()).sum();
    assert_eq!(ran.json["totals"]["allocated_bytes_total"].as_u64().unwrap(), sum);
    for process in family {
        let number = |key: &str| process[key].as_u64().unwrap();
        let live = number("inherited_bytes") + number("allocated_bytes_total") - number("freed_bytes_total");
        assert_eq!(number("used_bytes"), live);
    }
}

#[test]
fn hundreds_of_short_children_are_all_counted_and_nothing_is_left() {
    let scratch = Scratch::new();
    let source = format!(
        "{HEADER}int main(void) {{ for (int i = 0; i < 300; i++) {{ if (fork() == 0) {{ malloc(1000 + i); _exit(0); }} \
         if (i % 50 == 49) {{ while (wait(0) > 0); usleep(60000); }} }} while (wait(0) > 0); return 0; }}"
    );
    let program = scratch.compile("swarm", &source, &[]);
    let ran = run(&[&program]);
    assert_eq!(ran.json["totals"]["processes"], 301);
    assert_eq!(ran.json["totals"]["allocations_total"], 300);
    let children = ran.processes().iter().filter(|process| process["pid"] != ran.json["program_pid"]);
    assert!(children.clone().all(|process| process["allocations_total"] == 1 && process["ended"] == "exit"));
    assert!(ran.stderr().contains("  300x  swarm  "), "{}", ran.stderr());
    assert!(ran.json["remarks"].as_array().unwrap().is_empty(), "{:#}", ran.json["remarks"]);
}

#[test]
fn a_pipeline_and_its_system_programs_are_counted() {
    let ran = run(&["sh", "-c", "seq 1000 | sort -n | tail -n 1; ls / > /dev/null"]);
    assert_eq!(ran.stdout(), "1000\n");
    for name in ["seq", "sort", "tail", "ls"] {
        assert!(ran.process(name)["allocations_total"].as_u64().unwrap() > 0, "{name}");
    }
}

#[test]
fn what_runs_on_is_said_and_keeps_its_ledger() {
    let mut child = common::zm();
    // The shell goes on for long enough that the other one is a process with a ledger.
    let child = child.args(["run", "--", "sh", "-c", "sleep 5 > /dev/null 2>&1 & echo $!; sleep 0.5"]);
    let child = child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let zm = child.id();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("sleep (running)") || text.contains("(running)"), "{text}");
    assert!(text.contains("1 process runs on"), "{text}");
    assert_eq!(common::sessions_of(zm).len(), 1);
    let pid: i32 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    // SAFETY: the sleep that our own shell started.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    // The next zm clears what is abandoned.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !common::sessions_of(zm).is_empty() && std::time::Instant::now() < deadline {
        assert!(common::zm().args(["run", "--", "true"]).output().unwrap().status.success());
    }
    assert_eq!(common::sessions_of(zm).len(), 0);
}

#[test]
fn memory_that_a_program_maps_itself_is_explained() {
    let scratch = Scratch::new();
    let source = format!(
        "{HEADER}void *NAME(size_t n) {{ return mmap(0, n, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0); }}
         int main(void) {{ NAME(64 << 20); return 0; }}"
    );
    for (name, flag, said) in [
        ("_rjem_malloc", "-g", "it has jemalloc linked in"),
        ("mi_malloc", "-g", "it has mimalloc linked in"),
        ("mi_malloc", "-s", "an allocator of its own (jemalloc"),
        ("other", "-g", "an allocator of its own (jemalloc"),
    ] {
        let ran = run(&[scratch.compile("mapper", &source, &[&format!("-DNAME={name}"), flag])]);
        let text = ran.stderr();
        assert!(text.contains("): most of its memory it mapped itself: ") && text.contains(said), "{name}: {text}");
    }
    assert!(!run(&["true"]).stderr().contains("mapped itself"));
}
