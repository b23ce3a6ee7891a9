//! Limits on a tree of processes, what is done at a limit, and acting on a process that runs.

mod common;
use common::{Scratch, run_with, zm};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Processes that fork others, and threads in them, allocate at random until they are refused; some are killed. A word that all
/// share is what lives in all, counted before it is freed and after it was given out.
const TREE: &str = r#"
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static struct { atomic_size_t live, most, refused, forks_refused; } *all;
static atomic_size_t own;

static void count(void *block) {
    size_t size = malloc_usable_size(block), now = atomic_fetch_add(&all->live, size) + size;
    size_t seen = atomic_load(&all->most);
    atomic_fetch_add(&own, size);
    while (now > seen && !atomic_compare_exchange_weak(&all->most, &seen, now)) {}
}

static void give(void *block) {
    size_t size = malloc_usable_size(block);
    atomic_fetch_sub(&own, size);
    atomic_fetch_sub(&all->live, size);
    free(block);
}

static void *work(void *seed) {
    unsigned state = (unsigned)(size_t)seed;
    void *held[300] = {0};
    int i;
    for (i = 0; i < 6000; i++) {
        unsigned at;
        size_t size;
        state = state * 1664525u + 1013904223u;
        at = (state >> 8) % 300;
        size = 1 + (state >> 10) % ((state >> 20) % 20 ? 900 : 200000);
        if (held[at]) { give(held[at]); held[at] = NULL; }
        else if ((held[at] = malloc(size))) count(held[at]);
        else { if (errno != ENOMEM) abort(); atomic_fetch_add(&all->refused, 1); }
    }
    for (i = 0; i < 300; i++) if (held[i]) give(held[i]);
    return NULL;
}

/// What the child has of its parent counts as its own.
static pid_t fork_counted(void) {
    size_t mine = own;
    pid_t child;
    /* After it is there: what is counted may be less than what lives, never more. */
    child = fork();
    if (child == 0) atomic_fetch_add(&all->live, mine);
    if (child < 0) { if (errno != ENOMEM) abort(); atomic_fetch_add(&all->forks_refused, 1); }
    return child;
}

static int generation(int depth, unsigned seed) {
    void *kept[8];
    pid_t children[3];
    pthread_t threads[2];
    int started[2], i;
    for (i = 0; i < 8; i++) if ((kept[i] = malloc(50000))) count(kept[i]);
    for (i = 0; i < 3; i++) {
        children[i] = depth ? fork_counted() : -1;
        if (children[i] == 0) _exit(generation(depth - 1, seed * 31 + i));
    }
    /* A thread needs memory, too. */
    for (i = 0; i < 2; i++)
        started[i] = !pthread_create(&threads[i], NULL, work, (void *)(size_t)(seed * 7 + i));
    for (i = 0; i < 2; i++) if (started[i]) pthread_join(threads[i], NULL);
    for (i = 0; i < 3; i++) if (children[i] > 0) {
        int status;
        waitpid(children[i], &status, 0);
        if (status) return 1;
    }
    for (i = 0; i < 8; i++) if (kept[i]) give(kept[i]);
    /* What is not freed goes with the process. */
    atomic_fetch_sub(&all->live, own);
    return 0;
}

int main(int count, char **arguments) {
    size_t limit = strtoull(arguments[1], NULL, 10), took = 0;
    pid_t child;
    int status, result;
    all = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    result = generation(2, 1);
    if (result) return 1;
    if (all->most > limit) { printf("%zu live under %zu\n", (size_t)all->most, limit); return 2; }
    if (!all->refused) { printf("nothing refused, at most %zu\n", (size_t)all->most); return 3; }
    /* One that is killed with all that there was: it is there again. */
    child = fork();
    if (child == 0) { while (malloc(10000)) {} raise(SIGKILL); }
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status)) return 4;
    while (malloc(10000)) took += 10000;
    if (took < limit / 10 * 9 || took > limit) { printf("%zu of %zu after a kill\n", took, limit); return 5; }
    /* And with so much in it, no other one fits. */
    if (fork() != -1 || errno != ENOMEM) return 6;
    return 0;
}
"#;

#[test]
fn a_tree_of_processes_never_has_more_than_its_limit() {
    let scratch = Scratch::new();
    let program = scratch.compile("tree", TREE, &["-pthread"]);
    for limit in [6 << 20, 12 << 20] {
        let limit = usize::to_string(&limit);
        let ran = run_with(&["--limit-tree", &limit], &[program.as_os_str(), limit.as_ref()], b"");
        assert_eq!(ran.output.status.code(), Some(0), "{} {}", ran.stdout(), ran.stderr());
        let tree = &ran.json["tree_limit"];
        assert_eq!(tree["bytes"].as_u64(), limit.parse().ok());
        assert!(tree["refusals"].as_u64() > Some(0) && tree["refused_first"]["pid"].as_u64() > Some(0), "{tree}");
        assert!(ran.stderr().contains("the tree's limit of "), "{}", ran.stderr());
    }
}

#[test]
fn a_limit_that_is_never_met_says_so_and_refuses_nothing() {
    let ran = run_with(&["--limit-tree", "1G", "--limit", "900M"], &["sh", "-c", "ls / | sort | wc -l"], b"");
    assert_eq!(ran.output.status.code(), Some(0));
    assert_eq!(ran.json["tree_limit"]["refusals"], 0);
    assert_eq!(ran.json["tree_limit"]["refused_first"], Value::Null);
    assert!(ran.stderr().contains("the tree's limit of 1.0 GiB refused nothing"), "{}", ran.stderr());
}

/// Reads numbers: allocates and touches so many bytes, and answers whether it could.
const ASKING: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
    size_t size;
    setvbuf(stdout, NULL, _IONBF, 0);
    while (scanf("%zu", &size) == 1) {
        void *block = malloc(size);
        if (block) memset(block, 1, size);
        puts(block ? "yes" : "no");
    }
    return 0;
}
"#;

/// A program under `zm run` that is asked things.
struct Asked {
    zm: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pid: String,
}

impl Asked {
    fn start(options: &[&str], program: &Path) -> Asked {
        let mut asked = Asked::spawn(options, program, None);
        assert!(asked.can_have(10));
        asked
    }

    fn spawn(options: &[&str], program: &Path, argument: Option<&Path>) -> Asked {
        let mut zm = zm()
            .args(["run", "--quiet"])
            .args(options)
            .arg("--")
            .arg(program)
            .args(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child_of(zm.id());
        let (input, output) = (zm.stdin.take().unwrap(), BufReader::new(zm.stdout.take().unwrap()));
        Asked { zm, input, output, pid }
    }

    fn ask(&mut self, size: usize) {
        writeln!(self.input, "{size}").unwrap();
    }

    fn answer(&mut self) -> bool {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        match line.trim() {
            "yes" => true,
            "no" => false,
            other => panic!("`{other}`"),
        }
    }

    fn act(&mut self, what: &str) -> bool {
        writeln!(self.input, "{what}").unwrap();
        self.answer()
    }

    fn can_have(&mut self, size: usize) -> bool {
        self.ask(size);
        self.answer()
    }

    fn end(mut self) -> (Option<i32>, String) {
        drop(self.input);
        let status = self.zm.wait().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.zm.stderr.take().unwrap(), &mut text).unwrap();
        (status.code(), text)
    }
}

fn child_of(parent: u32) -> String {
    let path = format!("/proc/{parent}/task/{parent}/children");
    wait_for("a child", || {
        let children = std::fs::read_to_string(&path).unwrap_or_default();
        children.split_whitespace().next().map(str::to_owned)
    })
}

fn wait_for<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn say(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = zm().args(arguments).output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

fn resident(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_running_process_is_given_a_limit_and_purged() {
    let scratch = Scratch::new();
    let mut asked = Asked::start(&[], &scratch.compile("asking", ASKING, &[]));
    let pid = asked.pid.clone();
    assert!(asked.can_have(50 << 20));
    let (code, text) = say(&["set", &pid, "limit=60M"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!("process {pid} is idle: it will do so")), "{text}");
    assert!(asked.can_have(100_000), "which has it look");
    assert!(!asked.can_have(20 << 20) && asked.can_have(5 << 20));
    assert_eq!(say(&["set", &pid, "limit=100M"]).0, Some(0));
    asked.ask(100_000);
    asked.answer();
    assert!(asked.can_have(20 << 20));
    assert_eq!(say(&["set", &pid, "limit=none"]).0, Some(0));
    asked.can_have(100_000);
    assert!(asked.can_have(200 << 20));
    let (code, text) = say(&["purge", &pid]);
    assert_eq!(code, Some(0), "{text}");
    asked.can_have(100_000);
    let (code, text) = say(&["set", &pid, "limit=none"]);
    assert_eq!((code, asked.end().0), (Some(0), Some(0)), "{text}");
}

/// A parent and its child, which read what they are to do: `a SIZE` and `b SIZE` allocate and answer whether they could, `A`
/// and `B` free all that they have, and `E` has the child become the program that is named. First the child's pid is written.
const PAIR: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static char other[500];
static void *held[100];
static int had;
static int act(char what, size_t size) {
    if (what == 'E') { execl(other, other, (char *)NULL); return 'n'; }
    if (what == 'A') { while (had) free(held[--had]); return 'y'; }
    if (!(held[had] = malloc(size))) return 'n';
    memset(held[had++], 1, size);
    return 'y';
}
int main(int count, char **arguments) {
    int to[2], from[2];
    char line[100], answer, what;
    size_t size = 0;
    if (count > 1) strcpy(other, arguments[1]);
    setvbuf(stdout, NULL, _IONBF, 0);
    if (pipe(to) || pipe(from)) return 1;
    pid_t child = fork();
    if (!child) {
        close(to[1]);
        while (read(to[0], &what, 1) == 1 && read(to[0], &size, sizeof size) == sizeof size) {
            answer = (char)act(what, size);
            if (write(from[1], &answer, 1) != 1) return 1;
        }
        return 0;
    }
    printf("%d\n", (int)child);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%c %zu", &what, &size) < 1) return 1;
        if (what == 'a' || what == 'A') answer = (char)act(what, size);
        else {
            what = what == 'E' ? 'E' : what == 'b' ? 'a' : 'A';
            if (write(to[1], &what, 1) != 1 || write(to[1], &size, sizeof size) != sizeof size) return 1;
            if (what == 'E') answer = 'y';
            else if (read(from[0], &answer, 1) != 1) return 1;
        }
        puts(answer == 'y' ? "yes" : "no");
    }
    return 0;
}
"#;

/// Starts them with a limit of 100 MiB for both.
fn start_pair(scratch: &Scratch, argument: &Path) -> (Asked, String) {
    let program = scratch.compile("pair", PAIR, &[]);
    let mut asked = Asked::spawn(&["--limit-tree", "100M"], &program, Some(argument));
    let mut child = String::new();
    asked.output.read_line(&mut child).unwrap();
    (asked, child.trim().to_owned())
}

#[test]
fn what_a_process_may_not_have_any_more_goes_back_to_its_tree() {
    let scratch = Scratch::new();
    let (mut pair, child) = start_pair(&scratch, Path::new("none"));
    assert_eq!((pair.act("b 60000000"), pair.act("a 60000000")), (true, false));
    assert_eq!(say(&["set", &child, "limit=20M"]).0, Some(0));
    // What it has it keeps, and has no more.
    assert_eq!((pair.act("b 100000"), pair.act("a 60000000")), (false, false));
    assert!(pair.act("B") && pair.act("a 60000000"), "what the child freed");
    assert_eq!((pair.act("b 25000000"), pair.act("b 10000000")), (false, true));
    assert_eq!(say(&["set", &child, "limit=none"]).0, Some(0));
    assert!(pair.act("b 100000") && pair.act("b 25000000"), "it may have more than 20 MiB again");
    assert!(!pair.act("b 30000000"), "but not more than the tree");
    // Higher, while it has what it had before.
    assert_eq!(say(&["set", &child, "limit=20M"]).0, Some(0));
    assert!(!pair.act("b 100000"));
    assert_eq!(say(&["set", &child, "limit=36M"]).0, Some(0));
    assert!(pair.act("b 100000") && !pair.act("b 3000000"));
    assert_eq!(pair.end().0, Some(0));
}

#[test]
fn a_trees_limit_is_raised_while_it_runs() {
    let scratch = Scratch::new();
    let (mut pair, child) = start_pair(&scratch, Path::new("none"));
    assert_eq!((pair.act("b 60000000"), pair.act("a 60000000")), (true, false));
    let (code, text) = say(&["set", &child, "limit-tree=200M"]);
    assert!(code == Some(0) && text.contains("the limit of all of them is set"), "{text}");
    assert!(pair.act("a 60000000"));
    // Less than there is: nobody has more until enough is freed.
    assert_eq!(say(&["set", &child, "limit-tree=100M"]).0, Some(0));
    assert_eq!((pair.act("a 5000000"), pair.act("B"), pair.act("a 30000000")), (false, true, true));
    assert_eq!(pair.end().0, Some(0));
    let asked = Asked::start(&[], &scratch.compile("asking", ASKING, &[]));
    let (code, text) = say(&["set", &asked.pid, "limit-tree=1G"]);
    assert!(code == Some(125) && text.contains("share no limit: start them by `zm run --limit-tree`"), "{text}");
    assert_eq!(asked.end().0, Some(0));
}

#[test]
fn a_program_that_is_stopped_by_name_goes_on_by_name() {
    let scratch = Scratch::new();
    let mut asked = Asked::start(&[], &scratch.compile("asking", ASKING, &[]));
    for signal in ["-STOP", "-CONT"] {
        assert!(Command::new("kill").args([signal, &asked.pid]).status().unwrap().success());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(asked.can_have(1000));
    assert_eq!(asked.end().0, Some(0));
}

#[test]
fn what_a_limit_refused_that_was_set_later_is_told() {
    let scratch = Scratch::new();
    let export = scratch.path("run.json");
    let program = scratch.compile("asking", ASKING, &[]);
    let mut asked = Asked::start(&["--export-json", export.to_str().unwrap()], &program);
    assert!(asked.can_have(30 << 20));
    let (code, text) = say(&["set", &asked.pid, "limit=20M"]);
    assert!(code == Some(0), "{text}");
    // The first one has it look.
    asked.can_have(100_000);
    assert!(!asked.can_have(100_000) && !asked.can_have(100_000));
    let (_, text) = say(&["set", &asked.pid, "limit=10M"]);
    assert!(text.contains("is idle"), "{text}");
    asked.can_have(100_000);
    let pid = asked.pid.clone();
    assert_eq!(asked.end().0, Some(0));
    let json: Value = serde_json::from_slice(&std::fs::read(export).unwrap()).unwrap();
    let remarks = json["remarks"].to_string();
    assert!(remarks.contains(&format!("({pid}): the limit of 10.0 MiB, by `zm set`, refused 3 requests")), "{remarks}");
    assert_eq!(json["processes"][0]["limit_set_bytes"], 10 << 20);
}

#[test]
fn what_a_process_had_that_becomes_one_without_a_ledger_goes_back() {
    let scratch = Scratch::new();
    let other = scratch.compile("static", "#include <unistd.h>\nint main(void) { return pause(); }", &["-static"]);
    let (mut pair, child) = start_pair(&scratch, &other);
    assert_eq!((pair.act("b 60000000"), pair.act("a 60000000"), pair.act("E")), (true, false, true));
    let is_other = || std::fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|path| path == other);
    wait_for("the other program", || is_other().then_some(()));
    assert!(pair.act("a 60000000"));
    assert!(Command::new("kill").args(["-KILL", &child]).status().unwrap().success());
    assert_eq!(pair.end().0, Some(0));
}

/// Frees much of what it has in small blocks, and then allocates a little again and again.
const FREED: &str = r#"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {
    static char *blocks[60000];
    int i;
    for (i = 0; i < 60000; i++) memset(blocks[i] = malloc(1000), 1, 1000);
    for (i = 0; i < 60000; i++) if (i % 100) free(blocks[i]);
    write(1, "freed\n", 6);
    for (;;) { free(malloc(100000)); usleep(1000); }
}
"#;

#[test]
fn a_purge_gives_memory_back_to_the_system() {
    let scratch = Scratch::new();
    let program = scratch.compile("freed", FREED, &[]);
    let mut zm =
        zm().args(["run", "-q", "--"]).arg(&program).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(zm.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pid = child_of(zm.id());
    let before = resident(&pid);
    let (code, text) = say(&["purge", &pid]);
    assert_eq!((code, text.as_str()), (Some(0), format!("zm: process {pid}: unused memory was given back\n").as_str()));
    let after = resident(&pid);
    assert!(after < before / 2, "{before} bytes before and {after} after");
    let killed = Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    assert!(killed.success() && !zm.wait().unwrap().success());
}

#[test]
fn at_a_limit_a_process_is_stopped_given_more_and_goes_on() {
    let scratch = Scratch::new();
    let mut asked = Asked::start(&["--limit", "10M", "--at-limit", "stop"], &scratch.compile("asking", ASKING, &[]));
    let pid = asked.pid.clone();
    asked.ask(20 << 20);
    let stopped = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with('T').then_some(())
    };
    wait_for("stopped", || stopped(&pid));
    // Longer than zm waits to tell.
    std::thread::sleep(Duration::from_millis(1500));
    let (code, text) = say(&["set", &pid, "limit=30M"]);
    assert!(code == Some(0) && text.contains("is stopped: it will do so when it goes on"), "{text}");
    assert!(Command::new("kill").args(["-CONT", &pid]).status().unwrap().success());
    assert!(asked.answer(), "it has it now");
    // Once; then it is refused.
    assert!(!asked.can_have(20 << 20));
    let (code, text) = asked.end();
    assert_eq!(code, Some(0));
    let told = format!("({pid}) is stopped, at its limit. In another terminal, `zm set {pid} limit=SIZE` gives more");
    assert!(text.contains(&told), "{text}");
}

#[test]
fn at_a_limit_it_is_said_or_the_process_is_killed() {
    let scratch = Scratch::new();
    let program = scratch.compile("asking", ASKING, &[]);
    let run = |what: &str| {
        let mut command = zm();
        command.args(["run", "--limit", "10M", "--at-limit", what, "--"]).arg(&program);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "5000000\n20000000\n30000000").unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status, text(&output.stdout), text(&output.stderr))
    };
    let (status, answers, said) = run("report");
    assert!(status.success() && answers == "yes\nyes\nyes\n", "{answers}");
    assert!(said.contains("the limit of 10.0 MiB was reached after ") && said.contains("nothing refused"), "{said}");
    let (status, answers, said) = run("kill");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert!(answers == "yes\n" && said.contains("the limit of 10.0 MiB killed it"), "{answers} {said}");
    let (status, answers, said) = run("refuse");
    assert!(status.success() && answers == "yes\nno\nno\n" && said.contains("refused 2 requests"), "{answers} {said}");
}

#[test]
fn what_a_program_maps_itself_counts_if_that_is_wanted() {
    const MAPPING: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#define MIB (1 << 20)
static void *map(size_t size, int access) {
    return mmap(NULL, size, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
int main(void) {
    char *first = map(4 * MIB, PROT_READ | PROT_WRITE), *reserved = map(64 * MIB, PROT_NONE), *moved;
    int i;
    if (first == MAP_FAILED || reserved == MAP_FAILED) return 1;
    if (map(8 * MIB, PROT_READ) != MAP_FAILED || errno != ENOMEM) return 2;
    if (malloc(7 * MIB)) return 3;
    if (mprotect(reserved, 8 * MIB, PROT_READ | PROT_WRITE) != -1 || errno != ENOMEM) return 4;
    if (mprotect(reserved, 3 * MIB, PROT_READ | PROT_WRITE)) return 5;
    /* Again: it is counted. */
    if (mprotect(reserved, 3 * MIB, PROT_READ)) return 6;
    if (mremap(first, 4 * MIB, 9 * MIB, MREMAP_MAYMOVE) != MAP_FAILED || errno != ENOMEM) return 7;
    moved = mremap(first, 4 * MIB, 5 * MIB, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) return 8;
    if (sbrk(4 * MIB) != (void *)-1 || errno != ENOMEM) return 9;
    munmap(reserved, 64 * MIB);
    munmap(moved, 5 * MIB);
    /* All that there was is there again, each time. */
    for (i = 0; i < 100; i++) {
        char *again = map(9 * MIB, PROT_READ | PROT_WRITE);
        if (again == MAP_FAILED) return 10;
        if (i % 2) { if (map(4096, PROT_NONE) == MAP_FAILED) return 11; }
        munmap(again, 9 * MIB);
    }
    return fork() == 0 ? map(9 * MIB, PROT_READ) == MAP_FAILED : map(11 * MIB, PROT_READ) != MAP_FAILED;
}
"#;
    let scratch = Scratch::new();
    let program = scratch.compile("mapping", MAPPING, &[]);
    let ran = run_with(&["--limit", "10M", "--limit-mapped"], &[&program], b"");
    assert_eq!(ran.output.status.code(), Some(0), "{}", ran.stderr());
    let ran = run_with(&["--limit-tree", "10M", "--limit-mapped"], &[&program], b"");
    assert_eq!(ran.output.status.code(), Some(0), "{}", ran.stderr());
    assert_eq!(run_with(&["--limit", "10M"], &[&program], b"").output.status.code(), Some(2), "not without");
}

#[test]
fn a_run_is_recorded_from_when_that_is_asked_for() {
    let scratch = Scratch::new();
    let mut asked = Asked::start(&[], &scratch.compile("asking", ASKING, &[]));
    let (pid, file) = (asked.pid.clone(), scratch.path("box"));
    let setting = format!("record={}", file.display());
    let (code, text) = say(&["set", &pid, &setting]);
    assert!(code == Some(0) && text.contains("its run is recorded in "), "{text}");
    assert!(asked.can_have(7 << 20));
    let (code, text) = say(&["set", &pid, &setting]);
    assert!(code == Some(125) && text.contains("this run is recorded already"), "{text}");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(asked.end().0, Some(0));
    let shown = zm().args(["show", "--json"]).arg(&file).output().unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["start"]["program_pid"].to_string(), pid);
    let samples = shown["samples"].as_array().unwrap();
    assert!(samples.iter().any(|sample| sample["used_bytes"].as_u64() > Some(7 << 20)), "{shown:#}");
}

#[test]
fn what_cannot_be_done_is_said() {
    let own = std::process::id().to_string();
    for (arguments, said) in [
        (["set", "4194999", "limit=1M"].as_slice(), "there is no process 4194999; `zm top --once`"),
        (&["purge", &own], "is not under the ledger: start it by `zm run`"),
        (&["set", &own, "limit=1M"], "is not under the ledger"),
        (&["set", "1", "limit=x"], "`x` is no size"),
        (&["set", "1", "limits=5"], "`limits=5` is nothing that can be set: say limit=512M"),
        (&["set", "1", "record="], "is nothing that can be set"),
        (&["set", "1"], "For example: zm set 4711 limit=512M"),
        (&["purge", "pid"], "invalid digit"),
        (&["run", "--at-limit", "pause", "--", "ls"], "possible values: refuse, stop, report, kill"),
        (&["run", "--limit-tree", "much", "--", "ls"], "`much` is no size"),
    ] {
        let (code, text) = say(arguments);
        assert_eq!(code, Some(125), "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
}
